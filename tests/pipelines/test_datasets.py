"""Prepared data sets as a user sees them: the same anywhere, looked at, compared, refused."""

import json
import multiprocessing
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import polars as pl
import psutil
import pytest
from typer.testing import CliRunner

from components.errors import StorageError
from pipelines.cli import app
from pipelines.compare import diff_datasets
from pipelines.inspect_dataset import inspect_dataset
from pipelines.shards import PreparedData
from pipelines.stages import cache_folder
from tests.pipelines.preparing import (
    SMALL_IMAGES,
    check_books,
    digests,
    findings,
    prepared,
    shards,
    write_pictures,
    write_table,
)

IMAGES = (*SMALL_IMAGES, "data.shards.target_bytes=65536", "data.clean.near_distance=40")
TABLE = ("data.clean.key=[id]", "data.target=grade", "data.shards.target_bytes=65536")


def orders(num_rows: int = 1500) -> pl.DataFrame:
    rng = np.random.default_rng(3)
    grades = np.array(["good", "fair", "bad"])[rng.integers(0, 3, num_rows)]
    amount = pl.Series(np.round(rng.gamma(2, 30, num_rows), 2)).cast(pl.String)
    table = pl.DataFrame(
        {"id": range(1, num_rows + 1), "amount": amount, "grade": grades, "note": "<b>&amp;</b>"}
    )
    table[10, "amount"], table[11, "grade"] = "n/a", "GOOD"
    return pl.concat([table, table[20:25], table[30:31].with_columns(amount=pl.lit("1.5"))])


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sources")
    write_pictures(folder / "images", {"even": 50, "odd": 50}, side_px=24)
    (folder / "images" / "odd" / "cut.png").write_bytes(
        (folder / "images" / "odd" / "00003.png").read_bytes()[:900]
    )
    copy = (folder / "images" / "odd" / "00004.png").read_bytes()
    (folder / "images" / "odd" / "copy.png").write_bytes(copy)
    write_table(folder / "orders.csv", orders())
    return folder


def both(sources: Path, output: Path) -> tuple[PreparedData, PreparedData]:
    return (
        prepared("images", sources / "images", *IMAGES, output=output),
        prepared("table", sources / "orders.csv", *TABLE, output=output),
    )


@pytest.fixture(scope="module")
def output(sources: Path) -> Path:
    return sources / "runs"


@pytest.fixture(scope="module")
def made(ray_cluster: None, sources: Path, output: Path) -> tuple[PreparedData, PreparedData]:
    """Images and a table, prepared with 4 CPUs."""
    return both(sources, output)


def _prepare_with(cpus: int, sources: Path, output: Path) -> None:
    from clusters.resources import ClusterConfig, plan_resources
    from clusters.session import capacity_of, ray_session

    config = ClusterConfig(device="cpu", cpus=cpus, object_store_bytes=100 << 20)
    with ray_session(plan_resources(config, capacity_of(config)), output / "logs"):
        both(sources, output)


@pytest.mark.parametrize("cpus", [1, 2])
def test_shards_do_not_know_how_many_cpus_there_were(
    made: tuple[PreparedData, PreparedData], sources: Path, tmp_path: Path, cpus: int
) -> None:
    # A process of its own: this one has its Ray already.
    process = multiprocessing.get_context("spawn").Process(
        target=_prepare_with, args=(cpus, sources, tmp_path)
    )
    process.start()
    process.join(timeout=150)
    assert process.exitcode == 0
    for data in made:
        assert len(data.manifest.shards) > 3
        other = tmp_path / "datasets" / data.folder.name
        assert digests(other) == digests(data.folder)
        one, two = (json.loads((f / "manifest.json").read_text()) for f in (data.folder, other))
        assert one.pop("created_utc") and two.pop("created_utc") and one == two


def test_books_close(made: tuple[PreparedData, PreparedData]) -> None:
    images, table = made
    check_books(images)
    check_books(table)
    assert images.manifest.accounting.model_dump() == {
        "read": 102,
        "prepared": 100,
        "quarantined": 1,
        "duplicates": 1,
        "quarantined_by_reason": {"truncated": 1},
    }
    books = table.manifest.accounting
    assert (books.read, books.duplicates) == (1506, 5)
    assert books.quarantined_by_reason == {"key_conflict": 2}


