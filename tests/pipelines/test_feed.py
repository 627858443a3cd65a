"""The feed without a cluster: what its tasks put out, and what a rank accepts of it."""

import pickle
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.errors import DataError, HeadraceError
from components.images.augment import AugmentConfig
from components.images.decode import decode_stored
from components.images.geometry import to_input
from components.records.epoch_plan import Position, Segment, ShardLayout
from components.records.manifest import Manifest, read_manifest
from components.records.split import SPLITS, Split
from components.tasks.image_view import ImageView, picture
from components.training.batch import Batch
from pipelines.streams import feed as feed_module
from pipelines.streams.feed import FeedPlan, FeedReader, read_feed_task, shard_layout
from tests.pipelines.conftest import SmallDataset

SEED = 11
IMAGE = "input/image"
VIEW = ImageView(
    16,
    "crop",
    AugmentConfig.model_validate({"transforms": ["HorizontalFlip", {"RandomCrop": {}}]}),
    SEED,
)
Block = dict[str, np.ndarray]


def layout(folder: Path, manifest: Manifest, split: Split) -> ShardLayout:
    shards = [(shard.path, shard.num_rows) for shard in manifest.shards_of(split)]
    return shard_layout(folder, shards, manifest.row_group_rows)


@pytest.fixture
def plan(small_dataset: SmallDataset) -> FeedPlan:
    """Two epochs in batches of 16 rows, each out of 4 lanes."""
    folder, manifest = small_dataset.folder, small_dataset.manifest
    return FeedPlan(
        train=layout(folder, manifest, "train"),
        val=layout(folder, manifest, "val"),
        view=VIEW,
        epochs=2,
        batch_size=16,
        lanes=4,
        keep_last=True,
    )


@pytest.fixture
def stored(small_dataset: SmallDataset) -> dict[str, dict[str, Any]]:
    """Record id -> the row in the shards."""
    paths = [small_dataset.folder / shard.path for shard in small_dataset.manifest.shards]
    rows = [row for path in paths for row in pq.read_table(path).to_pylist()]
    return {row["record_id"]: row for row in rows}


def tables(plan: FeedPlan, segment: Segment, world_size: int) -> list[pa.Table]:
    return [
        table
        for task in plan.tasks_of(segment, world_size)
        for table in read_feed_task(plan, (task, world_size))
    ]


def block(table: pa.Table) -> Block:
    """As Ray Data gives it to the reader with batch_format numpy."""
    columns = {name: table.column(name).combine_chunks() for name in table.column_names}
    return {
        name: column.to_numpy_ndarray() if name == IMAGE else column.to_numpy(False)
        for name, column in columns.items()
    }


def blocks(plan: FeedPlan, world_size: int, start: Position | None = None) -> list[Block]:
    """The whole stream from a position, in the order in which it is dealt."""
    segments = plan.segments(start or Position(), world_size)
    return [block(table) for segment in segments for table in tables(plan, segment, world_size)]


def pictures(plan: FeedPlan, segment: Segment, world_size: int) -> dict[str, bytes]:
    """Record id -> what the model sees, of rows that count; fails where one comes twice."""
    found: dict[str, bytes] = {}
    for rows in map(block, tables(plan, segment, world_size)):
        for identity, image, weight in zip(
            rows["record_id"], rows[IMAGE], rows["weight"], strict=True
        ):
            if weight:
                assert identity not in found
                found[identity] = image.tobytes()
    return found


# The small data set itself


def test_the_small_data_set_is_one(small_dataset: SmallDataset) -> None:
    assert read_manifest(small_dataset.folder) == small_dataset.manifest
    counts = [small_dataset.manifest.num_records(split) for split in SPLITS]
    assert sum(counts) == 90 and min(counts) >= 5
    assert len(small_dataset.manifest.shards_of("train")) == 2


# What tasks put out


@pytest.mark.parametrize("world_size", [1, 2, 4])
@pytest.mark.parametrize("training", [True, False])
def test_every_record_of_a_split_comes_once(
    plan: FeedPlan, small_dataset: SmallDataset, world_size: int, training: bool
) -> None:
    split: Split = "train" if training else "val"
    ids = {
        identity
        for shard in small_dataset.manifest.shards_of(split)
        for identity in pq.read_table(small_dataset.folder / shard.path)["record_id"].to_pylist()
    }
    assert set(pictures(plan, Segment(0, training), world_size)) == ids


