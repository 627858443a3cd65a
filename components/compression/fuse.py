"""Layers that can be one: a convolution, the batch norm behind it, and the ReLU behind that."""

import copy
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import nn

from components.compression.trace import Call, Inputs, Trace, Value, trace
from components.models.compressed import fold_away


@dataclass(frozen=True, slots=True)
class Chain:
    """A layer and what comes behind it and sees nothing else."""

    layer: str
    """Name of a Conv2d or Linear."""
    norm: str | None
    """Name of the BatchNorm2d behind a convolution."""
    relu: str | None
    """Name of the ReLU behind that."""
    input: Value
    output: Value
    """What the last of them gives."""

    @property
    def last(self) -> str:
        """Name of the module that gives `output`."""
        return self.relu or self.norm or self.layer


class Folded(NamedTuple):
    """A model without the batch norms that could be folded."""

    model: nn.Module
    norms: dict[str, str]
    """By name of a convolution the batch norm that went into it: `CompressionSpec.folded`."""


class FoldedWeights(NamedTuple):
    """Weights of a layer with its batch norm in them; float32, without gradients."""

    weight: torch.Tensor
    bias: torch.Tensor


def chains(model: nn.Module, inputs: Inputs) -> list[Chain]:
    """Return every Conv2d and Linear that a forward pass calls once, with what can join it.

    A norm or ReLU joins if it is all that reads the value before it, wherever in the code: the sum
    of a shortcut that reads it too keeps it apart.

    Args:
        model: Left as it was.
        inputs: A few rows of what the forward takes.
    """
    return chains_of(trace(model, inputs))


def chains_of(flow: Trace) -> list[Chain]:
    """As `chains`, of a forward pass that is known already."""
    found = []
    for call in flow:
        if not isinstance(call.module, nn.Conv2d | nn.Linear):
            continue
        norm = relu = None
        value = call.output
        if isinstance(call.module, nn.Conv2d) and (reader := _only_reader(flow, value)):
            module = reader.module
            if type(module) is nn.BatchNorm2d and module.running_var is not None:
                norm, value = reader.name, reader.output
        reader = _only_reader(flow, value)
        if reader and type(reader.module) is nn.ReLU:
            relu, value = reader.name, reader.output
        found.append(Chain(call.name, norm, relu, call.input, value))
    return found


def _only_reader(flow: Trace, value: Value) -> Call | None:
    readers = flow.readers(value)
    alone = len(readers) == 1 and flow.uses[value] == 1 and value not in flow.outputs
    return readers[0] if alone else None


def folded_weights(layer: nn.Conv2d | nn.Linear, norm: nn.Module | None) -> FoldedWeights:
    """Return the weights that give in one layer what `layer` and then `norm` give in evaluation.

    Computed in float64, as y = gamma (w x + b - mean) / sqrt(var + eps) + beta.
    """
    weight = layer.weight.detach().double()
    bias = weight.new_zeros(len(weight)) if layer.bias is None else layer.bias.detach().double()
    if isinstance(norm, nn.BatchNorm2d):
        assert norm.running_mean is not None and norm.running_var is not None
        factor = (norm.running_var.double() + norm.eps).rsqrt()
        if norm.weight is not None:
            factor = factor * norm.weight.detach().double()
        weight = weight * factor.view(-1, 1, 1, 1)
        bias = (bias - norm.running_mean.double()) * factor
        if norm.bias is not None:
            bias = bias + norm.bias.detach().double()
    return FoldedWeights(weight.float(), bias.float())


def fold_norms(model: nn.Module, joined: Iterable[Chain]) -> Folded:
    """Return a copy in which each batch norm of `joined` is part of its convolution.

    Outputs in evaluation mode differ by rounding alone. The copy is for prediction: what a batch
    norm does in training is gone.

    Args:
        model: Left as it was.
        joined: What `chains` gave; those without a norm stay as they are.
    """
    norms = {chain.layer: chain.norm for chain in joined if chain.norm is not None}
    folded = copy.deepcopy(model)
    fold_away(folded, norms)
    for name, norm in norms.items():
        layer = model.get_submodule(name)
        assert isinstance(layer, nn.Conv2d)
        weights = folded_weights(layer, model.get_submodule(norm))
        folded.get_submodule(name).load_state_dict(weights._asdict())
    return Folded(folded, norms)
