"""Low-rank factorization: a layer's matrix as the product of two thinner ones."""

import copy
from collections.abc import Sequence

import torch
from torch import nn

from components.errors import RecipeError
from components.models.low_rank import (
    Factorizable,
    factorized,
    is_factorizable,
    matrix_shape,
)


def factorize(
    model: nn.Module,
    *,
    energy: float | None = None,
    rank: int | None = None,
    layers: Sequence[str] = (),
) -> tuple[nn.Module, dict[str, int]]:
    """Return a copy of `model` with factorized layers, and their ranks.

    A layer of i inputs and o outputs is replaced where its rank is below i o / (i + o), from where
    on two layers have fewer weights than one; elsewhere it stays.

    Args:
        model: Left as it is; not wrapped in DDP.
        energy: Share of the squared singular values that each layer keeps, 0 < energy <= 1.
        rank: Of every layer, instead of `energy`.
        layers: Names of linear layers and 1 x 1 convolutions; all of the model if empty.

    Raises:
        RecipeError: Not exactly one of energy and rank, a named layer cannot be factorized, or
            none gets smaller.
    """
    if (energy is None) == (rank is None):
        raise RecipeError(f"give exactly one of energy and rank, not {energy} and {rank}")
    if energy is not None and not 0.0 < energy <= 1.0:
        raise RecipeError(f"energy {energy} is not above 0 and at most 1")
    if rank is not None and rank < 1:
        raise RecipeError(f"rank {rank} is below 1")
    smaller, ranks = copy.deepcopy(model), {}
    for name, layer in _chosen(smaller, layers).items():
        singular = torch.linalg.svdvals(_matrix(layer))
        wanted = rank if rank is not None else _rank_of(singular, energy or 1.0)
        out, inside = matrix_shape(layer)
        if wanted * (out + inside) < out * inside:
            smaller.set_submodule(name, low_rank_layer(layer, wanted))
            ranks[name] = wanted
    if not ranks:
        setting = f"rank {rank}" if energy is None else f"energy {energy}"
        raise RecipeError(f"{setting} makes no layer of the model smaller; lower it")
    return smaller, ranks


@torch.no_grad()
def low_rank_layer(layer: Factorizable, rank: int) -> nn.Sequential:
    """Return the two layers whose product is nearest to `layer` (Eckart and Young 1936).

    The singular values are shared evenly between the two, so that their weights are of one size.
    """
    left_OR, singular_R, right_RI = torch.linalg.svd(_matrix(layer), full_matrices=False)
    root_R = singular_R[:rank].sqrt()
    pair = factorized(layer, rank)
    first, second = pair[0], pair[1]
    assert is_factorizable(first) and is_factorizable(second)
    first.weight.copy_((root_R[:, None] * right_RI[:rank]).view(first.weight.shape))
    second.weight.copy_((left_OR[:, :rank] * root_R).view(second.weight.shape))
    if layer.bias is not None and second.bias is not None:
        second.bias.copy_(layer.bias)
    for made in (first, second):
        made.requires_grad_(layer.weight.requires_grad)
    return pair


def _chosen(model: nn.Module, names: Sequence[str]) -> dict[str, Factorizable]:
    possible = {name: layer for name, layer in model.named_modules() if is_factorizable(layer)}
    for name in names:
        if name not in possible:
            raise RecipeError(
                f"layer {name!r} is no linear layer or 1 x 1 convolution of the model; choose "
                f"among {', '.join(possible) or 'none: it has none'}"
            )
    return {name: possible[name] for name in names or possible}


def _matrix(layer: Factorizable) -> torch.Tensor:
    # In float32 the small singular values of a wide layer are mostly rounding.
    return layer.weight.detach().flatten(1).double()


def _rank_of(singular: torch.Tensor, energy: float) -> int:
    squares = singular.square()
    total = squares.sum()
    if not total:
        return 1
    # The first sum that holds the share; at energy 1 rounding must not ask for one rank too many.
    reached = squares.cumsum(0) >= energy * total * (1.0 - 1e-12)
    return int(reached.to(torch.int8).argmax()) + 1
