"""One step of compression done to a model package, from its settings."""

import copy
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from components.compression.channels import prune_channels
from components.compression.config import (
    AnyStep,
    FactorizeConfig,
    FoldConfig,
    PruneChannelsConfig,
    PruneHeadsConfig,
    PruneTwoFourConfig,
    PruneWeightsConfig,
    QuantizeDynamicConfig,
    QuantizeStaticConfig,
    QuantizeWeightsConfig,
)
from components.compression.factorize import factorize
from components.compression.fuse import chains, fold_norms
from components.compression.heads import prune_heads
from components.compression.magnitude import (
    Masks,
    apply_masks,
    global_masks,
    layer_masks,
    layer_weights,
    two_four_masks,
)
from components.compression.quantize import Quantized, quantize_dynamic, quantize_static
from components.compression.trace import Inputs
from components.errors import RecipeError
from components.models.compressed import LineageStep
from components.models.package import ModelPackage
from components.models.storage import Form, sparse_forms

TrainBatches = Callable[[int], Iterable[Inputs]]
"""How many records -> what the model takes of so many records of train, batch by batch."""
_EXAMPLE_ROWS = 2


@dataclass(frozen=True)
class Outcome:
    """What a step made of a package."""

    package: ModelPackage
    """Not measured yet, and its metrics are those of before: save and load it first."""
    summary: str
    """What was done, in a few words: `9 of 9 layers in int8`."""


@dataclass(frozen=True)
class _Change:
    model: nn.Module
    parts: dict[str, Any]
    """Of the package's `CompressionSpec`, those that are new."""
    summary: str


def apply_step(
    package: ModelPackage, step: AnyStep, train_batches: TrainBatches, *, base_sha256: str | None
) -> Outcome:
    """Return the package after one step, with that step in its lineage.

    Args:
        package: Left as it was; on the CPU.
        step: What is done.
        train_batches: Of records without augmentation, on the CPU.
        base_sha256: `package_sha256` of where the package was read from, None where it was not.

    Raises:
        RecipeError: The step does not suit the model, or a setting names a layer that it has not.
        DataError: Calibration met values that are not finite.
    """
    change = _changed(package, step, train_batches)
    settings = step.model_dump(mode="json", exclude={"kind"})
    done = LineageStep(kind=step.kind, settings=settings, base_sha256=base_sha256)
    lineage = (*package.compression.lineage, done)
    compression = package.compression.model_copy(update={**change.parts, "lineage": lineage})
    return Outcome(replace(package, model=change.model, compression=compression), change.summary)


def _changed(package: ModelPackage, step: AnyStep, train_batches: TrainBatches) -> _Change:
    if isinstance(step, PruneChannelsConfig | PruneHeadsConfig):
        return _smaller(package, step, _example(train_batches))
    if isinstance(step, PruneWeightsConfig):
        make_masks = global_masks if step.scope == "global" else layer_masks
        return _with_zeros(package, make_masks(layer_weights(package.model), step.amount))
    if isinstance(step, PruneTwoFourConfig):
        return _with_zeros(package, two_four_masks(layer_weights(package.model)))
    if isinstance(step, FactorizeConfig):
        return _thinner(package, step)
    if isinstance(step, FoldConfig):
        return _folded(package, _example(train_batches))
    if isinstance(step, QuantizeStaticConfig):
        quantized = quantize_static(
            package.model,
            train_batches(step.calibration_records),
            percentile=step.percentile,
            weight_bits=step.weight_bits,
            keep_float=step.keep_float,
        )
        return _of_integers(package, quantized)
    if isinstance(step, QuantizeDynamicConfig):
        dynamic = quantize_dynamic(
            package.model, weight_bits=step.weight_bits, keep_float=step.keep_float
        )
        return _of_integers(package, dynamic)
    return _stored_smaller(package, step)


def _example(train_batches: TrainBatches) -> Inputs:
    return next(iter(train_batches(_EXAMPLE_ROWS)))


def _smaller(
    package: ModelPackage, step: PruneChannelsConfig | PruneHeadsConfig, example: Inputs
) -> _Change:
    if isinstance(step, PruneChannelsConfig):
        pruned = prune_channels(
            package.model,
            example,
            max_flops=step.max_flops,
            round_to=step.round_to,
            importance=step.importance,
        )
    else:
        pruned = prune_heads(
            package.model, example, max_flops=step.max_flops, round_to=step.round_to
        )
    structure = {**package.compression.structure, **pruned.sizes}
    summary = f"{pruned.flops_share:.2f} of the FLOPs left, {len(pruned.sizes)} layers smaller"
    return _Change(pruned.model, {"structure": structure}, summary)


def _with_zeros(package: ModelPackage, masks: Masks) -> _Change:
    model = copy.deepcopy(package.model)
    apply_masks(model, masks)
    weights = layer_weights(model)
    zeros = sum(int((weight == 0).sum()) for weight in weights.values())
    total = sum(weight.numel() for weight in weights.values())
    storage = {**package.compression.storage, **sparse_forms(weights)}
    summary = f"{zeros / total:.2f} of the weights zero, in {len(masks)} of {len(weights)} layers"
    return _Change(model, {"storage": storage}, summary)


def _thinner(package: ModelPackage, step: FactorizeConfig) -> _Change:
    model, ranks = factorize(package.model, energy=step.energy, rank=step.rank, layers=step.layers)
    summary = f"{len(ranks)} layers as two, of rank {min(ranks.values())} to {max(ranks.values())}"
    low_rank = {**package.compression.low_rank, **ranks}
    return _Change(model, {"low_rank": low_rank}, summary)


def _folded(package: ModelPackage, example: Inputs) -> _Change:
    folded = fold_norms(package.model, chains(package.model, example))
    if not folded.norms:
        raise RecipeError(
            f"{type(package.model).__name__} has no batch norm right behind a convolution; remove "
            "the step"
        )
    norms = {**package.compression.folded, **folded.norms}
    return _Change(folded.model, {"folded": norms}, f"{len(folded.norms)} batch norms folded")


def _of_integers(package: ModelPackage, quantized: Quantized) -> _Change:
    # What computes in integers is stored in them.
    forms = package.compression.storage
    gone = {f"{name}.weight" for name in quantized.spec.layers}
    storage = {name: form for name, form in forms.items() if name not in gone}
    layers = len(quantized.spec.layers)
    summary = f"{layers} of {len(layer_weights(package.model))} layers in int8"
    return _Change(quantized.model, {"int8": quantized.spec, "storage": storage}, summary)


def _stored_smaller(package: ModelPackage, step: QuantizeWeightsConfig) -> _Change:
    weights = layer_weights(package.model)
    for name in step.keep_float:
        if f"{name}.weight" not in weights:
            layers = ", ".join(weight.removesuffix(".weight") for weight in weights)
            raise RecipeError(f"keep_float: no layer {name!r}; there are {layers}")
    chosen = [name for name in weights if name.removesuffix(".weight") not in step.keep_float]
    if not chosen:
        raise RecipeError("keep_float: names every layer, so none is left; name fewer")
    before = package.compression.storage
    form: Form = "int8" if step.what == "int8_weights" else "int4"
    storage = {**before, **dict.fromkeys(chosen, form)}
    if form == "int8":
        zeros = [name for name in chosen if before.get(name) == "sparse"]
        storage |= dict.fromkeys(zeros, "sparse_int8")
    summary = f"{len(chosen)} of {len(weights)} layers stored in {form}"
    return _Change(copy.deepcopy(package.model), {"storage": storage}, summary)
