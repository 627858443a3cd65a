"""`run` from the outside: on few CPUs, interrupted, with workers and drivers killed."""

import os
import signal
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from components.models.package import load_package
from components.records.manifest import read_manifest
from components.tasks.image_classification import ImageClassification
from tests.components.images.dirty import odd_images
from tests.pipelines.command import (
    FAST,
    descendants,
    end,
    epochs_logged,
    headrace,
    interrupt,
    mlflow_runs,
    started,
    training_workers,
    wait_until,
)
from tests.pipelines.test_refusals import write_classes

pytestmark = [pytest.mark.ray, pytest.mark.timeout(400)]


# 2 CPUs are those of the test below.
@pytest.mark.parametrize("cpus", [1, 4])
def test_run_ends_with_any_number_of_cpus(cpus: int, tmp_path: Path) -> None:
    done = headrace("run", "digits", f"cluster.cpus={cpus}", *FAST, "--json", folder=tmp_path)
    assert done.code == 0, done.stderr
    result = done.result
    assert result["accounting"] == {
        "read": 1797,
        "prepared": 1797,
        "quarantined": 0,
        "duplicates": 0,
        "quarantined_by_reason": {},
    }
    assert set(result["metrics"]) == {"val", "test"}
    assert {"accuracy", "loss", "f1_macro"} <= set(result["metrics"]["val"])
    assert 0 <= result["data_wait_share"] <= 1
    assert result["timings_s"]["total"] > 0
    assert "<html" in (tmp_path / result["report"]).read_text()
    package = load_package(tmp_path / result["package"])
    assert package.metrics == result["metrics"]
    manifest = read_manifest(tmp_path / result["dataset"])
    assert isinstance(package.task, ImageClassification)
    assert package.task.transform.model_dump(mode="json") == manifest.transform
    (run,) = mlflow_runs(tmp_path)
    assert (run.info.run_id, run.info.status) == (result["mlflow_run_id"], "FINISHED")
    logged = str(run.data.params) + str(run.data.tags)
    assert str(tmp_path) not in logged, "no absolute path enters MLflow"


def test_dirty_images_are_accounted_for_and_evaluate_needs_only_package_and_data(
    tmp_path: Path,
) -> None:
    odd = odd_images()
    # Many of the odd ones are the same picture in another form: they cannot carry a class alone.
    source = write_classes(tmp_path / "images", {"even": 30, "odd": 30})
    for number, image in enumerate(odd):
        folder = source / ("even" if number % 2 == 0 else "odd")
        (folder / image.name.replace("/", "-")).write_bytes(image.data)
    bad = sum(image.expect is not None for image in odd)
    options = [
        *(f"data.source.path={source}", "data.clean.max_quarantined_share=0.9"),
        *("data.clean.min_size_px=1", "data.split.method=stratified", "data.split.val=0.2"),
        *("train.batch_size=16", "augment.policy=none", "model.blocks=[1]", "model.width=8"),
        *("input.image_px=8", "train.epochs=1", "train.schedule.warmup_epochs=0"),
        *("tracking.system_metrics=false", "cluster.cpus=2"),
    ]
    done = headrace("run", "images", *options, "--json", folder=tmp_path)
    assert done.code == 0, done.stderr
    (tracked,) = mlflow_runs(tmp_path)
    kept = [tmp_path / done.result["run"] / name for name in ("recipe.yaml", "package/recipe.yaml")]
    kept += [tmp_path / done.result["report"], tmp_path / done.result["dataset"] / "manifest.json"]
    for text in (str(tracked.data), *(path.read_text() for path in kept)):
        assert str(tmp_path) not in text, "no absolute path is kept"
    books = done.result["accounting"]
    assert books["read"] == len(odd) + 60
    assert books["quarantined"] >= bad
    assert books["read"] == books["prepared"] + books["quarantined"] + books["duplicates"]
    dataset = tmp_path / done.result["dataset"]
    rows = [
        r for p in (dataset / "quarantine").glob("*.parquet") for r in pq.read_table(p).to_pylist()
    ]
    assert len(rows) == books["quarantined"]
    assert all(row["origin"] and row["reason"] and row["detail"] for row in rows)

    package = tmp_path / done.result["package"]
    again = headrace(
        *("evaluate", "images", *options, f"--package={package}", "--json"), folder=tmp_path
    )
    assert again.code == 0, again.stderr
    assert again.result["metrics"] == done.result["metrics"]
    assert sum(map(sum, again.result["confusion"]["val"])) == sum(
        read_manifest(dataset).class_counts["val"].values()
    )


def test_a_killed_worker_is_replaced_and_no_epoch_is_logged_twice(tmp_path: Path) -> None:
    options = [*FAST, "train.epochs=30"]
    with started("run", "digits", *options, "--json", folder=tmp_path) as process:
        (worker,) = wait_until(
            lambda: _epochs_so_far(tmp_path) and training_workers(process.pid),
            timeout_s=120,
            what="a worker that has finished an epoch",
        )
        worker.kill()
        _, stderr = process.communicate(timeout=170)
    assert process.returncode == 0, stderr
    (run,) = mlflow_runs(tmp_path)
    assert run.info.status == "FINISHED"
    assert epochs_logged(tmp_path, run.info.run_id) == list(range(30))


def test_a_killed_driver_leaves_no_running_run_and_resume_finishes_it(tmp_path: Path) -> None:
    options = [*FAST, "train.epochs=25"]
    with started("run", "digits", *options, "--json", folder=tmp_path) as process:
        wait_until(lambda: _epochs_so_far(tmp_path), timeout_s=120, what="a finished epoch")
        family = descendants(process.pid)
        os.kill(process.pid, signal.SIGKILL)
        process.wait(timeout=10)
        end(family)
    (run,) = mlflow_runs(tmp_path)
    assert run.info.status == "RUNNING", "nobody was left to end it"

    done = headrace("run", "digits", *options, "resume=true", "--json", folder=tmp_path)
    assert done.code == 0, done.stderr
    assert done.result["mlflow_run_id"] == run.info.run_id
    assert {r.info.status for r in mlflow_runs(tmp_path)} == {"FINISHED"}
    assert epochs_logged(tmp_path, run.info.run_id) == list(range(25))


def test_ctrl_c_ends_the_run_as_killed(tmp_path: Path) -> None:
    with started("run", "digits", *FAST, "train.epochs=200", folder=tmp_path) as process:
        wait_until(lambda: _epochs_so_far(tmp_path), timeout_s=120, what="a finished epoch")
        family = descendants(process.pid)
        interrupt(process)
        _, stderr = process.communicate(timeout=60)
        alive = [p for p in family if p.is_running() and p.status() != "zombie"]
    assert process.returncode == 130
    assert "interrupted" in stderr
    assert "Traceback" not in stderr
    assert not alive, "Ray was shut down"
    assert [run.info.status for run in mlflow_runs(tmp_path)] == ["KILLED"]


def _epochs_so_far(folder: Path) -> bool:
    return any(run.data.metrics.get("val_accuracy") for run in mlflow_runs(folder))
