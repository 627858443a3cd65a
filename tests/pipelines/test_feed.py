"""The feed without a cluster: what its tasks put out, and what a rank accepts of it."""

import pickle
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
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
from components.records.epoch_plan import Segment
from components.records.manifest import Manifest, read_manifest
from components.records.row_order import ShardLayout
from components.records.sampling import (
    RecordWeights,
    SamplingConfig,
    WeighedGroups,
    stratum_weights,
)
from components.records.split import SPLITS, Split
from components.records.weighted_order import Visits
from components.tasks.image_view import ImageView
from components.training.batch import Batch
from pipelines.streams import feed as feed_module
from pipelines.streams.feed import (
    FeedPlan,
    FeedReader,
    read_feed_task,
    shard_layout,
    task_rows,
    window_rows,
)
from tests.pipelines.conftest import SmallDataset

SEED = 11
IMAGE = "input/image"
VIEW = ImageView.of(
    16,
    "crop",
    AugmentConfig.model_validate({"transforms": ["HorizontalFlip", {"RandomCrop": {}}]}),
    SEED,
)
TENSORS = (IMAGE, "target", "weight")
PLACE = ("epoch", "training", "rank", "first_step", "num_steps")
Block = dict[str, Any]


def layout(folder: Path, manifest: Manifest, split: Split) -> ShardLayout:
    shards = [(shard.path, shard.num_rows) for shard in manifest.shards_of(split)]
    return shard_layout(folder, shards, manifest.row_group_rows)


@pytest.fixture
def plan(small_dataset: SmallDataset) -> FeedPlan:
    """Two epochs in batches of 16 rows, mixed in windows of 40, in tasks of two steps."""
    folder, manifest = small_dataset.folder, small_dataset.manifest
    return FeedPlan(
        train=layout(folder, manifest, "train"),
        val=layout(folder, manifest, "val"),
        view=VIEW,
        epochs=2,
        batch_size=16,
        window_rows=40,
        keep_last=True,
        task_rows=32,
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
        for task in plan.tasks(segment, world_size)
        if (task.segment.epoch, task.segment.training) == (segment.epoch, segment.training)
        for table in read_feed_task(plan, (task, world_size))
    ]


def block(table: pa.Table) -> Block:
    """A block as columns of its rows."""
    rows = {name: table.column(name).chunk(0).to_numpy_ndarray()[0] for name in TENSORS}
    rows["record_id"] = np.array(table.column("record_id")[0].as_py())
    return rows | {name: table.column(name)[0].as_py() for name in PLACE}


def blocks(plan: FeedPlan, world_size: int, start: Segment | None = None) -> list[pa.Table]:
    """The whole stream from a segment on, in the order in which it is dealt."""
    return [
        table
        for task in plan.tasks(start or Segment(0, True), world_size)
        for table in read_feed_task(plan, (task, world_size))
    ]


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
    places = []
    for table in tables(plan, Segment(1, True), 2):
        rows = block(table)
        assert (table.num_rows, rows["epoch"], rows["training"]) == (1, 1, True)
        places.append((rows["first_step"], rows["num_steps"], rows["rank"]))
        labels = [stored[identity]["label"] for identity in rows["record_id"]]
        assert rows["target"].tolist() == labels
        assert (rows[IMAGE].dtype, rows[IMAGE].shape[1:]) == (np.uint8, (16, 16, 3))
        assert (rows["target"].dtype, rows["weight"].dtype) == (np.int64, np.float32)
    # Tasks of two steps; the last step is smaller and goes alone. The ranks take turns.
    assert places == [(0, 2, 0), (0, 2, 1), (2, 2, 0), (2, 2, 1), (4, 1, 0), (4, 1, 1)]


