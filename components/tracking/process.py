"""Who writes a run: this host and this process, named so that nobody else answers to the name."""

import hashlib
import os
import socket
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import psutil

HOST_TAG = "headrace.host"
PID_TAG = "headrace.pid"
STARTED_TAG = "headrace.process_started"


@dataclass(frozen=True)
class Process:
    """One process of one host; a reused process id is another process.

    Attributes:
        host: Host name and a hash of the machine id, as `this_host` gives it.
        pid: Process id on that host.
        started: When it started, as `process_start` gives it.
    """

    host: str
    pid: int
    started: str

    @classmethod
    def current(cls) -> Self:
        """Return this process."""
        return cls(this_host(), os.getpid(), process_start(os.getpid()) or "")

    @classmethod
    def from_tags(cls, tags: dict[str, str]) -> Self | None:
        """Read the process from a run's tags; None for runs that Headrace did not write."""
        pid = tags.get(PID_TAG, "")
        if HOST_TAG not in tags or STARTED_TAG not in tags or not pid.isdecimal():
            return None
        return cls(tags[HOST_TAG], int(pid), tags[STARTED_TAG])

    def tags(self) -> dict[str, str]:
        """Return the run tags from which `from_tags` reads the process back."""
        return {HOST_TAG: self.host, PID_TAG: str(self.pid), STARTED_TAG: self.started}

    def is_alive(self) -> bool:
        """Whether the process runs on this host; False for other hosts."""
        return self.host == this_host() and process_start(self.pid) == self.started

    def is_gone(self) -> bool:
        """Whether the process ran on this host and has ended; False for other hosts."""
        return self.host == this_host() and process_start(self.pid) != self.started


def this_host() -> str:
    """Name this machine as `<host name>-<8 hex digits>`.

    Host names repeat (`localhost`), so a hash of the machine id is added, and in a container the
    one of its process-id namespace: process ids mean nothing outside it.
    """
    machine = Path("/etc/machine-id")
    identity = machine.read_text().strip() if machine.is_file() else str(uuid.getnode())
    namespace = Path("/proc/self/ns/pid")
    if namespace.is_symlink():
        identity += str(namespace.readlink())
    digest = hashlib.sha256(identity.encode()).hexdigest()[:8]
    return f"{socket.gethostname()}-{digest}"


def process_start(pid: int) -> str | None:
    """Say when the process with this id started; None when it does not run (or is a zombie).

    On Linux it is the boot id and the kernel's ticks since boot, because a start time in seconds
    since 1970 moves when the clock is set; elsewhere it is that time.
    """
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        seconds = process.create_time()
        stat = Path(f"/proc/{pid}/stat")
        if not stat.is_file():
            return f"{seconds:.2f}"
        # The command name may hold spaces and brackets; the fields begin after the last bracket.
        ticks = stat.read_text().rpartition(")")[2].split()[19]
    except (psutil.NoSuchProcess, psutil.AccessDenied, FileNotFoundError, ProcessLookupError):
        return None
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{boot}:{ticks}"
