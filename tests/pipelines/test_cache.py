"""Decoded row groups in the object store: the same pictures, decoded once, while there is room."""

import os
from dataclasses import replace

import pyarrow as pa
import pytest
import ray

from components.records.epoch_plan import Segment
from pipelines.streams import feed
from pipelines.streams.cache import CacheClient, RowGroupCache, open_cache
from pipelines.streams.feed import FeedPlan, read_feed_task, shard_layout, worth_keeping
from tests.pipelines.conftest import SmallDataset
from tests.pipelines.test_feed import VIEW

# A picture of 12 x 10 px in colour with its header, beside its id, label and size.
LEAST_BYTES = 12 * 10 * 3 + 13


@pytest.fixture
def plan(small_dataset: SmallDataset) -> FeedPlan:
    layouts = [
        shard_layout(
            small_dataset.folder,
            [(shard.path, shard.num_rows) for shard in small_dataset.manifest.shards_of(split)],
            small_dataset.manifest.row_group_rows,
        )
        for split in ("train", "val")
    ]
    return FeedPlan(*layouts, VIEW, 3, 16, 40, True, 32)


def stream(plan: FeedPlan, cache: CacheClient | None) -> list[pa.Table]:
    """All blocks, without what the clock said."""
    return [
        table.drop_columns([name for name in table.column_names if name.startswith("spent/")])
        for task in plan.tasks(Segment(0, True), 2)
        for table in read_feed_task(plan, (task, 2), cache)
    ]


def test_all_rows_come_from_memory_after_the_first_epoch(
    ray_cluster: None, plan: FeedPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = open_cache(10 << 20)
    client = CacheClient(cache)
    once = replace(plan, epochs=1)
    assert stream(once, client) == stream(once, None)
    num_rows = plan.train.num_rows + plan.val.num_rows
    num_bytes = ray.get(cache.num_bytes.remote())
    assert LEAST_BYTES * num_rows < num_bytes < 1.5 * LEAST_BYTES * num_rows
    expected = stream(plan, None)

    def gone(*_: object) -> None:
        raise AssertionError("a shard was read again")

    monkeypatch.setattr(feed, "_read_groups", gone)
    assert stream(plan, client) == expected
    assert ray.get(cache.num_bytes.remote()) == num_bytes


def test_what_does_not_fit_is_read_each_time(ray_cluster: None, plan: FeedPlan) -> None:
    cache = open_cache(8_000)
    assert stream(plan, CacheClient(cache)) == stream(plan, None)
    # Row groups of 8 pictures take 3 to 4 KB.
    assert 3_000 < ray.get(cache.num_bytes.remote()) <= 8_000


def test_a_lost_cache_and_lost_tables_are_read_and_decoded_again(
    ray_cluster: None, plan: FeedPlan
) -> None:
    @ray.remote(num_cpus=0, max_restarts=0)
    class Owner:
        def fill(self, plan: FeedPlan, cache: object) -> int:
            stream(replace(plan, epochs=1), CacheClient(cache))  # type: ignore[arg-type]
            return os.getpid()

    cache = open_cache(10 << 20)
    owner = Owner.remote()
    ray.get(owner.fill.remote(plan, cache))
    held = ray.get(cache.num_bytes.remote())
    ray.kill(owner)
    client = CacheClient(cache)
    assert stream(plan, client) == stream(plan, None)
    # They are kept anew, by this process now.
    assert ray.get(cache.num_bytes.remote()) == held
    ray.kill(cache)
    assert stream(plan, client) == stream(plan, None)
    assert not client.has_room


def test_only_pictures_that_cost_something_to_decode_are_kept(plan: FeedPlan) -> None:
    assert worth_keeping(VIEW, plan.train)
    # Twice the model's side: a crop of such a picture might be decoded at half its size.
    assert not worth_keeping(replace(VIEW, image_px=5), plan.train)
    rows = next(iter(feed._read_groups(plan.train.paths[0], [0], VIEW.columns).values()))
    raw = VIEW.decoded(rows)
    assert raw is not None and raw.schema == rows.schema
    assert VIEW.decoded(raw) is None
    assert (VIEW.arrays(raw, 3)["image"] == VIEW.arrays(rows, 3)["image"]).all()


def test_the_budget_is_given_back_with_what_is_lost() -> None:
    cache = RowGroupCache(100)
    cache.keep(("a", 0), [], 60)
    cache.keep(("a", 1), [], 60)
    cache.keep(("a", 2), [], 40)
    cache.keep(("a", 2), [], 40)
    found, left = cache.find([("a", 0), ("a", 1), ("a", 2)])
    assert (set(found), left) == ({("a", 0), ("a", 2)}, 0)
    cache.forget([("a", 0), ("a", 9)])
    assert cache.find([("a", 0)]) == ({}, 60)
