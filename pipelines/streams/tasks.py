"""A Ray Data source whose read tasks are units of work that we cut ourselves.

Ray Data decides when and where a task runs, holds it back under memory pressure and starts it
again if its worker is lost; what a task is, and how large, is ours to say.
"""

import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import ray
from pydantic import TypeAdapter
from ray.data import Datasource, ExecutionOptions, ReadTask
from ray.data.block import BlockMetadata
from ray.data.context import DataContext
from ray.exceptions import RayError

from components.errors import HeadraceError, StorageError

Task = TypeVar("Task")
Result = TypeVar("Result")

# A task whose process is killed (a decoder's crash, memory) is tried this often, then named.
MAX_ATTEMPTS = 3


class TaskSource(Datasource):
    """Read tasks made of a function and one plain value each."""

    def __init__(
        self,
        name: str,
        function: Callable[[Any], Iterable[pa.Table]],
        tasks: Callable[[], Sequence[Any]],
    ) -> None:
        """Make a source.

        Args:
            name: Shown in Ray's plans and dashboard as `Read<name>`.
            function: Runs in a worker on one task's value; yields Arrow tables.
            tasks: Gives the values; called anew for every execution of the stream.
        """
        self._name, self._function, self._tasks = name, function, tasks

    def get_name(self) -> str:
        """Name of the stage."""
        return self._name

    def estimate_inmemory_data_size(self) -> int | None:
        """Not known: the tasks' outputs are small or bounded by their plan."""
        return None

    def get_read_tasks(
        self,
        parallelism: int,
        per_task_row_limit: int | None = None,
        data_context: DataContext | None = None,
    ) -> list[ReadTask]:
        """One read task per value, in order, whatever parallelism Ray Data has in mind."""
        nothing_known = BlockMetadata(
            num_rows=None, size_bytes=None, input_files=None, exec_stats=None
        )
        return [
            ReadTask(partial(_attempt, self._name, self._function, task), nothing_known)
            for task in self._tasks()
        ]


def _attempt(
    stage: str, function: Callable[[Any], Iterable[pa.Table]], task: Any
) -> Iterator[pa.Table]:
    """Run a task, but not for ever: Ray Data starts a task anew as often as its process dies.

    The attempts are counted in a file that bears the task's id, which stays the same.
    """
    name = f"headrace-attempts-{ray.get_runtime_context().get_task_id()}"
    marker = Path(tempfile.gettempdir()) / name
    attempts = marker.stat().st_size if marker.exists() else 0
    if attempts >= MAX_ATTEMPTS:
        marker.unlink()
        raise HeadraceError(
            f"{stage}: a task killed its process {attempts} times (out of memory, or a crash in a "
            f"decoder): {str(task)[:300]}; remove the file that it reads or give it more memory"
        )
    with marker.open("ab") as file:
        file.write(b".")
    try:
        yield from function(task)
    finally:
        marker.unlink(missing_ok=True)


def task_stream(
    source: TaskSource,
    *,
    num_cpus: float = 1.0,
    num_gpus: float = 0.0,
    block_per_row: bool = False,
) -> ray.data.Dataset:
    """A stream over the outputs of a source's tasks, in the order of the tasks.

    Each task becomes one block, or, with `block_per_row`, each table of one row that it yields:
    that goes out while the task works on the next. The context is the stream's own; the process's
    stays as it is.
    """
    context = DataContext.get_current().copy()
    # Ray Data holds a task's outputs together up to a size, and cuts larger ones between rows.
    context.target_max_block_size = 1 if block_per_row else None
    context.execution_options = ExecutionOptions(preserve_order=True)
    context.execution_no_progress_timeout_s = 600
    with DataContext.current(context):
        # One block asked for keeps Ray Data from splitting the tasks' outputs further.
        stream: ray.data.Dataset = ray.data.read_datasource(
            source,
            num_cpus=num_cpus,
            num_gpus=num_gpus or None,
            override_num_blocks=1,
        )
    return stream


def stream_tables(source: TaskSource, stage: str, *, num_gpus: float = 0.0) -> Iterator[pa.Table]:
    """Run a source's tasks and give their outputs to the driver, one block at a time.

    Raises:
        HeadraceError: Raised in a task, as it was raised there.
    """
    stream = task_stream(source, num_gpus=num_gpus)
    try:
        yield from stream.iter_batches(batch_size=None, batch_format="pyarrow")
    except RayError as error:
        raise explained(error, stage) from error


def run_tasks(
    name: str,
    function: Callable[[Task], Result],
    tasks: Sequence[Task],
    result_type: type[Result],
) -> Iterator[Result]:
    """Run a function on each value across the cluster and give its results back, in order.

    The results must be small (counts, file names): they come to the driver, one at a time, as
    JSON of a dataclass or model.

    Raises:
        HeadraceError: Raised in a task, as it was raised there.
    """
    adapter = TypeAdapter(result_type)
    source = TaskSource(name, partial(_result_table, function, result_type), lambda: tasks)
    for table in stream_tables(source, name):
        for result in table.column("result").to_pylist():
            yield adapter.validate_json(result)


def _result_table(
    function: Callable[[Any], Any], result_type: type[Any], task: Any
) -> list[pa.Table]:
    return [pa.table({"result": [TypeAdapter(result_type).dump_json(function(task))]})]


def explained(error: BaseException, stage: str) -> HeadraceError:
    """The error that a user can act on behind one that Ray wrapped."""
    innermost = error
    while (inner := _wrapped_in(innermost)) is not None:
        innermost = inner
    # Ray Data writes its own advice about retries below the message.
    text = str(innermost).split("Failed to apply UDF", maxsplit=1)[0].rstrip(" :'\n")
    if isinstance(innermost, HeadraceError):
        return type(innermost)(text)
    first_line = (text or type(innermost).__name__).splitlines()[0]
    return StorageError(f"{stage} failed in a worker: {type(innermost).__name__}: {first_line}")


def _wrapped_in(error: BaseException) -> BaseException | None:
    # `cause` first: what Ray raises is also an instance of the error that it wraps.
    inner = getattr(error, "cause", None)
    return inner if isinstance(inner, BaseException) else error.__cause__
