"""A compressed package is built again from its files alone, and from no others."""

import hashlib
import json
import pickletools
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from components.errors import DataError
from components.models.compressed import (
    CompressionSpec,
    LineageStep,
    fold_away,
    rebuild,
)
from components.models.int8 import Int8Layer, QParams
from components.models.package import (
    ModelPackage,
    load_package,
    package_sha256,
    save_package,
)
from components.models.registry import build_model
from components.models.weights import fill, tensors_of
from tests.components.compression.packages import package_of, records_of, with_spec

torch.set_num_threads(1)
STRUCTURE = {
    "features.0.0": {"in_channels": 3, "out_channels": 8, "groups": 1},
    "features.0.1": {"num_features": 8},
    "features.1.0": {"in_channels": 8, "out_channels": 16, "groups": 1},
}
LINEAGE = LineageStep(
    kind="prune",
    settings={"what": "channels", "max_flops": 0.5, "round_to": 8},
    base_sha256="0" * 64,
    metrics={"val_accuracy": 0.97, "val_loss": None},
)


def compressed(name: str = "convnet", **parts: Any) -> ModelPackage:
    """A package of undefined weights that were then drawn, built only from its description."""
    package = package_of(name)
    spec = CompressionSpec.model_validate(parts)
    rebuild(package.model, spec)
    generator = torch.Generator().manual_seed(0)
    drawn = {
        tensor_name: _drawn(tensor, generator)
        for tensor_name, tensor in tensors_of(package.model).items()
    }
    fill(package.model, drawn)
    return with_spec(package, package.model, **parts)


