"""Weighing prepared shards with Ray: sums that come back, and what is refused."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.errors import DataError, RecipeError
from components.records.row_order import ShardLayout
from components.records.sampling import SamplingConfig
from pipelines.streams.feed import shard_layout
from pipelines.streams.sampling import require_sampling, weigh
from tests.pipelines.conftest import SmallDataset


def train_layout(data: SmallDataset) -> ShardLayout:
    shards = [(shard.path, shard.num_rows) for shard in data.manifest.shards_of("train")]
    return shard_layout(data.folder, shards, data.manifest.row_group_rows)


@pytest.mark.parametrize("by", ["label", "origin"])
def test_balance_by_class_or_folder(
    ray_cluster: None, small_dataset: SmallDataset, by: str
) -> None:
    layout = train_layout(small_dataset)
    weighed = weigh(SamplingConfig(by=by, balance=True), small_dataset.manifest, layout)
    assert weighed is not None
    counts = small_dataset.manifest.class_counts["train"]
    # The folders of the source are its classes.
    expected = {name: layout.num_rows / 2 / count for name, count in counts.items()}
    assert weighed.weights.by_value == pytest.approx(expected)
    groups = sum(-(-rows // layout.row_group_rows) for rows in layout.rows)
    assert weighed.masses.shape == (weighed.visits.count, groups)
    assert weighed.masses.sum() == pytest.approx(layout.num_rows)


def test_a_column_of_weights(
    ray_cluster: None, small_dataset: SmallDataset, tmp_path: Path
) -> None:
    columns = small_dataset.manifest.shard_schema | {"worth": "double"}
    manifest = small_dataset.manifest.model_copy(
        update={"modality": "tables", "shard_schema": columns}
    )
    config = SamplingConfig(weight_column="worth")

    def made(worth: list[object]) -> ShardLayout:
        table = pa.table({"worth": worth})
        pq.write_table(table, tmp_path / "a.parquet", row_group_size=2)
        return shard_layout(tmp_path, [("a.parquet", len(worth))], 2)

    weighed = weigh(config, manifest, made([1.0, 3.0, 0.0, 0.0, 1.0]))
    assert weighed is not None
    # Five rows in all: 1, 3, 0, 0, 1 as they are; in one visit each, as none is above 3.
    np.testing.assert_allclose(weighed.masses.sum(0), [4.0, 0.0, 1.0])
    np.testing.assert_allclose(weighed.weights.of(pa.chunked_array([[2.0]])), [2.0])
    with pytest.raises(DataError, match=r"weight_column = 'worth': 2 of 3 records .* 0 or more"):
        weigh(config, manifest, made([1.0, None, -1.0]))
    with pytest.raises(DataError, match=r"weight_column = 'worth': .* name a column of numbers"):
        weigh(config, manifest, made(["many", "few"]))
    with pytest.raises(DataError, match=r"weight_column = 'worth': all weights of train are 0"):
        weigh(config, manifest, made([0.0, 0.0]))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (SamplingConfig(by="colour", balance=True), "by = 'colour': .* they have label, origin"),
        (SamplingConfig(weight_column="size"), "weight_column = 'size': the prepared records"),
    ],
)
def test_a_column_that_is_not_there_is_refused_before_anything_starts(
    small_dataset: SmallDataset, config: SamplingConfig, message: str
) -> None:
    with pytest.raises(RecipeError, match=message):
        require_sampling(config, small_dataset.manifest)


def test_a_table_of_numbers_has_no_labels(small_dataset: SmallDataset) -> None:
    manifest = small_dataset.manifest.model_copy(update={"modality": "tables", "classes": []})
    with pytest.raises(RecipeError, match="by = 'label': this task predicts numbers"):
        require_sampling(SamplingConfig(balance=True), manifest)