def test_rows_carry_their_own_label_and_place(
    plan: FeedPlan, stored: dict[str, dict[str, Any]]
) -> None:
    for task in plan.tasks_of(Segment(1, True), 2):
        (table,) = read_feed_task(plan, (task, 2))
        rows = block(table)
        assert set(rows["epoch"]) == {1} and set(rows["training"]) == {True}
        assert set(rows["rank"]) == {task.rank}
        steps = range(task.first_step, task.first_step + task.num_steps)
        assert sorted(set(rows["step"])) == list(steps)
        labels = [stored[identity]["label"] for identity in rows["record_id"]]
        assert rows["target"].tolist() == labels
        assert (rows[IMAGE].dtype, rows[IMAGE].shape[1:]) == (np.uint8, (16, 16, 3))
        assert (rows["target"].dtype, rows["weight"].dtype) == (np.int64, np.float32)


def test_pictures_are_a_function_of_seed_epoch_and_record(
    plan: FeedPlan, stored: dict[str, dict[str, Any]]
) -> None:
    epochs = [pictures(plan, Segment(epoch, True), 1) for epoch in (0, 1)]
    for epoch, found in enumerate(epochs):
        for identity, image in found.items():
            expected = picture(VIEW, stored[identity]["image"], identity, epoch)
            assert expected.tobytes() == image
    assert epochs[0] == pictures(plan, Segment(0, True), 2) == pictures(plan, Segment(0, True), 4)
    changed = sum(epochs[0][identity] != epochs[1][identity] for identity in epochs[0])
    assert changed > 0.3 * len(epochs[0])
    other_seed = replace(plan, view=replace(VIEW, seed=SEED + 1))
    assert pictures(other_seed, Segment(0, True), 1) != epochs[0]


def test_evaluation_sees_the_same_plain_pictures_in_every_epoch(
    plan: FeedPlan, stored: dict[str, dict[str, Any]]
) -> None:
    found = pictures(plan, Segment(0, False), 1)
    for identity, image in found.items():
        image_HWC = decode_stored(stored[identity]["image"])
        expected = to_input(image_HWC, image_px=16, geometry="crop")
        assert expected.tobytes() == image
    assert found == pictures(plan, Segment(1, False), 2)


def test_the_global_batches_are_the_same_on_one_and_two_workers(plan: FeedPlan) -> None:
    def batches(world_size: int) -> dict[int, list[str]]:
        found: dict[int, list[str]] = {}
        for rows in map(block, tables(plan, Segment(0, True), world_size)):
            for step, identity, weight in zip(
                rows["step"], rows["record_id"], rows["weight"], strict=True
            ):
                found.setdefault(int(step), []).extend([identity] if weight else [])
        return {step: sorted(ids) for step, ids in found.items()}

    assert batches(1) == batches(2) == batches(4)


def test_a_plan_travels(plan: FeedPlan) -> None:
    task = plan.tasks_of(Segment(0, True), 2)[0]
    copy, same_task = pickle.loads(pickle.dumps((plan, task)))
    assert read_feed_task(copy, (same_task, 2))[0].equals(read_feed_task(plan, (task, 2))[0])


def test_tasks_are_bounded_and_resume_where_told(plan: FeedPlan) -> None:
    large = replace(plan, view=replace(VIEW, image_px=224))
    # 8 MiB of pictures of 224 x 224 x 3 bytes are 55 rows: three local batches of 16.
    assert (large.steps_per_task(1), large.steps_per_task(2)) == (3, 6)
    assert plan.steps_per_task(1) == 512 // 16
    segments = plan.segments(Position(1, 2, 99), 1)
    assert segments == [Segment(1, True, 2), Segment(1, False)]
    assert plan.segments(Position(2, 0, 99), 1) == []


