"""Pruning while training: how much at which step, and the return to earlier weights."""

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import nn

from components.compression.magnitude import Masks, apply_masks, layer_weights

MakeMasks = Callable[[Mapping[str, torch.Tensor], float], Masks]
"""(weights, amount) -> masks: `global_masks` or `layer_masks`."""


def cubic_sparsity(step: int, *, first: int, last: int, initial: float, final: float) -> float:
    """Return the share of zeros after `step`: fast at first, while most weights are spare.

    `final + (initial - final) (1 - (step - first) / (last - first))^3` (Zhu and Gupta 2017);
    `initial` up to step `first`, `final` from step `last` on.

    Raises:
        ValueError: Not 0 <= first < last, or not 0 <= initial <= final < 1.
    """
    if not 0 <= first < last:
        raise ValueError(f"first {first} and last {last} are not 0 <= first < last")
    if not 0.0 <= initial <= final < 1.0:
        raise ValueError(f"initial {initial} and final {final} are not 0 <= initial <= final < 1")
    if step <= first:
        return initial
    if step >= last:
        return final
    left = 1.0 - (step - first) / (last - first)
    return final + (initial - final) * left**3


def round_sparsities(rounds: int, final: float) -> list[float]:
    """Return the share of zeros after each round: every round removes one share of what is left.

    Iterative pruning of Frankle and Carbin 2019: of 3 rounds to 0.875, each removes a half.

    Raises:
        ValueError: `rounds` is below 1 or `final` not between 0 and 1.
    """
    if rounds < 1 or not 0.0 < final < 1.0:
        raise ValueError(f"rounds {rounds} must be >= 1 and final {final} between 0 and 1")
    return [1.0 - (1.0 - final) ** (done / rounds) for done in range(1, rounds)] + [final]


class MaskedTraining:
    """Keeps pruned weights at zero while the others learn, and prunes more on the way.

    Equal on all ranks, since their weights are.
    """

    def __init__(
        self,
        model: nn.Module,
        make_masks: MakeMasks,
        *,
        sparsity: Callable[[int], float],
        every: int,
    ) -> None:
        """Prune by the weights as they are, to `sparsity(0)`.

        Args:
            model: Not wrapped in DDP; may be what DDP wraps.
            make_masks: Which weights are small.
            sparsity: Share of zeros after so many steps; must not fall.
            every: Steps between two choices of what is pruned, >= 1.
        """
        if every < 1:
            raise ValueError(f"every {every} is below 1")
        self._model, self._make_masks = model, make_masks
        self._sparsity, self._every = sparsity, every
        self._amount = -1.0
        self.masks: Masks = {}
        """What is kept now."""
        self.after_step(0)

    def after_step(self, step: int) -> None:
        """Prune anew where `step` steps ask for more, and undo what the optimizer regrew."""
        amount = self._sparsity(step)
        # What is zero stays so: it is smallest when the masks are made again.
        if step % self._every == 0 and amount > self._amount:
            self.masks = self._make_masks(layer_weights(self._model), amount)
            self._amount = amount
        apply_masks(self._model, self.masks)


def cubic_training(
    model: nn.Module,
    make_masks: MakeMasks,
    *,
    amount: float,
    first: int,
    last: int,
    every: int,
) -> MaskedTraining:
    """Prune from nothing at step `first` to `amount` at step `last` along `cubic_sparsity`.

    Raises:
        ValueError: As `cubic_sparsity`, or `last` is no multiple of `every`.
    """
    if last % every:
        raise ValueError(f"last {last} is no multiple of every {every}: {amount} is never reached")
    sparsity = partial(cubic_sparsity, first=first, last=last, initial=0.0, final=amount)
    return MaskedTraining(model, make_masks, sparsity=sparsity, every=every)


def rewind(model: nn.Module, early: Mapping[str, torch.Tensor], masks: Masks) -> None:
    """Go back to the weights of an early step, but for what is pruned, in place.

    The winning tickets of Frankle et al. 2020 ("Linear Mode Connectivity"): masks of the trained
    model on weights of an early step, which are then trained anew.

    Args:
        model: Not wrapped in DDP.
        early: Its `state_dict` of that step (a copy).
        masks: Chosen by the weights of the trained model.
    """
    model.load_state_dict(dict(early))
    apply_masks(model, masks)