def test_nothing_changed_is_cached_and_says_so(
    made: tuple[PreparedData, PreparedData], sources: Path, output: Path
) -> None:
    for data, again in zip(made, both(sources, output), strict=True):
        assert again.cached and not data.cached
        assert again.folder == data.folder and again.manifest == data.manifest


class Page(HTMLParser):
    """Tags, attributes and the text of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data + "\n"

    def pictures(self) -> list[str]:
        return [a["src"] or "" for tag, a in self.tags if tag == "img" and "src" in a]

    def leads_out(self) -> list[str]:
        values = [v or "" for _, a in self.tags for k, v in a.items() if k in ("src", "href")]
        return [value for value in values if re.match(r"(https?:)?//", value)]


def test_a_data_set_of_images_is_shown(
    made: tuple[PreparedData, PreparedData], tmp_path: Path
) -> None:
    images, _ = made
    result = inspect_dataset(images.folder, tmp_path / "page.html")
    json.dumps(result)
    assert result["accounting"]["read"] == 102
    reasons = {found["reason"]: found["count"] for found in result["findings"]}
    assert reasons["truncated"] == 1 and reasons["duplicate"] == 1
    assert "source_height_px: int32" in result["schema"]
    page = Page((tmp_path / "page.html").read_text())
    assert not page.leads_out()
    assert len(page.pictures()) >= 15, "samples of every split, as pictures"
    assert all(src.startswith("data:image/") for src in page.pictures())
    for word in ("truncated", "odd/cut.png", "source_height_px", "even", "102"):
        assert word in page.text, word


def test_a_data_set_of_a_table_is_shown(
    made: tuple[PreparedData, PreparedData], tmp_path: Path
) -> None:
    _, table = made
    result = inspect_dataset(table.folder, tmp_path / "page.html")
    json.dumps(result)
    assert any(line.startswith("amount") and "number" in line for line in result["schema"])
    assert {sample["grade"] for sample in result["samples"]} <= {"good", "fair", "bad"}
    html = (tmp_path / "page.html").read_text()
    page = Page(html)
    assert not page.leads_out()
    for word in ("key conflict", "orders.csv#31", "missing value", "grade", "1,506"):
        assert word in page.text, word
    assert "<b>&amp;</b>" not in html, "cells are shown, not obeyed"
    assert "<b>&amp;</b>" in page.text


def test_inspect_and_diff_speak_to_a_reader_and_to_a_script(
    made: tuple[PreparedData, PreparedData],
) -> None:
    for data in made:
        shown = CliRunner().invoke(app, ["inspect", str(data.folder)])
        assert shown.exit_code == 0, shown.output
        for word in ("read =", "prepared +", "findings", "schema", "train", "val", "test"):
            assert word in shown.stdout, word
        same = CliRunner().invoke(app, ["diff", str(data.folder), str(data.folder)])
        assert same.exit_code == 0 and "the same data set" in same.stdout
        assert CliRunner().invoke(app, ["inspect", str(data.folder), "--json"]).exit_code == 0
    images, table = made
    mixed = CliRunner().invoke(app, ["diff", str(images.folder), str(table.folder)])
    assert mixed.exit_code == 2 and "only data sets of one kind" in mixed.stderr


def test_diff_names_the_setting_and_counts_what_moved(
    made: tuple[PreparedData, PreparedData], sources: Path, output: Path
) -> None:
    one = made[1]
    other = prepared("table", sources / "orders.csv", *TABLE, "data.split.val=0.3", output=output)
    result = diff_datasets(one.folder, other.folder)
    json.dumps(result)
    changed = {change["what"]: (change["one"], change["other"]) for change in result["changed"]}
    assert changed["recipe.split.val"] == (0.1, 0.3)
    assert changed["counts.val"] == (one.manifest.counts["val"], other.manifest.counts["val"])
    assert not [name for name in changed if name.startswith(("schema", "source", "accounting"))]
    before, after = shards(one), shards(other)
    moved = (before["split"] != after["split"]).sum()
    assert result["records"]["moved"] == moved > 0
    assert result["records"]["in_both"] == len(before)
    assert result["records"]["only_in_one"] == result["records"]["only_in_other"] == 0
    told = CliRunner().invoke(app, ["diff", str(one.folder), str(other.folder)])
    assert "recipe.split.val: 0.1 -> 0.3" in told.stdout.replace('"', "")
    assert f"{moved:,} of them in another split" in told.stdout


@pytest.mark.usefixtures("ray_cluster")
def test_clean_cache_frees_and_prepare_works_afterwards(sources: Path, tmp_path: Path) -> None:
    source = sources / "orders.csv"
    first = prepared("table", source, *TABLE, output=tmp_path)
    kept = [p for p in cache_folder(tmp_path).iterdir() if p.is_dir()]
    assert kept
    young = CliRunner().invoke(
        app, ["clean-cache", "--output", str(tmp_path), "--older-than-days", "1", "--json"]
    )
    assert json.loads(young.stdout) == {"removed": [], "in_use": [], "freed_bytes": 0}
    done = CliRunner().invoke(app, ["clean-cache", "--output", str(tmp_path), "--json"])
    result = json.loads(done.stdout)
    assert len(result["removed"]) == len(kept) and result["freed_bytes"] > 10_000
    assert not list(cache_folder(tmp_path).iterdir())
    check_books(first)
    assert prepared("table", source, *TABLE, output=tmp_path).cached, "the data set stayed"
    all_gone = CliRunner().invoke(
        app, ["clean-cache", "--output", str(tmp_path), "--datasets", "--json"]
    )
    assert len(json.loads(all_gone.stdout)["removed"]) == 1 and not first.folder.exists()
    again = prepared("table", source, *TABLE, output=tmp_path)
    assert not again.cached and again.manifest.shards == first.manifest.shards


@contextmanager
def workers_with_files_of_at_most(num_bytes: int) -> Iterator[None]:
    """A full disk for Ray's workers, those of now and those to come."""
    processes = [
        process
        for process in psutil.Process().children(recursive=True)
        if process.name().startswith(("ray::", "raylet"))
    ]
    assert len(processes) > 1
    for process in processes:
        process.rlimit(psutil.RLIMIT_FSIZE, (num_bytes, psutil.RLIM_INFINITY))
    try:
        yield
    finally:
        for process in psutil.Process().children(recursive=True):
            if process.name().startswith(("ray::", "raylet")):
                process.rlimit(psutil.RLIMIT_FSIZE, (psutil.RLIM_INFINITY, psutil.RLIM_INFINITY))


