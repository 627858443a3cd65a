"""WebDataset tars: samples found by their headers, read by their place, damage told."""

import gzip
import io
import json
import tarfile
from pathlib import Path

import pytest

from components.records.findings import Finding
from components.records.reasons import Reason
from components.sources.listing import Listing
from tests.components.sources.reading import listed, problems, rows

Members = list[tuple[str, bytes]]


def tar_bytes(members: Members) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def samples(*numbers: int) -> Members:
    """A picture of its own size and a class for each number."""
    return [
        member
        for n in numbers
        for member in ((f"{n:03d}.png", bytes([n]) * (100 * n)), (f"{n:03d}.cls", b"%d" % (n % 2)))
    ]


def found(listing: Listing) -> list[tuple[str, Reason, int]]:
    return [(finding.origin, finding.reason, finding.count) for finding in listing.findings]


def test_pictures_and_their_classes(tmp_path: Path) -> None:
    members = [
        ("a/x.y.jpg", b"not alone: its extension is y.jpg"),
        ("a/1.jpg", b"one"),
        ("a/1.cls", b"3\n"),
        ("./2 \u00e9.PNG", b"two"),
        ("./2 \u00e9.json", json.dumps({"class": "cat", "label": "lion"}).encode()),
        ("3.webp", b"three"),
        ("3.txt", "\u732b".encode()),
        ("4.json", b'{"cls": 0}'),
        ("4.jpeg", b""),
    ]
    (tmp_path / "a.tar").write_bytes(tar_bytes(members))
    listing, records = listed(tmp_path, tmp_path / "a.tar")
    assert rows(records) == [
        ("a.tar#a/1.jpg", "3", None, b"one"),
        ("a.tar#./2 \u00e9.PNG", "lion", None, b"two"),
        ("a.tar#3.webp", "\u732b", None, b"three"),
        ("a.tar#4.jpeg", "0", None, b""),
    ]
    assert (listing.format, problems(records)) == ("webdataset", {})
    assert found(listing) == [("a.tar#a/x.y.jpg", Reason.UNSUPPORTED, 1)]


@pytest.mark.parametrize("ending", [".tar", ".tar.gz", ".tgz"])
def test_many_samples_in_chunks_of_one_tar(tmp_path: Path, ending: str) -> None:
    members = [
        member
        for n in range(1200)
        for member in ((f"{n:05d}.cls", b"x" if n % 3 else b"y"), (f"{n:05d}.jpg", b"%d" % n))
    ]
    data = tar_bytes(members)
    folder = tmp_path / "set"
    folder.mkdir()
    for name in ("a", "b"):
        packed = data if ending == ".tar" else gzip.compress(data, 1)
        (folder / f"{name}{ending}").write_bytes(packed)
    listing, records = listed(tmp_path, folder)
    assert [r.data for r in records] == [b"%d" % n for n in range(1200)] * 2
    # A packed tar is unpacked once, from its start, so it is one chunk.
    assert len(listing.chunks) == (31 if ending == ".tar" else 2)
    assert len({record.origin for record in records}) == 2400


def test_splits_by_the_name_of_file_or_folder(tmp_path: Path) -> None:
    for name in ("train-000", "train-001", "val/000", "extra"):
        (tmp_path / "set" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "set" / f"{name}.tar").write_bytes(tar_bytes(samples(1, 2)))
    listing, records = listed(tmp_path, tmp_path / "set", format="webdataset")
    assert [(r.origin.split("#")[0], r.split) for r in records][::2] == [
        ("extra.tar", None),
        ("train-000.tar", "train"),
        ("train-001.tar", "train"),
        ("val/000.tar", "val"),
    ]
    assert listing.given_splits == ["train", "val"]


