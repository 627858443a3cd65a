"""Statistics of chunks add up to those of the whole; one pass, whatever the number of columns."""

import numpy as np
import polars as pl
import pytest

from components.errors import DataError
from components.records.identity import record_id
from components.tables.fitting import statistics as module
from components.tables.fitting.crosses import record_folds
from components.tables.fitting.statistics import (
    Measure,
    StatisticsSpec,
    TableStatistics,
    ValueCounts,
)

ROWS = 3000


def ids(count: int) -> pl.Series:
    return pl.Series([record_id(str(row).encode()) for row in range(count)])


def table() -> pl.DataFrame:
    rng = np.random.default_rng(5)
    missing = rng.random(ROWS) < 0.1
    return pl.DataFrame(
        {
            "far": 1e9 + rng.normal(size=ROWS),
            "gaps": pl.Series(rng.lognormal(size=ROWS)).set(pl.Series(missing), None),
            "count": rng.integers(-50, 50, ROWS),
            "city": pl.Series(rng.choice(["Ulm", "Bonn", "Köln"], ROWS)).set(
                pl.Series(missing[::-1]), None
            ),
            "when": pl.Series(rng.integers(0, 30_000, ROWS).astype(np.int32)).cast(pl.Date),
            "y": rng.normal(3, 2, ROWS),
        }
    )


SPEC = StatisticsSpec(
    measures=(
        Measure(column="far"),
        Measure(column="gaps"),
        Measure(column="count", number="signed_log"),
        Measure(column="when", number="days"),
        Measure(column="when", number="year"),
    ),
    sketched=("gaps",),
    counted=("city",),
    crossed=("city",),
    target="y",
    sampled=("gaps", "count"),
    sample_rows=40,
)


def fitted(frame: pl.DataFrame, record_ids: pl.Series, size: int) -> TableStatistics:
    starts = range(0, frame.height, size)
    return TableStatistics.sum(
        [
            TableStatistics.of(frame[at : at + size], SPEC, record_ids=record_ids[at : at + size])
            for at in starts
        ]
    )


@pytest.mark.parametrize("size", [1, 7, 1000, ROWS])
def test_moments_equal_numpys_in_any_chunks(size: int) -> None:
    frame, count = table(), min(40 * size, ROWS)
    frame = frame.head(count)
    statistics = fitted(frame, ids(count), size)
    count_log = np.sign(frame["count"]) * np.log1p(np.abs(frame["count"].to_numpy()))
    expected = {
        SPEC.measures[0]: frame["far"].to_numpy(),
        SPEC.measures[1]: frame["gaps"].drop_nulls().to_numpy(),
        SPEC.measures[2]: np.asarray(count_log),
        SPEC.measures[3]: frame["when"].cast(pl.Int32).to_numpy().astype(float),
        SPEC.measures[4]: frame["when"].dt.year().to_numpy().astype(float),
    }
    for measure, values in expected.items():
        num, mean, std, minimum, maximum = statistics.measured(measure)
        assert (num, minimum, maximum) == (len(values), values.min(), values.max())
        assert mean == pytest.approx(values.mean(), rel=1e-14, abs=1e-12)
        assert std == pytest.approx(values.std(), rel=1e-7)
    assert statistics.nulls["gaps"] == frame["gaps"].null_count() > 0
    assert statistics.num_rows == count


def test_counts_sample_and_crosses_do_not_depend_on_order_or_chunks() -> None:
    frame, names = table(), ids(ROWS)
    mixed = np.random.default_rng(6).permutation(ROWS)
    one, other = fitted(frame, names, ROWS), fitted(frame[mixed], names[mixed], 250)
    assert one.counts["city"].counts.equals(other.counts["city"].counts)
    assert one.sample.equals(other.sample)
    assert one.sample.height == 40
    keys = ["value", "fold", "class", "count"]
    assert one.crosses["city"].select(keys).equals(other.crosses["city"].select(keys))
    for column in ("mean", "m2"):
        np.testing.assert_allclose(
            one.crosses["city"][column], other.crosses["city"][column], rtol=1e-10
        )


def test_crosses_equal_a_direct_computation() -> None:
    frame, names = table(), ids(ROWS)
    crosses = fitted(frame, names, 700).crosses["city"]
    folds = record_folds(names, 5)
    assert crosses["count"].sum() == ROWS
    for value, fold, _, count, mean, m2 in crosses.iter_rows():
        rows = frame.filter(frame["city"].eq_missing(value) & (folds == fold))["y"].to_numpy()
        assert count == len(rows)
        assert mean == pytest.approx(rows.mean(), rel=1e-12)
        assert m2 == pytest.approx(((rows - rows.mean()) ** 2).sum(), rel=1e-9)


