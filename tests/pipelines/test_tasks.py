"""Work cut by us and run by Ray Data: results in order, errors as they were, no endless retries."""

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass

import pyarrow as pa
import pytest

from components.errors import DataError, HeadraceError, StorageError
from pipelines.streams.tasks import TaskSource, run_tasks, stream_tables

pytestmark = pytest.mark.ray


@dataclass(frozen=True)
class Square:
    number: int
    squared: int


def test_results_come_in_the_order_of_the_tasks(ray_cluster: None) -> None:
    def square(number: int) -> Square:
        time.sleep(0.3 if number == 0 else 0.0)
        return Square(number, number**2)

    results = list(run_tasks("Square", square, range(20), Square))
    assert results == [Square(n, n**2) for n in range(20)]


def test_an_error_arrives_as_it_was_raised(ray_cluster: None) -> None:
    def refuse(number: int) -> Square:
        raise DataError(f"record {number} is bad; mend it")

    with pytest.raises(DataError, match=r"^record 0 is bad; mend it$"):
        list(run_tasks("Refuse", refuse, [0], Square))


def test_an_unexpected_error_is_one_line_with_its_stage(ray_cluster: None) -> None:
    def fail(number: int) -> Square:
        raise OSError(28, "No space left on device")

    with pytest.raises(StorageError, match=r"Fail failed in a worker: .*No space left") as error:
        list(run_tasks("Fail", fail, [0], Square))
    assert "\n" not in str(error.value)


def test_a_task_that_kills_its_process_is_given_up_and_named(ray_cluster: None) -> None:
    def crash(name: str) -> Square:
        os._exit(1)

    with pytest.raises(HeadraceError, match=r"killed its process 3 times .* poison.png"):
        list(run_tasks("Crash", crash, ["poison.png"], Square))


def test_a_task_is_one_block_however_many_tables_it_yields(ray_cluster: None) -> None:
    def tables(number: int) -> Iterable[pa.Table]:
        for part in range(3):
            yield pa.table({"value": [10 * number + part] * 4})

    source = TaskSource("Tables", tables, lambda: range(5))
    blocks = [table.column("value").to_pylist() for table in stream_tables(source, "Tables")]
    assert blocks == [[10 * n + part for part in range(3) for _ in range(4)] for n in range(5)]
