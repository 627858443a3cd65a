"""The bytes that a shard keeps of each image."""

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import Field

from components.config import Config
from components.errors import StorageError
from components.images.decode import DecodedImage, decode_stored
from components.images.geometry import resize
from components.images.raw import encode_raw
from components.records.reasons import Reason, RecordRejected

ImageArray = npt.NDArray[np.uint8]
StoreFormat = Literal["keep", "jpeg", "png", "raw"]

_JPEG_MAX_SIDE_PX = 65_500
_PEEK = 16
# Down to two thirds nothing aliases: interpolation is then nearer to Lanczos than area averages
# are (44.1 dB against 43.4 on 25 photographs at 4 : 5, 43.8 against 43.4 at 2 : 3), and takes a
# fifth of their time.
_MIN_LINEAR_SCALE = 2 / 3
_KEPT_AS = {"JPEG": "jpeg", "MPO": "jpeg", "PNG": "png"}


class StoreConfig(Config):
    """How prepared images are stored in the shards."""

    format: StoreFormat = "keep"
    """`keep`: the original bytes where they are canonical (8-bit gray or RGB JPEG or PNG, upright,
    opaque) and not resized; otherwise JPEG for JPEG sources and PNG for the rest. `jpeg`, `png`:
    that format for all; an original that is that already is kept. `raw`: the pixels as they are
    (binary PPM, gray pictures PGM), for small pictures, which are read many times faster. It trades
    size for that: a picture of 32 x 32 px takes 3 KB, which PNG hardly betters, but a photograph of
    256 x 341 px takes 262 KB where JPEG takes about 35 KB, and one of 12 megapixels 36 MB."""
    short_side_px: int | None = Field(None, ge=1)
    """Shrink images whose short side is longer to this many pixels (never enlarge). Smaller
    images decode faster; leave room for random crops above the model's input. Default: as is."""
    jpeg_quality: int = Field(95, ge=1, le=100)
    """Quality of JPEGs that are encoded anew, 1 to 100; colour at half resolution (4:2:0)."""


@dataclass(frozen=True)
class StoredImage:
    """What a shard keeps of one image."""

    data: bytes
    """Encoded JPEG, PNG or binary netpbm."""
    image_HWC: ImageArray
    """uint8 RGB: exactly what `decode_stored` gives from `data`, so that statistics are fitted on
    the pixels that training sees."""
    height_px: int
    width_px: int


def canonical_bytes(
    decoded: DecodedImage,
    original: bytes,
    *,
    format: StoreFormat,
    short_side_px: int | None,
    jpeg_quality: int,
) -> StoredImage:
    """Encode one decoded image for the shard, or keep the original bytes where that is exact.

    Args:
        decoded: The picture in canonical form.
        original: The bytes that it was decoded from.
        format: See `StoreConfig.format`.
        short_side_px: See `StoreConfig.short_side_px`.
        jpeg_quality: See `StoreConfig.jpeg_quality`.

    Raises:
        RecordRejected: UNSUPPORTED where a side is longer than JPEG can hold (65,500 px).
    """
    source = _KEPT_AS.get(decoded.source_format, "png")
    target = source if format == "keep" else format
    image_HWC = _shrink(decoded.image_HWC, short_side_px)
    is_same_picture = image_HWC is decoded.image_HWC
    if is_same_picture and decoded.is_canonical and target == source:
        return _stored(original, image_HWC)
    if target == "raw":
        return _stored(encode_raw(_channels(image_HWC)), image_HWC)
    if target == "png":
        return _stored(_encode(image_HWC, ".png", [cv2.IMWRITE_PNG_COMPRESSION, 3]), image_HWC)
    data = _encode_jpeg(image_HWC, jpeg_quality)
    return _stored(data, decode_stored(data))


def _stored(data: bytes, image_HWC: ImageArray) -> StoredImage:
    return StoredImage(data, image_HWC, height_px=image_HWC.shape[0], width_px=image_HWC.shape[1])


def _shrink(image_HWC: ImageArray, short_side_px: int | None) -> ImageArray:
    height_px, width_px = image_HWC.shape[:2]
    short_px = min(height_px, width_px)
    if short_side_px is None or short_px <= short_side_px:
        return image_HWC
    scale = short_side_px / short_px
    height_px, width_px = round(height_px * scale), round(width_px * scale)
    if scale < _MIN_LINEAR_SCALE:
        return resize(image_HWC, height_px=height_px, width_px=width_px)
    shrunk_HWC = cv2.resize(image_HWC, (width_px, height_px), interpolation=cv2.INTER_LINEAR)
    return np.asarray(shrunk_HWC, np.uint8)


def _encode_jpeg(image_HWC: ImageArray, quality: int) -> bytes:
    height_px, width_px = image_HWC.shape[:2]
    if max(height_px, width_px) > _JPEG_MAX_SIDE_PX:
        detail = f"{width_px} x {height_px} px, JPEG holds {_JPEG_MAX_SIDE_PX} px a side"
        raise RecordRejected(Reason.UNSUPPORTED, f"{detail}; set data.store.format: png")
    return _encode(image_HWC, ".jpg", [cv2.IMWRITE_JPEG_QUALITY, quality])


def _channels(image_HWC: ImageArray) -> ImageArray:
    """The picture, or where it is gray one channel: a third of the work, and JPEG stays gray."""
    # A few pixels tell nearly every picture in colour.
    for pixels_HWC in (image_HWC[::_PEEK, ::_PEEK], image_HWC):
        first_HW = pixels_HWC[..., 0]
        if not all(np.array_equal(first_HW, pixels_HWC[..., c]) for c in (1, 2)):
            return image_HWC
    return image_HWC[..., 0]


def _encode(image_HWC: ImageArray, suffix: str, options: list[int]) -> bytes:
    pixels = _channels(image_HWC)
    if pixels.ndim == 3:
        pixels = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), np.uint8)
    ok, encoded = cv2.imencode(suffix, pixels, options)
    if not ok:
        raise StorageError(f"OpenCV could not encode an image of shape {image_HWC.shape}")
    return bytes(encoded)
