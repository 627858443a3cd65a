"""What makes a decoded image usable: the checks of the cleaning stage."""

import numpy as np
import numpy.typing as npt
from pydantic import Field

from components.config import Config
from components.records.reasons import Reason, RecordRejected


class CleanConfig(Config):
    """Which images are set aside, and how many of them stop the job."""

    min_size_px: int = Field(8, ge=1)
    """Shortest side in pixels, after orientation; smaller images are set aside as too_small."""
    max_pixels: int = Field(178_956_970, ge=1, le=357_913_940)
    """Height x width above which an image is set aside as too_many_pixels, before it is decoded.
    The default is the limit of Pillow (a 512 MiB picture), a guard against decompression bombs;
    twice that is the most that Pillow's readers accept."""
    max_quarantined_share: float = Field(0.05, ge=0.0, le=1.0)
    """Share of the records read that may be set aside; beyond it the job stops with the reasons.
    0 stops at the first."""
    min_images_per_class: int = Field(2, ge=1)
    """Fewest usable images that a class may have; a class with fewer stops the job."""


def check_image(image_HWC: npt.NDArray[np.uint8], *, min_size_px: int) -> None:
    """Refuse a decoded image that cannot be used.

    Args:
        image_HWC: uint8 RGB in canonical form.
        min_size_px: Shortest side allowed.

    Raises:
        RecordRejected: TOO_SMALL.
    """
    height_px, width_px = image_HWC.shape[:2]
    if min(height_px, width_px) < min_size_px:
        size = f"{width_px} x {height_px} px, shortest side allowed {min_size_px} px"
        raise RecordRejected(Reason.TOO_SMALL, size)
