"""Sketched quantiles: numpy's while exact, within 0.2 % of the ranks beyond, however merged."""

import pickle
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.tables.fitting.sketch import CAPACITY, QuantileSketch

COUNT = 200_000


def rank_error(data: np.ndarray, sketch: QuantileSketch) -> float:
    """Largest distance between the rank asked for and the rank of the answer, as a share."""
    ordered, qs = np.sort(data), np.linspace(0, 1, 2001)
    answers, ranks = sketch.quantiles(qs), qs * (len(data) - 1)
    first = np.searchsorted(ordered, answers, "left") - 1
    last = np.searchsorted(ordered, answers, "right")
    return float(np.maximum(first - ranks, ranks - last).max()) / len(data)


def folded(data: np.ndarray, num_chunks: int) -> QuantileSketch:
    chunks = np.array_split(data, num_chunks)
    return sum((QuantileSketch.of(chunk) for chunk in chunks), QuantileSketch())


def uniform(rng: np.random.Generator) -> np.ndarray:
    return rng.random(COUNT)


def lognormal(rng: np.random.Generator) -> np.ndarray:
    return rng.lognormal(0, 3, COUNT)


def heavy_ties(rng: np.random.Generator) -> np.ndarray:
    ties = rng.integers(0, 700, COUNT).astype(float)
    return np.where(rng.random(COUNT) < 0.6, ties, rng.random(COUNT) * 700)


def mostly_zero(rng: np.random.Generator) -> np.ndarray:
    return np.where(rng.random(COUNT) < 0.9, 0.0, rng.lognormal(0, 3, COUNT))


def rounded(rng: np.random.Generator) -> np.ndarray:
    return np.round(rng.normal(size=COUNT), 3)


def ascending(rng: np.random.Generator) -> np.ndarray:
    return np.sort(rng.lognormal(size=COUNT))


def descending(rng: np.random.Generator) -> np.ndarray:
    return np.sort(rng.normal(size=COUNT))[::-1]


def two_scales(rng: np.random.Generator) -> np.ndarray:
    small, large = rng.normal(0, 1e-6, COUNT), rng.normal(1e6, 1, COUNT)
    return np.where(rng.random(COUNT) < 0.5, small, large)


KINDS = (
    uniform, lognormal, heavy_ties, mostly_zero, rounded, ascending, descending, two_scales,
)  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("num_chunks", [1, 7, 100, pytest.param(1000, marks=pytest.mark.processes)])
def test_ranks_are_right_to_a_500th(
    kind: Callable[[np.random.Generator], np.ndarray], num_chunks: int
) -> None:
    data = kind(np.random.default_rng(1))
    sketch = folded(data, num_chunks)
    assert rank_error(data, sketch) <= 0.002
    assert (sketch.count, sketch.minimum, sketch.maximum) == (COUNT, data.min(), data.max())
    assert len(sketch.values) <= CAPACITY


def test_folding_and_a_tree_of_additions_agree_to_a_500th() -> None:
    data = lognormal(np.random.default_rng(2))
    parts = [QuantileSketch.of(chunk) for chunk in np.array_split(data, 64)]
    while len(parts) > 1:
        parts = [one + other for one, other in zip(parts[::2], parts[1::2], strict=True)]
    assert rank_error(data, parts[0]) <= 0.002


@given(
    st.lists(st.floats(-1e300, 1e300), min_size=1, max_size=60),
    st.lists(st.integers(-3, 3).map(float), min_size=1, max_size=60),
    st.floats(0, 1),
)
def test_exact_quantiles_are_numpys(one: list[float], other: list[float], q: float) -> None:
    sketch = QuantileSketch.of(np.array(one)) + QuantileSketch.of(np.array(other))
    expected = float(np.quantile(np.array(one + other), q))
    scale = max(map(abs, one + other))
    assert sketch.exact
    assert sketch.quantile(q) == pytest.approx(expected, rel=1e-9, abs=1e-12 * scale)


def test_few_distinct_values_stay_exact_at_any_count() -> None:
    data = np.random.default_rng(3).integers(0, 4000, 100_000).astype(float)
    sketch = folded(data, 20)
    assert sketch.exact
    qs = np.linspace(0, 1, 101)
    np.testing.assert_allclose(sketch.quantiles(qs), np.quantile(data, qs), rtol=1e-12)


def test_json_and_pickle_give_back_the_same_sketch_and_the_same_bytes() -> None:
    sketch = QuantileSketch.of(lognormal(np.random.default_rng(4)))
    text = sketch.model_dump_json()
    assert QuantileSketch.model_validate_json(text) == sketch
    assert pickle.loads(pickle.dumps(sketch)) == sketch
    again = QuantileSketch.of(lognormal(np.random.default_rng(4))[::-1])
    assert again.model_dump_json() == text
    assert len(text) < 120_000
    empty = QuantileSketch()
    assert QuantileSketch.model_validate_json(empty.model_dump_json()) == empty


def test_an_empty_sketch_adds_nothing_and_has_no_quantile() -> None:
    sketch = QuantileSketch.of(np.array([3.0, 1.0]))
    assert QuantileSketch.of(np.empty(0)) + sketch == sketch + QuantileSketch() == sketch
    with pytest.raises(ValueError, match="holds no value"):
        QuantileSketch().quantile(0.5)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="finite values only"):
        QuantileSketch.of(np.array([1.0, bad]))


def test_a_share_outside_0_and_1_is_refused() -> None:
    with pytest.raises(ValueError, match=r"between 0 and 1; got \[1.5\]"):
        QuantileSketch.of(np.array([1.0])).quantile(1.5)