def test_split_and_label_keys_of_the_recipe(tmp_path: Path) -> None:
    texts = [{"species": "cat", "part": "test"}, {"species": "dog", "part": "night"}, {"part": ""}]
    members = [
        member
        for n, text in enumerate(texts)
        for member in ((f"{n}.input.png", b"p"), (f"{n}.json", json.dumps(text).encode()))
    ]
    (tmp_path / "a.tar").write_bytes(tar_bytes(members))
    settings = {"image_column": "input.png", "label_column": "species", "split_column": "part"}
    _, records = listed(tmp_path, tmp_path / "a.tar", **settings)
    assert [(r.label, r.split, r.data) for r in records] == [
        ("cat", "test", b"p"),
        ("dog", None, b"p"),
        (None, None, b"p"),
    ]
    assert problems(records) == {
        "a.tar#1.input.png": Reason.BAD_SPLIT,
        "a.tar#2.input.png": Reason.MISSING_LABEL,
    }


def test_what_is_no_sample_is_told(tmp_path: Path) -> None:
    members = [
        *samples(1, 2),
        ("3.cls", b"1"),
        ("README.md", b"about"),
        (".DS_Store", b"x"),
        ("4.png", b"picture"),
        ("5.png", b"one"),
        ("5.jpg", b"other"),
        ("5.cls", b"\xff"),
    ]
    (tmp_path / "a.tar").write_bytes(tar_bytes(members))
    listing, records = listed(tmp_path, tmp_path / "a.tar")
    assert problems(records) == {
        "a.tar#4.png": Reason.MISSING_LABEL,
        "a.tar#5.png": Reason.MISSING_LABEL,
    }
    assert found(listing) == [
        ("a.tar#3.cls", Reason.UNSUPPORTED, 1),
        ("a.tar#.DS_Store", Reason.JUNK_FILE, 1),
        ("a.tar#README.md", Reason.JUNK_FILE, 1),
        ("a.tar#5.jpg", Reason.UNSUPPORTED, 1),
    ]


def test_companions_of_macos_do_not_part_a_sample(tmp_path: Path) -> None:
    members = [(f"{mark}1.{ending}", b"1") for ending in ("png", "cls") for mark in ("._", "")]
    (tmp_path / "a.tar").write_bytes(tar_bytes(members))
    listing, records = listed(tmp_path, tmp_path / "a.tar")
    assert rows(records) == [("a.tar#1.png", "1", None, b"1")]
    assert found(listing) == [
        ("a.tar#._1.png", Reason.JUNK_FILE, 1),
        ("a.tar#._1.cls", Reason.JUNK_FILE, 1),
    ]


