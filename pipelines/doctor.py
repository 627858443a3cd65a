"""What this machine has for a run, and what is missing or wrong: each finding with its remedy."""

import importlib.metadata
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from packaging.requirements import Requirement
from rich.table import Table
from rich.text import Text

from clusters.machine import free_memory_bytes, granted_cpus
from components.errors import HeadraceError
from components.tracking.server import check_server, redact, resolve_uri

State = Literal["ok", "warn", "fail"]

_GIB = 1 << 30
_PYTHONS = ((3, 11), (3, 14))
_STYLES: dict[State, str] = {"ok": "green", "warn": "yellow", "fail": "bold red"}


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        name: What was looked at.
        state: `ok`, `warn` (a run works, but slower or not as meant) or `fail` (a run cannot work).
        detail: What was found, with its numbers.
        remedy: What to do; empty where nothing is wrong.
    """

    name: str
    state: State
    detail: str
    remedy: str = ""


def diagnose(
    output: Path,
    *,
    object_store_bytes: int | None = None,
    check_cluster: Callable[[], str] | None = None,
    environment: Mapping[str, str] = os.environ,
) -> list[Finding]:
    """Look at everything that a run needs; takes seconds, changes nothing, starts nothing.

    Args:
        output: Folder that runs are written to; it need not exist.
        object_store_bytes: Shared memory that a run will ask for; None takes 20 % of the free
            memory, at most 2 GiB, as a run does.
        check_cluster: Connects to the cluster at RAY_ADDRESS and describes it; raises a
            HeadraceError where it cannot. Called only where RAY_ADDRESS is set.
        environment: Variables of the environment.
    """
    memory = free_memory_bytes()
    store = object_store_bytes or min(2 * _GIB, memory // 5)
    shared = Path("/dev/shm")
    return [
        check_python(sys.version_info[:3]),
        check_packages(required_packages(), installed_version),
        check_cpus(granted_cpus(), os.cpu_count() or 1),
        check_memory(memory),
        check_shared_memory(free_bytes(shared) if shared.is_dir() else None, store),
        check_writable(output),
        check_disk(free_bytes(output), output),
        check_gpus(listed_gpus(), *torch_cuda()),
        check_ray(environment.get("RAY_ADDRESS"), check_cluster),
        check_tracking(resolve_uri(environment.get("MLFLOW_TRACKING_URI"), output)),
    ]


def check_python(version: tuple[int, ...]) -> Finding:
    """Headrace runs on Python 3.11, 3.12 and 3.13."""
    shown = ".".join(map(str, version))
    if _PYTHONS[0] <= version[:2] < _PYTHONS[1]:
        return Finding("Python", "ok", shown)
    remedy = "install Python 3.11, 3.12 or 3.13, remove .venv and run `make venv`"
    return Finding("Python", "fail", shown, remedy)


def check_packages(
    requirements: Sequence[Requirement], installed: Callable[[str], str | None]
) -> Finding:
    """Every package that pyproject.toml asks for must be there in a version that it allows."""
    wrong = []
    for requirement in requirements:
        version = installed(requirement.name)
        if version is None:
            wrong.append(f"{requirement.name} is missing")
        elif not requirement.specifier.contains(version, prereleases=True):
            wrong.append(f"{requirement.name} {version} is not {requirement.specifier}")
    if wrong:
        return Finding("Packages", "fail", "; ".join(wrong), "run `make venv`")
    if not requirements:
        return Finding("Packages", "warn", "headrace is not installed", "run `make venv`")
    return Finding("Packages", "ok", f"{len(requirements)} as pyproject.toml asks")


def check_cpus(granted: int, present: int) -> Finding:
    """CPUs that this process may use, of those that the machine has."""
    detail = f"{granted} of {present}"
    if granted < present:
        detail += " (affinity or container limit)"
    if granted == 1:
        remedy = "grant two or more: data and training share this one"
        return Finding("CPUs", "warn", detail, remedy)
    return Finding("CPUs", "ok", detail)


def check_memory(free: int) -> Finding:
    """A run with Ray, one worker and a small model takes about 2 GiB."""
    detail = f"{_size(free)} free, container limit included"
    if free < 1 * _GIB:
        remedy = "end other programs or raise the container's memory limit to 4 GiB"
        return Finding("Memory", "fail", detail, remedy)
    if free < 3 * _GIB:
        remedy = "4 GiB are comfortable; set cluster.object_store_bytes=134217728 to need less"
        return Finding("Memory", "warn", detail, remedy)
    return Finding("Memory", "ok", detail)


def check_shared_memory(free: int | None, object_store_bytes: int) -> Finding:
    """Ray keeps data in flight in /dev/shm, and in slow files under /tmp where it is too small."""
    wanted = f"the object store takes {_size(object_store_bytes)}"
    if free is None:
        return Finding("Shared memory", "ok", f"no /dev/shm on this system; {wanted}")
    if free < object_store_bytes:
        remedy = (
            f"start the container with --shm-size={-(-object_store_bytes // _GIB)}g, or set "
            f"cluster.object_store_bytes={max(80 << 20, free // 2)}"
        )
        detail = f"{_size(free)} free in /dev/shm, {wanted}"
        return Finding("Shared memory", "warn", detail, remedy)
    return Finding("Shared memory", "ok", f"{_size(free)} free in /dev/shm, {wanted}")


def check_writable(output: Path) -> Finding:
    """A file can be made in the output folder, or in the nearest folder that exists above it."""
    folder = _existing(output)
    try:
        with tempfile.TemporaryFile(dir=folder):
            return Finding("Output folder", "ok", f"{output} can be written")
    except OSError as error:
        detail = f"{folder} cannot be written: {error.strerror}"
        remedy = "change its permissions, or set output to another folder"
        return Finding("Output folder", "fail", detail, remedy)


def check_disk(free: int, output: Path) -> Finding:
    """Prepared data, checkpoints and artifacts need room."""
    detail = f"{_size(free)} free for {output}"
    remedy = "free some space, or set output to a larger disk"
    if free < _GIB // 4:
        return Finding("Disk", "fail", detail, remedy)
    if free < 5 * _GIB:
        return Finding("Disk", "warn", detail, remedy)
    return Finding("Disk", "ok", detail)


def check_gpus(names: Sequence[str], torch_version: str | None, usable: int) -> Finding:
    """GPUs that the driver lists must be usable by the torch that is installed."""
    if not names:
        return Finding("GPUs", "ok", "none; models train on the CPU")
    listed = ", ".join(names)
    if usable < len(names):
        remedy = (
            "install the CUDA build of torch that fits the driver"
            if torch_version is None or "+cpu" in torch_version
            else "compare the driver's CUDA version (nvidia-smi) with torch.version.cuda, "
            "and look at CUDA_VISIBLE_DEVICES"
        )
        detail = f"{listed}; torch {torch_version or '(missing)'} can use {usable} of {len(names)}"
        return Finding("GPUs", "warn", detail, remedy)
    return Finding("GPUs", "ok", listed)


def check_ray(address: str | None, connect: Callable[[], str] | None) -> Finding:
    """A cluster that RAY_ADDRESS names must answer; without it each run starts its own Ray."""
    if not address:
        return Finding("Ray", "ok", "RAY_ADDRESS is not set; a run starts Ray on this machine")
    if connect is None:
        return Finding("Ray", "warn", f"RAY_ADDRESS = {address}, not tried")
    try:
        return Finding("Ray", "ok", f"{address}: {connect()}")
    except HeadraceError as error:
        return _failed("Ray", error, "unset RAY_ADDRESS to run on this machine")


def check_tracking(uri: str) -> Finding:
    """The tracking server answers, or the embedded database can be written."""
    try:
        check_server(uri)
    except HeadraceError as error:
        return _failed("MLflow", error, "unset MLFLOW_TRACKING_URI for the embedded database")
    return Finding("MLflow", "ok", redact(uri))


def required_packages() -> list[Requirement]:
    """Return what the installed headrace asks for, without the extra for builders."""
    try:
        lines = importlib.metadata.requires("headrace") or []
    except importlib.metadata.PackageNotFoundError:
        return []
    requirements = [Requirement(line) for line in lines]
    return [r for r in requirements if r.marker is None or r.marker.evaluate({"extra": ""})]


def installed_version(package: str) -> str | None:
    """Return the version of an installed package."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def free_bytes(path: Path) -> int:
    """Return what a user may still write where `path` is, or would be made."""
    return shutil.disk_usage(_existing(path)).free


