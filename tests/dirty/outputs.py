"""What a run of `prepare` left behind, read from its files alone and by no code of its own."""

import csv
import json
import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests.dirty.pictures import Picture


@dataclass(frozen=True)
class Row:
    """One row of the findings, the quarantine or the duplicates.

    Attributes:
        place: `findings`, `quarantine` or `duplicates`.
        origin: What it is about.
        reason: Reason code.
        severity: Only findings carry one.
        record: Record number in a table, where it is about one.
        line: Line of the file, where one is given.
        column: Column of a table, where it is about one.
        before: The cell as it was read.
        after: The cell as it is.
        other: Related origins.
        count: Records that it speaks of.
    """

    place: str
    origin: str
    reason: str
    severity: str = ""
    record: int | None = None
    line: int | None = None
    column: str | None = None
    before: str | None = None
    after: str | None = None
    other: tuple[str, ...] = ()
    count: int = 1


@dataclass(frozen=True)
class PreparedRow:
    """One record of the shards, without its picture."""

    origin: str
    label: str
    split: str
    shard: Path
    index: int


@dataclass(frozen=True)
class Outputs:
    """The output folder of one run."""

    folder: Path
    rows: tuple[Row, ...]
    """Findings, quarantine and duplicates."""
    prepared: tuple[PreparedRow, ...]
    manifest: dict[str, object] = field(default_factory=dict)
    _images: dict[Path, pa.ChunkedArray] = field(default_factory=dict)

    @cached_property
    def by_origin(self) -> dict[str, PreparedRow]:
        """Prepared records."""
        return {row.origin: row for row in self.prepared}

    def of(self, place: str) -> list[Row]:
        """Rows of the findings, the quarantine or the duplicates."""
        return [row for row in self.rows if row.place == place]

    def picture(self, origin: str) -> Picture:
        """The prepared picture: uint8 RGB (H, W, 3)."""
        row = self.by_origin[origin]
        if row.shard not in self._images:
            self._images[row.shard] = pq.read_table(row.shard, columns=["image"]).column(0)
        data = self._images[row.shard][row.index].as_py()
        flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
        image_HWC = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
        assert image_HWC is not None, f"the prepared picture of {origin!r} does not decode"
        return np.asarray(image_HWC, np.uint8)


def read_outputs(folder: Path) -> Outputs:
    """Read an output folder; what is not there is empty."""
    manifest_path = folder / "manifest.json"
    manifest = json.loads(manifest_path.read_bytes()) if manifest_path.is_file() else {}
    rows = [*_findings(folder / "findings.jsonl"), *_aside(folder), *_duplicates(folder)]
    return Outputs(folder, tuple(rows), tuple(_prepared(folder, manifest)), manifest)


def spellings(origin: str) -> set[str]:
    """Ways in which an origin that is not UTF-8 may be written in files that have to be.

    As Python holds it (surrogates), with backslashes, with U+FFFD, and percent-encoded.
    """
    data = os.fsencode(origin)
    ways = {origin, data.decode("utf-8", "backslashreplace"), data.decode("utf-8", "replace")}
    percent = "".join(chr(b) if b < 128 else f"%{b:02X}" for b in data)
    return ways | ({percent} if percent != origin and max(origin) >= "\udc80" else set())


def read_csv(path: Path) -> list[dict[str, str]]:
    """An exported table as text; a missing cell is the empty text."""
    with path.open(encoding="utf-8-sig", newline="") as stream:
        return list(csv.DictReader(stream))


def account_problems(outputs: Outputs) -> list[str]:
    """What does not add up: read = prepared + quarantined + duplicates, in manifest and files."""
    books = outputs.manifest.get("accounting")
    if not isinstance(books, dict):
        return ["manifest.json holds no accounting"]
    problems = []
    parts = [books["prepared"], books["quarantined"], books["duplicates"]]
    if books["read"] != sum(parts):
        problems.append(f"read {books['read']} is not {' + '.join(map(str, parts))}")
    in_files = {
        "prepared": len(outputs.prepared),
        "quarantined": len(outputs.of("quarantine")),
        "duplicates": len(outputs.of("duplicates")),
    }
    for name, count in in_files.items():
        if books[name] != count:
            problems.append(f"{name}: {books[name]} in the manifest, {count} in the files")
    ends = Counter(row.origin for row in outputs.prepared)
    ends.update(row.origin for row in outputs.rows if row.place != "findings")
    twice = sorted(origin for origin, count in ends.items() if count > 1)
    return problems + [f"{origin!r} came out twice" for origin in twice]


def _findings(path: Path) -> Iterable[Row]:
    if not path.is_file():
        return
    with path.open(encoding="utf-8", errors="surrogateescape") as stream:
        for line in stream:
            found = json.loads(line)
            yield Row(
                "findings",
                found["origin"],
                found["reason"],
                found["severity"],
                found.get("record"),
                found.get("line"),
                found.get("column"),
                found.get("before"),
                found.get("after"),
                tuple(found.get("other") or ()),
                found.get("count") or 1,
            )


def _aside(folder: Path) -> Iterable[Row]:
    for path in sorted((folder / "quarantine").glob("*.parquet")):
        columns = ["origin", "reason", "other"]
        for row in pq.read_table(path, columns=columns).to_pylist():
            other = (row["other"],) if row["other"] else ()
            yield Row("quarantine", row["origin"], row["reason"], other=other)


def _duplicates(folder: Path) -> Iterable[Row]:
    for path in sorted((folder / "duplicates").glob("*.parquet")):
        for row in pq.read_table(path).to_pylist():
            reason = row.get("reason", "duplicate")
            yield Row("duplicates", row["origin"], reason, other=(row["kept_origin"],))


def _prepared(folder: Path, manifest: dict[str, object]) -> Iterable[PreparedRow]:
    classes = manifest.get("classes") or []
    assert isinstance(classes, list)
    for path in sorted((folder / "shards").glob("*.parquet")):
        split = path.name.split("-")[0]
        names = [n for n in ("origin", "label") if n in pq.read_schema(path).names]
        for index, row in enumerate(pq.read_table(path, columns=names).to_pylist()):
            label = row.get("label")
            name = classes[label] if isinstance(label, int) and label < len(classes) else label
            yield PreparedRow(row["origin"], str(name), split, path, index)
