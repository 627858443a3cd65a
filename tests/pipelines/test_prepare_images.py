"""`prepare` of images: killed and resumed, stages reused, books that close, shards that say all."""

import io
import os
import signal
from pathlib import Path

import polars as pl
import pytest
from PIL import Image

from components.errors import DataError
from pipelines.stages import cache_folder
from tests.components.images.dirty import odd_images
from tests.pipelines.command import descendants, end, interrupt, started, wait_until
from tests.pipelines.preparing import (
    SMALL_IMAGES,
    check_books,
    digests,
    duplicates,
    findings,
    prepared,
    quarantine,
    shards,
    write_pictures,
)

NUM_IMAGES, CHUNKS = 2_560, 32
"""As the listing cuts them: 64 at first, then a sixteenth of what came before."""


def marks(output: Path, stage: str) -> dict[str, int]:
    """When each finished task of a stage was done."""
    paths = sorted(cache_folder(output).glob(f"{stage}-*/done/*/*.json"))
    return {"/".join(path.parts[-2:]): path.stat().st_mtime_ns for path in paths}


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("many") / "images"
    half = NUM_IMAGES // 2
    # Large enough that a signal comes before the last chunk.
    return write_pictures(folder, {"a": half, "b": half}, side_px=128)


@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.timeout(400)
def test_interrupted_and_killed_it_goes_on_where_it_was(many: Path, tmp_path: Path) -> None:
    options = [*SMALL_IMAGES, f"data.source.path={many}", "cluster.cpus=2", "--json"]
    output = tmp_path / "runs"

    def done() -> dict[str, int]:
        found = marks(output, "images")
        return {name: mark for name, mark in found.items() if name.startswith("CleanRecords")}

    with started("prepare", "images", *options, folder=tmp_path) as process:
        wait_until(done, timeout_s=120, what="a chunk that is done")
        interrupt(process)
        _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted" in stderr and "Traceback" not in stderr
    interrupted = done()
    assert 0 < len(interrupted) < CHUNKS
    assert not list((output / "datasets").iterdir()), "nothing half written"

    with started("prepare", "images", *options, folder=tmp_path) as process:
        wait_until(
            lambda: len(done()) > len(interrupted), timeout_s=120, what="a further chunk done"
        )
        family = descendants(process.pid)
        os.kill(process.pid, signal.SIGKILL)
        process.wait(timeout=10)
        end(family)
    killed = done()
    assert interrupted.items() <= killed.items(), "what was done stays as it was"
    assert len(killed) < CHUNKS
    assert not list((output / "datasets").glob("*/manifest.json"))

    resumed = prepared("images", many, *SMALL_IMAGES, output=output)
    assert killed.items() <= done().items() and len(done()) == CHUNKS
    fresh = prepared("images", many, *SMALL_IMAGES, output=tmp_path / "fresh")
    assert resumed.folder.name == fresh.folder.name
    assert digests(resumed.folder) == digests(fresh.folder)
    assert [p.name for p in (output / "datasets").iterdir()] == [resumed.folder.name]
    check_books(resumed)
    assert resumed.manifest.accounting.read == NUM_IMAGES


@pytest.mark.usefixtures("ray_cluster")
def test_another_split_does_not_decode_again(tmp_path: Path) -> None:
    source = write_pictures(tmp_path / "images", {"a": 60, "b": 60})
    output = tmp_path / "runs"
    first = prepared("images", source, *SMALL_IMAGES, output=output)
    decoded = marks(output, "images")
    assert "CleanRecords/000000.json" in decoded
    second = prepared("images", source, *SMALL_IMAGES, "data.split.val=0.3", output=output)
    assert not second.cached and second.folder != first.folder
    assert marks(output, "images") == decoded, "no task of the first stage ran again"
    third = prepared("images", source, *SMALL_IMAGES, "seed=5", output=output)
    assert marks(output, "images") == decoded
    assert third.manifest.counts != second.manifest.counts
    one, two = shards(first), shards(second)
    assert one.drop("split").equals(two.drop("split"))
    assert prepared("images", source, *SMALL_IMAGES, output=output).cached
    prepared("images", source, *SMALL_IMAGES, "data.clean.min_size_px=9", output=output)
    stages = [path for path in cache_folder(output).glob("images-*") if path.is_dir()]
    assert len(stages) == 2, "other rules of cleaning, another stage"


@pytest.mark.usefixtures("ray_cluster")
def test_chunks_do_not_show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = _odd_folder(tmp_path / "images")
    options = [*SMALL_IMAGES, "data.clean.max_quarantined_share=0.9"]
    whole = prepared("images", source, *options, output=tmp_path / "whole")
    monkeypatch.setattr("components.sources.chunks.CHUNK_ROWS", (7, 7))
    cut = prepared("images", source, *options, output=tmp_path / "cut")
    assert [s.sha256 for s in whole.manifest.shards] == [s.sha256 for s in cut.manifest.shards]
    assert digests(whole.folder)["findings.jsonl"] == digests(cut.folder)["findings.jsonl"]
    assert quarantine(whole) == quarantine(cut) and duplicates(whole) == duplicates(cut)
    assert whole.manifest.transform == cut.manifest.transform


