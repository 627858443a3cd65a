from collections.abc import Callable

import numpy as np
import pytest

from components.tables.cleaning.outliers import (
    bound_text,
    plausible_bounds,
    plausible_days,
    share_below,
)
from components.tables.config import OutlierConfig

AUTO = OutlierConfig()


def bounds(values: np.ndarray, config: OutlierConfig = AUTO) -> tuple[float, float]:
    low, high = plausible_bounds(lambda q: float(np.quantile(values, q)), len(values), config)
    return -np.inf if low is None else low, np.inf if high is None else high


def outside(values: np.ndarray, config: OutlierConfig = AUTO) -> int:
    low, high = bounds(values, config)
    return int(((values < low) | (values > high)).sum())


CLEAN: dict[str, Callable[[np.random.Generator, int], np.ndarray]] = {
    "normal": lambda rng, n: rng.normal(50, 10, n),
    "uniform": lambda rng, n: rng.uniform(0, 100, n),
    "exponential": lambda rng, n: rng.exponential(1, n),
    "lognormal": lambda rng, n: rng.lognormal(4, 0.5, n),
    "incomes": lambda rng, n: rng.lognormal(10, 1, n),
    "mostly zero": lambda rng, n: rng.lognormal(8, 1, n) * (rng.random(n) < 0.1),
    "ages": lambda rng, n: rng.integers(18, 91, n).astype(float),
    "few": lambda rng, n: rng.poisson(2, n).astype(float),
    "constant": lambda rng, n: np.where(rng.random(n) < 0.995, 2.0, rng.integers(1, 5, n)),
    "sums of money": lambda rng, n: rng.normal(0, 1000, n),
}


@pytest.mark.parametrize("name", CLEAN)
@pytest.mark.parametrize("count", [300, 2_000, 20_000])
def test_clean_columns_raise_no_alarm(name: str, count: int):
    rng = np.random.default_rng([count, len(name)])
    assert sum(outside(CLEAN[name](rng, count)) for _ in range(5)) <= 1 + count // 10_000


def test_bounds_of_a_normal_column_lie_at_eight_sigma():
    rng = np.random.default_rng(0)
    low, high = bounds(rng.normal(1000, 10, 200_000))
    assert high == pytest.approx(1080, abs=3) and low == pytest.approx(923, abs=4)


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("ages", [420.0, 3700.0, 5555.0, -34.0, 999.0]),
        ("normal", [500.0, 5_000.0, -50.0, 0.05]),
        ("few", [40.0, 2222.0, -2.0]),
        ("lognormal", [-50.0, 5_000.0, 55_000.0]),
        ("incomes", [-20_000.0, 3e7]),
        ("constant", [20.0, 222.0, -2.0]),
        ("mostly zero", [-1.0]),
    ],
)
def test_gross_errors_are_found_beside_one_another(name: str, wrong: list[float]):
    values = CLEAN[name](np.random.default_rng(1), 1_000)
    low, high = bounds(np.concatenate([values, wrong]))
    assert [value for value in wrong if low <= value <= high] == []


def test_a_mass_in_kg_among_grams_is_found():
    rng = np.random.default_rng(2)
    grams = rng.normal(4200, 800, 1_000).clip(2700, 6300)
    low, _ = bounds(np.concatenate([grams, grams[:5] / 1000]))
    assert 6.3 < low < 2700


def test_small_negative_values_are_no_lost_signs():
    rng = np.random.default_rng(3)
    metres = rng.lognormal(6, 1, 1_000)
    below_sea = np.concatenate([metres, [-54.0, -42.0]])
    assert outside(below_sea) == 0
    flipped = np.concatenate([metres, -metres[:8]])
    assert outside(flipped) == 8


def test_quartiles_and_robust_z_and_quantiles_are_what_they_say():
    values = np.arange(1001.0)
    assert bounds(values, OutlierConfig(method="iqr")) == (250 - 1500, 750 + 1500)
    low, high = bounds(values, OutlierConfig(method="robust_z", limit=3.0))
    assert high == pytest.approx(500 + 3 * 500 / 1.349) and low == pytest.approx(1000 - high)
    assert bounds(values, OutlierConfig(method="quantile", limit=0.01)) == (10.0, 990.0)
    assert plausible_bounds(lambda q: q, 1000, OutlierConfig(method="none")) == (None, None)


@pytest.mark.parametrize("method", ["auto", "iqr"])
def test_few_values_tell_nothing(method: str):
    config = OutlierConfig.model_validate({"method": method})
    assert plausible_bounds(lambda q: q, 19, config) == (None, None)


@pytest.mark.parametrize(("method", "limit"), [("quantile", 0.6), ("auto", -1.0), ("iqr", 0.0)])
def test_a_limit_that_makes_no_sense_is_refused(method: str, limit: float):
    config = OutlierConfig.model_validate({"method": method, "limit": limit})
    with pytest.raises(ValueError, match=rf"outliers.limit is {limit}; {method} needs"):
        plausible_bounds(lambda q: q, 1000, config)


def test_share_below_counts():
    values = np.arange(100.0)
    share = share_below(lambda q: float(np.quantile(values, q)), 25.0, 100)
    assert share == pytest.approx(0.25, abs=0.01)


def test_days_far_from_all_others_are_implausible() -> None:
    rng = np.random.default_rng(0)
    start = 18_600  # in December 2020
    uniform = np.sort(rng.integers(start, start + 1200, 2000).astype(float))
    low, high = plausible_days(lambda share: float(np.quantile(uniform, share)), 2000)
    assert low is not None and high is not None
    assert bound_text(low, "date") > "2013" and bound_text(high, "date") < "2033"
    assert low < start < start + 1200 < high
    old = np.sort(start - rng.pareto(1.0, 2000) * 300)
    low, high = plausible_days(lambda share: float(np.quantile(old, share)), 2000)
    assert low is None and high is not None, "a long tail of old records is no mistake"
    assert plausible_days(lambda _: float(start), 2000) == (None, None)
    assert bound_text(None, "date") == "any" and bound_text(0.1234567, "number") == "0.123457"
