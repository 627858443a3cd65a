"""One image on its way into a shard: decode, check, bring to the stored form, add up its pixels."""

import hashlib
from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
import pyarrow as pa

from components.images.decode import ImageArray, decode_canonical
from components.images.fit import ChannelSums, ChannelTransform, channel_sums, fit_channels
from components.images.inspect import (
    CleanConfig,
    enforce,
    extension_finding,
    quality_notes,
    size_notes,
)
from components.images.quality import Measures
from components.images.similarity import similarity_hash
from components.images.store import StoreConfig, canonical_bytes
from components.records.staging import PreparedRecord

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
        pa.field("similarity_hash", pa.binary()),
        *[pa.field(name, pa.int64()) for name in SUM_COLUMNS],
    ]
)


def build_prepare(clean: CleanConfig, store: StoreConfig) -> Callable[[bytes, str], PreparedRecord]:
    """Bind the settings of `prepare_image`; the result can be pickled."""
    return partial(prepare_image, clean=clean, store=store)


def prepare_image(
    data: bytes, origin: str, *, clean: CleanConfig, store: StoreConfig
) -> PreparedRecord:
    """Turn the bytes of one image file into the columns of `IMAGE_COLUMNS`.

    Args:
        data: The whole file.
        origin: Path of the file, which its extension is read from; `""` where there is none (a
            column of a table).
        clean: What is judged, and what is done about it.
        store: The form of the stored bytes.

    Raises:
        RecordRejected: The bytes are no usable image, or the policy of a reason that was found is
            quarantine or stop; with reason and detail.
    """
    decoded = decode_canonical(data, max_pixels=clean.max_pixels)
    image_HWC = decoded.image_HWC
    height_px, width_px = image_HWC.shape[:2]
    notes = size_notes(
        height_px, width_px, min_size_px=clean.min_size_px, max_aspect=clean.max_aspect
    )
    enforce(notes, clean.policy)
    measures = Measures(image_HWC)
    extension = extension_finding(origin, decoded.source_format) if origin else None
    notes += [*quality_notes(measures, clean), *decoded.notes, *([extension] if extension else [])]
    enforce(notes, clean.policy)
    stored = canonical_bytes(
        decoded,
        data,
        format=store.format,
        short_side_px=store.short_side_px,
        jpeg_quality=store.jpeg_quality,
    )
    sums = channel_sums(stored.image_HWC)
    totals = (sums.num_pixels, *sums.sums, *sums.sums_of_squares)
    columns = {
        "image": stored.data,
        "height_px": stored.height_px,
        "width_px": stored.width_px,
        "source_height_px": decoded.source_height_px,
        "source_width_px": decoded.source_width_px,
        "similarity_hash": similarity_hash(image_HWC, measures.reduced_HW)
        if clean.near_duplicates
        else None,
        **dict(zip(SUM_COLUMNS, totals, strict=True)),
    }
    return PreparedRecord(pixel_hash(image_HWC), columns, tuple(notes))


def pixel_hash(image_HWC: ImageArray) -> str:
    """32 hexadecimal digits that name the pixels of a picture, however they were encoded.

    The first half of SHA-256, which processors have instructions for: half the time of BLAKE2b.
    """
    digest = hashlib.sha256(np.array(image_HWC.shape, "<u4").tobytes())
    digest.update(np.ascontiguousarray(image_HWC).data)
    return digest.hexdigest()[:32]


def fit_from_totals(totals: Mapping[str, int]) -> ChannelTransform:
    """Fit mean and standard deviation from the totals of `SUM_COLUMNS` over the train split."""
    count, *values = (totals[name] for name in SUM_COLUMNS)
    red, green, blue, *squares = values
    return fit_channels(
        ChannelSums(count, (red, green, blue), (squares[0], squares[1], squares[2]))
    )
