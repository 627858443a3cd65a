"""MLflow behind the tracker protocol; the only module that imports mlflow (1-2 s)."""

import json
import logging
import os
import re
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from alembic.util import CommandError
from filelock import FileLock, Timeout
from sqlalchemy.exc import SQLAlchemyError

from components.errors import TrackingError
from components.tracking.embedded import artifact_folder, follow_moved_folder
from components.tracking.params import safe_key, short_value
from components.tracking.process import Process
from components.tracking.server import check_server, redact, resolve_uri, sqlite_path
from components.tracking.tracker import Scalar, Status, status_after
from components.tracking.writer import BatchWriter

# MLflow reads these when it is imported or asked; by default it reports its use to its makers,
# writes links to standard output, and tries a dead server for minutes.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")

from mlflow.entities import (
    Dataset,
    DatasetInput,
    InputTag,
    LifecycleStage,
    Metric,
    Param,
    Run,
    RunStatus,
    RunTag,
)
from mlflow.exceptions import MlflowException
from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor
from mlflow.tracking import MlflowClient
from mlflow.utils.mlflow_tags import (
    MLFLOW_DATASET_CONTEXT,
    MLFLOW_GIT_COMMIT,
    MLFLOW_PARENT_RUN_ID,
    MLFLOW_SOURCE_NAME,
    MLFLOW_SOURCE_TYPE,
)

_logger = logging.getLogger(__name__)

CLOSED_TAG = "headrace.closed"
RESUMED_TAG = "headrace.resumed."
SYSTEM_METRICS_INTERVAL_S = 5.0
_METRICS_PER_CALL = 1000
# Opens MLflow's page on training runs; without it on those of language models.
_EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}
_ENTRIES_PER_CALL = 100
_MAX_DIGEST_CHARS = 36

# MLflow lets some errors of its database layer through.
_BACKEND_ERRORS = (MlflowException, SQLAlchemyError, CommandError, sqlite3.Error, Timeout)

Item = TypeVar("Item")


class MlflowTracker:
    """One MLflow run being written; opened by `start_mlflow`.

    Metrics go out in batches from a thread of their own: logging costs microseconds, and a server
    that is away for a while delays them instead of stopping the run. Everything else is written
    at once.

    Attributes:
        run_id: The run's id.
        experiment_id: The experiment that it belongs to.
        uri: Tracking URI, with credentials if it has any: for processes, not for messages.
    """

    def __init__(
        self, client: MlflowClient, run: Run, *, uri: str, resumed: bool, system_metrics: bool
    ) -> None:
        self.run_id: str = run.info.run_id
        self.experiment_id: str = run.info.experiment_id
        self.uri = uri
        self._client = client
        self._params: dict[str, str] = dict(run.data.params) if resumed else {}
        self._logged = _logged_steps(client, run) if resumed else {}
        self._writer: BatchWriter[Metric] = BatchWriter(self._send_metrics)
        self._monitor = _start_monitor(self.run_id, uri, resumed) if system_metrics else None
        self._finished = False

    def log_params(self, params: Mapping[str, Scalar]) -> None:
        """Record settings once; a key that the run already has keeps its first value.

        MLflow never changes a parameter: one that a resumed run gives another value goes into the
        tag `headrace.resumed.<key>`. Values over 500 characters are cut and say so.
        """
        wanted = {safe_key(key): short_value(value) for key, value in params.items()}
        new = {key: value for key, value in wanted.items() if key not in self._params}
        kept = self._params
        changed = {k: value for k, value in wanted.items() if kept.get(k, value) != value}
        with _explained(self.uri, "log parameters"):
            for chunk in _chunks([Param(*item) for item in new.items()], _ENTRIES_PER_CALL):
                self._client.log_batch(self.run_id, params=chunk)
        self._params |= new
        if changed:
            self.set_tags({RESUMED_TAG + key: value for key, value in changed.items()})

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Record numbers at a step; a (key, step) that the run already has is skipped."""
        now_ms = time.time_ns() // 1_000_000
        new: list[Metric] = []
        for name, value in metrics.items():
            key = safe_key(name)
            steps = self._logged.setdefault(key, set())
            if step not in steps:
                steps.add(step)
                new.append(Metric(key, float(value), now_ms, step))
        self._writer.add(new)

    def log_dataset(self, name: str, digest: str, context: str, uri_relative: str) -> None:
        """Record an input of the run as MLflow shows it: name, fingerprint, use and place.

        Args:
            name: Name of the data set.
            digest: Its fingerprint; MLflow keeps the first 36 characters.
            context: What it is used for, such as `train` or `test`.
            uri_relative: Where it lies, relative to the working directory, or a URI.
        """
        source = json.dumps({"uri": uri_relative})
        dataset = Dataset(name, digest[:_MAX_DIGEST_CHARS], "local", source)
        entry = DatasetInput(dataset, [InputTag(MLFLOW_DATASET_CONTEXT, context)])
        with _explained(self.uri, f"log data set {name}"):
            self._client.log_inputs(self.run_id, [entry])

    def log_artifact(self, path: Path, folder: str | None = None) -> None:
        """Keep a file, or a directory with all it holds, as `folder/path.name`."""
        with _explained(self.uri, f"keep {path.name}"):
            if path.is_dir():
                target = f"{folder}/{path.name}" if folder else path.name
                self._client.log_artifacts(self.run_id, str(path), target)
            else:
                self._client.log_artifact(self.run_id, str(path), folder)

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Set or replace labels of the run."""
        entries = [RunTag(safe_key(key), value) for key, value in tags.items()]
        with _explained(self.uri, "set tags"):
            for chunk in _chunks(entries, _ENTRIES_PER_CALL):
                self._client.log_batch(self.run_id, tags=chunk)

    def flush(self) -> None:
        """Write the metrics that are still held back.

        Raises:
            TrackingError: The server did not take them; they are kept and sent again later.
        """
        self._writer.flush()

    def finish(self, status: Status) -> None:
        """Write what is held back and end the run; only the first call counts.

        Raises:
            TrackingError: The server did not take it; it then still shows the run as RUNNING,
                which the next start on this host corrects.
        """
        if self._finished:
            return
        self._finished = True
        if self._monitor is not None:
            self._monitor.finish()
        try:
            self._writer.close()
        finally:
            with _explained(self.uri, f"set the run to {status}"):
                self._client.set_terminated(self.run_id, status)

    def __enter__(self) -> Self:
        """Use the run in a `with` statement."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the run with the status that the exception calls for; the exception goes on."""
        try:
            self.finish(status_after(kind))
        except TrackingError as failure:
            if error is None:
                raise
            # The exception under way says more than this one, which must not take its place.
            _logger.warning("%s", failure)

    def _send_metrics(self, metrics: Sequence[Metric]) -> None:
        with _explained(self.uri, "log metrics"):
            for chunk in _chunks(metrics, _METRICS_PER_CALL):
                self._client.log_batch(self.run_id, metrics=chunk, synchronous=True)


