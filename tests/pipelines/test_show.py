"""show: what the model saw of a record, found by its first digits."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from components.errors import DataError
from pipelines.modality import image_view
from pipelines.recipe import ImageRecipe, load_recipe
from pipelines.show import as_dict, show_record
from tests.pipelines.conftest import SmallDataset


@pytest.fixture
def recipe(tmp_path: Path) -> ImageRecipe:
    loaded = load_recipe("digits", [f"output={tmp_path}", "input.image_px=16"])
    assert isinstance(loaded, ImageRecipe)
    return loaded


def first_rows(data: SmallDataset) -> pa.Table:
    return pq.read_table(data.folder / data.manifest.shards_of("train")[0].path)


def test_the_picture_is_the_stored_one_and_each_epochs(
    small_dataset: SmallDataset, recipe: ImageRecipe
) -> None:
    table = first_rows(small_dataset)
    row = table.slice(5, 1)
    identity = row.column("record_id")[0].as_py()
    manifest, folder = small_dataset.manifest, small_dataset.folder
    found = show_record(recipe, manifest, folder, identity[:12], [0, 3])
    assert (found.split, found.row["record_id"]) == ("train", identity)
    assert found.picture is not None
    page = np.array(Image.open(found.picture))
    for epoch, place in ((0, -2), (3, -1)):
        seen = image_view(recipe).arrays(row, epoch)["image"][0]
        scale = 128 // 16
        left = page.shape[1] + (place + 1) * (128 + 8) - 128
        assert np.array_equal(page[:128:scale, left : left + 128 : scale], seen)
    told = as_dict(found)
    assert told["record"]["origin"] == row.column("origin")[0].as_py()
    assert (
        told["picture"].endswith(f"{identity[:12]}-epoch-0-3.png") and "image" not in told["record"]
    )


def test_a_record_that_is_not_there_and_digits_of_several(
    small_dataset: SmallDataset, recipe: ImageRecipe
) -> None:
    manifest, folder = small_dataset.manifest, small_dataset.folder
    with pytest.raises(DataError, match="has no record 'zz'"):
        show_record(recipe, manifest, folder, "zz", [0])
    with pytest.raises(DataError, match="more than one record begins with ''; give more digits"):
        show_record(recipe, manifest, folder, "", [0])
