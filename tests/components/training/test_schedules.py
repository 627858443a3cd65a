"""Schedules at points computed by hand, against torch, and one contract for all of them."""

import math
import pickle
from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from pydantic import ValidationError
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from components.errors import RecipeError
from components.training import schedules
from components.training.schedules import Schedule, ScheduleConfig, build_schedule

KINDS = ["constant", "linear", "exponential", "cosine"]


def built(total_steps: int = 20, **settings: object) -> Schedule:
    config = ScheduleConfig.model_validate(settings)
    return build_schedule(
        config, peak_learning_rate=0.8, total_steps=total_steps, steps_per_epoch=5
    )


def test_warmup_rises_in_even_steps_to_the_peak() -> None:
    schedule = built(kind="constant", warmup_steps=4)
    # 0.8 * (1/5, 2/5, 3/5, 4/5), then the peak.
    assert [schedule(step) for step in range(6)] == pytest.approx(
        [0.16, 0.32, 0.48, 0.64, 0.8, 0.8]
    )


def test_linear_by_hand() -> None:
    schedule = built(total_steps=8, kind="linear", final_factor=0.0)
    expected = [0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1]
    assert [schedule(step) for step in range(8)] == pytest.approx(expected)


def test_cosine_by_hand_with_warmup() -> None:
    schedule = built(total_steps=10, kind="cosine", warmup_steps=2, final_factor=0.25)
    # Falls from 0.8 (step 2) to 0.2 (step 10, not taken); half way it is the mean, 0.5.
    assert schedule(2) == pytest.approx(0.8)
    assert schedule(4) == pytest.approx(0.5 + 0.3 * math.cos(math.pi / 4))
    assert schedule(6) == pytest.approx(0.5)
    assert schedule(9) == pytest.approx(0.5 + 0.3 * math.cos(math.pi * 7 / 8))


def test_exponential_by_hand() -> None:
    schedule = built(total_steps=4, kind="exponential", final_factor=0.0625)
    # The factor 1/16 over 4 steps halves the rate at each.
    assert [schedule(step) for step in range(4)] == pytest.approx([0.8, 0.4, 0.2, 0.1])


def test_warmup_epochs_are_turned_into_steps() -> None:
    by_epochs = built(kind="cosine", warmup_epochs=1.5)  # 7.5 steps, rounded to 8
    by_steps = built(kind="cosine", warmup_steps=8)
    assert [by_epochs(step) for step in range(20)] == [by_steps(step) for step in range(20)]


@pytest.mark.parametrize(
    ("kind", "make"),
    [
        ("cosine", lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 20, eta_min=0.08)),
        ("exponential", lambda o: torch.optim.lr_scheduler.ExponentialLR(o, 0.1 ** (1 / 20))),
        ("linear", lambda o: torch.optim.lr_scheduler.LinearLR(o, 1.0, 0.1, 20)),
        ("constant", lambda o: torch.optim.lr_scheduler.ConstantLR(o, 1.0)),
    ],
)
def test_equals_torch(kind: str, make: Callable[[Optimizer], LRScheduler]) -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.8)
    scheduler = make(optimizer)
    expected = []
    for _ in range(20):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    schedule = built(kind=kind, final_factor=None if kind == "constant" else 0.1)
    assert [schedule(step) for step in range(20)] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("warmup_steps", [0, 1, 7, 19])
@pytest.mark.parametrize("kind", KINDS)
def test_contract(kind: str, warmup_steps: int) -> None:
    schedule = built(kind=kind, warmup_steps=warmup_steps)
    rates = [schedule(step) for step in range(20)]
    assert all(0.0 < rate <= 0.8 for rate in rates)
    assert rates[warmup_steps] == 0.8
    rising, falling = rates[: warmup_steps + 1], rates[warmup_steps:]
    assert all(a < b for a, b in pairwise(rising))
    assert all(a >= b for a, b in pairwise(falling))
    # A function of the step alone: in any order, and in another process.
    assert [schedule(step) for step in reversed(range(20))] == rates[::-1]
    travelled = pickle.loads(pickle.dumps(schedule))
    assert [travelled(step) for step in range(20)] == rates
    for outside in (-1, 20):
        with pytest.raises(ValueError, match=rf"step must be in \[0, 20\), not {outside}"):
            schedule(outside)


@pytest.mark.parametrize(("kind", "end"), [("linear", 0.0), ("exponential", 0.008), ("cosine", 0)])
def test_default_ends(kind: str, end: float) -> None:
    # Over many steps the last one is near the end that the docstring states.
    assert built(total_steps=100_000, kind=kind)(99_999) == pytest.approx(end, abs=1e-5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"warmup_steps": 20}, "warmup_steps 20 does not end before the training of 20 steps"),
        ({"warmup_epochs": 4}, r"warmup_epochs 4.0 \(20 steps of 5 per epoch\)"),
        ({"warmup_epochs": 0.05}, "less than half a step; give 0 or at least 0.2"),
    ],
)
def test_a_warmup_that_does_not_fit_is_refused(settings: dict[str, float], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        built(**settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"warmup_steps": 3, "warmup_epochs": 1.0}, "say the same thing twice"),
        ({"kind": "constant", "final_factor": 0.5}, "no effect on a constant schedule"),
        ({"kind": "exponential", "final_factor": 0.0}, "cannot be reached"),
        ({"final_factor": 1.5}, "less than or equal to 1"),
        ({"warmup_steps": -1}, "greater than or equal to 0"),
        ({"warm_up": 1}, "Extra inputs are not permitted"),
    ],
)
def test_settings_that_cannot_hold_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ScheduleConfig.model_validate(settings)


def test_the_pure_functions_check_the_warmup() -> None:
    with pytest.raises(ValueError, match="warmup_steps must be in"):
        schedules.linear(0, total_steps=5, warmup_steps=5, peak=1.0, final=0.0)
