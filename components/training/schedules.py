"""Learning-rate schedules as pure functions of the optimizer step."""

import math
from collections.abc import Callable
from functools import partial
from typing import Literal, Protocol, Self

from pydantic import Field, model_validator

from components.config import Config
from components.errors import RecipeError

Schedule = Callable[[int], float]
"""The learning rate of optimizer step `step`, counted from 0."""


class ScheduleConfig(Config):
    """How the learning rate changes from the first to the last optimizer step."""

    kind: Literal["constant", "linear", "exponential", "cosine"] = "cosine"
    """Shape of the fall from the peak to the end: `constant` (no fall), `linear`, `exponential`
    (the same factor every step) or `cosine` (Loshchilov and Hutter 2017, without restarts)."""
    warmup_steps: int | None = Field(None, ge=0)
    """Optimizer steps of linear rise before the peak; null takes `warmup_epochs`."""
    warmup_epochs: float = Field(0.0, ge=0.0, allow_inf_nan=False)
    """The same rise in epochs, a fraction is allowed; rounded to whole steps."""
    final_factor: float | None = Field(None, ge=0.0, le=1.0)
    """Learning rate at the end of training divided by its peak; null means 0 for `linear` and
    `cosine` and 0.01 for `exponential`, which cannot reach 0. `constant` takes none."""

    @model_validator(mode="after")
    def _hangs_together(self) -> Self:
        if self.warmup_steps is not None and self.warmup_epochs > 0:
            raise ValueError(
                f"warmup_steps {self.warmup_steps} and warmup_epochs {self.warmup_epochs} say the "
                "same thing twice; give one of them"
            )
        if self.kind == "constant" and self.final_factor is not None:
            raise ValueError(
                f"final_factor {self.final_factor} has no effect on a constant schedule; "
                "remove it or choose linear, exponential or cosine"
            )
        if self.kind == "exponential" and self.final_factor == 0.0:
            raise ValueError(
                "final_factor 0 cannot be reached by an exponential schedule; "
                "give a value above 0, as 0.01"
            )
        return self


class _Shape(Protocol):
    def __call__(
        self, step: int, *, total_steps: int, warmup_steps: int, peak: float, final: float
    ) -> float: ...


def _warmup(step: int, *, warmup_steps: int, peak: float) -> float:
    # (step + 1) / (warmup_steps + 1): the first step already learns and step `warmup_steps`
    # is exactly the peak, with even steps in between.
    return peak * (step + 1) / (warmup_steps + 1)


def _progress(step: int, *, total_steps: int, warmup_steps: int) -> float:
    return (step - warmup_steps) / (total_steps - warmup_steps)


def _check_point(step: int, *, total_steps: int, warmup_steps: int) -> None:
    if not 0 <= warmup_steps < total_steps:
        raise ValueError(
            f"warmup_steps must be in [0, total_steps {total_steps}), not {warmup_steps}"
        )
    if not 0 <= step < total_steps:
        raise ValueError(f"step must be in [0, {total_steps}), not {step}")


def constant(step: int, *, total_steps: int, warmup_steps: int, peak: float) -> float:
    """Return the peak after a linear warm-up.

    Args:
        step: Optimizer step, 0 <= step < total_steps.
        total_steps: Optimizer steps of the whole training.
        warmup_steps: Steps before the peak; step s of them has peak * (s + 1) / (warmup_steps + 1).
        peak: Highest learning rate.

    Raises:
        ValueError: `step` or `warmup_steps` is outside the training.
    """
    _check_point(step, total_steps=total_steps, warmup_steps=warmup_steps)
    return _warmup(step, warmup_steps=warmup_steps, peak=peak) if step < warmup_steps else peak


def linear(step: int, *, total_steps: int, warmup_steps: int, peak: float, final: float) -> float:
    """Fall on a straight line from `peak` (step `warmup_steps`) to `final` (the end of training).

    As in torch's `LinearLR`, `final` is the value at step `total_steps`, the first that is not
    taken, so that the last step still learns when `final` is 0. Arguments as in `constant`.
    """
    _check_point(step, total_steps=total_steps, warmup_steps=warmup_steps)
    if step < warmup_steps:
        return _warmup(step, warmup_steps=warmup_steps, peak=peak)
    done = _progress(step, total_steps=total_steps, warmup_steps=warmup_steps)
    return peak + (final - peak) * done