def _odd_folder(folder: Path) -> Path:
    """Whole pictures, dirty ones, copies, a picture under two labels, junk."""
    write_pictures(folder, {"even": 20, "odd": 20}, side_px=24)
    for number, image in enumerate(odd_images()):
        name = f"{number:03d}-{image.name.replace('/', '-')}"
        (folder / "odd" / name).write_bytes(image.data)
    data = (folder / "even" / "00000.png").read_bytes()
    (folder / "even" / "copy.png").write_bytes(data)
    pixels = Image.open(folder / "even" / "00001.png")
    pixels.save(folder / "even" / "pixels.bmp")
    two = (folder / "odd" / "00002.png").read_bytes()
    (folder / "even" / "two.png").write_bytes(two)
    (folder / "odd" / "Thumbs.db").write_bytes(b"junk")
    (folder / "rest").mkdir()
    return folder


@pytest.mark.usefixtures("ray_cluster")
def test_books_close_and_rows_say_what_they_must(tmp_path: Path) -> None:
    source = _odd_folder(tmp_path / "images")
    data = prepared(
        *("images", source, *SMALL_IMAGES, "data.clean.max_quarantined_share=0.9"),
        output=tmp_path / "runs",
    )
    check_books(data)
    listed = sum(len(names) for _, _, names in os.walk(source))
    assert data.manifest.accounting.read == listed, "junk is read too, and set aside"
    copies = {row["origin"]: (row["kept_origin"], row["reason"]) for row in duplicates(data)}
    assert copies["even/copy.png"] == ("even/00000.png", "duplicate")
    assert copies["even/pixels.bmp"] == ("even/00001.png", "duplicate_pixels")
    conflict = {r["origin"]: r["other"] for r in quarantine(data) if r["other"]}
    assert conflict["even/two.png"] == "odd/00002.png"
    assert conflict["odd/00002.png"] == "even/two.png"
    folders = {line["origin"]: line["reason"] for line in findings(data)}
    assert folders["rest"] == "empty_class" and folders["odd/Thumbs.db"] == "junk_file"
    assert set(shards(data)["origin"]) <= {
        str(path.relative_to(source)) for path in source.rglob("*")
    }


@pytest.mark.usefixtures("ray_cluster")
def test_shards_keep_origin_and_sizes(tmp_path: Path) -> None:
    source = write_pictures(tmp_path / "images", {"a": 10, "b ä": 10}, side_px=24)
    wide = Image.open(source / "a" / "00000.png").resize((90, 60))
    exif = Image.Exif()
    exif[274] = 6  # to be turned by a quarter
    wide.save(source / "b ä" / "turned.jpg", exif=exif, quality=95)
    data = prepared(
        *("images", source, *SMALL_IMAGES, "data.store.short_side_px=30"),
        *("data.split.method=stratified",),
        output=tmp_path / "runs",
    )
    rows = shards(data)
    assert set(rows["origin"]) == {
        str(p.relative_to(source)) for p in source.rglob("*") if p.is_file()
    }
    (row,) = rows.filter(pl.col("origin") == "b ä/turned.jpg").to_dicts()
    assert (row["source_height_px"], row["source_width_px"]) == (60, 90)
    assert (row["height_px"], row["width_px"]) == (45, 30)
    assert Image.open(io.BytesIO(row["image"])).size == (30, 45)
    assert data.manifest.classes[row["label"]] == "b ä"


@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.parametrize(
    ("policy", "aside"),
    [("keep", 0), ("quarantine", 1)],
)
def test_a_policy_decides(tmp_path: Path, policy: str, aside: int) -> None:
    source = write_pictures(tmp_path / "images", {"a": 20, "b": 20}, side_px=24)
    Image.new("RGB", (24, 24), (9, 9, 9)).save(source / "a" / "dark.png")
    data = prepared(
        *("images", source, *SMALL_IMAGES, f"data.clean.policy.blank={policy}"),
        output=tmp_path / "runs",
    )
    assert data.manifest.accounting.quarantined == aside
    assert any(line["origin"] == "a/dark.png" for line in findings(data))


@pytest.mark.usefixtures("ray_cluster")
def test_the_policy_stop_stops_and_leaves_nothing(tmp_path: Path) -> None:
    source = write_pictures(tmp_path / "images", {"a": 20, "b": 20}, side_px=24)
    Image.new("RGB", (24, 24), (9, 9, 9)).save(source / "a" / "dark.png")
    with pytest.raises(DataError, match=r"a/dark\.png: blank: .*data\.clean\.policy\.blank = stop"):
        prepared(
            *("images", source, *SMALL_IMAGES, "data.clean.policy.blank=stop"),
            output=tmp_path / "runs",
        )
    assert not list((tmp_path / "runs" / "datasets").iterdir())
    assert not list(cache_folder(tmp_path / "runs").glob("*/done/*/*.json"))


@pytest.mark.usefixtures("ray_cluster")
def test_what_the_source_divides_stays_divided_and_leaks_are_named(tmp_path: Path) -> None:
    source = tmp_path / "images"
    for number, split in enumerate(("train", "val", "test")):
        write_pictures(source / split, {"a": 8, "b": 8}, side_px=24, seed=number)
    leak = (source / "test" / "a" / "00000.png").read_bytes()
    (source / "train" / "a" / "leak.png").write_bytes(leak)
    data = prepared("images", source, "data.clean.min_size_px=8", output=tmp_path / "runs")
    rows = shards(data)
    assert (rows["split"] == rows["origin"].str.split("/").list.first()).all()
    (copy,) = duplicates(data)
    assert (copy["origin"], copy["kept_origin"], copy["reason"]) == (
        *("train/a/leak.png", "test/a/00000.png", "split_leak"),
    )
    check_books(data)
