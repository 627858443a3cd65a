"""Large pictures are converted in strips; the seams must not show."""

import numpy as np
import pytest
from PIL import Image

from components.images import colours
from components.images.colours import to_rgb
from components.records.reasons import Reason
from tests.components.images.dirty import noise


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "CMYK", "RGBA", "LA", "1"])
def test_strips_give_the_same_picture(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    image = Image.fromarray(noise()).convert(mode)
    if mode in ("RGBA", "LA"):
        image.putalpha(Image.linear_gradient("L").resize(image.size))
    whole_HWC, notes = to_rgb(image)
    monkeypatch.setattr(colours, "_STRIP_PIXELS", 160 * 7)
    strips_HWC, strip_notes = to_rgb(image)
    np.testing.assert_array_equal(strips_HWC, whole_HWC)
    assert strip_notes == notes


def test_sixteen_bits_are_scaled_over_the_whole_range() -> None:
    ramp_HW = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    image_HWC, notes = to_rgb(Image.fromarray(ramp_HW))
    assert (image_HWC == (ramp_HW >> 8)[..., None]).all()
    assert [reason for reason, _ in notes] == [Reason.DEEP_COLOUR]


def test_transparency_is_noted_only_where_it_shows() -> None:
    image = Image.fromarray(noise()).convert("RGBA")
    assert [reason for reason, _ in to_rgb(image)[1]] == [Reason.COLOUR_FORM]
    image.putpixel((3, 3), (0, 0, 0, 254))
    assert [reason for reason, _ in to_rgb(image)[1]] == [Reason.TRANSPARENCY]
