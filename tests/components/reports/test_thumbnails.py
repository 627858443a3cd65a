import base64
import io

import numpy as np
import pytest
from PIL import Image

from components.reports.thumbnails import thumbnail


def opened(uri: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))


@pytest.mark.parametrize("shape", [(8, 8, 3), (8, 8), (8, 8, 1), (64, 40, 3)])
def test_tiny_pictures_keep_every_pixel(shape: tuple[int, ...]) -> None:
    image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    small = thumbnail(image)
    assert small.is_tiny
    assert small.uri.startswith("data:image/png;base64,")
    assert np.array_equal(np.asarray(opened(small.uri)), image.squeeze())


def test_photographs_are_shrunk_to_192_px_and_keep_shape_and_colour() -> None:
    image = np.full((800, 600, 3), (200, 40, 90), dtype=np.uint8)
    small = thumbnail(image)
    assert not small.is_tiny
    picture = opened(small.uri)
    assert picture.size == (144, 192)
    assert np.abs(np.asarray(picture).astype(int) - (200, 40, 90)).max() <= 3
    assert len(small.uri) < 12_000