def _drawn(tensor: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    if tensor.dtype == torch.int8:
        return torch.randint(-127, 128, tensor.shape, generator=generator, dtype=torch.int8)
    if not tensor.is_floating_point():
        return tensor
    return torch.rand(tensor.shape, generator=generator) * 0.2 + 0.01


EVERYTHING: dict[str, Any] = {
    "structure": STRUCTURE,
    "low_rank": {"head": 3},
    "folded": {"features.0.0": "features.0.1"},
    "int8": {
        "layers": {
            "features.1.0": {
                "op": "conv2d",
                "input": {"scale": 0.25, "zero_point": 0},
                "norm": "features.1.1",
                "relu": "features.1.2",
            }
        },
        "outputs": {"features.2": {"scale": 0.5, "zero_point": 3}},
    },
    "storage": {"features.3.0.weight": "int4", "head.0.weight": "int8"},
    "lineage": [LINEAGE.model_dump(mode="json")],
}


def test_all_parts_together_in_their_order(tmp_path: Path) -> None:
    package = compressed(**EVERYTHING)
    expected = package.predict(records_of(package))
    folder = save_package(tmp_path / "package", package)
    loaded = load_package(folder)
    assert np.array_equal(loaded.predict(records_of(package)), expected)
    assert loaded.compression == package.compression
    assert loaded.compression.lineage == (LINEAGE,)
    assert not loaded.model.training
    model = loaded.model
    assert isinstance(model.features[0][1], nn.Identity) and model.features[0][0].bias is not None
    assert isinstance(model.features[1][1], nn.Identity)
    assert isinstance(model.features[1][2], nn.Identity)
    assert [layer.out_features for layer in model.head] == [3, 4]
    stored = load_file(folder / "model.safetensors")
    assert {"features.3.0.weight:values", "head.0.weight:scale", "features.0.0.bias"} <= set(stored)
    integers = [name for name, tensor in stored.items() if tensor.dtype == torch.int8]
    assert len(integers) == 2


def test_the_file_of_an_uncompressed_model_has_empty_parts(tmp_path: Path) -> None:
    folder = save_package(tmp_path / "package", package_of("mlp"))
    assert json.loads((folder / "compression.json").read_text()) == {
        "structure": {},
        "low_rank": {},
        "folded": {},
        "int8": {"layers": {}, "outputs": {}},
        "storage": {},
        "lineage": [],
    }


def test_nothing_in_a_package_is_pickled(tmp_path: Path) -> None:
    folder = save_package(tmp_path / "package", compressed(**EVERYTHING))
    assert {path.suffix for path in folder.iterdir()} == {".json", ".yaml", ".safetensors"}
    for path in folder.iterdir():
        with pytest.raises((ValueError, IndexError)):
            list(pickletools.genops(path.read_bytes()))


@pytest.mark.processes
def test_a_fresh_process_without_the_tools_gives_the_same(tmp_path: Path) -> None:
    package = compressed(structure=STRUCTURE, storage={"features.3.0.weight": "sparse_int8"})
    folder = save_package(tmp_path / "package", package)
    np.save(tmp_path / "records.npy", records_of(package))
    code = (
        "import sys, hashlib, numpy as np, torch; torch.set_num_threads(1)\n"
        "from components.models.package import load_package\n"
        f"records = np.load({str(tmp_path / 'records.npy')!r})\n"
        f"found = load_package({str(folder)!r}).predict(records)\n"
        "assert not {'torch_pruning', 'components.compression'} & set(sys.modules)\n"
        "print(hashlib.sha256(found.tobytes()).hexdigest())"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    expected = package.predict(records_of(package))
    assert run.stdout.strip() == hashlib.sha256(expected.tobytes()).hexdigest()


def test_a_model_of_integers_alone_has_a_device(tmp_path: Path) -> None:
    grid = {"scale": 0.25, "zero_point": 128}
    layers = {name: {"op": "linear", "input": grid} for name in ("body.0", "body.4", "head")}
    package = compressed("mlp", int8={"layers": layers})
    package.model.requires_grad_(False)
    bare = nn.Sequential(package.model.head)
    assert not list(bare.parameters())
    loaded = load_package(save_package(tmp_path / "package", package))
    assert loaded.device == torch.device("cpu")
    assert np.array_equal(loaded.predict(records_of(package)), package.predict(records_of(package)))
    object.__setattr__(loaded, "model", bare)
    assert loaded.device == torch.device("cpu")


def test_folded_layers_are_those_of_torch() -> None:
    conv, norm = nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8)
    model = nn.Sequential(conv, norm).train()
    x = torch.randn(4, 3, 9, 9, generator=torch.Generator().manual_seed(0))
    model(x)
    model.eval()
    expected = model(x)
    weights = fuse_conv_bn_weights(
        conv.weight,
        conv.bias,
        norm.running_mean,
        norm.running_var,
        norm.eps,
        norm.weight,
        norm.bias,
    )
    fold_away(model, {"0": "1"})
    model[0].weight, model[0].bias = weights
    torch.testing.assert_close(model(x), expected, rtol=1e-5, atol=1e-6)
    assert set(model.state_dict()) == {"0.weight", "0.bias"}


def test_the_digest_of_a_package_names_all_of_it(tmp_path: Path) -> None:
    package = package_of("mlp")
    one, other = (save_package(tmp_path / name, package) for name in ("a", "b"))
    assert package_sha256(one) == package_sha256(other)
    step = LINEAGE.model_copy(update={"base_sha256": package_sha256(one)})
    lineage = with_spec(package, package.model, lineage=[step.model_dump(mode="json")])
    assert package_sha256(save_package(other, lineage)) != package_sha256(one)
    assert load_package(other).compression.lineage[0].base_sha256 == package_sha256(one)
    with pytest.raises(DataError, match="no model package at"):
        package_sha256(tmp_path)


def rewritten(folder: Path, name: str, content: bytes) -> None:
    """Write a file as someone who also knows how to write its digest."""
    (folder / name).write_bytes(content)
    index = json.loads((folder / "package.json").read_text())
    index["sha256"][name] = hashlib.sha256(content).hexdigest()
    (folder / "package.json").write_text(json.dumps(index))


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"structure": {"nose": {"num_features": 8}}}, "the model has no layer 'nose'"),
        ({"structure": {"features.0.1": {"num_features": 10**12}}}, "not between 1 and 16"),
        ({"structure": {"features.0.1": {"num_features": 0}}}, "greater than or equal to 1"),
        ({"structure": {"features.0.1": {"num_features": 8.5}}}, "valid integer"),
        ({"structure": {"features.0.1": {"num_features": 8}}}, "weight 'features.0.1.bias' is"),
        ({"low_rank": {"head": 10**9}}, "rank 1000000000 of layer 'head' is not between 1 and 4"),
        ({"low_rank": {"features.0.0": 2}}, "is a Conv2d, not a Linear or 1 x 1 Conv2d"),
        ({"low_rank": {"": 2}}, "layer '' of the model is a ConvNet"),
        ({"folded": {"features.0.0": "features.0.2"}}, "is a ReLU, not a BatchNorm2d"),
        ({"folded": {"features.0.0": "features.3.1"}}, "has 32 channels and 'features.0.0' 16"),
        ({"storage": {"nose": "int8"}}, "storage int8 of 'nose': the model has no such weight"),
        ({"storage": {"features.0.0.weight": "pickle"}}, "Input should be 'sparse', 'int8'"),
        ({"storage": {"features.0.0.weight": "int8"}}, "'features.0.0.weight:values' is missing"),
        ({"storage": {"features.0.1.num_batches_tracked": "sparse"}}, "does not suit"),
        (
            {
                "int8": {
                    "layers": {"head": {"op": "linear", "input": {"scale": 0, "zero_point": 0}}}
                }
            },
            r"int8.layers.head.input.scale: Input should be greater than 0",
        ),
        ({"int8": {"layers": {"nose": {"op": "linear", "activations": "dynamic"}}}}, "nose"),
        ({"lineage": [{"kind": "prune", "settings": {}, "base_sha256": "x"}]}, "base_sha256"),
        ({"code": "import os"}, "compression.json: code: Extra inputs are not permitted"),
    ],
)
def test_hostile_descriptions_are_told_in_one_line(
    parts: dict[str, Any], message: str, tmp_path: Path
) -> None:
    folder = save_package(tmp_path / "package", package_of("convnet"))
    rewritten(folder, "compression.json", json.dumps(parts).encode())
    with pytest.raises(DataError, match=message) as raised:
        load_package(folder)
    assert "\n" not in str(raised.value)
    assert str(raised.value).startswith(f"model package {folder}: ")


