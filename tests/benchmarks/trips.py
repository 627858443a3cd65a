"""A table of trips of any length: numbers, names, dates, missing values, outliers, copies."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

GROUP_ROWS = 500_000

_DUPLICATE_SHARE = 0.001
_PAYMENTS = ("card", "cash", "voucher", "account", "Card", " cash", "N/A")
_PAYMENT_SHARES = (0.6, 0.3, 0.05, 0.03, 0.001, 0.001, 0.018)
_ZONES = tuple(f"zone {number:03d}" for number in range(250))


def write_trips(path: Path, num_rows: int, seed: int = 0) -> None:
    """Write a table of 12 columns in row groups of 500,000 rows; one row in 1,000 is a copy."""
    writer: pq.ParquetWriter | None = None
    for first in range(0, num_rows, GROUP_ROWS):
        rows = _trips(min(GROUP_ROWS, num_rows - first), seed, first).to_arrow()
        rows = rows.cast(pa.schema([_plain(field) for field in rows.schema]))
        writer = writer or pq.ParquetWriter(path, rows.schema, compression="zstd")
        writer.write_table(rows, row_group_size=GROUP_ROWS)
    assert writer is not None
    writer.close()


def _plain(field: pa.Field) -> pa.Field:
    texts = (pa.string_view(), pa.large_string())
    return pa.field(field.name, pa.string()) if field.type in texts else field


def _trips(num_rows: int, seed: int, first: int) -> pl.DataFrame:
    random = np.random.default_rng((seed, first))
    distance = random.lognormal(1.0, 0.8, num_rows).round(2)
    fare = (2.5 + 1.9 * distance + random.exponential(2.0, num_rows)).round(2)
    far = random.random(num_rows) < 0.0002
    tip = (fare * random.beta(2, 8, num_rows)).round(2)
    start = np.datetime64("2023-01-01T00:00:00", "us")
    seconds = random.integers(0, 2 * 365 * 86_400, num_rows)
    frame = pl.DataFrame(
        {
            "vendor": random.integers(1, 4, num_rows),
            "passengers": random.choice([1, 2, 3, 4, 5, 6], num_rows, p=_falling(6)),
            "duration": random.gamma(2.0, 450.0, num_rows).astype(np.int64),
            "distance": distance,
            "fare": np.where(far, fare * 1000, fare),
            "tip": tip,
            "tolls": np.where(random.random(num_rows) < 0.05, 6.55, 0.0),
            "temperature": random.normal(12.0, 9.0, num_rows).round(1),
            "payment": random.choice(_PAYMENTS, num_rows, p=_PAYMENT_SHARES),
            "zone": random.choice(_ZONES, num_rows, p=_falling(len(_ZONES))),
            "pickup": start + seconds.astype("timedelta64[s]"),
            "day": (start + seconds.astype("timedelta64[s]")).astype("datetime64[D]"),
        }
    )
    lost = [("tip", 0.03), ("temperature", 0.01), ("passengers", 0.005), ("zone", 0.002)]
    for name, share in lost:
        missing = pl.Series(random.random(num_rows) < share)
        frame = frame.with_columns(pl.when(missing).then(None).otherwise(pl.col(name)).alias(name))
    num_copies = int(num_rows * _DUPLICATE_SHARE)
    taken = random.integers(0, num_rows - num_copies, num_copies)
    return pl.concat([frame.head(num_rows - num_copies), frame[taken]])


def _falling(count: int) -> npt.NDArray[np.float64]:
    shares = 1.0 / np.arange(1, count + 1)
    return np.asarray(shares / shares.sum())