def test_a_long_training_is_streamed_in_whole_epochs(
    plan: FeedPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    per_epoch = sum(len(plan.tasks_of(Segment(0, training), 2)) for training in (True, False))
    monkeypatch.setattr(feed_module, "_MAX_TASKS", 3 * per_epoch)
    long = replace(plan, epochs=10)
    assert [segment.epoch for segment in long.segments(Position(), 2)] == [0, 0, 1, 1, 2, 2]
    monkeypatch.setattr(feed_module, "_MAX_TASKS", 1)
    assert [segment.epoch for segment in long.segments(Position(4), 2)] == [4, 4]


# Damage


def damaged(small_dataset: SmallDataset, folder: Path, picture: bytes) -> tuple[FeedPlan, str]:
    """A copy of the data set in which one picture's bytes were replaced; its record id."""
    shutil.copytree(small_dataset.folder, folder)
    shard = folder / small_dataset.manifest.shards_of("train")[0].path
    table = pq.read_table(shard)
    images = table.column("image").to_pylist()
    images[3] = picture
    table = table.set_column(table.column_names.index("image"), "image", [images])
    pq.write_table(table, shard, row_group_size=small_dataset.manifest.row_group_rows)
    train = layout(folder, small_dataset.manifest, "train")
    val = layout(folder, small_dataset.manifest, "val")
    return FeedPlan(train, val, VIEW, 1, 16, 4, True), table.column("record_id")[3].as_py()


def test_a_damaged_picture_names_its_record(small_dataset: SmallDataset, tmp_path: Path) -> None:
    plan, identity = damaged(small_dataset, tmp_path / "copy", b"no picture any more")
    with pytest.raises(DataError) as caught:
        tables(plan, Segment(0, True), 1)
    assert str(caught.value).startswith(
        f"record {identity} was prepared but cannot be decoded any more"
    )
    assert "run prepare again" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("damage", ["gone", "cut"])
def test_a_damaged_shard_is_named(small_dataset: SmallDataset, tmp_path: Path, damage: str) -> None:
    shutil.copytree(small_dataset.folder, tmp_path / "copy")
    train = layout(tmp_path / "copy", small_dataset.manifest, "train")
    path = Path(train.paths[0])
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-100])
    plan = FeedPlan(train, train, VIEW, 1, 16, 4, True)
    with pytest.raises(DataError, match=r"train-00000.parquet: row groups .* run prepare again"):
        tables(plan, Segment(0, True), 1)


# The reader


class FakeIterator:
    """Stands in for a rank's shard of the stream: one list of blocks per execution."""

    def __init__(self, *executions: list[Block]) -> None:
        self._executions = list(executions)

    def iter_batches(self, **_: object) -> Iterator[Block]:
        return iter(self._executions.pop(0) if self._executions else [])


def reader(
    plan: FeedPlan, *executions: list[Block], rank: int = 0, world_size: int = 1
) -> tuple[FeedReader, list[Position]]:
    announced: list[Position] = []
    iterator: Any = FakeIterator(*executions)
    made = FeedReader(iterator, plan, rank=rank, world_size=world_size, announce=announced.append)
    return made, announced


def read(feed: FeedReader, epoch: int, first_step: int = 0) -> list[Batch]:
    """One epoch and the evaluation after it."""
    training = list(feed.segment(Segment(epoch, True, first_step), 0))
    return training + list(feed.segment(Segment(epoch, False), 0))


def dealt(plan: FeedPlan, rank: int, world_size: int) -> list[Block]:
    """What streaming_split deals to a rank: every world_size-th block."""
    return blocks(plan, world_size)[rank::world_size]


@pytest.mark.parametrize("world_size", [1, 2])
def test_a_reader_gives_every_step_in_order(plan: FeedPlan, world_size: int) -> None:
    for rank in range(world_size):
        feed, announced = reader(
            plan, dealt(plan, rank, world_size), rank=rank, world_size=world_size
        )
        found = [batch for epoch in (0, 1) for batch in read(feed, epoch)]
        expected = [
            (epoch, training, step, batches.global_rows(step))
            for epoch in (0, 1)
            for training in (True, False)
            for batches in [plan.batches(world_size, training=training)]
            for step in range(batches.num_steps)
        ]
        assert [(b.epoch, b.training, b.step, b.global_rows) for b in found] == expected
        assert announced == [Position(0, 0, 0)]
        for batch in found:
            rows = len(batch.inputs["image"])
            assert rows == len(batch.targets_B) == len(batch.weights_B) == len(batch.record_ids)


def test_weights_of_all_ranks_add_up_to_the_global_rows(plan: FeedPlan) -> None:
    feeds = [reader(plan, dealt(plan, r, 2), rank=r, world_size=2)[0] for r in (0, 1)]
    for parts in zip(*(read(feed, 0) for feed in feeds), strict=True):
        assert sum(batch.weights_B.sum() for batch in parts) == parts[0].global_rows


