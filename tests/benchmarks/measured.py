"""Runs a command and watches it: time, processor time and memory of all its processes."""

import os
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

_INTERVAL_S = 0.1


@dataclass(frozen=True)
class Measured:
    """What a command took.

    Attributes:
        wall_s: Until it ended.
        cpu_s: Of all its processes, as last seen.
        peak_mib: Most memory of all its processes at one moment; pages that several share count
            in each of them only by their share (PSS).
        workers_mib: The same of those that do the work: Ray's own servers left out.
    """

    wall_s: float
    cpu_s: float
    peak_mib: float
    workers_mib: float


class _Watch(threading.Thread):
    """Adds up the processes below one, ten times a second."""

    def __init__(self, process: psutil.Process) -> None:
        super().__init__(daemon=True)
        self._process, self.ended = process, threading.Event()
        self.peak_bytes = self.workers_bytes = 0
        self.cpu_s: dict[int, float] = {}

    def run(self) -> None:
        while not self.ended.wait(_INTERVAL_S):
            self.look()

    def look(self) -> None:
        """Look once."""
        total = workers = 0
        for process in _tree(self._process):
            try:
                used, is_server = process.memory_full_info().pss, _is_server(process)
                times = process.cpu_times()
            except psutil.Error:
                continue
            total, workers = total + used, workers + (0 if is_server else used)
            self.cpu_s[process.pid] = times.user + times.system
        self.peak_bytes = max(self.peak_bytes, total)
        self.workers_bytes = max(self.workers_bytes, workers)


def _tree(process: psutil.Process) -> list[psutil.Process]:
    try:
        return [process, *process.children(recursive=True)]
    except psutil.Error:
        return []


def _is_server(process: psutil.Process) -> bool:
    """Whether it is one of Ray's own: store, scheduler, dashboard, agents."""
    line = " ".join(process.cmdline())
    return any(name in line for name in ("gcs_server", "raylet", "dashboard", "log_monitor"))


def measure(
    command: Sequence[str], folder: Path, environment: Mapping[str, str] | None = None
) -> tuple[Measured, str]:
    """Run a command to its end; what it took, and its standard output.

    Raises:
        AssertionError: It failed.
    """
    start = time.perf_counter()
    process = subprocess.Popen(
        command,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **(environment or {})},
    )
    watch = _Watch(psutil.Process(process.pid))
    watch.start()
    stdout, stderr = process.communicate()
    wall_s = time.perf_counter() - start
    watch.ended.set()
    watch.join()
    assert process.returncode == 0, stderr[-2000:]
    mib = 1 << 20
    taken = Measured(
        wall_s, sum(watch.cpu_s.values()), watch.peak_bytes / mib, watch.workers_bytes / mib
    )
    return taken, stdout
