"""What shards of images hold, and the statistics that are fitted on those of train."""

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa

from components.images.fit import ChannelTransform
from components.images.prepare import SUM_COLUMNS, fit_from_totals
from components.records.files import write_text

SHARD_SCHEMA = pa.schema(
    {
        "record_id": pa.string(),
        "image": pa.binary(),
        "label": pa.int32(),
        "origin": pa.string(),
        "height_px": pa.int32(),
        "width_px": pa.int32(),
        "source_height_px": pa.int32(),
        "source_width_px": pa.int32(),
    }
)


def write_sums(rows: pa.Table, path: Path) -> None:
    """Add up the pixel sums of staged rows, exactly, and keep them in a file."""
    # As Python integers: the squares of a large range do not fit 64 bits.
    sums = {name: sum(rows.column(name).to_pylist()) for name in SUM_COLUMNS}
    write_text(path, json.dumps(sums))


def fit_from_files(paths: Iterable[Path]) -> ChannelTransform:
    """Fit mean and standard deviation from the files of `write_sums`."""
    totals: Counter[str] = Counter()
    for path in paths:
        totals.update(json.loads(path.read_text(encoding="utf-8")))
    return fit_from_totals(totals)
