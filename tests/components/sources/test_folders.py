"""Class folders: every file comes back once, and what is odd about folders is told."""

import os
import socket
from pathlib import Path

import pytest

from components.errors import DataError
from components.records.findings import Action, Finding
from components.records.reasons import Policy, Reason
from components.sources.config import SourceConfig
from components.sources.listing import Listing, list_source, read_chunk
from tests.components.sources.reading import listed, problems, refusal, rows, write


def test_class_folders_however_deep(tmp_path: Path) -> None:
    root = write(tmp_path / "images", "cat/1.png", "cat/more/deep/2.png", "dog/1.png")
    listing, records = listed(tmp_path, root)
    assert rows(records) == [
        ("cat/1.png", "cat", None, b"cat/1.png"),
        ("cat/more/deep/2.png", "cat", None, b"cat/more/deep/2.png"),
        ("dog/1.png", "dog", None, b"dog/1.png"),
    ]
    assert (listing.format, listing.declared_classes, listing.given_splits) == (
        "folders",
        ["cat", "dog"],
        [],
    )
    assert listing.num_bytes == sum(len(record.data or b"") for record in records)


def test_a_uri_lists_what_the_path_lists(tmp_path: Path) -> None:
    root = write(tmp_path / "images", "cat/1.png", "dog/1.png")
    by_path, by_uri = listed(tmp_path, root), listed(tmp_path, f"file://{root}")
    assert rows(by_uri[1]) == rows(by_path[1])
    assert by_uri[0].sha256 == by_path[0].sha256


@pytest.mark.parametrize("val", ["val", "valid", "validation", "Validation", "dev"])
def test_split_folders_by_any_of_their_names(tmp_path: Path, val: str) -> None:
    root = write(tmp_path / "images", "train/cat/1", "train/dog/1", f"{val}/cat/2", "test/dog/3")
    listing, records = listed(tmp_path, root)
    assert sorted((r.origin, r.label, r.split) for r in records) == sorted(
        [
            ("train/cat/1", "cat", "train"),
            ("train/dog/1", "dog", "train"),
            (f"{val}/cat/2", "cat", "val"),
            ("test/dog/3", "dog", "test"),
        ]
    )
    assert listing.given_splits == ["train", "val", "test"]
    assert listing.declared_classes == ["cat", "dog"]


def test_train_and_test_only(tmp_path: Path) -> None:
    root = write(tmp_path / "images", "train/cat/1", "train/dog/1", "test/dog/3")
    assert listed(tmp_path, root)[0].given_splits == ["train", "test"]


def test_one_split_name_among_classes_is_a_class(tmp_path: Path) -> None:
    root = write(tmp_path / "vehicles", "train/1", "bus/1", "tram/1")
    listing, _ = listed(tmp_path, root)
    assert (listing.declared_classes, listing.given_splits) == (["bus", "train", "tram"], [])


def test_splits_beside_another_folder_are_no_classes(tmp_path: Path) -> None:
    root = write(tmp_path / "images", "train/cat/1", "test/cat/2", "extra/3")
    message = refusal(tmp_path, root)
    assert "test, train name splits and extra does not" in message and "move extra away" in message


def test_unicode_and_blanks_in_names(tmp_path: Path) -> None:
    names = ["chat noir/été 1.png", "犬/ ひ #1.png", "a%20b/x&y=z.png"]
    root = write(tmp_path / "mes images", *names)
    for path in (root, f"file://{str(root).replace(' ', '%20')}"):
        _, records = listed(tmp_path, path)
        assert {r.origin: r.data for r in records} == {name: name.encode() for name in names}


def test_a_file_that_vanished_is_a_record_with_a_problem(tmp_path: Path) -> None:
    root = write(tmp_path / "images", "cat/1", "cat/2")
    config = SourceConfig(path=str(root))
    listing = list_source(config, tmp_path)
    (root / "cat/1").unlink()
    found = list(read_chunk(config, listing.root, tmp_path / listing.chunks[0]))
    problems = [record.problem.reason if record.problem else None for record in found]
    assert problems == [Reason.UNREADABLE, None]


# Junk, hidden folders, files outside a class


def test_junk_beside_pictures_is_set_aside_by_its_name(tmp_path: Path) -> None:
    junk = ["cat/.DS_Store", "cat/._1.png", "Thumbs.db", "cat/notes.txt", "cat/3.png.part"]
    junk += [
        "dog/labels.csv",
        "dog/README",
        "dog/sums.md5",
        "dog/~$a.docx",
        "dog/1.jpg~",
        "dog/.a.jpg",
    ]
    kept = ["cat/1.png", "dog/1", "dog/2.JPG", "dog/archive.zip"]
    listing, records = listed(tmp_path, write(tmp_path / "images", *junk, *kept))
    assert problems(records) == dict.fromkeys(sorted(junk), Reason.JUNK_FILE)
    assert {r.origin for r in records if r.problem is None} == set(kept)
    assert listing.num_records == len(junk) + len(kept)


