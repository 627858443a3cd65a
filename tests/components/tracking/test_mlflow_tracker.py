import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from components.errors import TrackingError
from components.tracking import mlflow_tracker
from components.tracking.mlflow_tracker import MlflowTracker, close_stale_runs, start_mlflow
from components.tracking.process import PID_TAG, STARTED_TAG, Process, process_start

ROOT = Path(__file__).parents[3]
# MLflow takes seconds to import and to make its database.
pytestmark = pytest.mark.processes


@pytest.fixture(autouse=True)
def _no_server_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One database for all: making one takes longer than all tests."""
    return tmp_path_factory.getbasetemp() / "tracking"


@pytest.fixture
def client(root: Path) -> Iterator[MlflowClient]:
    yield MlflowClient(tracking_uri=f"sqlite:///{root}/mlflow.db")


def start(root: Path, **changes: Any) -> MlflowTracker:
    settings: dict[str, Any] = {
        "uri": None,
        "root": root,
        "experiment": "tests",
        "run_name": "one",
        "tags": {},
        "system_metrics": False,
    }
    return start_mlflow(**(settings | changes))


def test_embedded_database_and_artifacts_lie_under_the_root(
    root: Path, client: MlflowClient
) -> None:
    with start(root, tags={"recipe": "digits"}, git_commit="9f2c1e7") as tracker:
        tracker.log_artifact(Path(__file__))
    run = client.get_run(tracker.run_id)
    assert (root / "mlflow.db").is_file()
    kept = root / "mlartifacts" / tracker.run_id / "artifacts" / Path(__file__).name
    assert kept.is_file()
    assert run.info.run_name == "one"
    assert run.data.tags["recipe"] == "digits"
    assert run.data.tags["mlflow.source.git.commit"] == "9f2c1e7"
    assert run.data.tags[PID_TAG] == str(os.getpid())
    # Neither parameters nor tags may tell where on this machine the run lies.
    assert not any(str(root) in value for value in run.data.tags.values())


def test_file_that_is_no_database_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_text("notes" * 300)
    with pytest.raises(TrackingError, match=r"could not open experiment tests.*not a data") as e:
        start(tmp_path)
    assert "\n" not in str(e.value)


def test_database_gets_its_name_when_it_is_complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(mlflow_tracker, "MlflowClient", dies)
        with pytest.raises(KeyboardInterrupt):
            start(tmp_path)
    assert not (tmp_path / "mlflow.db").exists()


def test_environment_names_the_server(root: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{root}/mlflow.db")
    with start(tmp_path / "unused") as tracker:
        assert tracker.uri == f"sqlite:///{root}/mlflow.db"
    assert not (tmp_path / "unused").exists()


def test_training_does_not_wait_for_the_server(
    root: Path, client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = MlflowClient.log_batch

    def slow(*args: Any, **settings: Any) -> None:
        time.sleep(0.4)
        original(*args, **settings)

    monkeypatch.setattr(MlflowClient, "log_batch", slow)
    with start(root) as tracker:
        began = time.perf_counter()
        for step in range(1000):
            tracker.log_metrics({"loss": 1.0}, step)
        took_s = time.perf_counter() - began
    assert took_s < 0.4
    assert len(client.get_metric_history(tracker.run_id, "loss")) == 1000


def test_metrics_appear_without_flush(root: Path, client: MlflowClient) -> None:
    with start(root) as tracker:
        tracker.log_metrics({"loss": 1.0}, 0)
        tracker.log_metrics({"loss": 0.5}, 1)
        deadline = time.monotonic() + 5
        while len(client.get_metric_history(tracker.run_id, "loss")) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_awkward_keys_and_values_are_kept(root: Path, client: MlflowClient) -> None:
    with start(root) as tracker:
        tracker.log_params({"long": "x" * 7000, "a[0]": 1, **{f"p{i}": i for i in range(150)}})
        tracker.log_metrics({"f1/T-shirt (blue)": 0.5, "nan": math.nan}, 0)
        tracker.set_tags({f"t{i}": "x" for i in range(150)})
        tracker.log_dataset("digits", "f" * 64, "train", "runs/prepared")
    data = client.get_run(tracker.run_id).data
    assert len(data.params) == 152
    assert len(data.params["long"]) == 500
    assert data.params["long"].endswith("... (7000 characters, whole in recipe.yaml)")
    assert data.params["a_0_"] == "1"
    assert data.metrics["f1/T-shirt _blue_"] == 0.5
    assert math.isnan(data.metrics["nan"])


def test_resumed_run_goes_on_where_it_was(root: Path, client: MlflowClient) -> None:
    with start(root) as first:
        first.log_params({"epochs": 2, "seed": 7})
        first.log_metrics({"loss": 0.5}, 0)
    with start(root, resume_run_id=first.run_id) as second:
        assert second.run_id == first.run_id
        assert client.get_run(first.run_id).info.status == "RUNNING"
        second.log_params({"epochs": 4, "seed": 7, "new": 1})
        second.log_metrics({"loss": 9.0}, 0)
        second.log_metrics({"loss": 0.25}, 1)
    run = client.get_run(first.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.params == {"epochs": "2", "seed": "7", "new": "1"}
    assert run.data.tags["headrace.resumed.epochs"] == "4"
    assert "headrace.resumed.seed" not in run.data.tags
    history = client.get_metric_history(first.run_id, "loss")
    assert sorted((metric.step, metric.value) for metric in history) == [(0, 0.5), (1, 0.25)]


def test_trial_is_shown_below_its_study(root: Path, client: MlflowClient) -> None:
    with start(root) as study, start(root, parent_run_id=study.run_id) as trial:
        tags = client.get_run(trial.run_id).data.tags
    assert tags["mlflow.parentRunId"] == study.run_id


def test_resuming_what_is_not_there_is_refused(root: Path) -> None:
    with pytest.raises(TrackingError, match=r"run 0{32} to resume is not in sqlite.*start without"):
        start(root, resume_run_id="0" * 32)


def test_resuming_a_run_that_another_process_writes_is_refused(
    root: Path, client: MlflowClient
) -> None:
    run = start(root)
    other = Process(Process.current().host, os.getppid(), process_start(os.getppid()) or "")
    for key, value in other.tags().items():
        client.set_tag(run.run_id, key, value)
    with pytest.raises(TrackingError, match=f"still being written by process {os.getppid()};"):
        start(root, resume_run_id=run.run_id)
    run.finish("FINISHED")


def test_deleted_experiment_is_refused(root: Path, client: MlflowClient) -> None:
    client.delete_experiment(client.create_experiment("deleted"))
    with pytest.raises(TrackingError, match=r"'deleted' was deleted in sqlite.*restore"):
        start(root, experiment="deleted")


def test_killed_process_leaves_no_running_run(root: Path, client: MlflowClient) -> None:
    code = (
        "import sys, time; from pathlib import Path\n"
        "from components.tracking.mlflow_tracker import start_mlflow\n"
        "run = start_mlflow(uri=None, root=Path(sys.argv[1]), experiment='killed',"
        " run_name='child', tags={}, system_metrics=False)\n"
        "run.log_metrics({'loss': 0.5}, 0); run.flush()\n"
        "print(run.run_id, flush=True); time.sleep(60)"
    )
    start(root).finish("FINISHED")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, "-c", code, str(root)], stdout=subprocess.PIPE, text=True, env=environment
    ) as child:
        assert child.stdout is not None
        run_id = child.stdout.readline().strip()
        # While the process lives its run is not touched.
        with start(root, experiment="killed"):
            assert client.get_run(run_id).info.status == "RUNNING"
        child.send_signal(signal.SIGKILL)
        child.wait()
        assert client.get_run(run_id).info.status == "RUNNING"
        with start(root, experiment="killed"):
            run = client.get_run(run_id)
    assert run.info.status == "KILLED"
    assert run.info.end_time is not None
    assert run.data.metrics == {"loss": 0.5}


def test_only_runs_of_gone_processes_of_this_host_are_closed(
    root: Path, client: MlflowClient
) -> None:
    experiment = client.create_experiment("stale")
    here = Process.current()
    tags = {
        "reused pid": here.tags() | {STARTED_TAG: "long ago"},
        "no such pid": here.tags() | {PID_TAG: "999999999"},
        "alive": here.tags(),
        "other host": Process("elsewhere-12345678", here.pid, "long ago").tags(),
        "not ours": {},
    }
    # One lies in another experiment: the next start may be of another recipe.
    runs = {
        name: client.create_run("0" if name == "reused pid" else experiment, tags=each)
        for name, each in tags.items()
    }
    closed = close_stale_runs(client)
    assert set(closed) == {runs["reused pid"].info.run_id, runs["no such pid"].info.run_id}
    status = {name: client.get_run(run.info.run_id).info.status for name, run in runs.items()}
    assert status == {
        "reused pid": "KILLED",
        "no such pid": "KILLED",
        "alive": "RUNNING",
        "other host": "RUNNING",
        "not ours": "RUNNING",
    }
    for name in ("alive", "other host", "not ours"):
        client.set_terminated(runs[name].info.run_id)


def test_system_metrics_are_sampled(
    root: Path, client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mlflow_tracker, "SYSTEM_METRICS_INTERVAL_S", 0.05)
    with start(root, system_metrics=True) as tracker:
        time.sleep(0.4)
    metrics = client.get_run(tracker.run_id).data.metrics
    assert metrics["system/cpu_utilization_percentage"] >= 0
    assert metrics["system/system_memory_usage_megabytes"] > 0


def test_server_that_goes_away_delays_metrics_and_loses_none(
    root: Path, client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker = start(root)
    original = MlflowClient.log_batch

    def refuse(*_: Any, **__: Any) -> None:
        raise MlflowException("connection\nlost to sqlite:///" + str(root) + "/mlflow.db")

    monkeypatch.setattr(MlflowClient, "log_batch", refuse)
    tracker.log_metrics({"loss": 0.5}, 0)
    with pytest.raises(TrackingError) as caught:
        tracker.flush()
    assert "\n" not in str(caught.value)
    assert "could not log metrics: connection lost" in str(caught.value)
    monkeypatch.setattr(MlflowClient, "log_batch", original)
    tracker.finish("FINISHED")
    assert client.get_run(tracker.run_id).data.metrics == {"loss": 0.5}


def test_failure_to_finish_does_not_hide_the_error_of_the_run(
    root: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise MlflowException("gone")

    tracker = start(root)
    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "set_terminated", refuse)
        with pytest.raises(ZeroDivisionError), tracker:
            raise ZeroDivisionError
    assert "could not set the run to FAILED: gone" in caplog.text
    MlflowClient(tracking_uri=tracker.uri).set_terminated(tracker.run_id)
