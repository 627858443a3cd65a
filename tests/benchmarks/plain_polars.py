"""What prepare does to a table, written directly in polars, streaming: profile, clean, fit."""

import json
import sys
from pathlib import Path

import polars as pl
import polars.selectors as cs

_SPELLINGS = ["", "NA", "N/A", "n/a", "NaN", "nan", "null", "NULL", "-", "--", "?"]
_QUANTILES = [0.001, 0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98, 0.999]
_SHARES = {"test": (0.0, 0.1), "val": (0.1, 0.2), "train": (0.2, 1.0)}


def prepare(source: Path, folder: Path) -> None:
    """Clean a Parquet file into one file for each split, and measure the train split."""
    rows = pl.scan_parquet(source)
    cleaned = _cleaned(rows, _profile(rows))
    names = list(rows.collect_schema())
    position = pl.struct(names).hash(0) / float(1 << 64)
    whole = folder / "all.parquet"
    cleaned.unique().with_columns(position.alias("position")).sink_parquet(whole)
    for split, (low, high) in _SHARES.items():
        part = pl.scan_parquet(whole).filter(pl.col("position").is_between(low, high, "left"))
        part.drop("position").sink_parquet(folder / f"{split}.parquet")
    whole.unlink()
    train = pl.scan_parquet(folder / "train.parquet")
    (folder / "statistics.json").write_text(json.dumps(_measured(train), default=str))


def _profile(rows: pl.LazyFrame) -> dict[str, tuple[float, float]]:
    """Bounds of each column of numbers, and a count of all names."""
    numbers = rows.select(cs.numeric())
    quantiles = [
        cs.numeric().quantile(share).name.suffix(f"|{number}")
        for number, share in enumerate((0.02, 0.5, 0.98))
    ]
    counts = [rows.group_by(name).len() for name in rows.select(cs.string()).collect_schema()]
    found, *_ = pl.collect_all([rows.select(quantiles), *counts], engine="streaming")
    bounds = {}
    for name in numbers.collect_schema():
        low, middle, high = (found[f"{name}|{number}"][0] for number in range(3))
        bounds[name] = (middle - 4 * (middle - low), middle + 4 * (high - middle))
    return bounds


def _cleaned(rows: pl.LazyFrame, bounds: dict[str, tuple[float, float]]) -> pl.LazyFrame:
    text = cs.string().str.strip_chars()
    named = pl.when(text.is_in(_SPELLINGS)).then(None).otherwise(text)
    cleaned = rows.with_columns(named.name.keep(), cs.float().fill_nan(None))
    cleaned = cleaned.with_columns(pl.col("payment").replace({"Card": "card"}))
    outside = [
        (~pl.col(name).is_between(low, high)).fill_null(False)
        for name, (low, high) in bounds.items()
    ]
    return cleaned.with_columns(pl.any_horizontal(outside).alias("is_outlier"))


def _measured(train: pl.LazyFrame) -> dict[str, list[object]]:
    """Statistics of every column."""
    numeric = cs.numeric()
    plain = [
        pl.all().null_count().name.suffix("|nulls"),
        numeric.mean().name.suffix("|mean"),
        numeric.std().name.suffix("|std"),
        (cs.numeric() | cs.temporal()).min().name.suffix("|min"),
        (cs.numeric() | cs.temporal()).max().name.suffix("|max"),
    ]
    plain += [
        numeric.quantile(share).name.suffix(f"|q{number}")
        for number, share in enumerate(_QUANTILES)
    ]
    names = train.select(cs.string()).collect_schema()
    counts = [train.group_by(name).len() for name in names]
    frames = pl.collect_all([train.select(plain), *counts], engine="streaming")
    return {f"{number}": frame.rows() for number, frame in enumerate(frames)}


if __name__ == "__main__":
    prepare(Path(sys.argv[1]), Path(sys.argv[2]))