def start_mlflow(
    *,
    uri: str | None,
    root: Path,
    experiment: str,
    run_name: str,
    tags: Mapping[str, str],
    resume_run_id: str | None = None,
    parent_run_id: str | None = None,
    git_commit: str | None = None,
    system_metrics: bool = True,
) -> MlflowTracker:
    """Open a run, or open one again, and close the runs of this host whose process is gone.

    Args:
        uri: Tracking URI; None takes `MLFLOW_TRACKING_URI`, and without it an SQLite database
            `mlflow.db` under `root` with its artifacts in `mlartifacts` beside it.
        root: Folder for the embedded database; made when it is needed.
        experiment: Made when it does not exist.
        run_name: Name that MLflow shows.
        tags: Labels of the run.
        resume_run_id: Go on with this run: it is RUNNING again, parameters keep their first
            values, metrics that it has are skipped.
        parent_run_id: Show the run below this one (a trial below its study).
        git_commit: Commit of the code.
        system_metrics: Sample this machine every 5 s while the run is open.

    Raises:
        TrackingError: The server cannot be used, the experiment was deleted, or the run to resume
            is not there or still written by a living process.
    """
    address = resolve_uri(uri, root)
    check_server(address)
    with _explained(address, f"open experiment {experiment}"):
        client = _open_client(address)
        experiment_id = _experiment_id(client, address, root, experiment)
        close_stale_runs(client)
        own_tags = Process.current().tags()
        own_tags |= {MLFLOW_SOURCE_NAME: "headrace", MLFLOW_SOURCE_TYPE: "JOB"}
        own_tags |= {MLFLOW_GIT_COMMIT: git_commit} if git_commit else {}
        own_tags |= {MLFLOW_PARENT_RUN_ID: parent_run_id} if parent_run_id else {}
        all_tags = {**own_tags, **tags}
        if resume_run_id is None:
            run = client.create_run(experiment_id, run_name=run_name, tags=all_tags)
        else:
            run = _reopen(client, address, resume_run_id, all_tags)
    return MlflowTracker(
        client,
        run,
        uri=address,
        resumed=resume_run_id is not None,
        system_metrics=system_metrics,
    )


def close_stale_runs(client: MlflowClient) -> list[str]:
    """End the runs that say RUNNING though their process on this host is gone: KILLED.

    In all experiments, as the next start may be of another recipe. Runs of other hosts are left
    alone: whether their process lives cannot be seen from here.

    Returns:
        Ids of the runs that were closed.
    """
    host = Process.current().host.replace("'", "")
    query = f"attributes.status = 'RUNNING' and tags.`headrace.host` = '{host}'"
    closed: list[str] = []
    for run in _search(client, query):
        process = Process.from_tags(run.data.tags)
        if process is not None and process.is_gone():
            client.set_tag(run.info.run_id, CLOSED_TAG, "its process was gone at the next start")
            client.set_terminated(run.info.run_id, "KILLED")
            closed.append(run.info.run_id)
    return closed


