"""One contract for every compressor that changes the numbers that a model computes in."""

import copy
import hashlib
import json
import pickletools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from components.compression.fuse import chains, fold_norms
from components.compression.qat import convert_qat, prepare_qat
from components.compression.quantize import Quantized, quantize_dynamic, quantize_static
from components.errors import DataError
from components.models.package import ModelPackage, load_package, save_package
from tests.components.compression.packages import (
    inputs_of,
    package_of,
    records_of,
    with_spec,
)

torch.set_num_threads(1)


def static(package: ModelPackage) -> ModelPackage:
    return _packed(package, quantize_static(package.model, [inputs_of(package)], weight_bits=8))


def percentile(package: ModelPackage) -> ModelPackage:
    batches = [inputs_of(package)]
    quantized = quantize_static(package.model, batches, percentile=99.9, weight_bits=7)
    return _packed(package, quantized)


def dynamic(package: ModelPackage) -> ModelPackage:
    return _packed(package, quantize_dynamic(package.model))


def aware(package: ModelPackage) -> ModelPackage:
    spec = quantize_static(package.model, [inputs_of(package)]).spec
    simulated = prepare_qat(package.model, spec).train()
    optimizer = torch.optim.SGD(simulated.parameters(), 0.01)
    simulated(*inputs_of(package)).square().mean().backward()
    optimizer.step()
    return _packed(package, convert_qat(package.model, simulated, spec))


def fold(package: ModelPackage) -> ModelPackage:
    folded = fold_norms(package.model, chains(package.model, inputs_of(package)))
    return with_spec(package, folded.model, folded=folded.norms)


def _packed(package: ModelPackage, quantized: Quantized) -> ModelPackage:
    return with_spec(package, quantized.model, int8=quantized.spec.model_dump())


@dataclass(frozen=True)
class Compressor:
    """One way to compute a package in other numbers."""

    compress: Callable[[ModelPackage], ModelPackage]
    error: float
    """Of the predictions beside their largest at most."""
    factor: dict[str, float]
    """By model, how many times smaller the weights' file is at least."""


WITH_NORMS = {"convnet": 1.0, "resnet": 1.0, "huggingface resnet": 1.0}
COMPRESSORS = {
    # The smaller the file, the more of it are the names and scales.
    "static": Compressor(
        static,
        0.01,
        {"convnet": 3.8, "resnet": 3.5, "mlp": 2.4, "vit": 2.5, "huggingface resnet": 2.8},
    ),
    "percentile, seven bits": Compressor(percentile, 0.02, {"convnet": 3.8, "resnet": 3.5}),
    "dynamic": Compressor(dynamic, 0.005, {"mlp": 2.4, "vit": 2.2}),
    "aware": Compressor(aware, 0.2, {"convnet": 3.8, "resnet": 3.5, "mlp": 2.4}),
    "fold": Compressor(fold, 1e-5, WITH_NORMS),
}
CASES = [
    pytest.param(
        name,
        model,
        id=f"{name}: {model}",
        # transformers takes seconds to import.
        marks=[pytest.mark.processes] * (model in ("vit", "huggingface resnet")),
    )
    for name, compressor in COMPRESSORS.items()
    for model in compressor.factor
]
every_case = pytest.mark.parametrize(("name", "model"), CASES)


@every_case
def test_contract(name: str, model: str, tmp_path: Path) -> None:
    compressor, package = COMPRESSORS[name], package_of(model)
    package.model.train()
    before = copy.deepcopy(package.model.state_dict())
    state = torch.get_rng_state()
    small = compressor.compress(package)

    # The caller's model, its mode and the random state are as they were.
    assert package.model.training and torch.equal(torch.get_rng_state(), state)
    after = package.model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)

    records = records_of(package)
    expected, measured = package.predict(records), small.predict(records)
    assert measured.shape == expected.shape and measured.dtype == expected.dtype
    if package.classes:
        np.testing.assert_allclose(measured.sum(axis=1), 1.0, rtol=1e-5)
    error = np.abs(measured - expected).max() / np.abs(expected).max()
    assert 0.0 < error < compressor.error

    # What is loaded is what was measured, and again the same bytes.
    save_package(tmp_path / "base", package)
    first = save_package(tmp_path / "first", small)
    loaded = load_package(first)
    assert np.array_equal(loaded.predict(records), measured)
    second = save_package(tmp_path / "second", loaded)
    files = sorted(path.name for path in first.iterdir())
    assert files == sorted(path.name for path in second.iterdir())
    assert all((first / file).read_bytes() == (second / file).read_bytes() for file in files)
    sizes = [(tmp_path / kind / "model.safetensors").stat().st_size for kind in ("base", "first")]
    assert sizes[0] >= compressor.factor[model] * sizes[1]

    # The same input gives the same package.
    again = save_package(tmp_path / "again", compressor.compress(package))
    assert all((first / file).read_bytes() == (again / file).read_bytes() for file in files)


def test_nothing_is_pickled(tmp_path: Path) -> None:
    folder = save_package(tmp_path / "package", static(package_of("convnet")))
    for path in folder.iterdir():
        assert path.suffix in {".json", ".safetensors", ".yaml"}
        with pytest.raises(ValueError):
            list(pickletools.genops(path.read_bytes()))


@pytest.mark.parametrize(
    "damage",
    [
        {"scale": 0.0},
        {"scale": float("nan")},
        {"scale": -1.0},
        {"zero_point": 256},
    ],
)
def test_damaged_grids_are_refused(damage: dict[str, float], tmp_path: Path) -> None:
    folder = save_package(tmp_path / "package", static(package_of("convnet")))
    path = folder / "compression.json"
    content = json.loads(path.read_text())
    layer = next(iter(content["int8"]["layers"].values()))
    layer["input"].update(damage)
    path.write_text(json.dumps(content))
    _sign(folder)
    with pytest.raises(
        DataError, match=r"compression.json: int8.layers.features.0.0.input"
    ) as refused:
        load_package(folder)
    assert "\n" not in str(refused.value)


def _sign(folder: Path) -> None:
    index = json.loads((folder / "package.json").read_text())
    for file in index["sha256"]:
        index["sha256"][file] = hashlib.sha256((folder / file).read_bytes()).hexdigest()
    (folder / "package.json").write_text(json.dumps(index))
