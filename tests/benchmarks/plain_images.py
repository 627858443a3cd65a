"""The least that preparing pictures can be: decode, hash, keep or shrink, in two processes."""

import hashlib
import multiprocessing
import sys
import time
from functools import partial
from pathlib import Path

import cv2
import numpy as np

_PER_TASK = 64


def prepare(path: Path, *, short_side_px: int | None) -> tuple[str, bytes]:
    """Name a picture by its pixels; its bytes as they are, or shrunk and encoded anew."""
    data = path.read_bytes()
    image_HWC = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert image_HWC is not None, path
    name = hashlib.sha256(np.ascontiguousarray(image_HWC).data).hexdigest()
    if short_side_px is None or min(image_HWC.shape[:2]) <= short_side_px:
        return name, data
    scale = short_side_px / min(image_HWC.shape[:2])
    small_HWC = cv2.resize(image_HWC, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return name, cv2.imencode(".jpg", small_HWC, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()


def _prepare_all(paths: list[Path], short_side_px: int | None, target: Path) -> int:
    """Prepare some pictures one after the other and write them into one file."""
    with (target / paths[0].name).open("wb") as file:
        for path in paths:
            name, data = prepare(path, short_side_px=short_side_px)
            file.write(name.encode() + data)
    return len(paths)


def main(source: Path, target: Path, short_side_px: int | None) -> None:
    """Prepare a folder; prints the seconds that it took, without the start of the processes."""
    cv2.setNumThreads(1)
    paths = sorted(source.rglob("*.jpg"))
    chunks = [paths[start : start + _PER_TASK] for start in range(0, len(paths), _PER_TASK)]
    with multiprocessing.get_context("fork").Pool(2) as pool:
        start = time.perf_counter()
        work = partial(_prepare_all, short_side_px=short_side_px, target=target)
        assert sum(pool.imap_unordered(work, chunks)) == len(paths)
        print(time.perf_counter() - start)


if __name__ == "__main__":
    side = int(sys.argv[3])
    main(Path(sys.argv[1]), Path(sys.argv[2]), side or None)
