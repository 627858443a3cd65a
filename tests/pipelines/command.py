"""The command line as a user starts it: a process of its own, in a folder of its own."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

if TYPE_CHECKING:
    from mlflow.entities import Run

FAST = (
    "input.image_px=8",
    "model.width=8",
    "model.depth=2",
    "train.epochs=1",
    "train.schedule.warmup_epochs=0",
    "tracking.system_metrics=false",
)
_DEADLINE_S = 170


@dataclass(frozen=True)
class Finished:
    """How a command ended."""

    code: int
    stdout: str
    stderr: str

    @property
    def result(self) -> dict[str, Any]:
        """The one JSON object of `--json`; there is nothing else on standard output."""
        lines = self.stdout.splitlines()
        assert len(lines) == 1, self.stdout + self.stderr
        result: dict[str, Any] = json.loads(lines[0])
        return result


def headrace(
    *arguments: str,
    folder: Path,
    deadline_s: float = _DEADLINE_S,
    environment: dict[str, str] | None = None,
) -> Finished:
    """Run a command to its end; one that is still running after the deadline is an error."""
    with started(*arguments, folder=folder, environment=environment) as process:
        stdout, stderr = process.communicate(timeout=deadline_s)
    return Finished(process.returncode, stdout, stderr)


@contextmanager
def started(
    *arguments: str, folder: Path, environment: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    """A command that is running; it and all that it started are gone after the block."""
    process = subprocess.Popen(
        [sys.executable, "-m", "pipelines", *arguments],
        cwd=folder,
        env={**os.environ, **(environment or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        end(descendants(process.pid))


def descendants(pid: int) -> list[psutil.Process]:
    """A process and all that it started, as long as they live."""
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def end(processes: Sequence[psutil.Process]) -> None:
    """Kill these processes and wait until they are gone."""
    for process in processes:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(list(processes), timeout=10)


def training_workers(pid: int) -> list[psutil.Process]:
    """Ray Train's worker processes below a driver."""
    return [p for p in descendants(pid) if "RayTrainWorker" in " ".join(p.cmdline())]


def wait_until(condition: Any, *, timeout_s: float, what: str) -> Any:
    """Poll until `condition()` is true and return it."""
    deadline_s = time.monotonic() + timeout_s
    while time.monotonic() < deadline_s:
        value = condition()
        if value:
            return value
        time.sleep(0.1)
    raise AssertionError(f"{what}: not within {timeout_s:g} s")


def mlflow_runs(folder: Path) -> "list[Run]":
    """All runs in the embedded database of `folder`/runs."""
    from mlflow import MlflowClient

    database = folder / "runs" / "mlflow.db"
    if not database.is_file():
        return []
    client = MlflowClient(tracking_uri=f"sqlite:///{database}")
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    return list(client.search_runs(experiments))


def epochs_logged(folder: Path, run_id: str) -> list[int]:
    """The steps at which the validation accuracy of a run was logged; each as often as it was."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{folder / 'runs' / 'mlflow.db'}")
    return sorted(m.step for m in client.get_metric_history(run_id, "val_accuracy"))


def interrupt(process: subprocess.Popen[str]) -> None:
    """What Ctrl-C sends."""
    process.send_signal(signal.SIGINT)
