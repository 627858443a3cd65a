import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from components.errors import StorageError
from pipelines.builtin import DIGITS_IMAGES, write_digits


@pytest.fixture(scope="module")
def digits_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_digits(tmp_path_factory.mktemp("builtin") / "digits")


def test_every_digit_is_an_ordinary_file_in_the_folder_of_its_class(digits_folder: Path) -> None:
    files = sorted(digits_folder.glob("*/*.png"))
    assert len(files) == DIGITS_IMAGES == 1797
    assert sorted(folder.name for folder in digits_folder.iterdir()) == list("0123456789")
    assert [file.name for file in digits_folder.parent.iterdir()] == ["digits"]


def test_the_pixels_and_labels_are_those_of_scikit_learn(digits_folder: Path) -> None:
    digits = load_digits()
    for index in (0, 1, 17, 1000, 1796):
        file = digits_folder / str(digits.target[index]) / f"{index:04d}.png"
        with Image.open(file) as image:
            assert (image.mode, image.size) == ("L", (8, 8))
            pixels_HW = np.asarray(image)
        assert np.array_equal(np.rint(pixels_HW / 255 * 16), digits.images[index])
        assert (pixels_HW.max() == 255) == (digits.images[index].max() == 16)


def test_a_second_call_changes_nothing(digits_folder: Path) -> None:
    before = {file: file.stat().st_mtime_ns for file in digits_folder.rglob("*")}
    assert write_digits(digits_folder) == digits_folder
    assert {file: file.stat().st_mtime_ns for file in digits_folder.rglob("*")} == before


@pytest.mark.processes
def test_two_writings_are_equal_byte_for_byte(digits_folder: Path, tmp_path: Path) -> None:
    again = write_digits(tmp_path / "new" / "digits")
    first = {f.relative_to(digits_folder): f.read_bytes() for f in digits_folder.glob("*/*")}
    assert {f.relative_to(again): f.read_bytes() for f in again.glob("*/*")} == first


@pytest.mark.processes
def test_killed_midway_leaves_nothing_that_looks_complete(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from PIL import Image\n"
        "import pipelines.builtin\n"
        "save, calls = Image.Image.save, []\n"
        "def dying(self, *args):\n"
        "    calls.append(save(self, *args))\n"
        "    if len(calls) == 900: os.kill(os.getpid(), signal.SIGKILL)\n"
        "Image.Image.save = dying\n"
        "pipelines.builtin.write_digits(Path(sys.argv[1]) / 'digits')\n"
    )
    killed = subprocess.run([sys.executable, "-c", code, str(tmp_path)])
    assert killed.returncode == -signal.SIGKILL
    assert not (tmp_path / "digits").exists()
    assert len(list(write_digits(tmp_path / "digits").glob("*/*.png"))) == DIGITS_IMAGES


def test_a_full_disk_is_one_line_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Image.Image, path: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(StorageError, match=r"No space left on device; free space") as caught:
        write_digits(tmp_path / "digits")
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.processes
def test_who_comes_second_uses_the_folder_of_who_came_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def rename_too_late(self: Path, target: Path) -> Path:
        monkeypatch.undo()
        write_digits(target)
        return self.rename(target)

    monkeypatch.setattr(Path, "rename", rename_too_late)
    assert len(list(write_digits(tmp_path / "digits").glob("*/*.png"))) == DIGITS_IMAGES
    assert [file.name for file in tmp_path.iterdir()] == ["digits"]