def test_a_picture_that_is_named_like_junk_is_read(tmp_path: Path) -> None:
    root = write(tmp_path / "images", "cat/1.png", "cat/2.txt", "cat/3.png.part", "4.txt")
    picture = b"\x89PNG\r\n\x1a\n" + bytes(100)
    for name in ("cat/2.txt", "cat/3.png.part", "4.txt"):
        (root / name).write_bytes(picture)
    _, records = listed(tmp_path, root)
    assert problems(records) == {"cat/3.png.part": Reason.JUNK_FILE, "4.txt": Reason.OUTSIDE_CLASS}
    assert {r.origin: r.data for r in records}["cat/2.txt"] == picture


def test_a_hidden_folder_is_left_out_and_told(tmp_path: Path) -> None:
    root = write(
        tmp_path / "images",
        "cat/1.png",
        "cat/.ipynb_checkpoints/1-checkpoint.png",
        "__MACOSX/cat/._1.png",
        "__MACOSX/._cat",
        *[f".git/objects/{n:02d}" for n in range(30)],
    )
    listing, records = listed(tmp_path, root)
    assert [record.origin for record in records] == ["cat/1.png"]
    found = {f.origin: f for f in listing.findings}
    assert {f.reason for f in found.values()} == {Reason.JUNK_FILE}
    assert {o: f.count for o, f in found.items()} == {
        ".git": 30,
        "__MACOSX": 2,
        "cat/.ipynb_checkpoints": 1,
    }
    assert found["__MACOSX"].other == ("__MACOSX/._cat", "__MACOSX/cat/._1.png")
    assert len(found[".git"].other) == 20
    with pytest.raises(DataError, match=r"junk_file: a hidden folder.*junk_file = stop"):
        listed(tmp_path, root, policy={Reason.JUNK_FILE: Policy.STOP})


def test_files_outside_classes_say_so(tmp_path: Path) -> None:
    root = write(tmp_path / "flat", "cat/1", "loose.png")
    split = write(tmp_path / "split", "train/cat/1", "train/loose", "test/cat/2", "top.png")
    for path, loose in ((root, {"loose.png"}), (split, {"train/loose", "top.png"})):
        _, records = listed(tmp_path, path)
        assert problems(records) == dict.fromkeys(loose, Reason.OUTSIDE_CLASS)


# What cannot be read


