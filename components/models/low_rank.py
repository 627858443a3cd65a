"""A layer as two thinner ones: the form of a model that was factorized."""

from collections.abc import Mapping
from typing import Any, TypeGuard

from torch import nn

from components.errors import DataError
from components.models.structure import layer_at, wrong_kind

Factorizable = nn.Linear | nn.Conv2d


def is_factorizable(layer: nn.Module) -> TypeGuard[Factorizable]:
    """Whether the layer is one matrix: linear, or a 1 x 1 convolution of one group.

    Subclasses are left alone: attention reads the weight of its own as it is.
    """
    if type(layer) is nn.Conv2d:
        return layer.kernel_size == (1, 1) and layer.groups == 1
    return type(layer) is nn.Linear


def matrix_shape(layer: Factorizable) -> tuple[int, int]:
    """Return (outputs, inputs) of the layer's matrix."""
    return layer.weight.shape[0], layer.weight.shape[1]


def factorized(layer: Factorizable, rank: int) -> nn.Sequential:
    """Return two layers of one shape with `layer`, through `rank` numbers, with undefined weights.

    The first carries the stride and padding, the second the bias.

    Args:
        layer: One for which `is_factorizable` holds.
        rank: From 1 to the smaller side of the matrix.
    """
    out, inside = matrix_shape(layer)
    # On no device nothing is drawn: weights that are overwritten must not move the random state.
    nowhere: dict[str, Any] = {"device": "meta", "dtype": layer.weight.dtype}
    has_bias = layer.bias is not None
    if isinstance(layer, nn.Linear):
        pair = nn.Sequential(
            nn.Linear(inside, rank, bias=False, **nowhere),
            nn.Linear(rank, out, bias=has_bias, **nowhere),
        )
    else:
        place: dict[str, Any] = {"stride": layer.stride, "padding": layer.padding}
        nowhere["padding_mode"] = layer.padding_mode
        pair = nn.Sequential(
            nn.Conv2d(inside, rank, 1, bias=False, **place, **nowhere),
            nn.Conv2d(rank, out, 1, bias=has_bias, **nowhere),
        )
    return pair.to_empty(device=layer.weight.device).train(layer.training)


def make_low_rank(model: nn.Module, ranks: Mapping[str, int]) -> None:
    """Replace the named layers by `factorized`, in place; their weights are then undefined.

    Raises:
        DataError: A layer does not exist or has no such form.
    """
    for name, rank in ranks.items():
        layer = layer_at(model, name, nn.Module)
        if not is_factorizable(layer):
            raise wrong_kind(name, layer, "Linear or 1 x 1 Conv2d of one group")
        if not 1 <= rank <= min(matrix_shape(layer)):
            raise DataError(
                f"rank {rank} of layer {name!r} is not between 1 and {min(matrix_shape(layer))}; "
                "write it anew"
            )
        model.set_submodule(name, factorized(layer, rank))
