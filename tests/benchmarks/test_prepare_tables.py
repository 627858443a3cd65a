"""Tables prepared and fitted, beside polars doing the same in streaming mode."""

import json
import os
import shutil
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest

from components.tables.fitting.statistics import Measure, StatisticsSpec, TableStatistics
from tests.benchmarks.measured import Measured, measure
from tests.benchmarks.trips import write_trips

ROOT = Path(__file__).parents[2]
NUM_ROWS = [int(count) for count in os.environ.get("BENCH_ROWS", "5000000").split(",")]
NUM_FEW = 20_000
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "3"))

pytestmark = [pytest.mark.slow, pytest.mark.timeout(7200)]


@pytest.mark.parametrize("num_rows", NUM_ROWS)
def test_a_table_beside_polars(tmp_path: Path, num_rows: int) -> None:
    """BENCH_ROWS=5000000,20000000 for the figures of the changelog: an hour on a busy machine."""
    write_trips(tmp_path / "few.parquet", NUM_FEW)
    write_trips(tmp_path / "many.parquet", num_rows)
    rows = [
        (
            _prepared(tmp_path, "few", NUM_FEW),
            _prepared(tmp_path, "many", num_rows),
            _plain(tmp_path, num_rows),
        )
        for _ in range(ROUNDS)
    ]
    print(f"\n{num_rows} rows of 12 columns; wall s, processor s, MiB of all processes:")
    for name, column in zip(("start", "prepare", "polars"), zip(*rows, strict=True), strict=True):
        wall_s = statistics.median(taken.wall_s for taken in column)
        cpu_s = statistics.median(taken.cpu_s for taken in column)
        peak_mib = max(taken.peak_mib for taken in column)
        print(f"  {name:8s} {wall_s:7.1f} {cpu_s:7.1f} {peak_mib:7.0f}")
    wall = statistics.median((own.wall_s - few.wall_s) / bare.wall_s for few, own, bare in rows)
    cpu = statistics.median((own.cpu_s - few.cpu_s) / bare.cpu_s for few, own, bare in rows)
    print(f"  beyond the start: {wall:.2f} x the time of polars, {cpu:.2f} x its processor time")


def _prepared(folder: Path, name: str, num_rows: int) -> Measured:
    output = folder / "runs"
    settings = [
        f"data.source.path={folder / name}.parquet",
        "data.clean.max_quarantined_share=1",
        "cluster.cpus=2",
        f"output={output}",
    ]
    command = [sys.executable, "-m", "pipelines", "prepare", "table", *settings, "--json"]
    taken, printed = measure(command, ROOT)
    manifest = json.loads((ROOT / json.loads(printed)["dataset"] / "manifest.json").read_text())
    accounting = manifest["accounting"]
    assert accounting["read"] == num_rows == accounting["prepared"] + accounting["duplicates"]
    shutil.rmtree(output)
    return taken


def _plain(folder: Path, num_rows: int) -> Measured:
    target = folder / "plain"
    target.mkdir()
    script = str(Path(__file__).with_name("plain_polars.py"))
    taken, _ = measure([sys.executable, script, str(folder / "many.parquet"), str(target)], ROOT)
    kept = sum(pq.read_metadata(path).num_rows for path in target.glob("*.parquet"))
    assert 0.99 * num_rows < kept < num_rows  # the copies are gone, and nothing else
    shutil.rmtree(target)
    return taken


def test_a_thousand_columns_in_one_pass() -> None:
    num_columns, num_rows, num_chunks = 1_000, 200_000, 4
    names = [f"x{number}" for number in range(num_columns)]
    spec = StatisticsSpec(
        measures=tuple(Measure(column=name) for name in names), sketched=tuple(names)
    )
    random = np.random.default_rng(0)
    taken_s, plain_s = 0.0, 0.0
    total: TableStatistics | None = None
    for _ in range(num_chunks):
        values = random.normal(size=(num_columns, num_rows // num_chunks))
        frame = pl.DataFrame(dict(zip(names, values, strict=True)))
        start = time.process_time()
        part = TableStatistics.of(frame, spec)
        total = part if total is None else total + part
        middle = time.process_time()
        frame.select(
            pl.all().mean().name.suffix("|mean"),
            pl.all().std().name.suffix("|std"),
            pl.all().min().name.suffix("|min"),
            pl.all().max().name.suffix("|max"),
            *(pl.all().quantile(q).name.suffix(f"|{q}") for q in (0.25, 0.5, 0.75)),
        )
        taken_s, plain_s = taken_s + middle - start, plain_s + time.process_time() - middle
    assert total is not None and total.num_rows == num_rows
    print(f"\n{num_columns} columns x {num_rows} rows, processor time:")
    print(f"  fitted {taken_s:.1f} s, polars by chunks {plain_s:.1f} s: {taken_s / plain_s:.2f} x")
