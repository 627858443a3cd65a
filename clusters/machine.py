"""What this machine grants this process: CPUs, memory, GPUs; container limits included."""

import os
import subprocess
from pathlib import Path

import psutil

_CGROUP = Path("/sys/fs/cgroup")


def granted_cpus() -> int:
    """CPUs that this process may use: the affinity mask, then the container's quota."""
    affinity = hasattr(os, "sched_getaffinity")  # not on macOS
    cpus = len(os.sched_getaffinity(0)) if affinity else os.cpu_count() or 1
    quota = _read(_CGROUP / "cpu.max").split()
    if len(quota) == 2 and quota[0] != "max":
        cpus = min(cpus, max(1, int(quota[0]) // int(quota[1])))
    return cpus


def free_memory_bytes() -> int:
    """Memory that can still be taken, less where a container's limit is nearer."""
    free = int(psutil.virtual_memory().available)
    limit, used = _read(_CGROUP / "memory.max"), _read(_CGROUP / "memory.current")
    if limit.isdigit() and used.isdigit():
        free = min(free, max(0, int(limit) - int(used) + _reclaimable_bytes()))
    return free


def num_gpus() -> int:
    """NVIDIA GPUs that this process may use (CUDA_VISIBLE_DEVICES is respected)."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([name for name in visible.split(",") if name.strip() not in {"", "-1"}])
    try:
        listed = subprocess.run(
            ["nvidia-smi", "--list-gpus"], capture_output=True, text=True, timeout=10, check=True
        )
    except (FileNotFoundError, subprocess.SubprocessError):
        return 0
    return sum(line.startswith("GPU ") for line in listed.stdout.splitlines())


def _reclaimable_bytes() -> int:
    """File pages that the kernel gives back at need; a container's `memory.current` counts them."""
    lines = (line.split() for line in _read(_CGROUP / "memory.stat").splitlines())
    return sum(int(fields[1]) for fields in lines if fields[0] == "inactive_file")


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
