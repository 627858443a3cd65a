"""Structured pruning of vision transformers: attention heads and hidden units leave."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from components.compression.budget import Pruned, Removal, RemovalOrder, outputs_of, prune_to_flops
from components.errors import RecipeError

_TOLERANCE = 1e-4


@dataclass(frozen=True)
class Parts:
    """Layers that hold independent parts side by side: the heads of attention, or hidden units."""

    into: tuple[nn.Linear, ...]
    """Their outputs are the parts, `size` each."""
    out: nn.Linear
    """Its inputs are the same parts; it adds up what each contributes."""
    size: int
    """Channels of one part: the head size, or 1."""

    @property
    def count(self) -> int:
        """How many there are."""
        return self.out.in_features // self.size

    def importance(self) -> torch.Tensor:
        """Sum of the squared weights of each part, over all its layers."""
        rows = [layer.weight.detach().square().sum(dim=1) for layer in self.into]
        channels = sum(rows, start=self.out.weight.detach().square().sum(dim=0))
        return channels.view(-1, self.size).sum(dim=1)

    def channels(self, parts: Sequence[int]) -> list[int]:
        """Return the channels of the numbered parts."""
        return [part * self.size + n for part in parts for n in range(self.size)]


def attention_parts(model: nn.Module) -> dict[str, Parts]:
    """Return the heads of every attention that is written as transformers writes ViT."""
    found = {}
    for name, module in model.named_modules():
        into = tuple(getattr(module, f"{letter}_proj", None) for letter in "qkv")
        out = getattr(module, "o_proj", getattr(module, "out_proj", None))
        size = getattr(module, "head_dim", None)
        linear = [layer for layer in into if isinstance(layer, nn.Linear)]
        if len(linear) < 3 or not isinstance(out, nn.Linear) or not isinstance(size, int):
            continue
        if all(layer.out_features == out.in_features for layer in linear):
            found[name] = Parts(tuple(linear), out, size)
    return found


def hidden_parts(model: nn.Module) -> dict[str, Parts]:
    """Return the hidden units of every two-layer perceptron that transformers calls fc1, fc2."""
    found = {}
    for name, module in model.named_modules():
        first, second = getattr(module, "fc1", None), getattr(module, "fc2", None)
        if (
            isinstance(first, nn.Linear)
            and isinstance(second, nn.Linear)
            and first.out_features == second.in_features
        ):
            found[name] = Parts((first,), second, 1)
    return found


def prune_heads(
    model: nn.Module, inputs: Sequence[torch.Tensor], *, max_flops: float, round_to: int = 8
) -> Pruned:
    """Return a copy of `model` without its least important heads and hidden units.

    Every attention loses about the same share of its heads (Michel et al. 2019) and every
    perceptron that share of its hidden units; the width of the tokens and the head size stay.
    Important is what has large weights.

    Args:
        model: A classifier of transformers as ViT, DeiT, DINOv2 or CLIP; left as it is.
        inputs: What its forward takes, two rows or more, on its device.
        max_flops: Share of the model's FLOPs, 0 < max_flops <= 1; 1 returns an equal model.
        round_to: Hidden units that are left are a multiple of it.

    Raises:
        RecipeError: The model has no such attention, works otherwise, or `max_flops` is out of
            reach.
    """
    if round_to < 1:
        raise RecipeError(f"round_to {round_to} is below 1")
    if not attention_parts(model):
        raise RecipeError(
            f"{type(model).__name__}: no attention with q_proj, k_proj, v_proj and head_dim, so it "
            "has no heads to remove; use what: channels or what: weights"
        )

    parts = _parts(model)
    order = RemovalOrder(
        {name: part.importance() for name, part in parts.items()},
        {name: 1 if part.size > 1 else min(round_to, part.count) for name, part in parts.items()},
    )

    def cut(removal: Removal) -> nn.Module:
        masked = copy.deepcopy(model).eval()
        smaller = copy.deepcopy(masked)
        _mask(masked, removal)
        _remove(smaller, removal)
        _check_same(outputs_of(masked, inputs), outputs_of(smaller, inputs), model)
        return smaller

    return prune_to_flops(model, inputs, order, cut, max_flops=max_flops, remedy="raise max_flops")


def _parts(model: nn.Module) -> dict[str, Parts]:
    return attention_parts(model) | hidden_parts(model)


@torch.no_grad()
def _mask(model: nn.Module, removal: Removal) -> None:
    parts = _parts(model)
    for name, removed in removal.items():
        parts[name].out.weight[:, parts[name].channels(removed)] = 0.0


def _remove(model: nn.Module, removal: Removal) -> None:
    parts = _parts(model)
    for name, removed in removal.items():
        part = parts[name]
        kept = part.channels([n for n in range(part.count) if n not in set(removed)])
        for layer in part.into:
            layer.out_features = len(kept)
            layer.weight = _like(layer.weight, layer.weight[kept])
            if layer.bias is not None:
                layer.bias = _like(layer.bias, layer.bias[kept])
        part.out.in_features = len(kept)
        part.out.weight = _like(part.out.weight, part.out.weight[:, kept])


def _like(parameter: torch.Tensor, values: torch.Tensor) -> nn.Parameter:
    return nn.Parameter(values.detach().contiguous(), requires_grad=parameter.requires_grad)


def _check_same(masked: torch.Tensor, smaller: torch.Tensor, model: nn.Module) -> None:
    # A model that shares its channels out among a fixed number of heads would mix them unseen.
    error = float((masked - smaller).abs().max())
    if error > _TOLERANCE * float(masked.abs().max()):
        raise RecipeError(
            f"{type(model).__name__}: without heads it gives other outputs than with heads of zero "
            f"(by {error:.1e}), so its heads cannot be removed; use what: weights"
        )
