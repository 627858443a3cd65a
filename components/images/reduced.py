"""Stored pictures decoded for training: no more of a JPEG than is needed."""

import numpy as np
import numpy.typing as npt
import simplejpeg

from components.images.decode import decode_stored
from components.images.raw import view_raw
from components.records.reasons import Reason, RecordRejected

ImageArray = npt.NDArray[np.uint8]

_JPEG = b"\xff\xd8"


def decode_reduced(encoded: ImageArray, height_px: int, width_px: int) -> ImageArray:
    """Decode canonical bytes at a size that is enough.

    A JPEG is decoded at a half, a quarter or an eighth of its size where that is enough: its
    coefficients are averaged before they become pixels, in a fraction of the time. At full size
    the pixels are those of `decode_stored`, bit for bit.

    Args:
        encoded: Bytes as `prepare` stores them.
        height_px: Height that the whole picture must have at least.
        width_px: Width that the whole picture must have at least.

    Returns:
        uint8 RGB (H, W, 3), possibly read-only: of its own size where nothing smaller is enough.

    Raises:
        RecordRejected: CORRUPT.
    """
    if encoded[:2].tobytes() == _JPEG:
        try:
            decoded: ImageArray = simplejpeg.decode_jpeg(
                encoded, "RGB", min_height=height_px, min_width=width_px, min_factor=2
            )
        except ValueError as error:
            detail = f"{encoded.size} stored bytes: {error}"
            raise RecordRejected(Reason.CORRUPT, detail) from error
        return decoded
    raw_HWC = view_raw(encoded)
    return decode_stored(encoded) if raw_HWC is None else raw_HWC
