"""Limits of the cleaning stage."""

import numpy as np
import pydantic
import pytest

from components.images.inspect import CleanConfig, check_image
from components.records.reasons import Reason, RecordRejected


def test_short_side_decides() -> None:
    check_image(np.zeros((8, 500, 3), np.uint8), min_size_px=8)
    for shape in ((7, 500, 3), (500, 7, 3)):
        with pytest.raises(RecordRejected, match="shortest side allowed 8 px") as caught:
            check_image(np.zeros(shape, np.uint8), min_size_px=8)
        assert caught.value.reason == Reason.TOO_SMALL


def test_defaults_and_refused_values() -> None:
    config = CleanConfig()
    assert (config.min_size_px, config.max_pixels) == (8, 178_956_970)
    assert (config.max_quarantined_share, config.min_images_per_class) == (0.05, 2)
    for wrong in ({"max_pixels": 400_000_000}, {"min_size_px": 0}, {"max_quarantined_share": 1.1}):
        with pytest.raises(pydantic.ValidationError):
            CleanConfig.model_validate(wrong)
