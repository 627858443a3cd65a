"""Tables through the same loop as pictures: linear and MLP, classes and numbers; then packed."""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch
from sklearn.metrics import r2_score, root_mean_squared_error

from components.errors import DataError
from components.models.package import ModelPackage, load_package, save_package
from components.models.registry import LinearConfig, MLPConfig, build_model
from components.models.shapes import TableShape
from components.records.epoch_plan import Position, Segment
from components.tables.fitting.encode_plan import ColumnEncodeConfig, EncodeConfig
from components.tasks.table_view import TableView
from components.tasks.tabular_classification import TabularClassification
from components.tasks.tabular_regression import TabularRegression
from components.training.batch import Batch
from components.training.loop import LoopSettings, train_epochs
from tests.components.tasks.tables import SCHEMA, Target, rows, table
from tests.components.training.diary import Diary

torch.set_num_threads(1)
BATCH, EPOCHS = 50, 8
Tabular = TabularClassification | TabularRegression
MODELS = [LinearConfig(name="linear"), MLPConfig(hidden=(32, 16))]


def task_of(target: Target, config: EncodeConfig | None = None) -> Tabular:
    transform = table(target, config=config).transform
    if target == "kind":
        return TabularClassification(SCHEMA, transform)
    return TabularRegression(SCHEMA, transform)


@dataclass
class MemoryFeed:
    """Batches of a table in memory, viewed as the feed's tasks view them: many batches at once."""

    view: TableView
    train: pa.Table
    val: pa.Table
    seen: list[str] = field(default_factory=list)

    def segment(self, segment: Segment) -> Iterator[Batch]:
        rows = self.train if segment.training else self.val
        order = np.random.default_rng(segment.epoch).permutation(rows.num_rows)
        shuffled = rows.take(order) if segment.training else rows
        epoch = segment.epoch if segment.training else None
        inputs = self.view.arrays(shuffled, epoch)
        targets_B = self.view.targets(shuffled)
        ids_B = np.array(shuffled.column("record_id").to_pylist(), object)
        for step in range(segment.first_step, math.ceil(rows.num_rows / BATCH)):
            part = slice(step * BATCH, (step + 1) * BATCH)
            num_rows = len(ids_B[part])
            yield Batch(
                epoch=segment.epoch,
                training=segment.training,
                step=step,
                inputs={name: array[part] for name, array in inputs.items()},
                targets_B=targets_B[part],
                weights_B=np.ones(num_rows, np.float32),
                record_ids=ids_B[part],
                global_rows=num_rows,
            )


