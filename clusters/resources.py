"""The resource plan: what Train, Data and the driver each get, decided before anything starts."""

from dataclasses import asdict, dataclass
from typing import Literal

from pydantic import Field

from components.config import Config
from components.errors import PlanError

WORKER_MEMORY_BYTES = 512 << 20


class ClusterConfig(Config):
    """Where a run runs and how much of it the run may use."""

    cpus: int | None = Field(None, ge=1)
    """CPUs of a Ray that this run starts itself; null uses all that the machine grants. A running
    cluster (RAY_ADDRESS, `ray job submit`) keeps its own count."""
    workers: int | Literal["auto"] = "auto"
    """Training workers. `auto`: one per GPU, or one where there is no GPU."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the model computes. `auto` takes GPUs if the cluster has any."""
    object_store_bytes: int | None = Field(None, ge=80 << 20)
    """Shared memory for data in flight, of a Ray that this run starts itself; null takes 20 % of
    the free memory, at most 2 GiB."""


@dataclass(frozen=True)
class Node:
    """What one node of a cluster, or this machine, has."""

    cpus: float
    gpus: float
    memory_bytes: int


@dataclass(frozen=True)
class Capacity:
    """What there is to share out.

    Attributes:
        nodes: At least one.
        object_store_bytes: Shared memory for data, over all nodes.
        running_cluster: Whether Ray is up already (then its counts are fixed).
    """

    nodes: tuple[Node, ...]
    object_store_bytes: int
    running_cluster: bool

    @property
    def cpus(self) -> float:
        """CPUs of all nodes."""
        return sum(node.cpus for node in self.nodes)

    @property
    def gpus(self) -> float:
        """GPUs of all nodes."""
        return sum(node.gpus for node in self.nodes)

    @property
    def whole_gpus(self) -> int:
        """GPUs that a worker can have to itself."""
        return sum(int(node.gpus) for node in self.nodes)


@dataclass(frozen=True)
class ResourcePlan:
    """What each part of a run gets.

    Attributes:
        num_workers: Training workers.
        worker_cpus: CPUs that each worker holds; 0 shares the cores with Data.
        worker_gpus: GPUs that each worker holds, 0 or 1.
        worker_threads: Threads of the model's arithmetic in each worker.
        data_cpus: CPUs that Data keeps while training, and the tasks it may run at once.
        cluster_cpus: All CPUs; Data has them to itself while preparing and evaluating.
        cluster_gpus: All GPUs.
        object_store_bytes: Shared memory for data.
        cache_bytes: The part of it in which decoded records may stay from epoch to epoch.
        device: Where the model computes.
        running_cluster: Whether Ray is up already.
    """

    num_workers: int
    worker_cpus: int
    worker_gpus: int
    worker_threads: int
    data_cpus: int
    cluster_cpus: float
    cluster_gpus: float
    object_store_bytes: int
    cache_bytes: int
    device: Literal["cpu", "cuda"]
    running_cluster: bool

    def worker_resources(self) -> dict[str, float]:
        """Resource bundle of one worker, as Ray's ScalingConfig takes it.

        A worker that holds no CPU is scheduled by memory: Ray refuses an empty bundle, and any
        fraction of a CPU would leave Data, which gets whole CPUs per node, one CPU less.
        """
        resources: dict[str, float] = {}
        if self.worker_cpus:
            resources["CPU"] = self.worker_cpus
        if self.worker_gpus:
            resources["GPU"] = self.worker_gpus
        return resources or {"memory": float(WORKER_MEMORY_BYTES)}

    def as_dict(self) -> dict[str, object]:
        """All fields, for JSON and MLflow."""
        return asdict(self)


