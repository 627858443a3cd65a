"""Stages: what is done is not done again, after a kill as after a success."""

import os
import signal
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from components.errors import DataError, StorageError
from pipelines.stages import Stage, cache_folder, open_stage, run_stage

DEPENDS = {"listing": "abc", "clean": {"min_size_px": 8}}


@dataclass
class Counted:
    number: int
    written: str


def work(number: int, *, folder: Path, fails: int | None = None) -> Counted:
    """Leaves a mark each time that it runs."""
    with (folder / "runs").open("a") as file:
        file.write(f"{number} ")
    if number == fails:
        raise DataError(f"task {number} is refused")
    return Counted(number, f"{number}.parquet")


def runs(folder: Path) -> list[str]:
    path = folder / "runs"
    return path.read_text().split() if path.exists() else []


def all_tasks(count: int) -> dict[str, int]:
    return {f"{number:03d}": number for number in range(count)}


def test_a_stage_is_called_by_what_it_depends_on(tmp_path: Path) -> None:
    with open_stage(tmp_path, "images", DEPENDS) as one:
        pass
    with open_stage(tmp_path, "images", dict(reversed(DEPENDS.items()))) as same:
        pass
    with open_stage(tmp_path, "images", DEPENDS | {"listing": "abd"}) as other:
        pass
    assert one == same != other
    assert one.folder.is_absolute() and one.folder.parent == cache_folder(tmp_path).absolute()


@pytest.mark.parametrize(
    ("error", "keep", "stays"),
    [
        (DataError("too many records were set aside"), True, True),
        (DataError("too many records were set aside"), False, False),
        (StorageError("no space left"), True, False),
        (KeyboardInterrupt(), False, True),
    ],
)
def test_what_is_done_stays_but_on_a_full_disk(
    tmp_path: Path, error: BaseException, keep: bool, stays: bool
) -> None:
    with (
        pytest.raises(type(error)),
        open_stage(tmp_path, "images", DEPENDS, keep=keep) as stage,
    ):
        (stage.folder / "done").mkdir()
        raise error
    assert (stage.folder / "done").exists() == stays


@pytest.mark.usefixtures("ray_cluster")
def test_what_is_done_is_not_done_again(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    tasks = all_tasks(5)
    first = list(run_stage(stage, "Count", partial(work, folder=tmp_path), tasks, Counted))
    assert [result.number for result in first] == [0, 1, 2, 3, 4]
    # A result that was cut off while it was written is done again; and so is a missing one.
    stage.done("Count", "001").write_text('{"number": 1, "wri')
    stage.done("Count", "003").unlink()
    again = list(run_stage(stage, "Count", partial(work, folder=tmp_path), tasks, Counted))
    assert again == first
    assert sorted(runs(tmp_path)) == sorted(["0", "1", "2", "3", "4", "1", "3"])
    more = run_stage(stage, "Count", partial(work, folder=tmp_path), all_tasks(6), Counted)
    assert [result.number for result in more] == [0, 1, 2, 3, 4, 5]
    assert len(runs(tmp_path)) == 8


@pytest.mark.usefixtures("ray_cluster")
def test_a_task_that_is_refused_leaves_no_result(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    refuse = partial(work, folder=tmp_path, fails=2)
    with pytest.raises(DataError, match="task 2 is refused"):
        list(run_stage(stage, "Count", refuse, all_tasks(4), Counted))
    assert not stage.done("Count", "002").exists()


@pytest.mark.processes
def test_who_comes_second_waits(tmp_path: Path) -> None:
    """A process that holds a stage and is killed leaves it to the next."""
    pid = os.fork()
    if pid == 0:
        with open_stage(tmp_path, "images", DEPENDS) as stage:
            (stage.folder / "held").touch()
            signal.pause()
    folder = cache_folder(tmp_path)
    while not list(folder.glob("*/held")):
        pass
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    with open_stage(tmp_path, "images", DEPENDS) as stage:
        assert (stage.folder / "held").exists()