def trained(
    task: Tabular, model_config: LinearConfig | MLPConfig, epochs: int = EPOCHS
) -> tuple[torch.nn.Module, list[dict[str, float]]]:
    frame = rows().to_arrow()
    model = build_model(model_config, task.shape, num_outputs=task.num_outputs, seed=0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    settings = LoopSettings(
        epochs=epochs,
        steps_per_epoch=10,
        seed=0,
        rank=0,
        world_size=1,
        device=torch.device("cpu"),
        max_grad_norm=None,
    )
    diary = Diary()
    train_epochs(
        model,
        optimizer,
        lambda step: 0.02,
        MemoryFeed(task.view(), frame.slice(0, 500), frame.slice(500)),
        task,
        settings,
        diary,
        start=Position(),
    )
    return model, diary.history


def package_of(
    task: Tabular, model: torch.nn.Module, config: LinearConfig | MLPConfig
) -> ModelPackage:
    return ModelPackage(
        model=model,
        model_config=config,
        task=task,
        recipe_yaml="",
        metrics={},
        dataset_fingerprint="0",
    )


@pytest.mark.parametrize("config", MODELS, ids=lambda config: config.name)
def test_classes_are_learned(config: LinearConfig | MLPConfig) -> None:
    _, history = trained(task_of("kind"), config)
    first, last = history[0], history[-1]
    assert last["train_loss"] < 0.6 * first["train_loss"]
    assert last["val_accuracy"] > 0.85 and last["train_accuracy"] > 0.9
    assert {"val_f1_macro", "val_precision_macro", "records_per_s"} <= set(last)
    assert last["records"] == 500


@pytest.mark.parametrize("config", MODELS, ids=lambda config: config.name)
def test_numbers_are_learned_in_their_own_unit(config: LinearConfig | MLPConfig) -> None:
    task = task_of("price")
    model, history = trained(task, config)
    last = history[-1]
    # The noise alone is 4,000, the spread of the prices more than 50,000.
    assert 3000 < last["val_rmse"] < 20_000 and last["val_r2"] > 0.85
    assert last["train_rmse"] < history[0]["train_rmse"] / 2
    val = rows()[500:]
    said = package_of(task, model, config).predict(val)
    assert last["val_rmse"] == pytest.approx(
        root_mean_squared_error(val["price"].to_numpy(), said), rel=1e-4
    )
    assert last["val_r2"] == pytest.approx(r2_score(val["price"].to_numpy(), said), rel=1e-4)


def test_the_same_seed_twice_is_bitwise_equal() -> None:
    config = MLPConfig(hidden=(16,), dropout=0.3)
    one, other = (trained(task_of("price"), config, epochs=2)[0] for _ in range(2))
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_huber_heeds_far_out_records_less() -> None:
    plain = task_of("price")
    assert isinstance(plain, TabularRegression)
    huber = replace(plain, loss="huber", huber_delta=0.5)
    said, true = torch.tensor([[0.2], [4.0]]), torch.tensor([0.0, 0.0])
    assert plain.losses(said, true).tolist() == pytest.approx([0.04, 16.0])
    assert huber.losses(said, true).tolist() == pytest.approx([0.02, 0.5 * (4.0 - 0.25)])


@pytest.mark.parametrize("target", ["kind", "price"])
@pytest.mark.parametrize("config", MODELS, ids=lambda config: config.name)
def test_a_package_predicts_what_the_trained_model_predicted(
    target: Target, config: LinearConfig | MLPConfig, tmp_path: Path
) -> None:
    task = task_of(target)
    model, _ = trained(task, config, epochs=1)
    package = package_of(task, model, config)
    loaded = load_package(save_package(tmp_path / "package", package))
    assert loaded.task == task and loaded.model_config == config
    frame = rows(40, seed=5)
    expected = package.predict(frame)
    assert np.array_equal(loaded.predict(frame), expected)
    assert np.array_equal(loaded.predict(frame.drop("price", "kind").to_pandas()), expected)
    np.testing.assert_allclose(loaded.predict(frame, batch_size=7), expected, rtol=1e-5)
    assert loaded.predict(frame[:0]).shape == ((0, 2) if target == "kind" else (0,))
    index = json.loads((tmp_path / "package" / "package.json").read_text())
    assert (index["task"], index["transform_hash"]) == (task.name, task.transform.hash)
    if target == "kind":
        assert list(loaded.classes) == ["cheap", "dear"]
        np.testing.assert_allclose(expected.sum(axis=1), 1.0, rtol=1e-5)


def test_predict_takes_columns_in_any_type_that_fits_and_names_what_is_missing() -> None:
    task = task_of("price")
    model = build_model(MODELS[0], task.shape, num_outputs=1, seed=0)
    package = package_of(task, model, MODELS[0])
    frame = rows(10, seed=2)
    narrow = frame.with_columns(pl.col("rooms").cast(pl.Int8), pl.col("built").cast(pl.String))
    assert np.array_equal(package.predict(narrow), package.predict(frame))
    assert np.array_equal(package.predict(frame.to_dict(as_series=False)), package.predict(frame))
    with pytest.raises(ValueError, match=r"no column 'town'; the model was trained on size, rooms"):
        package.predict(frame.drop("town"))
    wrong = frame.with_columns(pl.lit("large").alias("size"))
    with pytest.raises(ValueError, match="column 'size' is String and must be Float64"):
        package.predict(wrong)


def test_unseen_and_missing_values_are_predicted() -> None:
    task = task_of("kind")
    package = package_of(task, build_model(MODELS[1], task.shape, num_outputs=2, seed=0), MODELS[1])
    odd = rows(3, seed=4).with_columns(
        pl.Series("town", ["nowhere", None, "a"]),
        pl.Series("colour", [None, "mauve", "red"]),
        pl.Series("size", [None, 1e9, 3.0]),
    )
    assert np.isfinite(package.predict(odd)).all()


def test_judged_records_add_up_to_the_metrics_of_the_loop() -> None:
    for target in ("kind", "price"):
        task = task_of(target)
        model, history = trained(task, MODELS[0], epochs=2)
        val = rows()[500:].to_arrow()
        predictions = package_of(task, model, MODELS[0]).predict_arrays(
            task.view().arrays(val, None)
        )
        judged = pa.table(task.judged(predictions, val)).cast(task.prediction_columns)
        halves = [task.sums_of(judged.slice(0, 30)), task.sums_of(judged.slice(30))]
        found = (halves[0] + halves[1]).metrics()
        expected = {name: history[-1][f"val_{name}"] for name in found}
        assert found == pytest.approx(expected, rel=1e-4)


def test_a_view_reads_what_it_needs_and_pickles_small(tmp_path: Path) -> None:
    view = task_of("price").view()
    assert view.columns == ("size", "rooms", "colour", "town", "built", "price")
    arrays = view.arrays(rows(9).to_arrow(), None)
    assert (arrays["features"].dtype, arrays["codes"].dtype) == (np.float32, np.int64)
    assert sum(part.nbytes for part in arrays.values()) == 9 * view.row_bytes
    assert arrays["codes"].max() < view.transform.cardinalities[0]


@pytest.mark.parametrize("config", MODELS, ids=lambda config: config.name)
@pytest.mark.parametrize("only", ["features", "codes"])
def test_an_input_of_no_columns_is_left_out_and_learned_without(
    config: LinearConfig | MLPConfig, only: str
) -> None:
    encode = EncodeConfig(max_one_hot=100)
    if only == "codes":
        names = ("size", "rooms", "colour", "town", "built")
        spelled = ColumnEncodeConfig(encode="embedding")
        encode = EncodeConfig(columns={name: spelled for name in ("rooms", "colour", "town")})
        encode = encode.model_copy(update={"drop": tuple(set(names) - set(encode.columns))})
    task = task_of("kind", encode)
    assert set(task.view().arrays(rows(9).to_arrow(), 0)) == {only}
    model, history = trained(task, config, epochs=2)
    assert history[-1]["train_loss"] < 0.69
    assert package_of(task, model, config).predict(rows(9)).shape == (9, 2)


def test_a_target_of_an_unknown_class_or_none_is_told() -> None:
    view = task_of("kind").view()
    for value, words in ((None, "have no 'kind', the target"), ("odd", "holds 'odd'")):
        with pytest.raises(DataError, match=words):
            view.targets(rows(3).with_columns(pl.lit(value, pl.String).alias("kind")).to_arrow())


def test_a_task_for_the_other_kind_of_target_is_refused() -> None:
    classes, numbers = table("kind").transform, table("price").transform
    with pytest.raises(DataError, match="'price' was fitted as a number"):
        len(TabularClassification(SCHEMA, numbers).classes)
    with pytest.raises(DataError, match="'kind' was fitted as a class"):
        TabularRegression(SCHEMA, classes).new_sums()


def test_shapes_follow_the_transform() -> None:
    task = task_of("price")
    transform = task.transform
    assert task.shape == TableShape(len(transform.feature_names), transform.cardinalities)
    assert len(task.shape.cardinalities) == 1
    assert pd.Series(transform.feature_names).is_unique
