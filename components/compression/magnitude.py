"""Pruning by magnitude: which weights are small enough to become zero.

The weights keep their place, so a model computes as long as before; its package is smaller in the
storage form `sparse`.
"""

from collections.abc import Mapping

import torch
from torch import nn

from components.errors import RecipeError

Masks = Mapping[str, torch.Tensor]
"""By name of a weight, a bool tensor of its shape: False where it becomes zero."""


def layer_weights(model: nn.Module) -> dict[str, torch.Tensor]:
    """Return the weights of all convolutions and linear layers, by parameter name.

    Not those of embeddings and norms, nor biases: few bytes, and of another scale.
    """
    return {
        f"{name}.weight": module.weight
        for name, module in model.named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear)
    }


def global_masks(weights: Mapping[str, torch.Tensor], amount: float) -> Masks:
    """Keep the largest weights of all layers together.

    Equal to `torch.nn.utils.prune.global_unstructured` with L1Unstructured.

    Args:
        weights: By name, as `layer_weights` gives them.
        amount: Share of all weights that becomes zero, 0..1.

    Raises:
        ValueError: `amount` is outside 0..1.
    """
    if not 0.0 <= amount <= 1.0:
        raise ValueError(f"amount {amount} is not between 0 and 1")
    if not weights:
        return {}
    magnitudes = torch.cat([weight.detach().abs().flatten() for weight in weights.values()])
    kept = torch.ones_like(magnitudes, dtype=torch.bool)
    num_pruned = round(amount * magnitudes.numel())
    kept[magnitudes.topk(num_pruned, largest=False).indices] = False
    parts = torch.split(kept, [weight.numel() for weight in weights.values()])
    pairs = zip(weights.items(), parts, strict=True)
    return {name: part.view(weight.shape) for (name, weight), part in pairs}


def layer_masks(weights: Mapping[str, torch.Tensor], amount: float) -> Masks:
    """As `global_masks`, but keep the largest weights of each layer.

    Equal to `torch.nn.utils.prune.l1_unstructured`.
    """
    return {name: global_masks({name: weight}, amount)[name] for name, weight in weights.items()}


def two_four_masks(weights: Mapping[str, torch.Tensor]) -> Masks:
    """Keep the two largest of every four weights of neighbouring inputs.

    The pattern of NVIDIA's sparse tensor cores (Mishra et al. 2021); for a convolution the four
    lie side by side in the input channels, as in NVIDIA's ASP and TensorRT. Layers whose inputs
    are no multiple of four are left out of the result.

    Raises:
        RecipeError: No layer fits.
    """
    masks = {
        name: _two_of_four(weight.detach())
        for name, weight in weights.items()
        if weight.shape[1] % 4 == 0
    }
    if not masks:
        inputs = ", ".join(f"{name} has {weight.shape[1]}" for name, weight in weights.items())
        raise RecipeError(
            f"2:4 needs layers whose inputs are a multiple of 4 ({inputs[:200]}); use what: weights"
        )
    return masks


def _two_of_four(weight: torch.Tensor) -> torch.Tensor:
    inputs_last = weight.movedim(1, -1)
    fours = inputs_last.abs().reshape(-1, 4)
    kept = torch.zeros_like(fours, dtype=torch.bool)
    kept.scatter_(1, fours.topk(2, dim=1).indices, True)
    return kept.view(inputs_last.shape).movedim(-1, 1)


@torch.no_grad()
def apply_masks(model: nn.Module, masks: Masks) -> None:
    """Set the weights to zero where their mask is False, in place.

    Args:
        model: With parameters of these names; not wrapped in DDP.
        masks: On the device of the model.
    """
    for name, mask in masks.items():
        # Not a product: that gives -0.0, which comes back from storage as 0.0.
        model.get_parameter(name).masked_fill_(~mask, 0.0)