def test_links_and_broken_names_cost_only_themselves(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for kind, name in ((tarfile.REGTYPE, "1"), (tarfile.SYMTYPE, "2"), (b"0", "\udcff")):
            for ending, data in (("png", b"picture"), ("cls", b"x")):
                info = tarfile.TarInfo(f"{name}.{ending}")
                is_file = ending == "cls" or kind != tarfile.SYMTYPE
                info.type, info.linkname = (b"0", "") if is_file else (kind, "/etc/passwd")
                info.size = len(data) if is_file else 0
                tar.addfile(info, io.BytesIO(data))
    _, records = listed(tmp_path, tmp_path / "a.tar")
    assert problems(records) == {
        "a.tar#2.png": Reason.UNREADABLE,
        r"a.tar#\xff.png": Reason.UNREADABLE_NAME,
    }
    assert [r.data for r in records] == [b"picture", None, None]


@pytest.mark.parametrize("packed", [False, True])
def test_a_truncated_tar_gives_what_is_left(tmp_path: Path, packed: bool) -> None:
    whole = tar_bytes(samples(1, 2, 30, 40))
    start = whole.index(b"030.png")
    cut = whole[: start + 512 + 2000]
    name = "a.tar.gz" if packed else "a.tar"
    (tmp_path / name).write_bytes(gzip.compress(cut)[:-9] if packed else cut)
    listing, records = listed(tmp_path, tmp_path / name)
    assert [(r.origin, r.label) for r in records if r.problem is None] == [
        (f"{name}#001.png", "1"),
        (f"{name}#002.png", "0"),
    ]
    assert problems(records) == {f"{name}#030.png": Reason.TRUNCATED}
    assert found(listing) == [(name, Reason.TRUNCATED, 1)]


def test_a_label_that_is_cut_is_no_label(tmp_path: Path) -> None:
    whole = tar_bytes([("1.png", b"p"), ("1.cls", b"x"), ("2.png", b"q"), ("2.cls", b"1234")])
    (tmp_path / "a.tar").write_bytes(whole[: whole.rindex(b"1234") + 2])
    _, records = listed(tmp_path, tmp_path / "a.tar")
    assert problems(records) == {"a.tar#2.png": Reason.TRUNCATED}


def test_a_damaged_header_costs_only_its_member(tmp_path: Path) -> None:
    data = bytearray(tar_bytes(samples(1, 2, 3)))
    place = data.index(b"002.png")
    data[place : place + 100] = b"\xaa" * 100
    (tmp_path / "a.tar").write_bytes(data)
    listing, records = listed(tmp_path, tmp_path / "a.tar")
    assert [r.origin for r in records] == ["a.tar#001.png", "a.tar#003.png"]
    assert found(listing) == [
        ("a.tar#002.cls", Reason.UNSUPPORTED, 1),
        ("a.tar", Reason.CORRUPT, 1),
    ]
    assert "bytes 2048 to 3072 are no tar" in listing.findings[1].detail


def test_tars_end_to_end_and_without_an_end_are_whole(tmp_path: Path) -> None:
    first, second = tar_bytes(samples(1, 2)), tar_bytes(samples(3))
    (tmp_path / "a.tar").write_bytes(first + second.rstrip(b"\0") + bytes(511))
    listing, records = listed(tmp_path, tmp_path / "a.tar")
    assert [len(r.data or b"") for r in records] == [100, 200, 300]
    assert listing.findings == []


def test_a_tar_that_is_none_is_one_record(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    (folder / "a.tar").write_bytes(tar_bytes(samples(1, 2)))
    (folder / "b.tar").write_bytes(b"<html>404 not found</html>" * 100)
    (folder / "c.tar").write_bytes(b"")
    (folder / "d.tar.gz").write_bytes(b"no gzip at all")
    listing, records = listed(tmp_path, folder)
    assert problems(records) == {
        "b.tar": Reason.CORRUPT,
        "c.tar": Reason.EMPTY,
        "d.tar.gz": Reason.CORRUPT,
    }
    assert listing.num_records == 5


def test_many_members_that_are_no_pictures_are_summed_up(tmp_path: Path) -> None:
    members = [*samples(1, 2), *((f"x{n}.bin", b"") for n in range(250))]
    (tmp_path / "a.tar").write_bytes(tar_bytes(members))
    findings: list[Finding] = listed(tmp_path, tmp_path / "a.tar")[0].findings
    assert len(findings) == 101
    assert (findings[-1].origin, findings[-1].count) == ("a.tar", 150)


def test_labels_that_differ_by_case_are_merged(tmp_path: Path) -> None:
    members = [
        member
        for n, label in enumerate((b"cat", b"Cat", b"cat", b"dog"))
        for member in ((f"{n}.png", b"p"), (f"{n}.cls", label))
    ]
    (tmp_path / "a.tar").write_bytes(tar_bytes(members))
    listing, records = listed(tmp_path, tmp_path / "a.tar")
    assert [r.label for r in records] == ["cat", "cat", "cat", "dog"]
    assert found(listing) == [("a.tar", Reason.CLASS_NAME_VARIANT, 1)]


def test_a_tar_among_pictures_is_no_source(tmp_path: Path) -> None:
    for name in ("cat/1.png", "cat/all.tar", "dog/1.png"):
        (tmp_path / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "images" / name).write_bytes(b"x")
    assert listed(tmp_path, tmp_path / "images")[0].format == "folders"