def exponential(
    step: int, *, total_steps: int, warmup_steps: int, peak: float, final: float
) -> float:
    """Fall by the same factor every step, from `peak` to `final` > 0.

    Equal to torch's `ExponentialLR` with gamma = (final / peak) ** (1 / (total - warm-up steps)).
    Arguments as in `constant`.
    """
    _check_point(step, total_steps=total_steps, warmup_steps=warmup_steps)
    if step < warmup_steps:
        return _warmup(step, warmup_steps=warmup_steps, peak=peak)
    done = _progress(step, total_steps=total_steps, warmup_steps=warmup_steps)
    return float(peak * (final / peak) ** done)


def cosine(step: int, *, total_steps: int, warmup_steps: int, peak: float, final: float) -> float:
    """Fall on half a cosine from `peak` to `final` (Loshchilov and Hutter 2017, no restarts).

    Equal to torch's `CosineAnnealingLR` with T_max = total - warm-up steps and eta_min = final.
    Arguments as in `constant`.
    """
    _check_point(step, total_steps=total_steps, warmup_steps=warmup_steps)
    if step < warmup_steps:
        return _warmup(step, warmup_steps=warmup_steps, peak=peak)
    done = _progress(step, total_steps=total_steps, warmup_steps=warmup_steps)
    return final + (peak - final) * 0.5 * (1.0 + math.cos(math.pi * done))


_FALLING: dict[str, tuple[_Shape, float]] = {
    "linear": (linear, 0.0),
    "exponential": (exponential, 0.01),
    "cosine": (cosine, 0.0),
}


def build_schedule(
    config: ScheduleConfig, *, peak_learning_rate: float, total_steps: int, steps_per_epoch: int
) -> Schedule:
    """Bind a schedule to one training.

    Args:
        config: Shape, warm-up and end.
        peak_learning_rate: Highest learning rate, > 0.
        total_steps: Optimizer steps of the whole training, >= 1.
        steps_per_epoch: Optimizer steps of one epoch, >= 1; turns `warmup_epochs` into steps.

    Returns:
        The learning rate for optimizer step `step` in [0, total_steps).

    Raises:
        RecipeError: The warm-up does not fit into the training.
    """
    warmup_steps = _resolve_warmup(config, total_steps=total_steps, steps_per_epoch=steps_per_epoch)
    if config.kind == "constant":
        return partial(
            constant, total_steps=total_steps, warmup_steps=warmup_steps, peak=peak_learning_rate
        )
    shape, default_factor = _FALLING[config.kind]
    factor = default_factor if config.final_factor is None else config.final_factor
    return partial(
        shape,
        total_steps=total_steps,
        warmup_steps=warmup_steps,
        peak=peak_learning_rate,
        final=factor * peak_learning_rate,
    )


def _resolve_warmup(config: ScheduleConfig, *, total_steps: int, steps_per_epoch: int) -> int:
    if config.warmup_steps is not None:
        warmup_steps, said = config.warmup_steps, f"warmup_steps {config.warmup_steps}"
    else:
        warmup_steps = round(config.warmup_epochs * steps_per_epoch)
        said = (
            f"warmup_epochs {config.warmup_epochs} ({warmup_steps} steps of {steps_per_epoch} "
            "per epoch)"
        )
        if config.warmup_epochs > 0 and warmup_steps == 0:
            raise RecipeError(
                f"schedule: {said} is less than half a step; give 0 or at least "
                f"{1 / steps_per_epoch:.3g}"
            )
    if warmup_steps >= total_steps:
        raise RecipeError(
            f"schedule: {said} does not end before the training of {total_steps} steps; "
            "shorten the warm-up or raise train.epochs"
        )
    return warmup_steps
