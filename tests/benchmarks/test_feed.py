"""Pictures fed to a training per second, beside what people use today and beside the limit.

All contenders run one after the other in each round, each in processes of its own, on two CPUs
with one thread to a worker. Set by the environment:

    BENCH_ROUNDS      rounds (5); the table shows medians
    BENCH_ROWS        photographs (4200); of digits there are five times as many
    BENCH_PHOTOS      photographs in folders of one class each, instead of made ones
    BENCH_DIGITS      gray PNG of 28 x 28 px in such folders, instead of scikit-learn's
    BENCH_SHORT_SIDE  data.store.short_side_px of the photographs (256); null keeps their size
    BENCH_PHOTO_STORE data.store.format of the photographs (jpeg)
    BENCH_DIGIT_STORE data.store.format of the digits (raw)
    BENCH_CONTENDERS  some of the names in the table, with commas between them
    BENCH_FOLDER      where pictures and shards are kept from one start to the next
    BENCH_JSON        a file for all figures
"""

import importlib.util
import json
import multiprocessing
import os
import pickle
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tests.benchmarks import feed_data
from tests.benchmarks.feed_data import ONE_THREAD, ROOT, Workload, longer
from tests.benchmarks.feed_memory import Peaks, run_and_watch
from tests.benchmarks.feed_plan import plan_cost
from tests.benchmarks.feed_run import Job, Run

ROUNDS = int(os.environ.get("BENCH_ROUNDS", "5"))
JSON = os.environ.get("BENCH_JSON")
STORE_MIB = 80

pytestmark = [pytest.mark.slow, pytest.mark.timeout(4 * 3600)]

# Name in the table, contender, whether pictures are only cropped and flipped, as FFCV can do it.
_ROWS = [
    ("dataloader_files", "dataloader_files", False),
    ("dataloader_shards", "dataloader_shards", False),
    ("ray_stock", "ray_stock", False),
    ("bare", "bare", False),
    ("ours_streamed", "ours_streamed", False),
    ("ours", "ours", False),
]
_CROPPED = [("ffcv", "ffcv", True), ("bare_crop", "bare", True), ("ours_crop", "ours", True)]
# Of epochs in a run; the first of them warms up. Of digits one takes a second or less.
_EPOCHS = {"photographs": 3, "digits": 8}
_SETTINGS = {
    "photographs": [
        f"data.store.short_side_px={os.environ.get('BENCH_SHORT_SIDE', '256')}",
        f"data.store.format={os.environ.get('BENCH_PHOTO_STORE', 'jpeg')}",
        "data.store.jpeg_quality=90",
    ],
    "digits": [f"data.store.format={os.environ.get('BENCH_DIGIT_STORE', 'raw')}"],
}
_MAKE: dict[str, Callable[[Path, list[str]], Workload]] = {
    "photographs": feed_data.photographs,
    "digits": feed_data.digits,
}


@pytest.fixture(scope="session")
def make(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Workload]:
    """Gives a workload, made once; kept between sessions where BENCH_FOLDER says where."""
    kept = os.environ.get("BENCH_FOLDER")
    parent = Path(kept).absolute() if kept else tmp_path_factory.mktemp("feed")

    def made(name: str) -> Workload:
        folder = parent / "-".join([name, *(text.split("=")[1] for text in _SETTINGS[name])])
        done = folder / "workload.pickle"
        if not done.is_file():
            folder.mkdir(parents=True)
            done.write_bytes(pickle.dumps(_MAKE[name](folder, _SETTINGS[name])))
        work: Workload = pickle.loads(done.read_bytes())
        return work

    return made


