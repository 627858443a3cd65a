"""Small real pictures and the first pass over them."""

import io
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

MakePng = Callable[[int], bytes]


@pytest.fixture(scope="session")
def make_png() -> MakePng:
    """PNG bytes of a 9 x 8 px picture that its number decides."""

    def make(number: int) -> bytes:
        pixels_HWC = np.random.default_rng(number).integers(0, 256, (8, 9, 3), np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(pixels_HWC).save(buffer, "PNG", compress_level=1)
        return buffer.getvalue()

    return make