@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.parametrize("kind", ["images", "table"])
def test_a_full_disk_in_the_middle(sources: Path, tmp_path: Path, kind: str) -> None:
    if kind == "images":
        source = write_pictures(tmp_path / "images", {"a": 40, "b": 40}, side_px=128)
        options = SMALL_IMAGES
    else:
        rng = np.random.default_rng(0)
        wide = {f"x{n}": rng.random(20_000) for n in range(6)}
        source = write_table(tmp_path / "wide.csv", pl.DataFrame(wide))
        options = ("data.clean.key=[]",)
    runs = tmp_path / "runs"
    with workers_with_files_of_at_most(500_000), pytest.raises(StorageError) as refused:
        prepared(kind, source, *options, output=runs)
    assert len(str(refused.value).splitlines()) == 1
    assert "File too large" in str(refused.value) and "output=FOLDER" in str(refused.value)
    nothing_left(runs)
    data = prepared(kind, source, *options, output=runs)
    check_books(data)


def nothing_left(runs: Path) -> None:
    """No data set, no stage, nothing half written."""
    nothing_half_written(runs)
    assert not stages(runs)


def nothing_half_written(runs: Path) -> None:
    """No data set and no shards; finished tasks of earlier stages stay for the next start."""
    assert not list((runs / "datasets").iterdir())
    assert not [name for name in stages(runs) if name.startswith("shards-")]
    assert not list(runs.rglob("*.partial*")) and not list(runs.rglob("manifest.json"))


