"""One image on its way into a shard: decode, check, bring to the stored form, add up its pixels."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import pyarrow as pa

from components.images.decode import decode_canonical
from components.images.fit import ChannelSums, FittedTransform, channel_sums, fit_channels
from components.images.inspect import CleanConfig, check_image
from components.images.store import StoreConfig, StoreFormat, canonical_bytes

# Exact sums per channel ride along with each record, so that the statistics of the train split
# need no second decoding once it is known which records are in it.
SUM_COLUMNS = ("num_pixels", "sum_r", "sum_g", "sum_b", "squares_r", "squares_g", "squares_b")
IMAGE_COLUMNS = pa.schema(
    [
        pa.field("image", pa.binary()),
        pa.field("height_px", pa.int32()),
        pa.field("width_px", pa.int32()),
        pa.field("source_height_px", pa.int32()),
        pa.field("source_width_px", pa.int32()),
        *[pa.field(name, pa.int64()) for name in SUM_COLUMNS],
    ]
)


def build_prepare(clean: CleanConfig, store: StoreConfig) -> Callable[[bytes], dict[str, Any]]:
    """Bind the settings of `prepare_image`; the result can be pickled."""
    return partial(
        prepare_image,
        max_pixels=clean.max_pixels,
        min_size_px=clean.min_size_px,
        store_format=store.format,
        short_side_px=store.short_side_px,
        jpeg_quality=store.jpeg_quality,
    )


def prepare_image(
    data: bytes,
    *,
    max_pixels: int,
    min_size_px: int,
    store_format: StoreFormat,
    short_side_px: int | None,
    jpeg_quality: int,
) -> dict[str, Any]:
    """Turn the bytes of one image file into the columns of `IMAGE_COLUMNS`.

    Raises:
        RecordRejected: The bytes are no usable image; with reason and detail.
    """
    decoded = decode_canonical(data, max_pixels=max_pixels)
    check_image(decoded.image_HWC, min_size_px=min_size_px)
    stored = canonical_bytes(
        decoded,
        data,
        format=store_format,
        short_side_px=short_side_px,
        jpeg_quality=jpeg_quality,
    )
    sums = channel_sums(stored.image_HWC)
    columns = {
        "image": stored.data,
        "height_px": stored.height_px,
        "width_px": stored.width_px,
        "source_height_px": decoded.source_height_px,
        "source_width_px": decoded.source_width_px,
    }
    totals = (sums.num_pixels, *sums.sums, *sums.sums_of_squares)
    return columns | dict(zip(SUM_COLUMNS, totals, strict=True))


def fit_from_totals(totals: Mapping[str, int]) -> FittedTransform:
    """Fit mean and standard deviation from the totals of `SUM_COLUMNS` over the train split."""
    count, *values = (totals[name] for name in SUM_COLUMNS)
    red, green, blue, *squares = values
    return fit_channels(
        ChannelSums(count, (red, green, blue), (squares[0], squares[1], squares[2]))
    )
