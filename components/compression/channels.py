"""Structured pruning: whole channels (or hidden units) leave; the only file with torch-pruning."""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Literal

import torch
import torch_pruning
from torch import nn

from components.compression.budget import (
    FOREIGN_ERRORS,
    Pruned,
    Removal,
    RemovalOrder,
    prune_to_flops,
)
from components.compression.heads import attention_parts
from components.errors import RecipeError

_POWER = {"l1": 1, "l2": 2}


def prune_channels(
    model: nn.Module,
    inputs: Sequence[torch.Tensor],
    *,
    max_flops: float,
    round_to: int = 8,
    importance: Literal["l1", "l2"] = "l2",
) -> Pruned:
    """Return a copy of `model` without its least important channels, of at most `max_flops`.

    Every layer loses about the same share. Layers that are tied to one another by additions,
    norms or groups lose the same channels (DepGraph, Fang et al. 2023). What the model puts out
    keeps its width.

    Args:
        model: Left as it is; not wrapped in DDP.
        inputs: What its forward takes, two rows or more, on its device.
        max_flops: Share of the model's FLOPs, 0 < max_flops <= 1; 1 returns an equal model.
        round_to: Channels that are left are a multiple of it; 8 suits vector registers.
        importance: Norm of all weights of a channel, over all layers that are tied.

    Raises:
        RecipeError: The model has layers that cannot lose channels, or `max_flops` is out of
            reach.
    """
    if round_to < 1:
        raise RecipeError(f"round_to {round_to} is below 1")
    _refuse_unsupported(model)
    with torch.no_grad():
        width = copy.deepcopy(model).eval()(*inputs).shape[1]
    scores = _scores(model, inputs, _last_layer(model, width), importance)
    order = RemovalOrder(scores, dict.fromkeys(scores, round_to))
    remedy = f"lower round_to (now {round_to}) or raise max_flops"
    return prune_to_flops(
        model, inputs, order, partial(_cut, model, inputs), max_flops=max_flops, remedy=remedy
    )


def _scores(
    model: nn.Module,
    inputs: Sequence[torch.Tensor],
    last: str,
    importance: Literal["l1", "l2"],
) -> dict[str, torch.Tensor]:
    # By name of the first layer of each group of layers that lose the same channels.
    traced = copy.deepcopy(model)
    names = {module: name for name, module in traced.named_modules()}
    measure = torch_pruning.importance.GroupMagnitudeImportance(
        p=_POWER[importance], normalizer=None
    )
    with _told_of(model):
        graph = _graph(traced, inputs)
        groups = graph.get_all_groups(ignored_layers=[traced.get_submodule(last)])
        return {names[group[0].dep.target.module]: measure(group) for group in groups}


def _cut(model: nn.Module, inputs: Sequence[torch.Tensor], removal: Removal) -> nn.Module:
    smaller = copy.deepcopy(model).eval()
    if removal:
        with _told_of(model):
            graph = _graph(smaller, inputs)
            for name, channels in removal.items():
                root = smaller.get_submodule(name)
                prune_out = graph.get_pruner_of_module(root).prune_out_channels
                graph.get_pruning_group(root, prune_out, channels).prune()
    for name, parameter in model.named_parameters():
        smaller.get_parameter(name).requires_grad_(parameter.requires_grad)
    return smaller


def _graph(model: nn.Module, inputs: Sequence[torch.Tensor]) -> torch_pruning.DependencyGraph:
    # It follows the channels along the gradient, which ends at frozen parameters.
    with torch.enable_grad():
        return torch_pruning.DependencyGraph().build_dependency(
            model.requires_grad_(True),
            tuple(inputs),
            forward_fn=lambda network, example: network(*example),
            verbose=False,
        )


@contextmanager
def _told_of(model: nn.Module) -> Iterator[None]:
    try:
        yield
    except FOREIGN_ERRORS as error:
        raise RecipeError(
            f"{type(model).__name__}: its channels cannot be followed through the layers "
            f"({type(error).__name__}: {' '.join(str(error).split())[:120]}); use what: weights"
        ) from error


def _refuse_unsupported(model: nn.Module) -> None:
    for name, module in model.named_modules():
        if isinstance(module, nn.GroupNorm):
            raise RecipeError(
                f"{name}: channels of a model with group normalization cannot be removed; use "
                "norm: batch or what: weights"
            )
        if isinstance(module, nn.Conv2d) and module.groups not in (1, module.out_channels):
            raise RecipeError(
                f"{name}: channels of a convolution in {module.groups} groups cannot be removed; "
                "use what: weights"
            )
    for name, heads in attention_parts(model).items():
        raise RecipeError(
            f"{name}: channels of attention cannot be removed, its head size {heads.size} is "
            "fixed; use what: heads"
        )


def _last_layer(model: nn.Module, width: int) -> str:
    names: list[str] = [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and module.out_features == width
    ]
    if not names:
        raise RecipeError(
            f"{type(model).__name__}: no linear layer gives the {width} outputs, so what must "
            "keep its width is not known; use what: weights"
        )
    return names[-1]
