"""Memory of a command and all that it starts, apart from the files that it has mapped."""

import subprocess
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

_INTERVAL_S = 0.25


@dataclass(frozen=True)
class Peaks:
    """Most memory at one moment; pages that several processes share count once.

    Attributes:
        held_mib: Of its own and in the object store.
        mapped_mib: Pages of files, as shards are, which the kernel takes back when it needs them.
    """

    held_mib: float
    mapped_mib: float


def run_and_watch(
    command: Sequence[str], folder: Path, environment: Mapping[str, str]
) -> tuple[Peaks, str]:
    """Run a command to its end; its memory, and its standard output."""
    process = subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True
    )
    held_kib = mapped_kib = 0
    while process.poll() is None:
        kib = _tree_kib(process.pid)
        held_kib = max(held_kib, kib["Pss_Anon"] + kib["Pss_Shmem"])
        mapped_kib = max(mapped_kib, kib["Pss_File"])
        time.sleep(_INTERVAL_S)
    assert process.returncode == 0, command
    assert process.stdout is not None
    return Peaks(held_kib / 1024, mapped_kib / 1024), process.stdout.read()


def _tree_kib(pid: int) -> Counter[str]:
    total: Counter[str] = Counter()
    try:
        tree = [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]
    except psutil.NoSuchProcess:
        return total
    for each in tree:
        try:
            lines = Path(f"/proc/{each}/smaps_rollup").read_text().splitlines()
        except OSError:  # it ended in the meantime
            continue
        for line in lines:
            name, _, value = line.partition(":")
            if name.startswith("Pss_"):
                total[name] += int(value.split()[0])
    return total
