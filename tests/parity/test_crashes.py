"""Workers killed and resized in the middle of epochs: every record counts once in each epoch."""

import json
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import pipelines.train
from clusters.resources import plan_resources
from clusters.session import capacity_of
from components.errors import HeadraceError
from components.tracking.tracker import MemoryTracker
from components.training.checkpoint import load_checkpoint
from pipelines.folders import RunFolder, new_run_folder
from pipelines.prepare import PreparedData
from pipelines.recipe import Recipe, load_recipe
from pipelines.train import Trained, train
from tests.parity.conftest import SMALL

pytestmark = [pytest.mark.ray, pytest.mark.timeout(900)]

EPOCHS = 2
STEPS = 20
"""Steps of an epoch of the 1,260 training records in batches of 64."""


@dataclass(frozen=True)
class Told:
    """What the workers wrote down: every step that any of them took, in the order taken."""

    trained: Trained
    folder: Path

    def steps(self) -> list[dict[str, Any]]:
        found = [
            json.loads(line)
            for path in self.folder.glob("steps-*.jsonl")
            for line in path.read_text().splitlines()
        ]
        return sorted(found, key=lambda step: (step["attempt"], step["global_step"], step["rank"]))

    def counted(self) -> dict[int, list[str]]:
        """Epoch -> the records of the steps that the final model was made of.

        Of a step that was taken again after a crash, the last attempt is the one that counts.
        """
        steps = self.steps()
        last = {step["global_step"]: step["attempt"] for step in steps}
        found: dict[int, list[str]] = {}
        for step in steps:
            if step["attempt"] == last[step["global_step"]]:
                found.setdefault(step["epoch"], []).extend(step["records"])
        return found


@pytest.fixture
def fit(
    digits: PreparedData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Told]:
    """Train on the digits; workers write down their steps and die where they are told to."""

    def run(
        *,
        workers: int = 1,
        killed_at: Sequence[int] = (),
        stopped_at: int | None = None,
        by: int = 0,
        into: RunFolder | None = None,
        part: int = 0,
    ) -> Told:
        recipe: Recipe = load_recipe(
            "digits",
            [
                *SMALL,
                f"output={tmp_path}",
                f"cluster.workers={workers}",
                f"train.epochs={EPOCHS}",
                f"train.max_failures={len(killed_at)}",
                "train.checkpoint_every_steps=3",
            ],
        )
        plan = plan_resources(recipe.cluster, capacity_of(recipe.cluster))
        folder = into or new_run_folder(tmp_path, "digits")
        worker = recording_worker(folder.path, part, sorted(killed_at), stopped_at, by)
        monkeypatch.setattr(pipelines.train, "train_worker", worker)
        trained = train(recipe, plan, digits, folder, MemoryTracker(), lambda report: None)
        return Told(trained, folder.path)

    return run


def recording_worker(
    folder: Path,
    part: int,
    killed_at: Sequence[int],
    stopped_at: int | None,
    stopped_by: int,
) -> Callable[[dict[str, Any]], None]:
    """The real worker, with a pen and, at some global steps, a sudden death of a random rank."""

    def worker(config: dict[str, Any]) -> None:
        import os
        import random
        import signal

        import ray.train

        import components.training.loop as loop
        import pipelines.train as real

        context = ray.train.get_context()
        rank, world_size = context.get_world_rank(), context.get_world_size()
        deaths = len(list(folder.glob("death-*")))
        pen = (folder / f"steps-{part}-{deaths}-{rank}.jsonl").open("a", buffering=1)
        step, segment = loop.train_step, real.FeedReader.segment
        dying = killed_at[deaths] if deaths < len(killed_at) else None
        victim = random.Random(deaths).randrange(world_size)
        place: dict[str, Any] = {}

        def recorded(self: Any, wanted: Any) -> Any:
            for batch in segment(self, wanted):
                if wanted.training:
                    ids = batch.record_ids[batch.weights_B > 0].tolist()
                    place.update(epoch=batch.epoch, step=batch.step, records=ids)
                yield batch

        def taken(*arguments: Any, **named: Any) -> Any:
            result = step(*arguments, **named)
            done = place["epoch"] * STEPS + place["step"]
            attempt = 100 * part + deaths
            line = {**place, "global_step": done, "rank": rank, "attempt": attempt}
            pen.write(json.dumps(line | {"loss": float(result.loss_sum)}) + "\n")
            if done == stopped_at and rank == stopped_by:
                raise ValueError("stopped by the test")
            if dying is not None and done >= dying and rank == victim:
                (folder / f"death-{deaths}").touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        real.FeedReader.segment = recorded
        loop.train_step = taken
        try:
            real.train_worker(config)
        finally:
            real.FeedReader.segment = segment
            loop.train_step = step

    return worker


