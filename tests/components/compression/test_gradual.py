"""Points of the cubic schedule by hand, zeros that stay zero, and the way back."""

import copy
from fractions import Fraction

import pytest
import torch
from torch import nn

from components.compression.gradual import (
    MaskedTraining,
    cubic_sparsity,
    cubic_training,
    rewind,
    round_sparsities,
)
from components.compression.magnitude import global_masks, layer_masks, layer_weights


@pytest.mark.parametrize(
    ("step", "expected"),
    [(0, 0.0), (10, 0.0), (35, 0.4625), (60, 0.7), (85, 0.7875), (110, 0.8), (500, 0.8)],
)
def test_cubic_sparsity_by_hand(step: int, expected: float) -> None:
    found = cubic_sparsity(step, first=10, last=110, initial=0.0, final=0.8)
    assert found == pytest.approx(expected, abs=1e-12)


def test_cubic_sparsity_is_the_formula_and_never_falls() -> None:
    found = [cubic_sparsity(n, first=3, last=20, initial=0.25, final=0.75) for n in range(25)]
    for step in range(3, 21):
        left = (1 - Fraction(step - 3, 17)) ** 3
        assert found[step] == pytest.approx(float(Fraction(3, 4) - Fraction(1, 2) * left))
    assert found == sorted(found) and found[0] == 0.25 and found[-1] == 0.75


@pytest.mark.parametrize(
    "settings",
    [
        {"first": 5, "last": 5},
        {"first": -1},
        {"initial": 0.9},
        {"initial": -0.1},
        {"final": 1.0},
    ],
)
def test_settings_that_cannot_hold_are_refused(settings: dict[str, float]) -> None:
    usual = {"first": 0, "last": 10, "initial": 0.0, "final": 0.8}
    with pytest.raises(ValueError, match="are not 0 <="):
        cubic_sparsity(3, **{**usual, **settings})  # type: ignore[arg-type]


def test_each_round_removes_the_same_share_of_what_is_left() -> None:
    assert round_sparsities(3, 0.875) == pytest.approx([0.5, 0.75, 0.875])
    assert round_sparsities(1, 0.6) == [0.6]
    assert round_sparsities(7, 0.9)[-1] == 0.9
    for rounds, final in ((0, 0.5), (2, 0.0), (2, 1.0)):
        with pytest.raises(ValueError, match=f"rounds {rounds} must be"):
            round_sparsities(rounds, final)


def network() -> nn.Module:
    generator = torch.Generator().manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 1))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.uniform_(-0.5, 0.5, generator=generator)
    return model


def share_of_zeros(model: nn.Module) -> float:
    weights = layer_weights(model).values()
    return 1 - sum(int(w.count_nonzero()) for w in weights) / sum(w.numel() for w in weights)


def test_training_prunes_along_the_schedule_and_what_is_pruned_stays_zero() -> None:
    model = network()
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(64, 16, generator=generator)
    y = x[:, :4].sum(dim=1, keepdim=True)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
    pruning = cubic_training(model, global_masks, amount=0.75, first=5, last=30, every=5)
    assert share_of_zeros(model) == 0.0
    was_zero = {name: weight == 0 for name, weight in layer_weights(model).items()}
    losses = []
    for step in range(1, 61):
        loss = nn.functional.mse_loss(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        pruning.after_step(step)
        losses.append(loss.item())
        asked = cubic_sparsity(step // 5 * 5, first=5, last=30, initial=0.0, final=0.75)
        assert share_of_zeros(model) == pytest.approx(asked, abs=1 / 544)
        zeros = {name: weight == 0 for name, weight in layer_weights(model).items()}
        assert all((zeros[name] | ~was_zero[name]).all() for name in zeros)
        was_zero = zeros
    assert share_of_zeros(model) == pytest.approx(0.75, abs=1e-3)
    assert all(torch.equal(pruning.masks[name], ~zeros[name]) for name in zeros)
    assert losses[-1] < 0.1 * losses[0]


def test_no_sparsity_leaves_the_weights_alone() -> None:
    model, other = network(), network()
    MaskedTraining(model, layer_masks, sparsity=lambda step: 0.0, every=1).after_step(1)
    pairs = zip(model.parameters(), other.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_an_end_that_is_never_reached_is_refused() -> None:
    with pytest.raises(ValueError, match=r"last 30 is no multiple of every 4: 0.5 is never"):
        cubic_training(network(), global_masks, amount=0.5, first=0, last=30, every=4)
    with pytest.raises(ValueError, match="every 0 is below 1"):
        MaskedTraining(network(), global_masks, sparsity=lambda step: 0.5, every=0)


def test_rewinding_brings_early_weights_back_but_for_the_pruned() -> None:
    model = network()
    early = copy.deepcopy(model.state_dict())
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(-3.0).add_(0.25)
    masks = global_masks(layer_weights(model), 0.5)
    rewind(model, early, masks)
    for name, tensor in model.state_dict().items():
        kept = masks.get(name, torch.ones_like(tensor, dtype=torch.bool))
        assert torch.equal(tensor, early[name].where(kept, 0.0))