def test_pictures_are_a_function_of_seed_epoch_and_record(
    plan: FeedPlan, stored: dict[str, dict[str, Any]]
) -> None:
    epochs = [pictures(plan, Segment(epoch, True), 1) for epoch in (0, 1)]
    for epoch, found in enumerate(epochs):
        for identity, image in found.items():
            alone = pa.Table.from_pylist([stored[identity]])
            assert VIEW.arrays(alone, epoch)["image"].tobytes() == image
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
            local = len(rows["weight"]) // rows["num_steps"]
            for row, identity in enumerate(rows["record_id"]):
                ids = found.setdefault(rows["first_step"] + row // local, [])
                ids.extend([identity] if rows["weight"][row] else [])
        return found

    assert batches(1) == batches(2) == batches(4)


def test_a_plan_travels(plan: FeedPlan) -> None:
    task = next(plan.tasks(Segment(0, True), 2))
    copy, same = pickle.loads(pickle.dumps((plan, task)))
    for one, other in zip(
        read_feed_task(copy, (same, 2)), read_feed_task(plan, (task, 2)), strict=True
    ):
        names = [name for name in one.column_names if not name.startswith("spent/")]
        assert one.select(names).equals(other.select(names))


def test_what_is_left_begins_at_the_step_that_is_due(plan: FeedPlan) -> None:
    def steps(start: Segment) -> list[tuple[int, bool, int]]:
        return [
            (task.segment.epoch, task.segment.training, step)
            for task in plan.tasks(start, 2)
            for step in range(task.first_step, task.first_step + task.num_steps)
        ]

    whole = steps(Segment(0, True))
    assert len(whole) == 2 * (5 + 1)
    for place, (epoch, training, step) in enumerate(whole):
        assert steps(Segment(epoch, training, step)) == whole[place:]
    assert steps(Segment(2, True)) == []


@pytest.mark.parametrize("world_size", [1, 2])
def test_resumed_in_the_middle_gives_the_same_batches_as_never_stopped(
    plan: FeedPlan, world_size: int
) -> None:
    def batches(start: Segment, rank: int) -> list[tuple[Any, ...]]:
        return [
            (b.epoch, b.training, b.step, *b.record_ids, b.inputs["image"].tobytes())
            for table in blocks(plan, world_size, start)[rank::world_size]
            for b in feed_module._batches_of(table)
        ]

    for rank in range(world_size):
        whole, rest = (batches(Segment(0, True, first), rank) for first in (0, 3))
        assert rest == whole[3:]


def test_blocks_are_small_alike_and_of_whole_steps(plan: FeedPlan) -> None:
    # 24 MiB of pictures of 400 x 400 x 3 bytes are 52 rows: three local batches of 16, of four.
    large = replace(plan, view=replace(VIEW, image_px=400), task_rows=80)
    counts = [block(table)["num_steps"] for table in tables(large, Segment(0, True), 1)]
    assert counts == [2, 2, 1]


def test_tasks_are_worth_their_start_and_fit_the_memory() -> None:
    tiny, large = replace(VIEW, image_px=28), replace(VIEW, image_px=224)
    plenty = {"data_cpus": 2, "object_store_bytes": 4 << 30}
    assert task_rows(tiny, 10**9, **plenty) == (16 << 20) // (28 * 28 * 3)
    assert task_rows(large, 10**9, **plenty) == 512
    assert task_rows(tiny, 3000, **plenty) == 750  # two tasks at least for each CPU
    # Eight tasks at once fill a quarter of 100 MB at most.
    assert task_rows(large, 10**9, data_cpus=8, object_store_bytes=100_000_000) == 20
    assert task_rows(large, 1, data_cpus=64, object_store_bytes=1) == 1


def test_windows_are_whole_batches_and_tasks_whole_windows(plan: FeedPlan) -> None:
    tiny, large = replace(VIEW, image_px=28), replace(VIEW, image_px=224)
    assert window_rows(large, None, 64) == 512
    assert window_rows(large, None, 48) == 11 * 48
    assert window_rows(tiny, None, 64) == 56 * 64 >= (8 << 20) // (28 * 28 * 3)
    assert window_rows(tiny, 100, 64) == 128

    def steps(window: int, task: int) -> list[int]:
        cut = replace(plan, window_rows=window, task_rows=task).tasks(Segment(1, True), 1)
        return [found.num_steps for found in cut if found.segment.training]

    # 68 rows in steps of 16.
    assert steps(32, 40) == [2, 2, 1]
    assert steps(32, 50) == [4, 1]
    assert steps(32, 15) == [1, 1, 1, 1, 1]
    assert steps(640, 40) == [2, 2, 1]


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
    return FeedPlan(train, val, VIEW, 1, 16, 40, True, 32), table.column("record_id")[3].as_py()


def test_a_damaged_picture_names_its_record(small_dataset: SmallDataset, tmp_path: Path) -> None:
    plan, identity = damaged(small_dataset, tmp_path / "copy", b"no picture any more")
    with pytest.raises(DataError) as caught:
        tables(plan, Segment(0, True), 1)
    assert str(caught.value).startswith(
        f"record {identity} was prepared but cannot be decoded any more"
    )
    assert "run prepare again" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("damage", ["gone", "cut", "rotten"])
def test_a_damaged_shard_is_named(small_dataset: SmallDataset, tmp_path: Path, damage: str) -> None:
    shutil.copytree(small_dataset.folder, tmp_path / "copy")
    train = layout(tmp_path / "copy", small_dataset.manifest, "train")
    path = Path(train.paths[0])
    if damage == "gone":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:-100])
    else:
        rotten = bytearray(path.read_bytes())
        rotten[300] ^= 1  # one bit of one picture
        path.write_bytes(rotten)
    plan = FeedPlan(train, train, VIEW, 1, 16, 40, True, 32)
    with pytest.raises(DataError, match=r"train-00000.parquet: row groups .* run prepare again"):
        tables(plan, Segment(0, True), 1)