def listed_gpus() -> list[str]:
    """Return the GPUs that nvidia-smi lists, by name; none where there is no driver."""
    try:
        answer = subprocess.run(
            ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (FileNotFoundError, subprocess.SubprocessError):
        return []
    return [line.strip() for line in answer.stdout.splitlines() if line.strip()]


def torch_cuda() -> tuple[str | None, int]:
    """Return torch's version, with its build tag, and how many GPUs it can use."""
    try:
        import torch
    except ImportError:
        return None, 0
    return str(torch.__version__), torch.cuda.device_count()


def findings_table(findings: Sequence[Finding]) -> Table:
    """Lay findings out for the terminal."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("", "", "found", "what to do"):
        table.add_column(column, overflow="fold")
    for finding in findings:
        state = Text(finding.state, style=_STYLES[finding.state])
        table.add_row(state, finding.name, Text(finding.detail), Text(finding.remedy))
    return table


def _failed(name: str, error: HeadraceError, remedy: str) -> Finding:
    """Split the one line of an error where its remedy begins."""
    detail, _, own_remedy = str(error).partition("; ")
    return Finding(name, "fail", detail, own_remedy or remedy)


def _existing(path: Path) -> Path:
    path = path.absolute()
    return next(folder for folder in (path, *path.parents) if folder.exists())


def _size(count: int) -> str:
    return f"{count / _GIB:.1f} GiB" if count >= _GIB else f"{count >> 20} MiB"
