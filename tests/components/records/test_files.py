"""One opener; writes that appear whole or not at all; nothing secret in what is shown."""

import errno
import os
from pathlib import Path

import pytest
from pyarrow import fs

from components.errors import DataError, StorageError
from components.records.files import (
    atomic_path,
    open_filesystem,
    public_path,
    storage_errors,
    write_text,
)


def test_atomic_file_appears_at_the_end(tmp_path: Path) -> None:
    target = tmp_path / "new" / "file.txt"
    with atomic_path(target) as partial:
        partial.write_text("whole")
        assert not target.exists()
    assert target.read_text() == "whole"
    assert os.listdir(target.parent) == ["file.txt"]


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "file.txt"
    write_text(target, "old")
    with pytest.raises(ZeroDivisionError), atomic_path(target) as partial:
        partial.write_text("half")
        _ = 1 / 0
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["file.txt"]


def test_an_error_leaves_no_half_folder(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), atomic_path(tmp_path / "folder") as partial:
        partial.mkdir()
        (partial / "half.bin").write_bytes(b"0")
        _ = 1 / 0
    assert os.listdir(tmp_path) == []


def test_text_is_utf_8(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "Zürich")
    assert (tmp_path / "a.txt").read_bytes() == b"Z\xc3\xbcrich"


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("s3://KEY:SECRET@bucket/a/b", "s3://bucket/a/b"),
        ("s3://bucket/a?access_key=KEY&secret_key=SECRET", "s3://bucket/a"),
        ("gs://bucket/a#part", "gs://bucket/a"),
        ("data/mine", "data/mine"),
        ("builtin:digits", "builtin:digits"),
    ],
)
def test_no_credentials_are_shown(path: str, shown: str) -> None:
    assert public_path(path) == shown


def test_paths_are_shown_from_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert public_path(str(tmp_path / "here/images")) == "images"
    assert public_path(str(tmp_path / "images")) == "../images"
    assert public_path("~/images") == "../home/images"
    assert public_path(f"file://{tmp_path}/my%20images") == "../my images"


def test_a_local_path_and_its_uri_open_the_same_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.txt").write_bytes(b"content")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for path in ("a.txt", "~/a.txt", str(tmp_path / "a.txt"), f"file://{tmp_path}/a.txt"):
        filesystem, inner = open_filesystem(path)
        assert isinstance(filesystem, fs.LocalFileSystem)
        with filesystem.open_input_stream(inner) as stream:
            assert stream.read() == b"content"


@pytest.mark.parametrize("path", ["ftp://user:SECRET@host/a", "nothing://a"])
def test_an_unknown_scheme_is_one_line_without_credentials(path: str) -> None:
    with pytest.raises(DataError) as caught:
        open_filesystem(path)
    message = str(caught.value)
    assert message.startswith(public_path(path)) and "use a local path, s3://" in message
    assert "\n" not in message and "SECRET" not in message


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.ENOTDIR])
def test_refused_writes_name_place_and_remedy(number: int) -> None:
    with pytest.raises(StorageError) as caught, storage_errors("runs"):
        raise OSError(number, os.strerror(number))
    assert str(caught.value) == (
        f"cannot write to runs: {os.strerror(number)}; free some space or choose another place "
        "with output=FOLDER"
    )


def test_a_full_disk_is_known_without_its_number() -> None:
    # As pyarrow words it where it lost the number.
    expected = "cannot write to runs: No space left on device"
    with pytest.raises(StorageError, match=expected), storage_errors("runs"):
        raise OSError("Error writing bytes to file. Detail: No space left on device")


def test_other_errors_pass_through() -> None:
    with pytest.raises(FileNotFoundError), storage_errors("runs"):
        raise FileNotFoundError(errno.ENOENT, "No such file")
