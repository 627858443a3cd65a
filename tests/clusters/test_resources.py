"""The resource plan: a table of what there is and what each part then gets."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clusters.resources import (
    WORKER_MEMORY_BYTES,
    Capacity,
    ClusterConfig,
    Node,
    ResourcePlan,
    plan_resources,
)
from components.errors import PlanError

GIB = 1 << 30


def capacity(*nodes: tuple[float, float], memory_bytes: int = 8 * GIB) -> Capacity:
    """Nodes given as (CPUs, GPUs)."""
    return Capacity(
        nodes=tuple(Node(cpus, gpus, memory_bytes) for cpus, gpus in nodes),
        object_store_bytes=GIB,
        running_cluster=len(nodes) > 1,
    )


def plan(workers: int | str, *nodes: tuple[float, float], device: str = "auto") -> ResourcePlan:
    config = ClusterConfig.model_validate({"workers": workers, "device": device})
    return plan_resources(config, capacity(*nodes))


ONE_NODE = [
    # CPUs, workers: CPUs per worker, CPUs of Data, threads per worker
    (1, "auto", 0, 1, 1),
    (1, 2, 0, 1, 1),
    (1, 8, 0, 1, 1),
    (2, "auto", 1, 1, 1),
    (2, 2, 0, 2, 1),
    (2, 4, 0, 2, 1),
    (4, "auto", 2, 2, 2),
    (4, 2, 1, 2, 1),
    (4, 3, 1, 1, 1),
    (4, 4, 0, 4, 1),
    (4, 8, 0, 4, 1),
    (64, "auto", 32, 32, 32),
    (64, 3, 10, 34, 10),
    (64, 8, 4, 32, 4),
]


@pytest.mark.parametrize(("cpus", "workers", "worker_cpus", "data_cpus", "threads"), ONE_NODE)
def test_one_machine_without_gpu(
    cpus: int, workers: int | str, worker_cpus: int, data_cpus: int, threads: int
) -> None:
    found = plan(workers, (cpus, 0))
    assert (found.worker_cpus, found.data_cpus, found.worker_threads) == (
        worker_cpus,
        data_cpus,
        threads,
    )
    assert found.num_workers == (1 if workers == "auto" else workers)
    assert (found.device, found.worker_gpus, found.cluster_cpus) == ("cpu", 0, cpus)


GPUS = [
    # nodes, workers: workers planned, CPUs per worker, CPUs of Data
    ([(16, 1)], "auto", 1, 1, 15),
    ([(16, 4)], "auto", 4, 1, 12),
    ([(16, 4)], 2, 2, 1, 14),
    ([(1, 1)], "auto", 1, 0, 1),
    ([(4, 4)], "auto", 4, 0, 4),
    ([(8, 0), (8, 2)], "auto", 2, 1, 14),
    # A GPU node with fewer CPUs than GPUs: a bundle of both would fit nowhere, however many CPUs
    # the other nodes have.
    ([(8, 0), (2, 4)], "auto", 4, 0, 10),
    ([(8, 0), (0, 1)], "auto", 1, 0, 8),
]


@pytest.mark.parametrize(("nodes", "workers", "num_workers", "worker_cpus", "data_cpus"), GPUS)
def test_gpus(
    nodes: list[tuple[float, float]],
    workers: int | str,
    num_workers: int,
    worker_cpus: int,
    data_cpus: int,
) -> None:
    found = plan(workers, *nodes)
    assert (found.num_workers, found.worker_cpus, found.data_cpus) == (
        num_workers,
        worker_cpus,
        data_cpus,
    )
    assert (found.device, found.worker_gpus, found.worker_threads) == ("cuda", 1, 1)
    assert found.worker_resources() == ({"CPU": 1.0, "GPU": 1.0} if worker_cpus else {"GPU": 1.0})


def test_gpus_can_be_left_alone() -> None:
    found = plan("auto", (16, 4), device="cpu")
    assert (found.num_workers, found.worker_cpus, found.worker_gpus) == (1, 8, 0)


SEVERAL = [
    # The half of all CPUs is 8, but no node has more than 4.
    ([(4, 0)] * 4, 1, 4, 12),
    ([(4, 0)] * 4, 2, 4, 8),
    ([(4, 0)] * 4, 6, 1, 10),
    ([(1, 0)] * 4, 3, 1, 1),
    ([(1, 0)] * 4, 4, 0, 4),
    ([(0, 0), (4, 0)], 1, 2, 2),
    ([(64, 0), (2, 0)], 2, 16, 34),
]


@pytest.mark.parametrize(("nodes", "workers", "worker_cpus", "data_cpus"), SEVERAL)
def test_several_nodes(
    nodes: list[tuple[float, float]], workers: int, worker_cpus: int, data_cpus: int
) -> None:
    found = plan(workers, *nodes)
    assert (found.worker_cpus, found.data_cpus) == (worker_cpus, data_cpus)


def test_workers_that_hold_no_cpu_are_scheduled_by_memory() -> None:
    assert plan(1, (1, 0)).worker_resources() == {"memory": float(WORKER_MEMORY_BYTES)}
    assert plan(1, (4, 0)).worker_resources() == {"CPU": 2}


REFUSED = [
    ({"device": "cuda"}, [(4, 0)], "neither this machine nor its cluster has a GPU; set cluster"),
    ({"workers": 3}, [(8, 2)], "need one GPU each and there are 2; set cluster.workers=2"),
    ({"workers": 0}, [(4, 0)], "cluster.workers = 0; at least 1 worker must train"),
    (
        {"workers": 20},
        [(4, 0)],
        "memory each and there is room for 16; set cluster.workers=16",
    ),
    ({}, [(0.5, 0), (0.5, 0)], "no node has a whole CPU .* add a node with at least 1 CPU"),
]


@pytest.mark.parametrize(("settings", "nodes", "expected"), REFUSED)
def test_what_cannot_run_is_refused_with_the_change(
    settings: dict[str, object], nodes: list[tuple[float, float]], expected: str
) -> None:
    with pytest.raises(PlanError, match=expected):
        plan_resources(ClusterConfig.model_validate(settings), capacity(*nodes))


def test_the_change_that_is_named_runs() -> None:
    assert plan(2, (8, 2)).num_workers == 2
    assert plan(16, (4, 0)).num_workers == 16


def test_fractions_of_gpus_are_no_gpu() -> None:
    assert plan("auto", (4, 0.5), (4, 0.5)).device == "cpu"


def test_no_memory_is_no_room() -> None:
    with pytest.raises(PlanError, match=r"there is room for 0; set cluster\.workers=1"):
        plan_resources(ClusterConfig(), capacity((1, 0), memory_bytes=-GIB))


def fits(found: ResourcePlan, nodes: list[tuple[float, float]]) -> bool:
    """Whether every worker's bundle finds a node that holds all of it."""
    slots = 0
    for cpus, gpus in nodes:
        by_cpu = cpus // found.worker_cpus if found.worker_cpus else float("inf")
        by_gpu = gpus // found.worker_gpus if found.worker_gpus else float("inf")
        slots += int(min(by_cpu, by_gpu, 8 * GIB // WORKER_MEMORY_BYTES))
    return slots >= found.num_workers


@settings(max_examples=150, derandomize=True, deadline=None, database=None)
@given(
    st.lists(st.tuples(st.integers(0, 64), st.integers(0, 8)), min_size=1, max_size=5),
    st.one_of(st.just("auto"), st.integers(1, 12)),
    st.sampled_from(["auto", "cpu"]),
)
def test_whatever_is_planned_can_be_placed_and_leaves_data_a_cpu(
    nodes: list[tuple[float, float]], workers: int | str, device: str
) -> None:
    try:
        found = plan(workers, *nodes, device=device)
    except PlanError:
        gpus = sum(gpus for _, gpus in nodes) if device == "auto" else 0
        too_many = isinstance(workers, int) and 0 < gpus < workers
        assert too_many or not any(cpus for cpus, _ in nodes)
        return
    assert found.data_cpus >= 1
    held = found.num_workers * found.worker_cpus
    assert found.data_cpus + held == sum(cpus for cpus, _ in nodes)
    assert fits(found, nodes)
