"""What a person sees while a job runs: one line of progress on standard error, no logs."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from components.training.loop import StepReport
from pipelines.shards import PreparedData

_PLAIN_EVERY_S = 10.0


class Display:
    """Progress bars on a terminal; a line every ten seconds where there is none."""

    def __init__(self, console: Console) -> None:
        """Write to `console`, which should be standard error."""
        self._console = console
        self._progress = Progress(
            TextColumn("{task.description:<28}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=console,
            transient=False,
            disable=not console.is_terminal,
        )
        self._tasks: dict[str, TaskID] = {}
        self._plain_s: dict[str, float] = {}

    @contextmanager
    def shown(self) -> Iterator[Self]:
        """Show the bars while the block runs."""
        with self._progress:
            yield self

    def progress(self, stage: str, done: int, total: int) -> None:
        """Say how far a stage is."""
        self._update(stage, done, total, "")

    def step(self, report: StepReport) -> None:
        """Say how the training goes."""
        note = (
            f"epoch {report.epoch + 1}  loss {report.loss:.3f}  "
            f"{report.records_per_s:,.0f} records/s  waiting {report.data_wait_share:.0%}"
        )
        self._update("train", report.global_step + 1, report.total_steps, note)

    def prepared(self, data: PreparedData) -> None:
        """Say what prepare found."""
        books = data.manifest.accounting
        self._console.print(
            f"{'cached' if data.cached else 'prepared'}: {books.read} read = {books.prepared} "
            f"prepared + {books.quarantined} quarantined + {books.duplicates} duplicates",
            highlight=False,
        )

    def _update(self, stage: str, done: int, total: int, note: str) -> None:
        if self._console.is_terminal:
            if stage not in self._tasks:
                self._tasks[stage] = self._progress.add_task(stage, total=total, note=note)
            self._progress.update(self._tasks[stage], completed=done, total=total, note=note)
            return
        now_s = time.monotonic()
        last_s = self._plain_s.get(stage)
        if last_s is None or done == total or now_s - last_s >= _PLAIN_EVERY_S:
            self._plain_s[stage] = now_s
            self._console.print(f"{stage}: {done}/{total} {note}".rstrip(), highlight=False)