@pytest.mark.parametrize("name", ["photographs", "digits"])
def test_pictures_per_second(make: Callable[[str], Workload], tmp_path: Path, name: str) -> None:
    work = make(name)
    rows = _contenders(work, tmp_path)
    runs: dict[str, list[Run]] = {title: [] for title, _, _ in rows}
    machine_ms: list[float] = []
    for number in range(ROUNDS):
        machine_ms.append(_machine_ms())
        # The other way round every second time: what a machine does in the course of a round
        # then falls on all of them.
        for title, contender, is_cropped in rows[:: -1 if number % 2 else 1]:
            part = work.cropped() if is_cropped else work
            job = Job(part, part.layout.num_rows, _EPOCHS[name])
            runs[title].append(_run(job, contender, tmp_path))
        machine_ms.append(_machine_ms())
    print(f"\n{name}: {work.layout.num_rows} rows, {' '.join(_SETTINGS[name])}, {ROUNDS} rounds")
    print(
        "                     per s    (least - most)  ours is  cpu ms   first s  opened  pause s"
    )
    for title, found in runs.items():
        base = "ours_crop" if ("ours_crop" in runs and title in _titles(_CROPPED)) else "ours"
        print(_line(title, found, runs.get(base, [])))
    low, middle, high = min(machine_ms), statistics.median(machine_ms), max(machine_ms)
    print(
        f"the same fixed work before and after each round: {low:.0f} / {middle:.0f} / {high:.0f}"
        " ms (least, median, most)"
    )
    figures = {title: [asdict(one) for one in found] for title, found in runs.items()}
    _keep(name, {"settings": _SETTINGS[name], "runs": figures, "machine_ms": machine_ms})
    if {"ours", "bare"} <= runs.keys():
        assert _median_ratio(runs["ours"], runs["bare"]) > 0.2


def _titles(rows: list[tuple[str, str, bool]]) -> list[str]:
    return [title for title, _, _ in rows]


def _contenders(work: Workload, folder: Path) -> list[tuple[str, str, bool]]:
    wanted = os.environ.get("BENCH_CONTENDERS")
    rows = [*_ROWS]
    if work.name == "photographs":
        if importlib.util.find_spec("ffcv"):
            rows += _CROPPED
        else:
            print("\nffcv is not installed and left out")
    rows = [row for row in rows if wanted is None or row[0] in wanted.split(",")]
    if "ffcv" in _titles(rows) and not work.ffcv_file.is_file():
        _start(Job(work, 0, 0), "write_ffcv", folder)
    return rows


def _run(job: Job, contender: str, folder: Path) -> Run:
    return Run(**json.loads(_start(job, contender, folder)))


