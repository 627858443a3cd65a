"""Each step from its settings: what loading gives is what the step gave, with its lineage."""

import copy
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter

from components.compression.config import AnyStep, CompressionStep
from components.compression.steps import TrainBatches, apply_step
from components.compression.trace import Inputs
from components.errors import RecipeError
from components.models.package import ModelPackage, load_package, package_sha256, save_package
from tests.components.compression.packages import inputs_of, package_of, records_of

torch.set_num_threads(1)

STEP: TypeAdapter[AnyStep] = TypeAdapter(CompressionStep)
CASES = [
    ("convnet", "{kind: prune, what: channels, max_flops: 0.6, round_to: 4}", "of the FLOPs left"),
    ("mlp", "{kind: prune, what: channels}", "of the FLOPs left"),
    ("resnet", "{kind: prune, what: weights, amount: 0.6}", "0.60 of the weights zero, in "),
    ("convnet", "{kind: prune, what: weights, scope: layer}", "0.50 of the weights zero, in "),
    ("convnet", "{kind: prune, what: '2:4'}", "in 6 of 7 layers"),
    ("mlp", "{kind: factorize, energy: 0.5}", "layers as two, of rank "),
    ("resnet", "{kind: factorize, rank: 2}", "layers as two, of rank 2 to 2"),
    ("resnet", "{kind: fold}", "batch norms folded"),
    ("convnet", "{kind: quantize, what: int8_static, calibration_records: 32}", "7 of 7 layers"),
    ("mlp", "{kind: quantize, what: int8_dynamic, weight_bits: 7}", "3 of 3 layers in int8"),
    ("mlp", "{kind: quantize, what: int8_weights}", "3 of 3 layers stored in int8"),
    ("convnet", "{kind: quantize, what: int4_weights, keep_float: [head]}", "6 of 7 layers"),
    pytest.param(
        "vit",
        "{kind: prune, what: heads, max_flops: 0.7}",
        "of the FLOPs left",
        marks=pytest.mark.processes,
    ),
]


def step_of(text: str) -> AnyStep:
    import yaml

    return STEP.validate_python(yaml.safe_load(text))


def batches_of(package: ModelPackage) -> TrainBatches:
    def batches(num_records: int) -> Iterator[Inputs]:
        inputs = inputs_of(package)
        yield [values[:num_records] for values in inputs]

    return batches


@pytest.mark.parametrize(("model", "text", "summary"), CASES)
def test_what_loading_gives_is_what_the_step_gave(
    model: str, text: str, summary: str, tmp_path: Path
) -> None:
    package, step = package_of(model), step_of(text)
    before = copy.deepcopy(package.model.state_dict())
    outcome = apply_step(package, step, batches_of(package), base_sha256="a" * 64)
    assert summary in outcome.summary

    after = package.model.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], before[name]) for name in before)

    loaded = load_package(save_package(tmp_path / "one", outcome.package))
    again = load_package(save_package(tmp_path / "two", loaded))
    assert package_sha256(tmp_path / "one") == package_sha256(tmp_path / "two")
    records = records_of(package)
    assert np.array_equal(loaded.predict(records), again.predict(records))
    base = save_package(tmp_path / "base", package) / "model.safetensors"
    if step.kind != "fold":
        small = tmp_path / "one" / "model.safetensors"
        assert small.stat().st_size < base.stat().st_size

    (done,) = loaded.compression.lineage
    assert (done.kind, done.base_sha256, done.metrics) == (step.kind, "a" * 64, {})
    assert STEP.validate_python({"kind": done.kind, **done.settings}) == step


def test_steps_in_a_row_keep_what_the_earlier_ones_said(tmp_path: Path) -> None:
    package = package_of("resnet")
    for number, text in enumerate(
        [
            "{kind: prune, what: channels, max_flops: 0.7, round_to: 4}",
            "{kind: factorize, energy: 0.6}",
            "{kind: prune, what: weights, amount: 0.5}",
            "{kind: fold}",
            "{kind: quantize, what: int8_weights, keep_float: [stem.0]}",
        ]
    ):
        outcome = apply_step(package, step_of(text), batches_of(package), base_sha256=None)
        package = load_package(save_package(tmp_path / str(number), outcome.package))
    spec = package.compression
    assert spec.structure and spec.low_rank and spec.folded and spec.storage
    assert [step.kind for step in spec.lineage] == [
        *("prune", "factorize", "prune", "fold", "quantize"),
    ]
    forms = dict(spec.storage)
    assert forms.pop("stem.0.weight", "sparse") == "sparse"
    assert set(forms.values()) <= {"sparse_int8", "int8"}
    assert "sparse_int8" in forms.values()


def test_layers_of_integers_lose_their_storage_forms(tmp_path: Path) -> None:
    package = package_of("mlp")
    for text in (
        "{kind: prune, what: weights, amount: 0.5}",
        "{kind: quantize, what: int8_dynamic, keep_float: [head]}",
    ):
        outcome = apply_step(package, step_of(text), batches_of(package), base_sha256=None)
        package = load_package(save_package(tmp_path / "package", outcome.package))
    assert set(package.compression.storage) <= {"head.weight"}


@pytest.mark.parametrize(
    ("model", "text", "message"),
    [
        ("convnet", "{kind: prune, what: heads}", "has no heads to remove; use what: channels or"),
        ("mlp", "{kind: fold}", "MLP has no batch norm right behind a convolution; remove the"),
        ("mlp", "{kind: factorize, rank: 3, layers: [stem]}", "layer 'stem' is no linear layer"),
        ("convnet", "{kind: factorize, rank: 999}", "rank 999 makes no layer of the model smaller"),
        (
            "convnet",
            "{kind: quantize, what: int8_weights, keep_float: [stem]}",
            "keep_float: no layer 'stem'; there are ",
        ),
        (
            "mlp",
            "{kind: quantize, what: int8_dynamic, keep_float: [stem]}",
            "keep_float: no layer 'stem'; there are ",
        ),
    ],
)
def test_a_step_that_does_not_suit_is_refused(model: str, text: str, message: str) -> None:
    package = package_of(model)
    with pytest.raises(RecipeError, match=message.replace("(", r"\(")):
        apply_step(package, step_of(text), batches_of(package), base_sha256=None)
