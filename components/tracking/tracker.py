"""What the pipelines may ask of a tracker, and one in memory for tests and notebooks."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Literal, Protocol, Self, runtime_checkable

Status = Literal["FINISHED", "FAILED", "KILLED"]
Scalar = str | int | float | bool | None


@runtime_checkable
class Tracker(Protocol):
    """One run being written. The driver owns it: it opens the run and ends it.

    Used as a context manager it ends the run by itself: FINISHED, KILLED after KeyboardInterrupt
    or SystemExit, FAILED after any other exception. All methods may be called from any thread.
    """

    @property
    def run_id(self) -> str:
        """The run's id: 32 hex digits."""
        ...

    def log_params(self, params: Mapping[str, Scalar]) -> None:
        """Record settings once; a key that the run already has keeps its first value."""
        ...

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Record numbers at a step; a (key, step) that the run already has is skipped."""
        ...

    def log_dataset(self, name: str, digest: str, context: str, uri_relative: str) -> None:
        """Record an input: its fingerprint, its use (`train`, `test`) and where it lies."""
        ...

    def log_artifact(self, path: Path, folder: str | None = None) -> None:
        """Keep a file, or a directory with all it holds, as `folder/path.name`."""
        ...

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Set or replace labels of the run."""
        ...

    def flush(self) -> None:
        """Write what is still held back; called at points where a crash should lose nothing."""
        ...

    def finish(self, status: Status) -> None:
        """End the run; only the first call counts."""
        ...

    def __enter__(self) -> Self:
        """Use the run in a `with` statement."""
        ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the run with the status that the exception calls for."""
        ...


def status_after(error: type[BaseException] | None) -> Status:
    """The status of a run that ended with this exception, or with none."""
    if error is None:
        return "FINISHED"
    if issubclass(error, KeyboardInterrupt | SystemExit):
        return "KILLED"
    return "FAILED"


@dataclass(frozen=True)
class LoggedDataset:
    """One input of a run as the in-memory tracker keeps it."""

    name: str
    digest: str
    context: str
    uri_relative: str


@dataclass
class MemoryTracker:
    """A tracker that keeps everything in plain containers: for tests and notebooks."""

    run_id: str = "0" * 32
    params: dict[str, Scalar] = field(default_factory=dict)
    metrics: dict[str, dict[int, float]] = field(default_factory=dict)
    datasets: list[LoggedDataset] = field(default_factory=list)
    artifacts: dict[str, bytes] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    status: Status | Literal["RUNNING"] = "RUNNING"

    def log_params(self, params: Mapping[str, Scalar]) -> None:
        """Record settings once; a key that the run already has keeps its first value."""
        self.params = {**params, **self.params}

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Record numbers at a step; a (key, step) that the run already has is skipped."""
        for key, value in metrics.items():
            self.metrics.setdefault(key, {}).setdefault(step, float(value))

    def log_dataset(self, name: str, digest: str, context: str, uri_relative: str) -> None:
        """Record an input: its fingerprint, its use and where it lies."""
        self.datasets.append(LoggedDataset(name, digest, context, uri_relative))

    def log_artifact(self, path: Path, folder: str | None = None) -> None:
        """Keep a file, or a directory with all it holds, as `folder/path.name`."""
        start = f"{folder}/{path.name}" if folder else path.name
        if not path.is_dir():
            self.artifacts[start] = path.read_bytes()
            return
        for file in sorted(path.rglob("*")):
            if file.is_file():
                self.artifacts[f"{start}/{file.relative_to(path).as_posix()}"] = file.read_bytes()

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Set or replace labels of the run."""
        self.tags.update(tags)

    def flush(self) -> None:
        """Nothing is held back here."""

    def finish(self, status: Status) -> None:
        """End the run; only the first call counts."""
        if self.status == "RUNNING":
            self.status = status

    def __enter__(self) -> Self:
        """Use the run in a `with` statement."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the run with the status that the exception calls for."""
        self.finish(status_after(kind))
