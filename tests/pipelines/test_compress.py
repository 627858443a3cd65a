"""`compress`: what it refuses, and that what it measured is what the package does."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from rich.console import Console
from typer.testing import CliRunner

from components.errors import DataError
from components.images.geometry import InputConfig
from components.models.package import (
    ModelPackage,
    load_package,
    package_sha256,
    save_package,
)
from components.models.registry import ConvNetConfig, build_model
from components.records.manifest import read_manifest
from components.tasks.image_classification import ImageClassification
from components.tasks.task import Task
from pipelines.cli import app
from pipelines.comparison import compare_predictions, train_batches
from pipelines.folders import staging_folder
from pipelines.modality import image_transform
from pipelines.prepare import plan_prepare, prepare
from pipelines.recipe import load_recipe
from pipelines.shards import PreparedData
from tests.pipelines.conftest import SmallDataset
from tests.pipelines.test_refusals import refused

__all__ = ["refused"]

INT8 = "{kind: quantize, what: int8_static, calibration_records: 64}"
CHANNELS = "{kind: prune, what: channels, max_flops: 0.6}"


def untrained(task: Task, fingerprint: str, config: ConvNetConfig) -> ModelPackage:
    model = build_model(config, task.shape, num_outputs=task.num_outputs, seed=0)
    return ModelPackage(
        model=model.eval(),
        model_config=config,
        task=task,
        recipe_yaml="",
        metrics={},
        dataset_fingerprint=fingerprint,
    )


@pytest.fixture
def package(small_dataset: SmallDataset, tmp_path: Path) -> Callable[..., Path]:
    """Put a package of the small data set, and that data set, where the recipe looks for them."""

    def make(config: ConvNetConfig | None = None) -> Path:
        shutil.copytree(small_dataset.folder, tmp_path / "runs/datasets/digits-000000000000")
        manifest = small_dataset.manifest
        task = ImageClassification(
            InputConfig(image_px=8), image_transform(manifest), tuple(manifest.classes)
        )
        config = config or ConvNetConfig(width=16, depth=2)
        folder = tmp_path / "runs/digits-20260101-000000-abcd/package"
        return save_package(folder, untrained(task, manifest.fingerprint, config))

    return make


def test_without_steps_there_is_nothing_to_do(refused: Callable[..., str]) -> None:
    line = refused("compress", "digits")
    assert "recipe digits: compression has no steps, so there is nothing to do" in line


def test_without_a_package(refused: Callable[..., str]) -> None:
    line = refused("compress", "digits", f"compression=[{INT8}]")
    assert "holds no package of recipe digits; run `train digits` first" in line
    line = refused("compress", "digits", f"compression=[{INT8}]", "--package", "nowhere")
    assert "no model package at nowhere" in line


def test_without_the_data_that_the_package_was_trained_on(
    refused: Callable[..., str], package: Callable[..., Path], tmp_path: Path
) -> None:
    package()
    shutil.rmtree(tmp_path / "runs/datasets")
    line = refused("compress", "digits", f"compression=[{INT8}]")
    assert "was trained on data set 000000000000, which is not in runs/datasets" in line


@pytest.mark.parametrize(
    ("config", "steps", "words"),
    [
        (
            ConvNetConfig(width=16, depth=2, norm="group"),
            CHANNELS,
            "compression.0: features.0.1: channels of a model with group normalization cannot be "
            "removed; use norm: batch or what: weights",
        ),
        (
            None,
            "{kind: prune, what: channels, max_flops: 0.05, round_to: 16}",
            "compression.0: 0.05 of the FLOPs cannot be reached with at most 90 % off a layer",
        ),
        (None, "{kind: prune, what: heads}", "compression.0: ConvNet: no attention with q_proj"),
        (
            None,
            "{kind: fold}, {kind: quantize, what: int8_static, keep_float: [haed]}",
            "compression.1: keep_float: no layer 'haed'; there are features.0.0",
        ),
        (
            None,
            "{kind: factorize, energy: 0.9, layers: [features.0.0]}",
            "compression.0: layer 'features.0.0' is no linear layer or 1 x 1 convolution",
        ),
    ],
)
def test_a_step_that_does_not_suit_the_model_leaves_nothing_behind(
    package: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    config: ConvNetConfig | None,
    steps: str,
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = package(config)
    before = sorted(tmp_path.rglob("*"))
    done = CliRunner().invoke(app, ["compress", "digits", f"compression=[{steps}]"])
    assert (done.exit_code, done.stdout) == (2, "")
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert words in line
    assert sorted(tmp_path.rglob("*")) == before
    assert load_package(folder).compression.lineage == ()


@dataclass(frozen=True)
class Compressed:
    """A compression of a package that was trained on the digits."""

    output: Path
    base: Path
    data: PreparedData
    result: dict[str, Any]

    @property
    def package(self) -> Path:
        return Path(self.result["package"])


SMALL = ("input.image_px=8", "tracking.system_metrics=false")


@pytest.fixture(scope="module")
def compressed(ray_cluster: None, tmp_path_factory: pytest.TempPathFactory) -> Compressed:
    from pipelines.jobs import compress_job

    output = tmp_path_factory.mktemp("compress")
    options = [*SMALL, f"output={output}"]
    recipe = load_recipe("digits", options)
    with staging_folder(output) as staging:
        data = prepare(recipe, plan_prepare(recipe, staging), lambda *_: None)
    base = output / "digits-20260101-000000-abcd" / "package"
    save_package(base, trained(data))
    steps = f"compression=[{CHANNELS}, {{kind: fold}}, {INT8}]"
    result = compress_job("digits", [*options, steps], None, Console(stderr=True))
    return Compressed(output, base, data, result)


def trained(data: PreparedData) -> ModelPackage:
    """A package that knows most digits, trained here and now."""
    task = ImageClassification(
        InputConfig(image_px=8), image_transform(data.manifest), tuple(data.manifest.classes)
    )
    package = untrained(task, data.manifest.fingerprint, ConvNetConfig(width=16, depth=2))
    batches = list(train_batches(task, data, 1024))
    rows = [pq.read_table(data.folder / s.path) for s in data.manifest.shards_of("train")]
    labels = torch.tensor(task.view().targets(pa.concat_tables(rows))[:1024])
    optimizer = torch.optim.SGD(package.model.parameters(), 0.1, momentum=0.9)
    package.model.train()
    for _ in range(4):
        for inputs, targets in zip(batches, labels.split(64), strict=True):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(package.model(*inputs), targets).backward()
            optimizer.step()
    package.model.eval()
    return package


@pytest.mark.ray
def test_what_was_measured_is_what_the_package_predicts_bit_for_bit(
    compressed: Compressed,
) -> None:
    package = load_package(compressed.package)
    run = compressed.output / Path(compressed.result["run"]).name
    for split in ("val", "test"):
        rows = [
            batch
            for shard in compressed.data.manifest.shards_of(split)
            for batch in pq.ParquetFile(compressed.data.folder / shard.path).iter_batches(256)
        ]
        measured = pq.read_table(run / "predictions" / f"{split}.parquet")
        again: list[dict[str, Any]] = []
        for batch in rows:
            table = pa.Table.from_batches([batch])
            arrays = package.task.view().arrays(table, None)
            predictions = package.predict_arrays(arrays)
            again.append(package.task.judged(predictions, table))
        for name in ("predicted", "confidence", "loss"):
            values = np.concatenate([part[name] for part in again])
            assert np.array_equal(measured[name].to_numpy(), values), (split, name)
        base = pq.read_table(run / "predictions" / "base" / f"{split}.parquet")
        assert base["record_id"].equals(measured["record_id"])
        accuracy = float((measured["predicted"].to_numpy() == measured["label"].to_numpy()).mean())
        assert package.metrics[split]["accuracy"] == pytest.approx(accuracy, abs=1e-12)
        assert compressed.result["metrics"][split] == package.metrics[split]


@pytest.mark.ray
def test_the_package_tells_every_step_that_led_to_it(compressed: Compressed) -> None:
    package = load_package(compressed.package)
    lineage = package.compression.lineage
    assert [step.kind for step in lineage] == ["prune", "fold", "quantize"]
    assert lineage[0].settings == {
        "what": "channels",
        "max_flops": 0.6,
        "round_to": 8,
        "importance": "l2",
    }
    folders = [compressed.base] + [Path(s["package"]) for s in compressed.result["steps"][:-1]]
    assert [step.base_sha256 for step in lineage] == [package_sha256(path) for path in folders]
    assert load_package(compressed.base).compression.lineage == ()
    # Where a step was not the last, val alone is measured.
    assert all("val_accuracy" in step.metrics for step in lineage)
    assert "test_accuracy" not in lineage[0].metrics
    assert lineage[-1].metrics["test_accuracy"] == package.metrics["test"]["accuracy"]
    assert package.dataset_fingerprint == compressed.data.manifest.fingerprint


@pytest.mark.ray
def test_the_result_states_what_was_saved_and_what_it_cost(compressed: Compressed) -> None:
    result = json.loads(json.dumps(compressed.result))
    base, small = result["costs"]["base"], result["costs"]["compressed"]
    assert base["package_bytes"] > small["package_bytes"]
    assert small["package_bytes"] == sum(
        path.stat().st_size for path in compressed.package.iterdir()
    )
    assert 0.05 < small["flops"] / base["flops"] <= 0.6
    assert small["parameters"] < base["parameters"]
    assert small["non_zero"] <= small["parameters"]
    assert set(small["latency"]) == {"1", "32"}
    assert base["latency"]["1"]["speedup"] == 1.0
    assert small["latency"]["32"]["rounds"] >= 5
    for split in ("val", "test"):
        compared = result["compared"][split]
        assert compared["score"] == "accuracy"
        assert compared["records"] == compressed.data.manifest.num_records(split)
        assert compared["compressed"]["mean"] == pytest.approx(
            result["metrics"][split]["accuracy"], abs=1e-12
        )
        difference = compared["compressed"]["mean"] - compared["base"]["mean"]
        assert compared["difference"]["mean"] == pytest.approx(difference, abs=1e-12)
        assert compared["difference"]["low"] <= difference <= compared["difference"]["high"]
        assert result["base_metrics"][split]["accuracy"] > 0.8
    run = compressed.output / Path(result["run"]).name
    assert json.loads((run / "comparison.json").read_text())["costs"] == result["costs"]


@pytest.mark.ray
def test_mlflow_has_the_run_with_both_sides(compressed: Compressed) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{compressed.output / 'mlflow.db'}")
    run = client.get_run(compressed.result["mlflow_run_id"])
    assert run.info.status == "FINISHED"
    assert run.data.tags["headrace.base_sha256"] == package_sha256(compressed.base)
    assert run.data.params["compression.0.what"] == "channels"
    metrics, costs = run.data.metrics, compressed.result["costs"]
    assert metrics["final/package_bytes"] == costs["compressed"]["package_bytes"]
    assert metrics["base/flops"] == costs["base"]["flops"]
    assert metrics["final/test_accuracy"] == compressed.result["metrics"]["test"]["accuracy"]
    assert "difference/test_accuracy_low" in metrics
    names = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert {"package", "comparison.json", "recipe.yaml", "dataset"} <= names


@pytest.mark.ray
def test_the_newest_trained_package_is_compressed_and_the_table_printed(
    compressed: Compressed,
) -> None:
    steps = "compression=[{kind: prune, what: weights, amount: 0.5}, {kind: quantize, what: "
    options = [*SMALL, f"output={compressed.output}", steps + "int8_weights}]"]
    done = CliRunner().invoke(app, ["compress", "digits", *options])
    assert done.exit_code == 0, done.output
    assert "0.50 of the weights zero" in done.stdout and "layers stored in int8" in done.stdout
    for row in ("val accuracy", "test accuracy", "package, bytes", "ms, batch 32 (95 %)"):
        assert row in done.stdout
    (base,) = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("base ")]
    assert Path(base).resolve() == compressed.base


@pytest.mark.ray
def test_a_package_is_not_led_back_over_what_it_has_behind_it(compressed: Compressed) -> None:
    options = [*SMALL, f"output={compressed.output}", f"--package={compressed.package}"]
    for steps, reason in (
        ("{kind: fold}", "compression.0: fold cannot follow fold, which "),
        (CHANNELS, "compression.0: prune channels cannot follow prune channels, which "),
        ("{kind: factorize, rank: 2}", "compression.0: factorize comes before fold, which "),
    ):
        done = CliRunner().invoke(app, ["compress", "digits", *options, f"compression=[{steps}]"])
        assert done.exit_code == 2
        assert reason in done.stderr and "name another package with --package" in done.stderr


def test_regressions_are_compared_by_their_mean_absolute_error(tmp_path: Path) -> None:
    target = np.arange(100.0)
    for name, error in (("base", 2.0), ("small", 3.0), ("odd", np.nan)):
        columns = {"target": target, "predicted": target + error * (-1) ** np.arange(100)}
        pq.write_table(pa.table(columns), tmp_path / f"{name}.parquet")
    compared = compare_predictions(tmp_path / "base.parquet", tmp_path / "small.parquet", seed=0)
    assert (compared.score, compared.records) == ("mae", 100)
    assert tuple(compared.base) == (2.0, 2.0, 2.0)
    assert tuple(compared.difference) == (1.0, 1.0, 1.0)
    with pytest.raises(DataError, match=r"odd\.parquet: 100 of 100 predictions are not finite"):
        compare_predictions(tmp_path / "base.parquet", tmp_path / "odd.parquet", seed=0)


def test_calibration_takes_the_first_records_of_train_without_augmentation(
    small_dataset: SmallDataset,
) -> None:
    manifest = read_manifest(small_dataset.folder)
    data = PreparedData(small_dataset.folder, manifest, cached=True)
    task = ImageClassification(
        InputConfig(image_px=8), image_transform(manifest), tuple(manifest.classes)
    )
    train = manifest.num_records("train")
    whole = torch.cat([inputs[0] for inputs in train_batches(task, data, 10_000)])
    assert len(whole) == train
    (some,) = train_batches(task, data, 9)
    assert torch.equal(some[0], whole[:9])
    again = torch.cat([inputs[0] for inputs in train_batches(task, data, 10_000)])
    assert torch.equal(whole, again)
