"""What every tracker must do, whatever stands behind it."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from components.tracking.tracker import MemoryTracker, Tracker


@dataclass
class Seen:
    """What a reader of the run finds, in one form for all trackers."""

    params: dict[str, str]
    metrics: dict[str, list[tuple[int, float]]]
    artifacts: dict[str, bytes]
    tags: dict[str, str]
    datasets: list[tuple[str, str, str, str]]
    status: str


def read_memory(tracker: Tracker) -> Seen:
    assert isinstance(tracker, MemoryTracker)
    return Seen(
        params={key: str(value) for key, value in tracker.params.items()},
        metrics={key: sorted(steps.items()) for key, steps in tracker.metrics.items()},
        artifacts=tracker.artifacts,
        tags=tracker.tags,
        datasets=[(d.name, d.digest, d.context, d.uri_relative) for d in tracker.datasets],
        status=tracker.status,
    )


def read_mlflow(tracker: Tracker) -> Seen:
    from mlflow.tracking import MlflowClient

    from components.tracking.mlflow_tracker import MlflowTracker

    assert isinstance(tracker, MlflowTracker)
    client = MlflowClient(tracking_uri=tracker.uri)
    run = client.get_run(tracker.run_id)
    folder = Path(run.info.artifact_uri)
    assert run.inputs is not None
    return Seen(
        params=run.data.params,
        metrics={
            key: sorted((m.step, m.value) for m in client.get_metric_history(tracker.run_id, key))
            for key in run.data.metrics
        },
        artifacts={
            file.relative_to(folder).as_posix(): file.read_bytes()
            for file in folder.rglob("*")
            if file.is_file()
        },
        tags=run.data.tags,
        datasets=[
            (
                entry.dataset.name,
                entry.dataset.digest,
                entry.tags[0].value,
                json.loads(entry.dataset.source)["uri"],
            )
            for entry in run.inputs.dataset_inputs
        ],
        status=run.info.status,
    )


@dataclass
class Case:
    """One implementation: how to open a run and how to read it back."""

    start: Callable[[], Tracker]
    read: Callable[[Tracker], Seen]


@pytest.fixture(params=["memory", pytest.param("mlflow", marks=pytest.mark.processes)])
def case(request: pytest.FixtureRequest, tracking_root: Path) -> Case:
    if request.param == "memory":
        return Case(MemoryTracker, read_memory)

    from components.tracking.mlflow_tracker import start_mlflow

    def start() -> Tracker:
        return start_mlflow(
            uri=f"sqlite:///{tracking_root}/mlflow.db",
            root=tracking_root,
            experiment="contract",
            run_name="contract",
            tags={},
            system_metrics=False,
        )

    return Case(start, read_mlflow)


def test_is_a_tracker_with_a_run_id(case: Case) -> None:
    with case.start() as tracker:
        assert isinstance(tracker, Tracker)
        assert len(tracker.run_id) == 32
        int(tracker.run_id, 16)


def test_everything_logged_can_be_read(case: Case, tmp_path: Path) -> None:
    package = tmp_path / "package"
    (package / "inner").mkdir(parents=True)
    (package / "model.json").write_text("{}")
    (package / "inner" / "a.bin").write_bytes(b"\x00\x01")
    report = tmp_path / "report.html"
    report.write_text("<p>")
    with case.start() as tracker:
        tracker.log_params({"train.epochs": 3, "seed": None, "data.path": "mine", "flag": True})
        tracker.log_metrics({"loss": 0.5, "accuracy": 0.25}, step=0)
        tracker.log_metrics({"loss": 0.125}, step=7)
        tracker.log_dataset("digits", "ab12", "train", "runs/prepared/ab12")
        tracker.log_artifact(report)
        tracker.log_artifact(package, "kept")
        tracker.set_tags({"stage": "train"})
        tracker.set_tags({"stage": "evaluate"})
    seen = case.read(tracker)
    assert seen.params == {"train.epochs": "3", "seed": "None", "data.path": "mine", "flag": "True"}
    assert seen.metrics == {"loss": [(0, 0.5), (7, 0.125)], "accuracy": [(0, 0.25)]}
    assert seen.datasets == [("digits", "ab12", "train", "runs/prepared/ab12")]
    assert seen.artifacts == {
        "report.html": b"<p>",
        "kept/package/model.json": b"{}",
        "kept/package/inner/a.bin": b"\x00\x01",
    }
    assert seen.tags["stage"] == "evaluate"
    assert seen.status == "FINISHED"


def test_a_step_and_a_parameter_are_logged_once(case: Case) -> None:
    with case.start() as tracker:
        tracker.log_params({"epochs": 3})
        tracker.log_params({"epochs": 4, "seed": 7})
        tracker.log_metrics({"loss": 0.5}, step=1)
        tracker.flush()
        tracker.log_metrics({"loss": 0.25}, step=1)
        tracker.log_metrics({"loss": 0.125}, step=2)
    seen = case.read(tracker)
    assert seen.params == {"epochs": "3", "seed": "7"}
    assert seen.metrics == {"loss": [(1, 0.5), (2, 0.125)]}


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (None, "FINISHED"),
        (ValueError, "FAILED"),
        (KeyboardInterrupt, "KILLED"),
        (SystemExit, "KILLED"),
    ],
)
def test_status_says_how_the_run_ended(
    case: Case, error: type[BaseException] | None, status: str
) -> None:
    tracker = case.start()
    assert case.read(tracker).status == "RUNNING"
    if error is None:
        with tracker:
            pass
    else:
        with pytest.raises(error), tracker:
            raise error
    assert case.read(tracker).status == status


def test_only_the_first_finish_counts(case: Case) -> None:
    tracker = case.start()
    tracker.finish("KILLED")
    tracker.finish("FINISHED")
    assert case.read(tracker).status == "KILLED"
