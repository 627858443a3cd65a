"""What this machine grants, under container limits that are made up here."""

import os
import subprocess
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from clusters import machine

GIB = 1 << 30


@pytest.fixture
def cgroup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty control group on a machine with 8 CPUs and 16 GiB free."""
    monkeypatch.setattr(machine, "_CGROUP", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    free = SimpleNamespace(available=16 * GIB)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: free)
    return tmp_path


@pytest.mark.parametrize(
    ("quota", "cpus"),
    [
        (None, 8),
        ("max 100000", 8),
        ("200000 100000", 2),
        ("250000 100000", 2),
        ("50000 100000", 1),
        ("6400000 100000", 8),
        ("", 8),
    ],
)
def test_cpus_under_a_quota(cgroup: Path, quota: str | None, cpus: int) -> None:
    if quota is not None:
        (cgroup / "cpu.max").write_text(f"{quota}\n")
    assert machine.granted_cpus() == cpus


def test_cpus_where_there_is_no_affinity(cgroup: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert machine.granted_cpus() == 1


@pytest.mark.parametrize(
    ("limit", "used", "stat", "free_gib"),
    [
        (None, None, None, 16),
        ("max", 3 * GIB, None, 16),
        (4 * GIB, GIB, None, 3),
        (64 * GIB, GIB, None, 16),
        (4 * GIB, 5 * GIB, None, 0),
        # 2 of the 3 GiB in use are pages of files that were read: they are given back at need.
        (4 * GIB, 3 * GIB, f"anon {GIB}\nactive_file 0\ninactive_file {2 * GIB}\n", 3),
    ],
)
def test_memory_under_a_limit(
    cgroup: Path, limit: object, used: object, stat: str | None, free_gib: int
) -> None:
    files = {"memory.max": limit, "memory.current": used, "memory.stat": stat}
    for name, value in files.items():
        if value is not None:
            (cgroup / name).write_text(f"{value}\n")
    assert machine.free_memory_bytes() == free_gib * GIB


@pytest.mark.parametrize(
    ("visible", "gpus"), [("", 0), ("-1", 0), ("0", 1), ("0,2", 2), ("GPU-1a, GPU-2b", 2)]
)
def test_visible_gpus(visible: str, gpus: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert machine.num_gpus() == gpus


def test_gpus_as_the_driver_lists_them(monkeypatch: pytest.MonkeyPatch) -> None:
    listed = "GPU 0: One (UUID: GPU-1)\n  MIG 1g.10gb Device 0: (UUID: MIG-1)\nGPU 1: Two\n"
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: SimpleNamespace(stdout=listed))
    assert machine.num_gpus() == 2


@pytest.mark.parametrize(
    "error",
    [
        FileNotFoundError("nvidia-smi"),
        subprocess.CalledProcessError(9, "nvidia-smi"),
        subprocess.TimeoutExpired("nvidia-smi", 10),
    ],
)
def test_no_driver_is_no_gpu(error: OSError, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise error

    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(subprocess, "run", refuse)
    assert machine.num_gpus() == 0