def proven(told: Told, digits: PreparedData) -> None:
    """Each epoch counts each record of train once."""
    expected = digits.manifest.num_records("train")
    counted = told.counted()
    assert sorted(counted) == list(range(EPOCHS))
    for records in counted.values():
        assert len(records) == expected == len(set(records))
    assert [row["records"] for row in told.trained.history] == [expected] * EPOCHS


def story(told: Told) -> list[dict[str, float]]:
    """What was told of each epoch, less the clock's part."""
    clocks = ("records_per_s", "data_wait_share", "first_batch_s", "epoch_s", "feed_")
    return [
        {name: value for name, value in row.items() if not name.startswith(clocks)}
        for row in told.trained.history
    ]


def parameters(told: Told) -> dict[str, Any]:
    latest = max(path.parent for path in told.folder.glob("checkpoints/*/checkpoint.pt"))
    return dict(load_checkpoint(latest).model_state)


def same(one: Told, other: Told) -> bool:
    first, second = parameters(one), parameters(other)
    return all(first[name].equal(second[name]) for name in first | second)


def test_a_worker_killed_inside_an_epoch_loses_and_repeats_nothing(
    fit: Callable[..., Told], digits: PreparedData
) -> None:
    calm, rough = fit(), fit(killed_at=[7, 31])
    proven(calm, digits)
    proven(rough, digits)
    assert len(rough.steps()) > len(calm.steps()) == EPOCHS * STEPS
    # It went on from a checkpoint inside the epoch: that of step 6, or of step 3 where Ray had not
    # heard of the other yet.
    assert next(s["global_step"] for s in rough.steps() if s["attempt"] == 1) in (3, 6)
    assert story(rough) == story(calm)
    assert same(rough, calm)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_ten_deaths_in_one_training_leave_no_trace(
    fit: Callable[..., Told], digits: PreparedData, workers: int
) -> None:
    deaths = random.Random(workers).sample(range(1, EPOCHS * STEPS - 1), 10)
    calm, rough = fit(workers=workers), fit(workers=workers, killed_at=deaths)
    assert len(list(rough.folder.glob("death-*"))) == 10
    proven(rough, digits)
    if workers == 1:
        assert story(rough) == story(calm) and same(rough, calm)
    else:
        for row, expected in zip(story(rough), story(calm), strict=True):
            assert row == pytest.approx(expected, abs=1e-5)


def test_a_training_resized_inside_epochs_sees_each_record_once(
    fit: Callable[..., Told], digits: PreparedData, tmp_path: Path
) -> None:
    folder = new_run_folder(tmp_path, "digits")
    for part, (workers, stopped_at) in enumerate([(2, 8), (1, 27)]):
        started_s = time.monotonic()
        # One rank alone stops: the other waits in an all-reduce, whose own limit is half an hour.
        with pytest.raises(HeadraceError, match="stopped by the test"):
            fit(workers=workers, stopped_at=stopped_at, by=workers - 1, into=folder, part=part)
        assert time.monotonic() - started_s < 120
    told = fit(workers=2, into=folder, part=2)
    proven(told, digits)
    assert {(step["attempt"], step["rank"]) for step in told.steps()} == {
        *((0, 0), (0, 1)),
        (100, 0),
        *((200, 0), (200, 1)),
    }
