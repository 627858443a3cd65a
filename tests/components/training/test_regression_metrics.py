"""Regression metrics equal scikit-learn's, however the rows are split and far from 0 they lie."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

from components.training.regression_metrics import RegressionSums


def squares(outputs: torch.Tensor, targets_B: torch.Tensor) -> torch.Tensor:
    return (outputs[:, 0] - targets_B) ** 2


def rows(num_rows: int = 400, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Scaled predictions and targets."""
    rng = np.random.default_rng(seed)
    targets = rng.normal(size=num_rows)
    return torch.tensor(targets + 0.3 * rng.normal(size=num_rows)), torch.tensor(targets)


def summed(*batches: tuple[torch.Tensor, ...], scale: float = 1.0) -> RegressionSums:
    sums = RegressionSums(scale, squares)
    for batch in batches:
        sums.update(*batch)
    return sums


def test_equal_to_sklearn_in_the_original_unit() -> None:
    predicted, targets = rows()
    center, scale = 2e5, 1.2e4
    metrics = summed((predicted[:, None], targets), scale=scale).metrics()
    true, said = targets * scale + center, predicted * scale + center
    assert metrics["rmse"] == pytest.approx(root_mean_squared_error(true, said), rel=1e-12)
    assert metrics["mae"] == pytest.approx(mean_absolute_error(true, said), rel=1e-12)
    assert metrics["r2"] == pytest.approx(r2_score(true, said), rel=1e-12)
    assert metrics["loss"] == pytest.approx(float(((targets - predicted) ** 2).mean()), rel=1e-12)


@given(st.lists(st.integers(0, 400), max_size=4).map(sorted))
def test_any_split_of_the_rows_gives_the_same(cuts: list[int]) -> None:
    predicted, targets = rows()
    whole = summed((predicted, targets)).metrics()
    bounds = zip([0, *cuts], [*cuts, 400], strict=True)
    parts = [summed((predicted[a:b], targets[a:b])) for a, b in bounds]
    total = sum(parts[1:], parts[0])
    vectors = torch.stack([part.to_tensor() for part in parts]).sum(dim=0)
    assert total.metrics() == pytest.approx(whole, rel=1e-12)
    assert parts[0].from_tensor(vectors).metrics() == pytest.approx(whole, rel=1e-12)


def test_padding_rows_do_not_count() -> None:
    predicted, targets = rows(20)
    weights = torch.tensor([1.0] * 13 + [0.0] * 7)
    predicted[13:] = torch.nan
    expected = summed((predicted[:13], targets[:13]))
    assert torch.equal(summed((predicted, targets, weights)).totals, expected.totals)


@pytest.mark.parametrize(("said", "r2"), [([3.0, 3.0], 1.0), ([3.0, 3.5], 0.0)])
def test_a_constant_target_is_judged_as_by_sklearn(said: list[float], r2: float) -> None:
    metrics = summed((torch.tensor(said), torch.tensor([3.0, 3.0]))).metrics()
    assert metrics["r2"] == r2 == r2_score([3.0, 3.0], said)


def test_a_diverged_model_and_wrong_input_are_told() -> None:
    metrics = summed((torch.tensor([torch.nan, 1.0]), torch.tensor([1.0, 2.0]))).metrics()
    assert all(np.isnan(metrics[name]) for name in ("loss", "rmse", "mae", "r2"))
    sums = summed()
    with pytest.raises(ValueError, match="metrics of no rows"):
        sums.metrics()
    with pytest.raises(ValueError, match="expected a vector of 6"):
        sums.from_tensor(torch.zeros(5))