def _start(job: Job, contender: str, folder: Path) -> str:
    return subprocess.run(
        _command(job, contender, folder),
        cwd=ROOT,
        env={**os.environ, **ONE_THREAD},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout


def _command(job: Job, contender: str, folder: Path) -> list[str]:
    file = folder / "job.pickle"
    file.write_bytes(pickle.dumps(job))
    return [sys.executable, "-m", "tests.benchmarks.feed_run", str(file), contender]


def _line(title: str, found: list[Run], own: list[Run]) -> str:
    rates = [one.per_s for one in found]
    ratio = f"{_median_ratio(own, found):6.2f} x" if own else "        "
    cpu_ms, first_s, opened_s, pause_s = (
        statistics.median(getattr(one, name) for one in found)
        for name in ("cpu_ms", "first_s", "opened_s", "pause_s")
    )
    return (
        f"  {title:18s} {statistics.median(rates):7.0f}  ({min(rates):6.0f} - {max(rates):6.0f})"
        f"  {ratio} {cpu_ms:7.3f} {first_s:8.1f} {opened_s:7.2f} {pause_s:8.3f}"
    )


def _median_ratio(own: list[Run], other: list[Run]) -> float:
    """Of rates in the same round, which the machine's mood divides out of."""
    return statistics.median(a.per_s / b.per_s for a, b in zip(own, other, strict=True))


def _machine_ms() -> float:
    """A fixed piece of the contenders' work: encode, decode and resize one picture, 200 times."""
    cv2.setNumThreads(1)
    image_HWC: Any = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    image_HWC = np.tile(image_HWC, (8, 6, 1))
    start_s = time.perf_counter()
    for _ in range(200):
        data = cv2.imencode(".jpg", image_HWC)[1]
        cv2.resize(cv2.imdecode(data, cv2.IMREAD_COLOR), (224, 224), interpolation=cv2.INTER_AREA)
    return (time.perf_counter() - start_s) * 1e3


def _keep(name: str, figures: object) -> None:
    if JSON:
        path = Path(JSON)
        before = json.loads(path.read_text()) if path.is_file() else {}
        path.write_text(json.dumps({**before, name: figures}, indent=1))


def test_ten_times_the_rows_cost_the_same_each_and_no_memory(
    make: Callable[[str], Workload], tmp_path: Path
) -> None:
    """Ten epochs beside one of ten times the rows, both timed from the end of the first tenth."""
    few = replace(make("photographs"), store_bytes=400 << 20)
    many = replace(few, layout=longer(few.layout, tmp_path, 10))
    jobs = {"few": Job(few, few.layout.num_rows, 10), "many": Job(many, few.layout.num_rows, 1)}
    rates: dict[str, list[float]] = {"few": [], "many": []}
    peaks: dict[str, list[Peaks]] = {"few": [], "many": []}
    for _ in range(min(ROUNDS, 3)):
        for size, job in jobs.items():
            environment = {**os.environ, **ONE_THREAD}
            peak, printed = run_and_watch(_command(job, "ours", tmp_path), ROOT, environment)
            rates[size].append(Run(**json.loads(printed)).per_s)
            peaks[size].append(peak)
    held = {size: max(one.held_mib for one in found) for size, found in peaks.items()}
    ratio = statistics.median(a / b for a, b in zip(rates["many"], rates["few"], strict=True))
    print(f"\n{few.layout.num_rows} -> {many.layout.num_rows} rows:")
    for size, found in rates.items():
        mapped_mib = max(one.mapped_mib for one in peaks[size])
        print(
            f"  {size}: {statistics.median(found):.0f} per s, {held[size]:.0f} MiB held,"
            f" {mapped_mib:.0f} MiB of files mapped"
        )
    print(f"  rate {ratio:.2f} x (target: 0.95 and more)")
    print(f"  held {held['many'] - held['few']:+.0f} MiB (target: within 100)")
    kept = {size: [asdict(one) for one in found] for size, found in peaks.items()}
    _keep("rows", {"rates": rates, "peaks": kept})
    assert ratio > 0.6
    assert held["many"] < held["few"] + 300


def test_a_stream_larger_than_the_store_writes_nothing_to_disk(
    make: Callable[[str], Workload], tmp_path: Path
) -> None:
    work = replace(make("photographs"), store_bytes=STORE_MIB << 20)
    streamed_mib = 2 * work.layout.num_rows * 3 * work.image_px**2 / (1 << 20)
    found = _run(Job(work, work.layout.num_rows, 2), "ours", tmp_path)
    print(f"\n{streamed_mib:.0f} MiB through a store of {STORE_MIB} MiB: {found.per_s:.0f} per s")
    print(f"  written to disk: {found.spilled or 'nothing'} (target: nothing)")
    _keep("store", {"streamed_mib": streamed_mib, **asdict(found)})
    assert streamed_mib > 4 * STORE_MIB
    assert not found.spilled


@pytest.mark.parametrize("num_rows", [10**6, 10**9])
def test_the_plan_of_a_long_epoch(num_rows: int) -> None:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        cost = pool.apply(plan_cost, (num_rows,))
    print(f"\nthe plan of an epoch of {num_rows:,} rows (targets: 1 s, 100 MiB):")
    print(f"  order {cost.order_s:.3f} s, rows of a step found in {cost.locate_ms:.1f} ms,")
    print(f"  tasks of an execution {cost.tasks_s:.3f} s, all in {cost.mib:.0f} MiB")
    _keep(f"plan of {num_rows} rows", asdict(cost))
    assert cost.order_s + cost.tasks_s < 10
    assert cost.mib < 500