def test_a_name_that_is_not_utf8_costs_only_itself(tmp_path: Path) -> None:
    root = write(tmp_path / "images", "cat/1.png", "dog/1.png", "cat/x\\xe9.png")
    names = [b"cat/caf\xe9.jpg", b"cat/a\\b\xff", b"\xe4ffin/1.png"]
    try:
        for name in names:
            path = os.path.join(os.fsencode(root), name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb") as file:
                file.write(b"picture")
    except OSError:
        pytest.skip("this filesystem takes only UTF-8")
    for source in (root, f"file://{root}"):
        listing, records = listed(tmp_path, source)
        assert problems(records) == dict.fromkeys(
            [r"cat/caf\xe9.jpg", r"cat/a\x5cb\xff", r"\xe4ffin/1.png"], Reason.UNREADABLE_NAME
        )
        read = {r.origin: r.data for r in records if r.problem is None}
        assert read == {n: n.encode() for n in ("cat/1.png", "dog/1.png", "cat/x\\xe9.png")}
        assert listing.declared_classes == ["cat", "dog"]


def test_links_pipes_and_sockets_neither_hang_nor_hide(tmp_path: Path) -> None:
    root = write(tmp_path / "images", "cat/1.png", "dog/1.png")
    write(tmp_path / "elsewhere", "bird/1.png")
    (root / "bird").symlink_to(tmp_path / "elsewhere" / "bird")
    (root / "cat/2.png").symlink_to(root / "dog/1.png")
    (root / "cat/gone.png").symlink_to(tmp_path / "nothing")
    (root / "cat/self").symlink_to("self")
    (root / "cat/up").symlink_to("..")
    (root / "dog/here").symlink_to(".")
    os.mkfifo(root / "dog/pipe.png")
    with socket.socket(socket.AF_UNIX) as server:
        cwd = os.getcwd()
        os.chdir(root)  # an address of a socket is short
        try:
            server.bind("dog/socket.png")
        finally:
            os.chdir(cwd)
        _, records = listed(tmp_path, root)
    bad = ["cat/gone.png", "cat/self", "cat/up", "dog/here", "dog/pipe.png", "dog/socket.png"]
    assert problems(records) == dict.fromkeys(bad, Reason.UNREADABLE)
    good = {r.origin: r.data for r in records if r.problem is None}
    assert list(good) == ["bird/1.png", "cat/1.png", "cat/2.png", "dog/1.png"]
    assert good["cat/2.png"] == b"dog/1.png"


def test_a_subfolder_that_may_not_be_read_is_one_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write(tmp_path / "images", "cat/1.png", "cat/closed/2.png", "dog/1.png")
    scandir = os.scandir

    def refuse(path: str | os.PathLike[str]) -> object:
        if os.fspath(path).endswith("closed"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    _, records = listed(tmp_path, root)
    assert problems(records) == {"cat/closed": Reason.UNREADABLE}
    assert [r.origin for r in records if r.problem is None] == ["cat/1.png", "dog/1.png"]


def test_a_file_too_large_for_a_picture_is_not_brought_into_memory(tmp_path: Path) -> None:
    root = write(tmp_path / "images", "cat/1.png", "dog/1.png")
    os.truncate(root / "dog/1.png", (512 << 20) + 1)
    _, records = listed(tmp_path, root)
    assert problems(records) == {"dog/1.png": Reason.UNSUPPORTED}


# Classes


def of_reason(listing: Listing, reason: Reason) -> list[Finding]:
    return [finding for finding in listing.findings if finding.reason is reason]


def test_class_folders_that_differ_by_case_are_one_class(tmp_path: Path) -> None:
    root = write(tmp_path / "images", "Cat/1.png", "cat/2.png", "cat/3.png", "CAT /4.png", "dog/1")
    listing, records = listed(tmp_path, root)
    assert [(r.origin, r.label) for r in records] == [
        ("CAT /4.png", "cat"),
        ("Cat/1.png", "cat"),
        ("cat/2.png", "cat"),
        ("cat/3.png", "cat"),
        ("dog/1", "dog"),
    ]
    assert listing.declared_classes == ["cat", "dog"]
    found = of_reason(listing, Reason.CLASS_NAME_VARIANT)
    assert [(f.origin, f.before, f.after, f.other, f.count, f.action) for f in found] == [
        ("CAT ", "CAT ", "cat", ("cat",), 1, Action.MERGED),
        ("Cat", "Cat", "cat", ("cat",), 1, Action.MERGED),
    ]


def test_variants_are_merged_across_splits(tmp_path: Path) -> None:
    names = ["train/Cat/1", "train/Dog/1", "train/Dog/2", "train/Cat/2", "test/cat/1", "test/dog/1"]
    listing, records = listed(tmp_path, write(tmp_path / "images", *names))
    assert {(r.label, r.split) for r in records} == {
        (label, split) for label in ("Cat", "Dog") for split in ("train", "test")
    }
    found = {f.origin: f.other for f in listing.findings}
    assert found == {"test/cat": ("train/Cat",), "test/dog": ("train/Dog",)}


def test_the_recipe_may_leave_variants_apart_or_stop(tmp_path: Path) -> None:
    root = write(tmp_path / "images", "Cat/1.png", "cat/2.png", "cat/3.png")
    keep = {Reason.CLASS_NAME_VARIANT: Policy.KEEP}
    listing, records = listed(tmp_path, root, policy=keep)
    assert [r.label for r in records] == ["Cat", "cat", "cat"]
    assert listing.declared_classes == ["Cat", "cat"]
    (finding,) = listing.findings
    assert (finding.action, finding.before, finding.after) == (Action.KEPT, "Cat", "Cat")
    with pytest.raises(DataError, match=r"^Cat: class_name_variant: 'Cat' and 'cat' differ only"):
        listed(tmp_path, root, policy={Reason.CLASS_NAME_VARIANT: Policy.STOP})


def test_an_empty_class_is_told_and_is_none(tmp_path: Path) -> None:
    root = write(tmp_path / "images", "cat/1", "dog/1", "bird/.gitkeep", "fish/notes.txt")
    (root / "lion").mkdir()
    listing, _ = listed(tmp_path, root)
    assert listing.declared_classes == ["cat", "dog"]
    assert [f.origin for f in of_reason(listing, Reason.EMPTY_CLASS)] == ["bird", "fish", "lion"]


def test_a_class_of_only_one_split_is_told(tmp_path: Path) -> None:
    root = write(tmp_path / "images", "train/cat/1", "val/cat/2", "test/cat/3", "test/zebra/1")
    (root / "train/zebra").mkdir()
    listing, _ = listed(tmp_path, root)
    (finding,) = of_reason(listing, Reason.CLASS_IN_ONE_SPLIT)
    assert (finding.origin, finding.before, finding.count) == ("test/zebra", "zebra", 1)
    assert finding.detail == "class 'zebra' is only in test, not in train or val"
    assert [f.origin for f in of_reason(listing, Reason.EMPTY_CLASS)] == ["train/zebra"]
    assert listing.declared_classes == ["cat", "zebra"]