def test_json_gives_back_the_same_statistics() -> None:
    statistics = fitted(table(), ids(ROWS), 1000)
    text = statistics.model_dump_json()
    again = TableStatistics.model_validate_json(text)
    assert again.model_dump_json() == text
    assert (again + again).num_rows == 2 * ROWS
    assert fitted(table(), ids(ROWS), 1000).model_dump_json() == text


def test_a_chunk_without_values_adds_nothing() -> None:
    frame, names = table(), ids(ROWS)
    empty = frame.with_columns(pl.lit(None, pl.Float64).alias("gaps"))
    gaps = SPEC.measures[1]
    one = TableStatistics.of(frame, SPEC, record_ids=names)
    both = TableStatistics.of(empty, SPEC, record_ids=names) + one
    assert both.measured(gaps) == one.measured(gaps)
    assert both.measured(gaps)[3] > 0
    nothing = TableStatistics.of(frame.head(0), SPEC, record_ids=names.head(0))
    assert (nothing + one).measured(gaps) == one.measured(gaps)


def test_of_too_many_distinct_values_the_frequent_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_DISTINCT", 3)
    values = pl.Series(["a"] * 9 + ["b"] * 7 + ["c"] * 5 + ["d"] * 2 + ["e"])
    counts = ValueCounts.of(values)
    assert dict(counts.counts.iter_rows()) == {"a": 9, "b": 7, "c": 5}
    assert counts.undercount == 2
    both = counts + ValueCounts.of(pl.Series(["d"] * 6))
    assert dict(both.counts.iter_rows()) == {"a": 9, "b": 7, "d": 6}
    # d was seen 8 times, c 5 times: each count is at most `undercount` too low.
    assert both.undercount == 7


def test_a_constant_has_no_spread_however_large_it_is() -> None:
    spec = StatisticsSpec(measures=(Measure(column="x"),))
    parts = [TableStatistics.of(pl.DataFrame({"x": [0.1 * 1e15] * n}), spec) for n in (7, 13, 2)]
    assert TableStatistics.sum(parts).measured(Measure(column="x"))[2] == 0.0


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1e200])
def test_numbers_that_are_not_finite_name_their_column(bad: float) -> None:
    spec = StatisticsSpec(measures=(Measure(column="x"), Measure(column="bad")))
    frame = pl.DataFrame({"x": [1.0, 2.0], "bad": [1.0, bad]})
    with pytest.raises(DataError, match="column 'bad' holds NaN, infinity"):
        TableStatistics.of(frame, spec)


def test_what_cannot_be_measured_is_refused() -> None:
    with pytest.raises(DataError, match="no column 'far' to fit on; there are y"):
        TableStatistics.of(pl.DataFrame({"y": [1.0]}), SPEC)
    with pytest.raises(DataError, match="need the record ids"):
        TableStatistics.of(table(), SPEC)
    with pytest.raises(DataError, match="record id 'abc' is not 32 hex digits"):
        TableStatistics.of(table().head(1), SPEC, record_ids=pl.Series(["abc"]))
    with pytest.raises(DataError, match="0 records"):
        TableStatistics.sum([])
    other = TableStatistics.of(table(), StatisticsSpec(counted=("city",)))
    with pytest.raises(DataError, match="two different plans"):
        other + fitted(table(), ids(ROWS), ROWS)


def test_folds_are_even_and_follow_the_id_alone() -> None:
    folds = record_folds(ids(10_000), 5)
    counts = np.bincount(folds.to_numpy())
    assert len(counts) == 5
    assert abs(counts - 2000).max() < 200
    assert folds[:10].equals(record_folds(ids(10), 5))


def test_a_thousand_columns_are_one_pass() -> None:
    numbers = np.random.default_rng(7).normal(size=(500, 1000))
    frame = pl.DataFrame({f"c{at}": numbers[:, at] for at in range(1000)})
    spec = StatisticsSpec(measures=tuple(Measure(column=name) for name in frame.columns))
    moments = TableStatistics.of(frame, spec).moments
    np.testing.assert_allclose(moments.mean_C, numbers.mean(0), atol=1e-13)
    np.testing.assert_allclose(moments.m2_C / 500, numbers.var(0), rtol=1e-12)