def _search(client: MlflowClient, query: str) -> list[Run]:
    experiments = [found.experiment_id for found in client.search_experiments()]
    runs: list[Run] = []
    token: str | None = ""
    while token is not None:
        page = client.search_runs(experiments, query, page_token=token or None)
        runs.extend(page)
        token = page.token or None
    return runs


def _open_client(uri: str) -> MlflowClient:
    database = sqlite_path(uri)
    if database is None:
        return MlflowClient(tracking_uri=uri)
    database.parent.mkdir(parents=True, exist_ok=True)
    # Two processes that open a new database at once both create its tables, and one fails.
    with FileLock(database.with_name(database.name + ".lock"), timeout=60):
        if not database.exists():
            _create_database(database)
        client = MlflowClient(tracking_uri=uri)
        client.search_experiments(max_results=1)
        follow_moved_folder(database)
    return client


def _create_database(database: Path) -> None:
    # A process killed while MLflow makes its tables leaves a file that can never be opened, so
    # the database gets its name when it is complete.
    unfinished = database.with_name(f"{database.name}.unfinished")
    unfinished.unlink(missing_ok=True)
    MlflowClient(tracking_uri=f"sqlite:///{unfinished.as_posix()}").search_experiments()
    unfinished.replace(database)


def _experiment_id(client: MlflowClient, uri: str, root: Path, name: str) -> str:
    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            location = _artifact_location(uri, root)
            return str(client.create_experiment(name, location, tags=_EXPERIMENT_TAGS))
        except MlflowException as error:
            # Another process may have made it in the meantime.
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            found = client.get_experiment_by_name(name)
    if found is None or found.lifecycle_stage == LifecycleStage.DELETED:
        raise TrackingError(
            f"experiment {name!r} was deleted in {redact(uri)}; choose another "
            f"tracking.experiment or run `mlflow experiments restore`"
        )
    return str(found.experiment_id)


def _artifact_location(uri: str, root: Path) -> str | None:
    if uri.startswith(("http:", "https:", "databricks")):
        return None
    database = sqlite_path(uri) or root.resolve() / "mlflow.db"
    return artifact_folder(database).as_posix()


def _reopen(client: MlflowClient, uri: str, run_id: str, tags: Mapping[str, str]) -> Run:
    try:
        run = client.get_run(run_id)
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
        raise TrackingError(
            f"run {run_id} to resume is not in {redact(uri)}; start without resume, or set "
            f"MLFLOW_TRACKING_URI to the server that has it"
        ) from None
    process = Process.from_tags(run.data.tags)
    alive = process is not None and process.pid != os.getpid() and process.is_alive()
    if run.info.status == RunStatus.to_string(RunStatus.RUNNING) and alive:
        assert process is not None
        raise TrackingError(
            f"run {run_id} is still being written by process {process.pid}; wait for it or stop it"
        )
    client.update_run(run_id, status="RUNNING")
    for key, value in tags.items():
        client.set_tag(run_id, key, value)
    return client.get_run(run_id)


def _logged_steps(client: MlflowClient, run: Run) -> dict[str, set[int]]:
    own = [key for key in run.data.metrics if not key.startswith("system/")]
    history = {key: client.get_metric_history(run.info.run_id, key) for key in own}
    return {key: {metric.step for metric in metrics} for key, metrics in history.items()}


def _start_monitor(run_id: str, uri: str, resumed: bool) -> Any:
    # The class carries no types; seen as a callable it may be used in typed code.
    make_monitor: Callable[..., Any] = SystemMetricsMonitor
    monitor = make_monitor(
        run_id,
        sampling_interval=SYSTEM_METRICS_INTERVAL_S,
        resume_logging=resumed,
        tracking_uri=uri,
    )
    monitor.start()
    return monitor


def _chunks(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    return (items[start : start + size] for start in range(0, len(items), size))


@contextmanager
def _explained(uri: str, action: str) -> Iterator[None]:
    try:
        yield
    except _BACKEND_ERRORS as error:
        text = " ".join(str(error).replace(uri, redact(uri)).split())
        # What follows in a failed request is the inside of the HTTP library, three lines of it.
        text = re.sub(r" failed with exception .*", " got no answer", text)
        raise TrackingError(
            f"tracking at {redact(uri)} could not {action}: {text[:300]}; check that it "
            f"runs, has space and was made by this or an older MLflow"
        ) from error
    except OSError as error:
        raise TrackingError(
            f"tracking at {redact(uri)} could not {action}: {error.strerror or error}; check "
            f"space and permissions"
        ) from error
