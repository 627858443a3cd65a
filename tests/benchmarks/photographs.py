"""Photographs in class folders, as many as a benchmark needs: turned and mirrored, no two alike."""

from pathlib import Path

import cv2

_QUALITY = [cv2.IMWRITE_JPEG_QUALITY, 90]
_NUM_FORMS = 8


def write_photographs(source: Path, folder: Path, num_files: int) -> int:
    """Write each photograph in up to 8 forms, until there are enough; returns how many there are.

    Args:
        source: Folders of one class each, anywhere below it, with JPEG files.
        folder: Where the class folders go.
        num_files: How many are wanted.
    """
    originals = sorted(source.rglob("*.jpg"))
    every = max(1, len(originals) // num_files)
    wanted = [(form, path) for form in range(_NUM_FORMS) for path in originals[::every]]
    for form, path in wanted[:num_files]:
        (folder / path.parent.name).mkdir(parents=True, exist_ok=True)
        image_HWC = cv2.imread(str(path))
        assert image_HWC is not None, path
        if form & 1:
            image_HWC = cv2.flip(image_HWC, 1)
        if form & 2:
            image_HWC = cv2.flip(image_HWC, 0)
        if form & 4:
            image_HWC = cv2.transpose(image_HWC)
        target = folder / path.parent.name / f"{path.stem}-{form}.jpg"
        assert cv2.imwrite(str(target), image_HWC, _QUALITY)
    return len(wanted[:num_files])
