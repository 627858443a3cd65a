"""Stages of prepare: folders named by what they depend on, made of tasks that are done once.

A task that is done leaves its result in the stage's folder. So a stage that was killed goes on
where it was, and one whose inputs are the same is not done again.
"""

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from filelock import FileLock
from pydantic import TypeAdapter, ValidationError

from components.errors import HeadraceError, StorageError
from components.records.files import storage_errors, write_text
from components.records.fingerprint import json_sha256
from pipelines.streams.tasks import run_tasks

Task = TypeVar("Task")
Result = TypeVar("Result")

_KEY_DIGITS = 12


def cache_folder(output: Path) -> Path:
    """Stages of prepare, kept for the next time; `clean-cache` empties it."""
    return output / "cache"


@dataclass(frozen=True)
class Stage:
    """One stage's folder; absolute, for tasks on other nodes."""

    folder: Path

    def done(self, name: str, task: str) -> Path:
        """Where the result of a finished task lies."""
        return self.folder / "done" / name / f"{task}.json"


@contextmanager
def open_stage(
    output: Path, name: str, depends_on: Mapping[str, object], *, keep: bool = True
) -> Iterator[Stage]:
    """The folder of a stage, for this process alone.

    What is done stays for the next start, also where the data were refused: with another setting
    it need not be done again. A full disk is given its space back.

    Args:
        output: The recipe's output folder.
        name: Of the stage.
        depends_on: Everything that decides what the stage makes, as JSON.
        keep: Whether it stays when the data are refused.
    """
    key = json_sha256(depends_on)[:_KEY_DIGITS]
    folder = cache_folder(output).absolute() / f"{name}-{key}"
    with storage_errors(str(output)):
        folder.parent.mkdir(parents=True, exist_ok=True)
    # Who comes second waits, and finds everything done.
    with FileLock(folder.with_suffix(".lock")):
        try:
            with storage_errors(str(output)):
                folder.mkdir(exist_ok=True)
            yield Stage(folder)
        except HeadraceError as error:
            if not keep or isinstance(error, StorageError):
                shutil.rmtree(folder, ignore_errors=True)
            raise


def run_stage(
    stage: Stage,
    name: str,
    function: Callable[[Task], Result],
    tasks: Mapping[str, Task],
    result_type: type[Result],
) -> Iterator[Result]:
    """Run a function on each task that is not done yet; all results, in the order of the tasks.

    Args:
        stage: Where results are kept.
        name: Shown in Ray's plans and dashboard.
        function: Runs in a worker; writes its files atomically and returns a small result.
        tasks: By a name that stays the same from run to run.
        result_type: Dataclass or model of the results.

    Raises:
        HeadraceError: Raised in a task, as it was raised there.
    """
    adapter = TypeAdapter(result_type)
    kept = {task: _kept(stage.done(name, task), adapter) for task in tasks}
    open_tasks = [(str(stage.done(name, t)), tasks[t]) for t, found in kept.items() if not found]
    work = partial(_run_once, function=function, result_type=result_type)
    fresh = run_tasks(name, work, open_tasks, result_type) if open_tasks else iter(())
    for found in kept.values():
        yield found[0] if found else next(fresh)


def _kept(path: Path, adapter: TypeAdapter[Result]) -> tuple[Result] | None:
    """The result of a finished task in a tuple, or None."""
    if not path.is_file():
        return None
    try:
        return (adapter.validate_json(path.read_bytes()),)
    except ValidationError:
        return None  # cut off while it was written, or of another version: done again


def _run_once(
    work: tuple[str, Task], *, function: Callable[[Task], Result], result_type: type[Result]
) -> Result:
    path, task = work
    result = function(task)
    with storage_errors(path):
        write_text(Path(path), TypeAdapter(result_type).dump_json(result).decode())
    return result
