"""Tables through the feed, the reader and the loop, from shards on disk; without a cluster."""

import pickle
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from components.models.registry import LinearConfig, MLPConfig, build_model
from components.records.epoch_plan import Position, Segment
from components.tables.fitting.encode_plan import ColumnEncodeConfig, EncodeConfig
from components.tasks.tabular_classification import TabularClassification
from components.tasks.tabular_regression import TabularRegression
from components.training.loop import LoopSettings, train_epochs
from pipelines.streams.feed import FeedPlan, FeedReader, read_feed_task, shard_layout
from tests.components.tasks.tables import SCHEMA, Target, table
from tests.components.training.diary import Diary

torch.set_num_threads(1)
TRAIN, VAL, GROUP = 480, 120, 64
EPOCHS = 4
Task = TabularClassification | TabularRegression
# The town is encoded by the target's mean over the other folds: training rows differ from others.
ENCODE = EncodeConfig(max_one_hot=4, columns={"town": ColumnEncodeConfig(encode="target")})


def made(folder: Path, target: Target, encode: EncodeConfig | None = None) -> tuple[Task, FeedPlan]:
    """A task and its feed over two train shards and one of val."""
    prepared = table(target, TRAIN + VAL, encode)
    rows = prepared.arrow()
    parts = {"train-0": (0, 300), "train-1": (300, 180), "val-0": (TRAIN, VAL)}
    for name, (start, count) in parts.items():
        path = folder / f"{name}.parquet"
        pq.write_table(rows.slice(start, count), path, row_group_size=GROUP)
    task = (TabularClassification if target == "kind" else TabularRegression)(
        SCHEMA, prepared.transform, seed=7
    )
    return task, FeedPlan(
        train=shard_layout(folder, [("train-0.parquet", 300), ("train-1.parquet", 180)], GROUP),
        val=shard_layout(folder, [("val-0.parquet", VAL)], GROUP),
        view=task.view(),
        epochs=EPOCHS,
        batch_size=32,
        window_rows=200,
        keep_last=True,
        task_rows=96,
    )


def blocks(plan: FeedPlan, start: Segment, world_size: int = 1) -> list[pa.Table]:
    return [
        block
        for task in plan.tasks(start, world_size)
        for block in read_feed_task(plan, (task, world_size))
    ]


class FakeIterator:
    def __init__(self, dealt: list[pa.Table]) -> None:
        self._dealt = dealt

    def iter_batches(self, **_: object) -> Iterator[pa.Table]:
        return iter(self._dealt)


def test_every_record_comes_once_with_its_own_encoding(tmp_path: Path) -> None:
    task, plan = made(tmp_path, "price", ENCODE)
    frame = pl.read_parquet([tmp_path / "train-0.parquet", tmp_path / "train-1.parquet"])
    for training, rows in ((True, frame), (False, pl.read_parquet(tmp_path / "val-0.parquet"))):
        for world_size in (1, 2):
            found: dict[str, tuple[bytes, float]] = {}
            for block in blocks(plan, Segment(1, training), world_size):
                if (block["epoch"][0].as_py(), block["training"][0].as_py()) != (1, training):
                    continue
                names = ("input/features", "target", "weight")
                columns = [block[name].chunk(0).to_numpy_ndarray()[0] for name in names]
                for identity, features, target, weight in zip(
                    block["record_id"][0].as_py(), *columns, strict=True
                ):
                    if weight:
                        assert identity not in found
                        found[identity] = features.tobytes(), float(target)
            ids = rows["record_id"]
            expected = task.transform.encode(rows, record_ids=ids, training=training).features
            targets = task.transform.encode_target(rows)
            assert found == {
                identity: (expected[row].tobytes(), float(targets[row]))
                for row, identity in enumerate(ids)
            }


def test_target_encoding_leaves_the_own_fold_out_in_training_alone(tmp_path: Path) -> None:
    task, plan = made(tmp_path, "price", ENCODE)
    rows = pq.read_table(tmp_path / "train-0.parquet")
    names = task.transform.feature_names
    at = next(n for n, name in enumerate(names) if name.startswith("town"))
    learned, judged = (plan.view.arrays(rows, epoch)["features"][:, at] for epoch in (0, None))
    assert (learned != judged).mean() > 0.9
    assert np.array_equal(learned, plan.view.arrays(rows, 5)["features"][:, at])


def test_a_plan_travels(tmp_path: Path) -> None:
    _, plan = made(tmp_path, "kind")
    task = next(plan.tasks(Segment(0, True), 2))
    copy, same = pickle.loads(pickle.dumps((plan, task)))
    for one, other in zip(
        read_feed_task(copy, (same, 2)), read_feed_task(plan, (task, 2)), strict=True
    ):
        names = [name for name in one.column_names if not name.startswith("spent/")]
        assert one.select(names).equals(other.select(names))


def trained(
    task: Task, plan: FeedPlan, config: Any
) -> tuple[torch.nn.Module, list[dict[str, float]]]:
    model = build_model(config, task.shape, num_outputs=task.num_outputs, seed=0)
    iterator: Any = FakeIterator(blocks(plan, Segment(0, True)))
    diary = Diary()
    train_epochs(
        model,
        torch.optim.AdamW(model.parameters(), lr=1.0),
        lambda step: 0.02,
        FeedReader(iterator, plan, rank=0, world_size=1, announce=lambda segment: None),
        task,
        LoopSettings(
            epochs=plan.epochs,
            steps_per_epoch=plan.batches(1, training=True).num_steps,
            seed=0,
            rank=0,
            world_size=1,
            device=torch.device("cpu"),
            max_grad_norm=1.0,
        ),
        diary,
        start=Position(),
    )
    return model, diary.history


@pytest.mark.processes
@pytest.mark.parametrize("target", ["kind", "price"])
@pytest.mark.parametrize("config", [LinearConfig(name="linear"), MLPConfig(hidden=(16,))])
def test_it_learns_from_shards(tmp_path: Path, target: Target, config: Any) -> None:
    task, plan = made(tmp_path, target)
    model, history = trained(task, plan, config)
    assert [row["records"] for row in history] == [TRAIN] * EPOCHS
    best = {"kind": ("val_accuracy", 0.85), "price": ("val_r2", 0.85)}[target]
    assert history[-1][best[0]] > best[1]
    again, same = trained(task, replace(plan), config)
    assert [row["val_loss"] for row in same] == [row["val_loss"] for row in history]
    pairs = zip(model.parameters(), again.parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)