def plan_resources(config: ClusterConfig, capacity: Capacity) -> ResourcePlan:
    """Share out what there is: a pure function, so that every decision can be tested.

    Ray Data gets what is left by the workers, in whole CPUs per node; it makes no progress with
    less than one, so the workers hold CPUs only where at least one whole CPU stays free.

    Raises:
        PlanError: The workers cannot run here, with the change that would make them run.
    """
    device = _device(config, capacity)
    num_workers = _num_workers(config, capacity, device)
    gpus_per_worker = 1 if device == "cuda" else 0
    if num_workers * gpus_per_worker > capacity.whole_gpus:
        raise PlanError(
            f"cluster.workers = {num_workers} need one GPU each and there are "
            f"{capacity.whole_gpus}; set cluster.workers={capacity.whole_gpus} or "
            "cluster.device=cpu"
        )
    worker_cpus = _worker_cpus(num_workers, capacity, gpus_per_worker)
    data_cpus = _data_cpus(num_workers, worker_cpus, capacity)
    if data_cpus < 1:
        raise PlanError(
            f"no node has a whole CPU ({capacity.cpus:g} CPUs on {len(capacity.nodes)} nodes) and "
            "Ray Data needs one; add a node with at least 1 CPU"
        )
    if not worker_cpus and not gpus_per_worker:
        _require_worker_memory(num_workers, capacity)
    return ResourcePlan(
        num_workers=num_workers,
        worker_cpus=worker_cpus,
        worker_gpus=gpus_per_worker,
        worker_threads=max(1, worker_cpus),
        data_cpus=data_cpus,
        cluster_cpus=capacity.cpus,
        cluster_gpus=capacity.gpus,
        object_store_bytes=capacity.object_store_bytes,
        cache_bytes=_cache_bytes(capacity),
        device=device,
        running_cluster=capacity.running_cluster,
    )


def _device(config: ClusterConfig, capacity: Capacity) -> Literal["cpu", "cuda"]:
    if config.device == "cuda" and capacity.whole_gpus < 1:
        raise PlanError(
            "cluster.device = cuda, and neither this machine nor its cluster has a GPU; set "
            "cluster.device=auto"
        )
    if config.device == "cpu" or capacity.whole_gpus < 1:
        return "cpu"
    return "cuda"


def _num_workers(config: ClusterConfig, capacity: Capacity, device: str) -> int:
    if isinstance(config.workers, int):
        if config.workers < 1:
            raise PlanError(f"cluster.workers = {config.workers}; at least 1 worker must train")
        return config.workers
    return capacity.whole_gpus if device == "cuda" else 1


def _worker_cpus(num_workers: int, capacity: Capacity, worker_gpus: int) -> int:
    """Whole CPUs per worker: 1 beside a GPU, up to half of the machine without, 0 if scarce."""
    largest = int(max(node.cpus for node in capacity.nodes))
    share = 1 if worker_gpus else max(1, int(capacity.cpus / 2 / num_workers))
    for cpus in range(min(share, largest), 0, -1):
        slots = sum(_slots(node, cpus, worker_gpus) for node in capacity.nodes)
        if slots >= num_workers and _data_cpus(num_workers, cpus, capacity) >= 1:
            return cpus
    return 0


def _slots(node: Node, worker_cpus: int, worker_gpus: int) -> int:
    """Workers that find all that one holds on this node: a bundle is never split over nodes."""
    by_cpus = int(node.cpus // worker_cpus)
    return min(by_cpus, int(node.gpus)) if worker_gpus else by_cpus


def _data_cpus(num_workers: int, worker_cpus: int, capacity: Capacity) -> int:
    """Whole CPUs that the workers leave free, on whichever nodes they are."""
    return sum(int(node.cpus) for node in capacity.nodes) - num_workers * worker_cpus


def _cache_bytes(capacity: Capacity) -> int:
    """Two fifths of the store: Ray Data keeps what is in flight below one half of it.

    Nothing on several nodes: to fetch pixels from another costs as much as to decode them.
    """
    return capacity.object_store_bytes * 2 // 5 if len(capacity.nodes) == 1 else 0


def _require_worker_memory(num_workers: int, capacity: Capacity) -> None:
    slots = sum(max(0, node.memory_bytes) // WORKER_MEMORY_BYTES for node in capacity.nodes)
    if slots < num_workers:
        raise PlanError(
            f"cluster.workers = {num_workers} need {WORKER_MEMORY_BYTES >> 20} MiB of memory each "
            f"and there is room for {slots}; set cluster.workers={max(1, slots)}"
        )
