"""Pictures inside the page: small, and as data URIs."""

import base64
import io
from dataclasses import dataclass

from PIL import Image as PilImage

from components.reports.data import Image

_TINY_PX = 64
_LONGEST_SIDE_PX = 192
"""Twice the size on the page, for dense screens."""


@dataclass(frozen=True)
class Thumbnail:
    """A picture as the page shows it.

    Attributes:
        uri: `data:` URI of a PNG (up to 64 px: pixels stay as they are) or of a JPEG.
        is_tiny: Whether the page should enlarge it with square pixels.
    """

    uri: str
    is_tiny: bool


def thumbnail(image_HWC: Image) -> Thumbnail:
    """Shrink and encode a picture.

    Args:
        image_HWC: uint8, RGB; grey as (H, W) or (H, W, 1) is taken too.
    """
    squeezed = image_HWC[..., 0] if image_HWC.ndim == 3 and image_HWC.shape[2] == 1 else image_HWC
    picture = PilImage.fromarray(squeezed)
    is_tiny = max(picture.size) <= _TINY_PX
    buffer = io.BytesIO()
    if is_tiny:
        picture.save(buffer, "PNG", optimize=True)
    else:
        picture.thumbnail((_LONGEST_SIDE_PX, _LONGEST_SIDE_PX), PilImage.Resampling.LANCZOS)
        picture.save(buffer, "JPEG", quality=82, optimize=True)
    kind = "png" if is_tiny else "jpeg"
    text = base64.b64encode(buffer.getvalue()).decode("ascii")
    return Thumbnail(f"data:image/{kind};base64,{text}", is_tiny)
