"""One contender in a process of its own: `python -m tests.benchmarks.feed_run <job> <name>`."""

import json
import pickle
import statistics
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil
import torch

from tests.benchmarks.feed_contenders import CONTENDERS, write_ffcv
from tests.benchmarks.feed_data import Workload


@dataclass(frozen=True)
class Job:
    """What is run.

    Attributes:
        work: The pictures.
        warm_rows: Delivered before the clock starts.
        epochs: In all; the clock stops at the end of the last.
    """

    work: Workload
    warm_rows: int
    epochs: int


@dataclass(frozen=True)
class Run:
    """What came of it.

    Attributes:
        per_s: Pictures per second while the clock ran.
        cpu_ms: Processor time of all processes per picture while it ran.
        first_s: From the start of the process to the first batch, Ray's own start included.
        opened_s: From where the contender was open, processes and all, to the first batch.
        pause_s: From the last batch of an epoch to the first of the next.
        spilled: What Ray wrote to disk because its store was full, in its own words.
    """

    per_s: float
    cpu_ms: float
    first_s: float
    opened_s: float
    pause_s: float
    spilled: str


def run(job: Job, name: str) -> Run:
    """Feed the epochs to nobody, and check that each has every row once."""
    me, rows = psutil.Process(), 0
    first_s = opened_s = started_s = last_s = started_cpu_s = 0.0
    started_rows: int | None = None
    pauses: list[float] = []
    expected: Counter[int] | None = None
    with CONTENDERS[name](job.work, job.epochs) as epoch_of:
        asked_s = time.time()
        for epoch in range(job.epochs):
            found: Counter[int] = Counter()
            for number, (images, labels) in enumerate(epoch_of(epoch)):
                if name != "bare":
                    side_px = job.work.image_px
                    assert (images.dtype, *images.shape[1:]) == (torch.uint8, side_px, side_px, 3)
                now_s = time.time()
                if number == 0:
                    first_s = first_s or now_s - me.create_time()
                    opened_s = opened_s or now_s - asked_s
                    pauses += [now_s - last_s] if epoch else []
                last_s = now_s
                found.update(labels.tolist())
                rows += len(labels)
                if started_rows is None and rows >= job.warm_rows:
                    started_rows, started_s, started_cpu_s = rows, now_s, _cpu_s(me)
            assert found.total() == job.work.layout.num_rows, found
            assert expected in (None, found), "another epoch had other labels"
            expected = found
        assert started_rows is not None
        counted, cpu_s = rows - started_rows, _cpu_s(me) - started_cpu_s
        spilled = _spilled() if name in ("ours", "ours_streamed", "ray_stock") else ""
    return Run(
        counted / (last_s - started_s),
        cpu_s / counted * 1e3,
        first_s,
        opened_s,
        statistics.median(pauses) if pauses else 0.0,
        spilled,
    )


def _cpu_s(process: psutil.Process) -> float:
    total_s = 0.0
    for each in [process, *process.children(recursive=True)]:
        try:
            times = each.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total_s += times.user + times.system
    return total_s


def _spilled() -> str:
    import ray
    from ray._private.internal_api import memory_summary

    # By its address: another Ray may run on this machine.
    address = ray.get_runtime_context().gcs_address
    lines = memory_summary(address, stats_only=True).splitlines()
    return "; ".join(line for line in lines if line.startswith("Spilled"))


if __name__ == "__main__":
    given: Job = pickle.loads(Path(sys.argv[1]).read_bytes())
    if sys.argv[2] == "write_ffcv":
        write_ffcv(given.work)
    else:
        print(json.dumps(asdict(run(given, sys.argv[2]))))
