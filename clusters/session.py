"""The one owner of Ray: connects to the cluster that is there or starts one, and ends it."""

import logging
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from clusters.machine import free_memory_bytes, granted_cpus, num_gpus
from clusters.resources import Capacity, ClusterConfig, Node, ResourcePlan
from components.errors import DataError, PlanError

# Read by Ray when it is imported, and inherited by every process that it starts.
_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    "RAY_TRAIN_ENABLE_WORKER_STRUCTURED_LOGGING": "0",
    # A lost worker is noticed at once, and a start costs 5 s less than with the default of 2 s.
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.25",
    # Ray then leaves CUDA_VISIBLE_DEVICES alone where a task asks for no GPU, its coming default.
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # A task has one CPU; without this each worker process starts a thread per core.
    "POLARS_MAX_THREADS": "1",
    "OPENCV_FOR_THREADS_NUM": "1",
    "NO_ALBUMENTATIONS_UPDATE": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}
for _name, _value in _ENVIRONMENT.items():
    os.environ.setdefault(_name, _value)

import ray  # noqa: E402
import ray.data  # noqa: E402

_CONNECT_TIMEOUT_S = 5
_LOG_BYTES = 16 << 20
# Ray starts with no less.
_MIN_STORE_BYTES = 80 << 20


def cluster_address() -> str | None:
    """Address of a running cluster to use, or None where this run starts its own Ray."""
    return os.environ.get("RAY_ADDRESS") or None


def capacity_of(config: ClusterConfig) -> Capacity:
    """What there is to share out: the running cluster's count, or what this machine grants.

    Raises:
        PlanError: RAY_ADDRESS names a cluster that cannot be reached.
    """
    if ray.is_initialized() or cluster_address():
        connect()
        return _cluster_capacity()
    memory = free_memory_bytes()
    store = config.object_store_bytes or min(4 << 30, max(_MIN_STORE_BYTES, int(memory * 0.2)))
    cpus = float(config.cpus or granted_cpus())
    node = Node(cpus, float(num_gpus()), memory - store)
    return Capacity(nodes=(node,), object_store_bytes=store, running_cluster=False)


def connect() -> None:
    """Connect this process to the cluster at RAY_ADDRESS, once.

    Raises:
        PlanError: It cannot be reached.
    """
    if ray.is_initialized():
        return
    _require_answer(cluster_address() or "")
    try:
        ray.init(
            address=cluster_address(),
            log_to_driver=False,
            logging_level=logging.ERROR,
            runtime_env={"env_vars": {name: os.environ[name] for name in _ENVIRONMENT}},
        )
    except (ConnectionError, RuntimeError, TimeoutError, ValueError) as error:
        first_line = str(error).strip().splitlines()[0]
        raise PlanError(
            f"RAY_ADDRESS = {cluster_address()} cannot be reached ({first_line}); start the "
            "cluster, set RAY_AUTH_MODE as it does, or unset RAY_ADDRESS to run on this machine"
        ) from error
    _quiet()


@contextmanager
def ray_session(plan: ResourcePlan, log_folder: Path) -> Iterator[None]:
    """Ray with what the plan says, for the length of the block.

    A Ray that was up before stays up. What Ray's processes logged is copied to `log_folder`, unless
    the block refused its input: then nothing went wrong in them.
    """
    started_here = not ray.is_initialized()
    session_folder: Path | None = None
    if started_here and not plan.running_cluster:
        # mypy sees the base class, which has no address; the local context has one.
        context: Any = ray.init(
            # Without this, a Ray that somebody else started here would be taken.
            address="local",
            num_cpus=int(plan.cluster_cpus),
            num_gpus=int(plan.cluster_gpus),
            object_store_memory=plan.object_store_bytes,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
        session_folder = Path(context.address_info["session_dir"])
        _quiet()
    else:
        connect()
    refused = False
    try:
        yield
    except DataError:
        refused = True
        raise
    finally:
        if session_folder is not None:
            ray.shutdown()
            if not refused:
                _keep_logs(session_folder / "logs", log_folder)


def disconnect() -> None:
    """Leave the cluster; one that this process started ends with it."""
    if ray.is_initialized():
        ray.shutdown()


def _require_answer(address: str) -> None:
    """Try the address first: Ray itself waits for many minutes where nobody answers."""
    if address.startswith(("http://", "https://")):
        raise PlanError(
            f"RAY_ADDRESS = {address} is a dashboard's address, which takes jobs only; use "
            "`ray job submit`, or unset RAY_ADDRESS to run on this machine"
        )
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        return  # "auto" and "local": Ray looks on this machine and answers at once
    try:
        socket.create_connection((host, int(port)), timeout=_CONNECT_TIMEOUT_S).close()
    except OSError as error:
        raise PlanError(
            f"RAY_ADDRESS = {address} does not answer ({error}); start the cluster, mend the "
            "address, or unset RAY_ADDRESS to run on this machine"
        ) from error


def _quiet() -> None:
    # Warnings of Ray Data, Train and the core stay in the log files; errors reach the user as one.
    for name in ("ray", "ray.data", "ray.train", "ray.tune"):
        for handler in logging.getLogger(name).handlers:
            if isinstance(handler, logging.StreamHandler) and not isinstance(
                handler, logging.FileHandler
            ):
                handler.setLevel(logging.CRITICAL)


def _cluster_capacity() -> Capacity:
    nodes = tuple(
        Node(
            cpus=node["Resources"].get("CPU", 0.0),
            gpus=node["Resources"].get("GPU", 0.0),
            memory_bytes=int(node["Resources"].get("memory", 0.0)),
        )
        for node in ray.nodes()
        if node["Alive"]
    )
    if not any(node.cpus for node in nodes):
        raise PlanError("the Ray cluster has no CPU; add a worker node before starting a run")
    store = int(ray.cluster_resources().get("object_store_memory", 0))
    return Capacity(nodes=nodes, object_store_bytes=store, running_cluster=True)


def _keep_logs(source: Path, target: Path) -> None:
    """Copy what Ray's workers, Train and Data wrote; the rest is about Ray itself."""
    for pattern in ("worker-*.err", "worker-*.out", "train/*.log", "ray-data/*.log", "raylet.err"):
        for file in source.glob(pattern):
            if 0 < file.stat().st_size <= _LOG_BYTES:
                (target / file.relative_to(source)).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, target / file.relative_to(source))
