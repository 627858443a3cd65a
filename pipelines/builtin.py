"""Data that comes with Headrace, written out as ordinary files so that it takes the usual road."""

import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from components.errors import StorageError

DIGITS_IMAGES = 1797
"""Images in scikit-learn's copy of the UCI handwritten digits (Alpaydin and Kaynak 1998)."""


def write_digits(folder: Path) -> Path:
    """Write the handwritten digits as class folders: `folder/<digit>/<index>.png`.

    The images are 8 x 8 gray, 8 bit: scikit-learn's 0..16 scaled to 0..255 and rounded. `index`
    is the row in scikit-learn's table, four digits. Everything is written beside `folder` first and
    appears there in one rename, so that a folder with files in it is complete and left as it is.

    Returns:
        `folder`.

    Raises:
        StorageError: The files cannot be written.
    """
    if _has_files(folder):
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as work:
            _write_classes(Path(work) / "images")
            _publish(Path(work) / "images", folder)
    except OSError as error:
        raise StorageError(
            f"digits: cannot write {error.filename or folder}: {error.strerror}; "
            "free space there or set output to another folder"
        ) from error
    return folder


def _write_classes(folder: Path) -> None:
    from sklearn.datasets import load_digits

    digits = load_digits()
    pixels_NHW = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    for label in digits.target_names:
        (folder / str(label)).mkdir(parents=True)
    for index, (pixels_HW, label) in enumerate(zip(pixels_NHW, digits.target, strict=True)):
        file = folder / str(label) / f"{index:04d}.png"
        Image.fromarray(pixels_HW).save(file)
        # A fixed time, as the time is part of a listing: written anew, it is the same source.
        os.utime(file, (0, 0))


def _publish(written: Path, folder: Path) -> None:
    try:
        written.rename(folder)
    except OSError:
        # Another process was first: its folder is complete and equal.
        if not _has_files(folder):
            raise
        shutil.rmtree(written)


def _has_files(folder: Path) -> bool:
    return folder.is_dir() and any(folder.iterdir())
