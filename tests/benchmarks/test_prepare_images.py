"""Pictures prepared per second, beside the least that any preparation has to do."""

import json
import os
import shutil
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import pytest

from components.images.inspect import CleanConfig
from components.images.prepare import build_prepare
from components.images.store import StoreConfig
from tests.benchmarks.measured import measure
from tests.benchmarks.photographs import write_photographs
from tests.benchmarks.plain_images import prepare

ROOT = Path(__file__).parents[2]
SOURCE = ROOT.parent / "shared" / "data" / "images" / "clothing"
NUM_FILES = 3_360
NUM_FEW = 120
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "3"))

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(not SOURCE.is_dir(), reason=f"needs photographs in {SOURCE}"),
]


def _milliseconds(work: Callable[[], object], count: int) -> float:
    start = time.process_time()
    work()
    return (time.process_time() - start) * 1e3 / count


@pytest.mark.parametrize("short_side_px", [None, 320])
def test_one_picture_beside_bare_decoding(short_side_px: int | None) -> None:
    cv2.setNumThreads(1)
    paths = sorted(SOURCE.rglob("*.jpg"))[:400]
    ours = build_prepare(CleanConfig(), StoreConfig(short_side_px=short_side_px))
    rows = []
    for _ in range(ROUNDS + 1):
        bare_ms = _milliseconds(
            lambda: [prepare(path, short_side_px=short_side_px) for path in paths], len(paths)
        )
        ours_ms = _milliseconds(
            lambda: [ours(path.read_bytes(), path.name) for path in paths], len(paths)
        )
        rows.append((bare_ms, ours_ms))
    bare_ms, ours_ms = (statistics.median(column) for column in zip(*rows[1:], strict=True))
    share = statistics.median(bare / own for bare, own in rows[1:])
    print(f"\none picture, processor time, short side {short_side_px or 'as it is'}:")
    print(f"  bare {bare_ms:.2f} ms, prepared {ours_ms:.2f} ms: {share:.2f} of the rate")


@pytest.mark.parametrize("short_side_px", [None, 320])
def test_a_folder_beside_two_bare_processes(tmp_path: Path, short_side_px: int | None) -> None:
    count = write_photographs(SOURCE, tmp_path / "many", NUM_FILES)
    few = write_photographs(SOURCE, tmp_path / "few", NUM_FEW)
    rows = []
    for number in range(ROUNDS):
        bare_s = _bare_seconds(tmp_path, f"bare{number}", short_side_px)
        start_s = _prepare_seconds(tmp_path, "few", few, short_side_px)
        ours_s = _prepare_seconds(tmp_path, "many", count, short_side_px) - start_s
        rows.append((bare_s / count, ours_s / (count - few), start_s))
    bare_s, ours_s, start_s = (statistics.median(column) for column in zip(*rows, strict=True))
    share = statistics.median(bare / own for bare, own, _ in rows)
    print(f"\n{count} pictures, short side {short_side_px or 'as it is'}, two processes:")
    print(f"  bare {1 / bare_s:.0f} per second, prepare {1 / ours_s:.0f} per second: {share:.2f}")
    print(f"  (beyond {few} pictures, which took {start_s:.0f} s, most of it the start of Ray)")


def _bare_seconds(folder: Path, name: str, short_side_px: int | None) -> float:
    (folder / name).mkdir()
    script = str(Path(__file__).with_name("plain_images.py"))
    arguments = [str(folder / "many"), str(folder / name), str(short_side_px or 0)]
    _, printed = measure([sys.executable, script, *arguments], ROOT)
    shutil.rmtree(folder / name)
    return float(printed)


def _prepare_seconds(folder: Path, source: str, count: int, short_side_px: int | None) -> float:
    output = folder / "runs"
    settings = [
        f"data.source.path={folder / source}",
        f"data.store.short_side_px={'null' if short_side_px is None else short_side_px}",
        "cluster.cpus=2",
        f"output={output}",
    ]
    command = [sys.executable, "-m", "pipelines", "prepare", "images", *settings, "--json"]
    taken, printed = measure(command, ROOT)
    manifest = json.loads((ROOT / json.loads(printed)["dataset"] / "manifest.json").read_text())
    assert manifest["accounting"]["read"] == count
    shutil.rmtree(output)
    return taken.wall_s
