"""One contract for every compressor that changes layers or weights, and for their order."""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from components.compression.channels import prune_channels
from components.compression.factorize import factorize
from components.compression.heads import prune_heads
from components.compression.magnitude import (
    apply_masks,
    global_masks,
    layer_masks,
    layer_weights,
    two_four_masks,
)
from components.models.compressed import CompressionSpec
from components.models.package import ModelPackage, load_package, save_package
from components.models.storage import Form, sparse_forms
from tests.components.compression.packages import (
    MODELS,
    inputs_of,
    package_of,
    records_of,
    with_spec,
)

torch.set_num_threads(1)


def zeros(package: ModelPackage, make_masks: Callable[..., object], *args: float) -> ModelPackage:
    model = copy.deepcopy(package.model)
    weights = layer_weights(model)
    apply_masks(model, make_masks(weights, *args))
    return with_spec(package, model, storage=sparse_forms(layer_weights(model)))


def channels(package: ModelPackage, max_flops: float) -> ModelPackage:
    pruned = prune_channels(package.model, inputs_of(package), max_flops=max_flops, round_to=4)
    return with_spec(package, pruned.model, structure=pruned.sizes)


def heads(package: ModelPackage, max_flops: float) -> ModelPackage:
    pruned = prune_heads(package.model, inputs_of(package), max_flops=max_flops)
    return with_spec(package, pruned.model, structure=pruned.sizes)


def low_rank(package: ModelPackage, energy: float) -> ModelPackage:
    model, ranks = factorize(package.model, energy=energy)
    return with_spec(package, model, low_rank=ranks)


def stored(package: ModelPackage, form: Form) -> ModelPackage:
    model = copy.deepcopy(package.model)
    forms = {name: form for name in layer_weights(model) if "patch" not in name}
    return with_spec(package, model, storage=forms)


def everything(package: ModelPackage) -> ModelPackage:
    return stored(zeros(low_rank(channels(package, 0.7), 0.7), global_masks, 0.6), "sparse_int8")


@dataclass(frozen=True)
class Compressor:
    """One way to make a package smaller."""

    compress: Callable[[ModelPackage], ModelPackage]
    factor: float
    """By which the weights of convnet and resnet are smaller at least."""
    models: tuple[str, ...] = ("convnet", "mlp", "vit", "huggingface resnet")
    off: Callable[[ModelPackage], ModelPackage] | None = None


COMPRESSORS = {
    "global magnitude": Compressor(
        lambda p: zeros(p, global_masks, 0.6), 2.0, off=lambda p: zeros(p, global_masks, 0.0)
    ),
    "layer magnitude": Compressor(
        lambda p: zeros(p, layer_masks, 0.6), 2.0, off=lambda p: zeros(p, layer_masks, 0.0)
    ),
    "2:4": Compressor(lambda p: zeros(p, two_four_masks), 1.8),
    "channels": Compressor(
        lambda p: channels(p, 0.5),
        1.8,
        models=("resnet", "mlp", "huggingface resnet"),
        off=lambda p: channels(p, 1.0),
    ),
    "heads": Compressor(lambda p: heads(p, 0.7), 0.0, ("vit",), off=lambda p: heads(p, 1.0)),
    "low rank": Compressor(lambda p: low_rank(p, 0.8), 0.0, ("resnet", "mlp", "vit")),
    "int8 weights": Compressor(lambda p: stored(p, "int8"), 3.5),
    "int4 weights": Compressor(lambda p: stored(p, "int4"), 6.5),
    "int8 without zeros": Compressor(
        lambda p: stored(zeros(p, global_masks, 0.6), "sparse_int8"), 6.0
    ),
    "all in their order": Compressor(everything, 0.0, ("mlp", "huggingface resnet")),
}


def cases() -> Iterator[object]:
    for label, compressor in COMPRESSORS.items():
        for model in compressor.models:
            # transformers takes seconds to import.
            marks = [pytest.mark.processes] * (MODELS[model].name == "transformers")
            yield pytest.param(compressor, model, id=f"{label}, {model}", marks=marks)


contract = pytest.mark.parametrize(("compressor", "name"), list(cases()))


def same_state(one: nn.Module, other: nn.Module) -> bool:
    first, second = one.state_dict(), other.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[n], second[n]) for n in first)


@contract
def test_what_is_loaded_is_what_was_measured(
    compressor: Compressor, name: str, tmp_path: Path
) -> None:
    base = package_of(name)
    before, random_state = copy.deepcopy(base.model), torch.get_rng_state()
    package = compressor.compress(base)
    assert torch.equal(torch.get_rng_state(), random_state)
    assert same_state(base.model, before) and base.compression == CompressionSpec()
    assert base.model.training and package.model.training

    records = records_of(package)
    expected = package.predict(records)
    assert expected.shape == base.predict(records).shape
    assert not np.array_equal(expected, base.predict(records))
    if package.classes:
        np.testing.assert_allclose(expected.sum(axis=1), 1.0, rtol=1e-5)

    folder = save_package(tmp_path / "one", package)
    loaded = load_package(folder)
    assert np.array_equal(loaded.predict(records), expected)
    assert loaded.compression == package.compression
    again = save_package(tmp_path / "two", loaded)
    assert [path.name for path in sorted(again.iterdir())] == [
        path.name for path in sorted(folder.iterdir())
    ]
    for path in folder.iterdir():
        assert path.read_bytes() == (again / path.name).read_bytes(), path.name

    if name in ("convnet", "resnet"):
        base_bytes = sum(tensor.nbytes for tensor in base.model.state_dict().values())
        assert base_bytes >= compressor.factor * (folder / "model.safetensors").stat().st_size


@pytest.mark.parametrize(
    ("compressor", "name"), [case for case in cases() if case.values[1] in ("mlp", "vit")]
)
def test_the_same_twice_is_bitwise_equal(compressor: Compressor, name: str) -> None:
    one, other = (compressor.compress(package_of(name)) for _ in range(2))
    assert one.compression == other.compression
    assert same_state(one.model, other.model)


@pytest.mark.parametrize(
    ("compressor", "name"),
    [case for case in cases() if case.values[0].off is not None],
)
def test_off_is_the_identity(compressor: Compressor, name: str) -> None:
    base = package_of(name)
    assert compressor.off is not None
    package = compressor.off(base)
    assert package.compression == CompressionSpec()
    assert same_state(package.model, base.model)