def test_sizes_that_do_not_fit_together_are_told_when_loading(tmp_path: Path) -> None:
    package = compressed(structure={"features.0.1": {"num_features": 8}})
    folder = save_package(tmp_path / "package", package)
    with pytest.raises(DataError, match=r"sizes of the layers do not fit together \(") as raised:
        load_package(folder)
    assert "\n" not in str(raised.value)


def drop_a_value(tensors: dict[str, torch.Tensor]) -> None:
    tensors["features.3.0.weight:values"] = tensors["features.3.0.weight:values"][1:]


def set_a_bit(tensors: dict[str, torch.Tensor]) -> None:
    tensors["features.3.0.weight:mask"].fill_(255)


def zero_a_scale(tensors: dict[str, torch.Tensor]) -> None:
    tensors["features.3.0.weight:scale"][3] = 0.0


def add_a_part(tensors: dict[str, torch.Tensor]) -> None:
    tensors["features.4.0.weight:mask"] = torch.zeros(3, dtype=torch.uint8)


def drop_a_tensor(tensors: dict[str, torch.Tensor]) -> None:
    del tensors["head.bias"]


def change_a_type(tensors: dict[str, torch.Tensor]) -> None:
    tensors["head.bias"] = tensors["head.bias"].double()


def change_a_shape(tensors: dict[str, torch.Tensor]) -> None:
    tensors["head.bias"] = tensors["head.bias"][:, None].expand(-1, 1000).contiguous()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (drop_a_value, r"'features.3.0.weight:values' is torch.int8 \(\d+,\), expected"),
        (set_a_bit, r"expected torch.int8 \(4608,\)"),
        (zero_a_scale, "'features.3.0.weight:scale' must be finite and above 0"),
        (add_a_part, "weight 'features.4.0.weight:mask' belongs to no layer"),
        (drop_a_tensor, "weight 'head.bias' is missing"),
        (change_a_type, "weight 'head.bias' is torch.float64"),
        (change_a_shape, r"weight 'head.bias' is torch.float32 \(4, 1000\), and the model takes"),
    ],
)
def test_damaged_weights_are_told_in_one_line(
    damage: Callable[[dict[str, torch.Tensor]], None], message: str, tmp_path: Path
) -> None:
    package = package_of("convnet")
    with torch.no_grad():
        package.model.features[3][0].weight[:, ::2] = 0.0
    storage = {"features.3.0.weight": "sparse_int8"}
    folder = save_package(tmp_path / "package", with_spec(package, package.model, storage=storage))
    tensors = load_file(folder / "model.safetensors")
    damage(tensors)
    save_file(tensors, tmp_path / "damaged")
    rewritten(folder, "model.safetensors", (tmp_path / "damaged").read_bytes())
    with pytest.raises(DataError, match=message) as raised:
        load_package(folder)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("length", [0, 7, 100, -1])
def test_truncated_weights_are_told_in_one_line(length: int, tmp_path: Path) -> None:
    folder = save_package(tmp_path / "package", package_of("mlp"))
    content = (folder / "model.safetensors").read_bytes()
    rewritten(folder, "model.safetensors", content[:length])
    with pytest.raises(DataError, match=r"^model package .*") as raised:
        load_package(folder)
    assert "\n" not in str(raised.value)


def test_a_form_that_does_not_suit_is_not_saved(tmp_path: Path) -> None:
    package = package_of("mlp")
    spec = CompressionSpec(storage={"head.weight": "int8"})
    with torch.no_grad():
        package.model.head.weight[0, 0] = float("nan")
    object.__setattr__(package, "compression", spec)
    with pytest.raises(
        DataError, match=r"could not be written: weight 'head.weight' is not finite"
    ):
        save_package(tmp_path / "package", package)
    assert list(tmp_path.iterdir()) == []


def test_descriptions_are_frozen_and_go_through_json() -> None:
    spec = CompressionSpec.model_validate(EVERYTHING)
    assert CompressionSpec.model_validate_json(spec.model_dump_json()) == spec
    assert spec.int8.layers["features.1.0"] == Int8Layer(
        op="conv2d",
        input=QParams(scale=0.25, zero_point=0),
        norm="features.1.1",
        relu="features.1.2",
    )
    with pytest.raises(ValidationError, match="frozen"):
        spec.storage = {}  # type: ignore[misc]


def test_rebuilding_leaves_the_random_state_and_the_mode_alone() -> None:
    package = package_of("convnet")
    config, shape = package.model_config, package.task.shape
    model = build_model(config, shape, num_outputs=4, seed=0)
    state = torch.get_rng_state()
    parts = {**EVERYTHING, "lineage": []}
    rebuild(model, CompressionSpec.model_validate(parts))
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training and all(module.training for module in model.modules())
