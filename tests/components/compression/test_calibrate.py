"""Ranges by hand and against numpy's percentiles, and the grids over them."""

import numpy as np
import pytest
import torch
from torch import nn

from components.compression.calibrate import Place, Range, activation_ranges, grid_of
from components.errors import DataError

torch.set_num_threads(1)
IN, OUT = Place("0", "input"), Place("0", "output")


def doubled() -> nn.Module:
    layer = nn.Linear(1, 1, bias=False)
    layer.weight.data.fill_(-2.0)
    return nn.Sequential(layer)


def ranges(*batches: list[float], percentile: float = 100.0) -> dict[Place, Range]:
    inputs = [[torch.tensor(batch)[:, None]] for batch in batches]
    return activation_ranges(doubled(), [IN, OUT], iter(inputs), percentile=percentile)


def test_smallest_and_largest_with_zero() -> None:
    assert ranges([1.0, 3.0], [2.0]) == {IN: (0.0, 3.0), OUT: (-6.0, 0.0)}
    assert ranges([-1.0], [0.5]) == {IN: (-1.0, 0.5), OUT: (-1.0, 2.0)}


def test_percentiles_are_those_of_numpy() -> None:
    # Batches that grow make the histogram double its width: 1/2048 of the largest value counts.
    rng = np.random.default_rng(0)
    parts = [rng.normal(size=2000) * scale for scale in (0.1, 1.0, 7.0, 0.5)]
    values = np.concatenate(parts).astype(np.float32)
    for percentile in (99.9, 99.0, 90.0):
        seen = ranges(*(part.tolist() for part in parts), percentile=percentile)[IN]
        low, high = np.percentile(values, [100 - percentile, percentile])
        # Between two values of the sample numpy interpolates.
        for got, expected in ((seen.low, low), (seen.high, high)):
            above = np.sort(np.abs(values - expected))[:4].max()
            assert abs(got - expected) <= np.abs(values).max() / 2048 + above
    assert ranges(*(part.tolist() for part in parts), percentile=99.9)[IN].high < values.max() / 1.1


def test_percentile_100_and_near_it_are_the_ends() -> None:
    batches = [[0.0, 0.0], [0.3, -0.7], [5.0, 1.0]]
    assert ranges(*batches, percentile=99.9999)[IN] == ranges(*batches)[IN]
    assert ranges(*batches)[IN] == (pytest.approx(-0.7), 5.0)
    assert ranges([0.0], [0.0], percentile=99.0)[IN] == (0.0, 0.0)


def test_the_model_is_left_as_it_was() -> None:
    model = nn.Sequential(nn.BatchNorm1d(1), nn.Dropout(0.5)).train()
    model[0].eval()
    state = torch.get_rng_state()
    activation_ranges(model, [IN], [[torch.ones(4, 1)]])
    assert model.training and not model[0].training and model[1].training
    assert not model[0]._forward_pre_hooks and torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("percentile", [100.0, 99.0])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_values_that_are_not_finite(bad: float, percentile: float) -> None:
    for batches in ([[1.0, bad, 2.0]], [[bad], [1.0]], [[1.0], [bad]]):
        with pytest.raises(DataError, match="at the input of 0; the model diverged"):
            ranges(*batches, percentile=percentile)


def test_bad_settings() -> None:
    with pytest.raises(DataError, match="saw no value at the input of 0; give it records"):
        ranges()
    for percentile in (50.0, 100.1, float("nan")):
        with pytest.raises(ValueError, match="is not in"):
            ranges([1.0], percentile=percentile)


def test_grids() -> None:
    grid = grid_of(Range(0.0, 2.55))
    assert (grid.scale, grid.zero_point) == (pytest.approx(0.01), 0)
    assert float(np.float32(grid.scale)) == grid.scale
    assert grid_of(Range(-1.0, 1.55)).zero_point == 100
    assert grid_of(Range(-2.55, 0.0)).zero_point == 255
    # A layer that gives only zeros has a grid too, with zero on it.
    assert grid_of(Range(0.0, 0.0)).zero_point == 0 and grid_of(Range(0.0, 0.0)).scale > 0