def stages(runs: Path) -> list[str]:
    """Stages of prepare that are kept."""
    return [path.name for path in cache_folder(runs).glob("*") if path.is_dir()]


@pytest.fixture
def refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Run a command that must be refused with exit code 2; returns its one line."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> str:
        done = CliRunner().invoke(app, list(arguments))
        assert done.exit_code == 2, done.output
        assert done.stdout == "" and "Traceback" not in done.stderr
        lines = [line for line in done.stderr.splitlines() if line.startswith("error:")]
        assert len(lines) == 1, done.stderr
        if (tmp_path / "runs").exists():
            nothing_half_written(tmp_path / "runs")
        return lines[0]

    return run


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (("data.source.path=order.csv",), "data.source.path = order.csv does not exist"),
        (("data.columns.amount={minimum: 5, maximum: 2}",), "minimum"),
        (("data.columns.amount={kind: number, mapping: {a: b}}",), "mapping"),
        (("data.columns.amount={kind: money}",), "data.columns.amount.kind"),
        (("data.split.method=group",), "name the column"),
        (("data.clean.policy.outlier=repair",), "outlier"),
    ],
)
def test_refused_before_anything_starts(
    refused: Callable[..., str], tmp_path: Path, overrides: tuple[str, ...], words: str
) -> None:
    write_table(tmp_path / "orders.csv", orders(50))
    assert words in refused("prepare", "table", "data.source.path=orders.csv", *overrides)


def test_the_name_next_to_it_is_told(refused: Callable[..., str], tmp_path: Path) -> None:
    write_table(tmp_path / "orders.csv", orders(50))
    line = refused("prepare", "table", "data.source.path=order.csv")
    assert "did you mean orders.csv?" in line


@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("data.target=grad", ("data.target = 'grad'", "did you mean grade?")),
        ("data.clean.rules=[amuont > 0]", ("amuont", "amount")),
        ("data.clean.rules=[amount >]", ("data.clean.rules", "amount >")),
        ("data.clean.key=[idd]", ("data.clean.key", "'idd'; did you mean 'id'?")),
        ("data.source.split_column=part", ("data.source.split_column = 'part'",)),
        ("data.split={method: group, column: nots}", ("data.split.column", "mean note?")),
        ("data.split={method: time, column: grade}", ("data.split.column", "not times")),
        ("data.columns.amuont.kind=number", ("data.columns", "'amuont'; did you mean 'amount'?")),
        ("data.encode.columns.amuont.scale=log", ("amuont", "amount")),
        ("data.schema_file=none.json", ("none.json", "prepare RECIPE --schema")),
    ],
)
def test_no_column_of_that_name(
    refused: Callable[..., str], tmp_path: Path, override: str, words: tuple[str, ...]
) -> None:
    write_table(tmp_path / "orders.csv", orders(200))
    line = refused("prepare", "table", "data.source.path=orders.csv", override)
    for word in words:
        assert word in line


@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"id,name\n", "no rows below the header"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(range(256)) * 30, "PNG"),
        (b"\n\n \n", "only blank"),
    ],
)
def test_files_that_are_no_tables(
    refused: Callable[..., str], tmp_path: Path, content: bytes, words: str
) -> None:
    (tmp_path / "t.csv").write_bytes(content)
    line = refused("prepare", "table", "data.source.path=t.csv")
    assert "t.csv" in line and words in line


@pytest.mark.usefixtures("ray_cluster")
def test_all_rows_set_aside(refused: Callable[..., str], tmp_path: Path) -> None:
    write_table(tmp_path / "orders.csv", orders(200))
    rule = "data.clean={key: [id], rules: [amount < 0], policy: {rule_violated: quarantine}}"
    line = refused("prepare", "table", "data.source.path=orders.csv", rule)
    assert "rule_violated" in line and "of 206 records" in line
    line = refused(
        *("prepare", "table", "data.source.path=orders.csv", rule),
        "data.clean.max_quarantined_share=1.0",
    )
    assert "no record" in line


def test_a_finding_line_is_one_json_object(made: tuple[PreparedData, PreparedData]) -> None:
    assert all(line["count"] >= 1 for data in made for line in findings(data))
