"""What names tell: junk, hidden folders, names that are not UTF-8."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.sources.names import (
    PICTURE_EXTENSIONS,
    is_hidden_folder,
    is_utf8,
    junk,
    looks_like_picture,
    shown,
)


@pytest.mark.parametrize("ending", sorted(PICTURE_EXTENSIONS))
def test_no_name_with_the_extension_of_a_picture_is_junk(ending: str) -> None:
    for name in (f"a.{ending}", f"README.{ending.upper()}", f"a.b.{ending}", f"notes.txt.{ending}"):
        assert junk(name) is None
    assert junk(f".a.{ending}") == "a hidden file"


@pytest.mark.parametrize("name", ["IMG_0001", "été 1", "a.jpg.zip", "reading", "licences", "0.5"])
def test_what_may_be_a_picture_is_not_junk(name: str) -> None:
    assert junk(name) is None


def test_hidden_folders() -> None:
    assert all(map(is_hidden_folder, (".git", "__MACOSX", ".ipynb_checkpoints", "@eaDir")))
    assert not any(map(is_hidden_folder, ("cat", "_cat", "git", "MACOSX", "1.0")))


def test_pictures_are_told_from_text() -> None:
    bmp = b"BM" + bytes(12) + b"\x28\0\0\0" + bytes(20)
    for head in (b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"GIF89a", bmp, b"II*\0"):
        assert looks_like_picture(head)
    for head in (b"", b"BMW is a car maker; this is a note", b"RIFFxxxxWAVE", b"\0\5\x16\7", b"II"):
        assert not looks_like_picture(head)


@given(st.binary(min_size=1, max_size=12), st.binary(min_size=1, max_size=12))
def test_a_shown_name_stands_for_one_name(one: bytes, other: bytes) -> None:
    names = [os.fsdecode(data) for data in (one, other)]
    for name in names:
        shown(name).encode()
        assert (shown(name) == name) == is_utf8(name)
    broken = [name for name in names if not is_utf8(name)]
    assert len({shown(name) for name in broken}) == len(set(broken))
