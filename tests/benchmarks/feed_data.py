"""What the benchmark of the feed reads: the same pictures as files and as our shards."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from sklearn.datasets import load_digits

from components.records.row_order import ShardLayout
from pipelines.streams.feed import shard_layout
from tests.benchmarks.photographs import write_photographs

ROOT = Path(__file__).parents[2]
NUM_ROWS = int(os.environ.get("BENCH_ROWS", "4200"))
# Digits take a tenth of the time.
NUM_PHOTOGRAPHS, NUM_DIGITS = NUM_ROWS, 5 * NUM_ROWS
PHOTOGRAPH_PX, DIGIT_PX = (400, 533), 28
ONE_THREAD = {
    name: "1" for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENCV_FOR_THREADS_NUM")
}

_CROP: list[Any] = [
    {"RandomResizedCrop": {"scale": [0.35, 1.0]}},
    {"HorizontalFlip": {"p": 0.5}},
]
_JITTER: dict[str, Any] = {
    "brightness": [0.7, 1.3],
    "contrast": [0.7, 1.3],
    "saturation": [0.7, 1.3],
    "hue": [-0.05, 0.05],
    "p": 1.0,
}
_AFFINE: dict[str, Any] = {
    "translate_percent": [-0.1, 0.1],
    "scale": [0.9, 1.1],
    "rotate": [-10, 10],
    "p": 1.0,
}
_SHIFTS = [(0, 0), (0, 1), (1, 0), (0, -1), (-1, 0), (1, 1), (-1, -1), (1, -1), (-1, 1)]


@dataclass(frozen=True)
class Workload:
    """Pictures, and what is done to each of them; the same for every contender.

    Attributes:
        name: For the table.
        files: Folders of one class each.
        layout: The same pictures in our shards, all splits together.
        image_px: Side of what is delivered.
        transforms: Of albumentations, as a recipe writes them.
        batch_size: Pictures of a batch.
        store_bytes: Object store of Ray; None leaves it to the product.
    """

    name: str
    files: Path
    layout: ShardLayout
    image_px: int
    transforms: list[Any]
    batch_size: int = 64
    store_bytes: int | None = None

    @property
    def ffcv_file(self) -> Path:
        """The pictures of the shards as FFCV keeps them."""
        return self.files.with_suffix(".beton")

    def cropped(self) -> "Workload":
        """The same with nothing but crop and flip, which FFCV has too."""
        return replace(self, transforms=_CROP)


def photographs(folder: Path, settings: list[str]) -> Workload:
    """JPEG photographs; those of BENCH_PHOTOS where it is set, turned and mirrored."""
    source = os.environ.get("BENCH_PHOTOS")
    originals = (
        Path(source) if source else _write_scenes(folder / "scenes", -(-NUM_PHOTOGRAPHS // 8))
    )
    count = write_photographs(originals, folder / "files", NUM_PHOTOGRAPHS)
    layout = _prepared(folder, settings)
    assert sum(layout.rows) == count, "two of the photographs are the same"
    return Workload(
        "photographs", folder / "files", layout, 224, [*_CROP, {"ColorJitter": _JITTER}]
    )


def digits(folder: Path, settings: list[str]) -> Workload:
    """Gray PNG digits; those of BENCH_DIGITS where it is set, shifted by a pixel."""
    source = os.environ.get("BENCH_DIGITS")
    originals = _read_digits(Path(source)) if source else _enlarged_digits()
    wanted = [(shift, number) for shift in _SHIFTS for number in range(len(originals))]
    for shift, number in wanted[:NUM_DIGITS]:
        label, image_HW = originals[number]
        target = folder / "files" / label / f"{number}-{shift[0]}-{shift[1]}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(target), np.roll(image_HW, shift, (0, 1)))
    return Workload(
        "digits", folder / "files", _prepared(folder, settings), DIGIT_PX, [{"Affine": _AFFINE}]
    )


def longer(layout: ShardLayout, folder: Path, times: int) -> ShardLayout:
    """So many times the rows, in files of their own."""
    paths = []
    for number in range(times):
        for path in map(Path, layout.paths):
            target = folder / f"{number}-{path.name}"
            target.write_bytes(path.read_bytes())
            paths.append(str(target))
    return ShardLayout(tuple(paths), layout.rows * times, layout.row_group_rows)


def read_shards(layout: ShardLayout) -> tuple[pa.Array, npt.NDArray[np.int64]]:
    """Stored bytes and labels of all rows, as one array each."""
    columns = ["image", "label"]
    table = pa.concat_tables([pq.read_table(path, columns=columns) for path in layout.paths])
    return (
        table.column("image").combine_chunks(),
        table.column("label").to_numpy().astype(np.int64),
    )


def _prepared(folder: Path, settings: list[str]) -> ShardLayout:
    """What `prepare` makes of the files; train, val and test are read as one here."""
    arguments = [
        f"data.source.path={folder / 'files'}",
        f"output={folder / 'runs'}",
        "cluster.cpus=2",
        "data.clean.min_size_px=8",
        "data.clean.near_duplicates=false",
        *settings,
    ]
    command = [sys.executable, "-m", "pipelines", "prepare", "images", *arguments, "--json"]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    data = ROOT / json.loads(done.stdout)["dataset"]
    manifest = json.loads((data / "manifest.json").read_text())
    shards = [(shard["path"], shard["num_rows"]) for shard in manifest["shards"]]
    return shard_layout(data, shards, manifest["row_group_rows"])


def _write_scenes(folder: Path, count: int) -> Path:
    """Pictures with the detail of photographs: noise of five sizes, about 40 KB as JPEG."""
    width_px, height_px = PHOTOGRAPH_PX
    for number in range(count):
        rng = np.random.default_rng(number)
        scene_HWC = np.full((height_px, width_px, 3), 128, np.float32)
        for cells in (3, 9, 27, 81, 243):
            noise_HWC = rng.normal(0, 60 / cells**0.5, (cells, cells, 3)).astype(np.float32)
            scene_HWC += cv2.resize(noise_HWC, PHOTOGRAPH_PX, interpolation=cv2.INTER_CUBIC)
        target = folder / "abcdef"[number % 6] / f"{number}.jpg"
        target.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(target), scene_HWC.clip(0, 255).astype(np.uint8))
    return folder


def _read_digits(source: Path) -> list[tuple[str, npt.NDArray[np.uint8]]]:
    found = []
    for path in sorted(source.rglob("*.png")):
        image_HW = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        assert image_HW is not None, path
        found.append((path.parent.name, image_HW.astype(np.uint8)))
    return found


def _enlarged_digits() -> list[tuple[str, npt.NDArray[np.uint8]]]:
    bunch: Any = load_digits()
    small_NHW = (bunch.images * 15).astype(np.uint8)
    size_px = (DIGIT_PX - 4, DIGIT_PX - 4)
    enlarged = [cv2.copyMakeBorder(cv2.resize(i, size_px), 2, 2, 2, 2, 0) for i in small_NHW]
    # Mirrored too, so that there are enough of them.
    pictures = [image.astype(np.uint8) for image in [*enlarged, *(i[:, ::-1] for i in enlarged)]]
    return [(str(label), i) for label, i in zip([*bunch.target] * 2, pictures, strict=True)]