def test_the_next_execution_starts_with_the_epoch_that_is_due(plan: FeedPlan) -> None:
    whole = blocks(plan, 1)
    cut = next(n for n, rows in enumerate(whole) if rows["epoch"][0] == 1)
    feed, announced = reader(plan, whole[:cut], whole[cut:])
    first, second = read(feed, 0), read(feed, 1)
    assert len(first) == len(second)
    assert [position.epoch for position in announced] == [0, 1]


def test_a_resumed_reader_starts_in_the_middle(plan: FeedPlan) -> None:
    start = Position(1, 2, 6)
    feed, announced = reader(plan, blocks(plan, 1, start))
    found = [(b.training, b.step) for b in read(feed, 1, first_step=2)]
    steps = plan.batches(1, training=True).num_steps
    assert found[: steps - 2] == [(True, step) for step in range(2, steps)]
    assert [(p.epoch, p.step) for p in announced] == [(1, 2)]


def test_a_stream_started_early_is_the_same_stream(plan: FeedPlan) -> None:
    whole = blocks(plan, 1)
    feed, announced = reader(plan, whole)
    feed.start(Position())
    early = [batch for epoch in (0, 1) for batch in read(feed, epoch)]
    late = [batch for feed in [reader(plan, whole)[0]] for e in (0, 1) for batch in read(feed, e)]
    assert announced == [Position()] and len(early) == len(late)
    for one, other in zip(early, late, strict=True):
        assert (one.epoch, one.training, one.step) == (other.epoch, other.training, other.step)
        assert (one.record_ids == other.record_ids).all()
        assert (one.inputs["image"] == other.inputs["image"]).all()


def test_an_error_of_a_stream_started_early_is_told_when_it_is_read(plan: FeedPlan) -> None:
    feed, _ = reader(plan, dealt(plan, 1, 2), rank=0, world_size=2)
    feed.start(Position())
    with pytest.raises(HeadraceError, match="rank 0 was dealt a block of rank 1"):
        read(feed, 0)


def test_empty_blocks_are_passed_over(plan: FeedPlan) -> None:
    whole = blocks(plan, 1)
    empty = {name: column[:0] for name, column in whole[0].items()}
    feed, _ = reader(plan, [empty, whole[0], empty, *whole[1:]])
    assert len(read(feed, 0)) == len(read(reader(plan, whole)[0], 0))


def test_a_block_of_another_rank_is_refused(plan: FeedPlan) -> None:
    feed, _ = reader(plan, dealt(plan, 1, 2), rank=0, world_size=2)
    with pytest.raises(HeadraceError, match="rank 0 was dealt a block of rank 1"):
        read(feed, 0)


def test_a_step_out_of_order_is_refused(plan: FeedPlan) -> None:
    small = replace(plan, view=replace(VIEW, image_px=512))
    whole = [block(table) for table in tables(small, Segment(0, True), 1)]
    assert len(whole) > 2
    whole[0], whole[1] = whole[1], whole[0]
    feed, _ = reader(small, whole)
    with pytest.raises(HeadraceError, match=r"rank 0 expected .* \(0, True, 0\) from the feed"):
        read(feed, 0)


def test_a_block_of_another_epoch_is_refused(plan: FeedPlan) -> None:
    feed, _ = reader(plan, blocks(plan, 1, Position(1)))
    with pytest.raises(HeadraceError, match=r"expected .* \(0, True, 0\) .* got \(1, True, 0\)"):
        read(feed, 0)


def test_a_stream_that_ends_early_is_an_error_and_never_a_short_epoch(plan: FeedPlan) -> None:
    whole = blocks(plan, 1)
    val = next(n for n, rows in enumerate(whole) if not rows["training"][0])
    steps = plan.batches(1, training=True).num_steps
    ends = {
        0: "before step 0 of the training of epoch 0",
        val - 1: f"before step {steps - 1} of the training of epoch 0",
        val: "before step 0 of the evaluation of epoch 0",
    }
    for num_blocks, expected in ends.items():
        # More blocks in a further execution must not be taken for the missing ones.
        executions = [whole[:num_blocks], whole[num_blocks:]] if num_blocks else []
        feed, _ = reader(plan, *executions)
        with pytest.raises(HeadraceError, match=f"the feed ended {expected} on rank 0"):
            read(feed, 0)