# Sampling


def weighed(plan: FeedPlan) -> WeighedGroups:
    """Odd pictures three times as often as even ones."""
    labels = [
        pq.ParquetFile(path).read_row_group(group, columns=["label"]).column("label")
        for path, rows in zip(plan.train.paths, plan.train.rows, strict=True)
        for group in range(-(-rows // plan.train.row_group_rows))
    ]
    counts = Counter("even" if label == 0 else "odd" for c in labels for label in c.to_pylist())
    by_class = stratum_weights(counts, SamplingConfig(shares={"even": 1.0, "odd": 3.0}))
    weights = RecordWeights("label", by_class, names=("even", "odd"))
    visits = Visits.for_weights_up_to(max(by_class.values()))
    return WeighedGroups.of(
        weights, visits, np.array([visits.masses(weights.of(values)) for values in labels]).T
    )


def seen_in(plan: FeedPlan, epoch: int, world_size: int) -> list[tuple[str, int, bytes]]:
    """Record id, label and picture of each row that counts, in the order of the global batches."""
    steps: dict[int, list[tuple[str, int, bytes]]] = {}
    for table in tables(plan, Segment(epoch, True), world_size):
        rows = block(table)
        for number, part in enumerate(
            np.array_split(np.arange(len(rows["weight"])), rows["num_steps"])
        ):
            steps.setdefault(rows["first_step"] + number, []).extend(
                (rows["record_id"][row], int(rows["target"][row]), rows[IMAGE][row].tobytes())
                for row in part
                if rows["weight"][row]
            )
    return [row for step in sorted(steps) for row in steps[step]]


def test_a_weighted_epoch_has_its_shares_in_the_same_batches_on_any_number_of_workers(
    plan: FeedPlan,
) -> None:
    sampled = replace(plan, weighed=weighed(plan))
    one, two, four = (seen_in(sampled, 0, world_size) for world_size in (1, 2, 4))
    assert one == two == four
    assert len(one) == plan.train.num_rows
    # 68 rows, 17 of them even: each record a little more or less often, never one row more.
    assert sum(label for _, label, _ in one) == pytest.approx(0.75 * len(one), abs=8)
    assert seen_in(sampled, 1, 1) != one
    # What comes again is augmented anew.
    again = [key for key, count in Counter(key for key, _, _ in one).items() if count > 1]
    assert len(again) > 10
    different = [len({image for key, _, image in one if key == name}) > 1 for name in again]
    # Only some: flipped or not, and few places for the crop.
    assert np.mean(different) > 0.3


def test_short_epochs_go_on_where_the_last_ended(plan: FeedPlan) -> None:
    whole = {key for key, _, _ in seen_in(plan, 0, 1)}
    half = len(whole) // 2
    short = replace(plan, rows_per_epoch=half, epochs=3)
    found = [{key for key, _, _ in seen_in(short, epoch, 2)} for epoch in (0, 1, 2)]
    assert [len(keys) for keys in found] == [half, half, half]
    assert not found[0] & found[1]
    assert found[0] | found[1] | found[2] == whole
    assert short.batches(2, training=True).num_steps == -(-half // 16)


# The reader


class FakeIterator:
    """Stands in for a rank's shard of the stream: one list of blocks per execution."""

    def __init__(self, *executions: list[pa.Table]) -> None:
        self._executions = list(executions)

    def iter_batches(self, **_: object) -> Iterator[pa.Table]:
        return iter(self._executions.pop(0) if self._executions else [])


def reader(
    plan: FeedPlan, *executions: list[pa.Table], rank: int = 0, world_size: int = 1
) -> tuple[FeedReader, list[Segment]]:
    announced: list[Segment] = []
    iterator: Any = FakeIterator(*executions)
    made = FeedReader(iterator, plan, rank=rank, world_size=world_size, announce=announced.append)
    return made, announced


def read(feed: FeedReader, epoch: int, first_step: int = 0) -> list[Batch]:
    """One epoch and the evaluation after it."""
    training = list(feed.segment(Segment(epoch, True, first_step)))
    return training + list(feed.segment(Segment(epoch, False)))


def dealt(plan: FeedPlan, rank: int, world_size: int) -> list[pa.Table]:
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
        assert announced == [Segment(0, True)]
        for batch in found:
            rows = len(batch.inputs["image"])
            assert rows == len(batch.targets_B) == len(batch.weights_B) == len(batch.record_ids)


def test_weights_of_all_ranks_add_up_to_the_global_rows(plan: FeedPlan) -> None:
    feeds = [reader(plan, dealt(plan, r, 2), rank=r, world_size=2)[0] for r in (0, 1)]
    for parts in zip(*(read(feed, 0) for feed in feeds), strict=True):
        assert sum(batch.weights_B.sum() for batch in parts) == parts[0].global_rows


@pytest.mark.parametrize("max_tasks", [1, 2, 3, 5])
def test_a_long_training_is_streamed_so_many_tasks_at_a_time(
    plan: FeedPlan, monkeypatch: pytest.MonkeyPatch, max_tasks: int
) -> None:
    whole = blocks(plan, 1)
    starts = [n for n in range(len(whole)) if _task_begins(whole, n)]
    monkeypatch.setattr(feed_module, "_MAX_TASKS", max_tasks)
    cuts = [*starts[::max_tasks], len(whole)]
    executions = [whole[first:end] for first, end in pairwise(cuts)]
    feed, announced = reader(plan, *executions)
    found = [(b.epoch, b.training, b.step) for epoch in (0, 1) for b in read(feed, epoch)]
    assert found == sorted(found, key=lambda place: (place[0], not place[1], place[2]))
    assert len(found) == 12
    firsts = [block(execution[0]) for execution in executions]
    assert announced == [Segment(b["epoch"], b["training"], b["first_step"]) for b in firsts]


def _task_begins(whole: list[pa.Table], place: int) -> bool:
    return block(whole[place])["first_step"] % 2 == 0


def test_a_resumed_reader_starts_in_the_middle(plan: FeedPlan) -> None:
    start = Segment(1, True, 2)
    feed, announced = reader(plan, blocks(plan, 1, start))
    found = [(b.training, b.step) for b in read(feed, 1, first_step=2)]
    steps = plan.batches(1, training=True).num_steps
    assert found[: steps - 2] == [(True, step) for step in range(2, steps)]
    assert announced == [start]


def test_a_stream_started_early_is_the_same_stream(plan: FeedPlan) -> None:
    whole = blocks(plan, 1)
    feed, announced = reader(plan, whole)
    feed.start(Segment(0, True))
    early = [batch for epoch in (0, 1) for batch in read(feed, epoch)]
    late = [batch for feed in [reader(plan, whole)[0]] for e in (0, 1) for batch in read(feed, e)]
    assert announced == [Segment(0, True)] and len(early) == len(late)
    for one, other in zip(early, late, strict=True):
        assert (one.epoch, one.training, one.step) == (other.epoch, other.training, other.step)
        assert (one.record_ids == other.record_ids).all()
        assert (one.inputs["image"] == other.inputs["image"]).all()


def test_an_error_of_a_stream_started_early_is_told_when_it_is_read(plan: FeedPlan) -> None:
    feed, _ = reader(plan, dealt(plan, 1, 2), rank=0, world_size=2)
    feed.start(Segment(0, True))
    with pytest.raises(HeadraceError, match="rank 0 was dealt a block of rank 1"):
        read(feed, 0)


def test_empty_blocks_are_passed_over(plan: FeedPlan) -> None:
    whole = blocks(plan, 1)
    empty = whole[0].slice(0, 0)
    feed, _ = reader(plan, [empty, whole[0], empty, *whole[1:]])
    assert len(read(feed, 0)) == len(read(reader(plan, whole)[0], 0))


def test_a_step_out_of_order_is_refused(plan: FeedPlan) -> None:
    whole = blocks(plan, 1)
    whole[0], whole[1] = whole[1], whole[0]
    feed, _ = reader(plan, whole)
    with pytest.raises(HeadraceError, match=r"rank 0 expected .* \(0, True, 0\) from the feed"):
        read(feed, 0)


def test_a_block_of_another_epoch_is_refused(plan: FeedPlan) -> None:
    feed, _ = reader(plan, blocks(plan, 1, Segment(1, True)))
    with pytest.raises(HeadraceError, match=r"expected .* \(0, True, 0\) .* got \(1, True, 0\)"):
        read(feed, 0)


def test_a_stream_that_ends_early_is_an_error_and_never_a_short_epoch(plan: FeedPlan) -> None:
    whole = blocks(plan, 1)
    ends = {0: (0, True, 0), 2: (0, True, 4), 3: (0, False, 0)}
    for num_blocks, expected in ends.items():
        # More blocks in a further execution must not be taken for the missing ones.
        feed, _ = reader(plan, whole[:num_blocks], whole[num_blocks:])
        with pytest.raises(HeadraceError, match=f"{re.escape(str(expected))} .* and got its end"):
            read(feed, 0)
