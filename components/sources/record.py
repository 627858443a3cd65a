"""What a listing is made of and what is read from it: entries and raw records."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import pyarrow as pa

from components.records.reasons import Reason, RecordRejected
from components.records.split import Split

# Beyond that a file is no picture to learn from; it is not brought into memory.
MAX_FILE_BYTES = 512 << 20
_SPLIT_NAMES: dict[str, Split] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}


class Entry(NamedTuple):
    """One input of a listing: an image file, a member of a tar, or a row group of Parquet.

    Attributes:
        origin: Path relative to the source, byte for byte; `file.tar#member`; for a row group the
            path of its file.
        path: How the filesystem opens it; empty where it cannot.
        label: Class name as the source spells it; None where there is none.
        split: Split that the source names.
        size: Bytes as stored.
        stamp: Time of the last change, in nanoseconds.
        num_records: Records in it.
        row_group: Number of the row group in a Parquet file.
        offset: Tar: byte at which the member's data start. Parquet: rows of the file before it.
        reason: Why it is set aside, as far as the listing tells: a value of `Reason`.
        detail: The same in words.
        together: It is read in one stream with its neighbours of the same path (a compressed tar).
    """

    origin: str
    path: str
    label: str | None
    split: Split | None
    size: int
    stamp: int
    num_records: int = 1
    row_group: int | None = None
    offset: int | None = None
    reason: str | None = None
    detail: str = ""
    together: bool = False

    def problem(self) -> RecordRejected | None:
        """Why the record is set aside, as far as the listing tells."""
        return None if self.reason is None else RecordRejected(Reason(self.reason), self.detail)


LISTING_SCHEMA = pa.schema(
    {
        "origin": pa.string(),
        "path": pa.string(),
        "label": pa.string(),
        "split": pa.string(),
        "size": pa.int64(),
        "stamp": pa.int64(),
        "num_records": pa.int64(),
        "row_group": pa.int32(),
        "offset": pa.int64(),
        "reason": pa.string(),
        "detail": pa.string(),
        "together": pa.bool_(),
    }
)


@dataclass(frozen=True)
class RawRecord:
    """One record as it comes from the source, before any decoding.

    Attributes:
        origin: Where it comes from, byte for byte, relative to the source.
        label: Its class, variants of the name brought to one.
        split: The split that the source names.
        data: The encoded picture; None where it cannot be had.
        problem: Why it is set aside, where that is known without decoding.
    """

    origin: str
    label: str | None
    split: Split | None
    data: bytes | None
    problem: RecordRejected | None = None


def split_named(name: str) -> Split | None:
    """The split that a folder or file name stands for (validation, Test ...), if any."""
    return _SPLIT_NAMES.get(name.strip().lower())


def splits_of_paths(paths: Sequence[str]) -> list[Split | None]:
    """Splits that files go by: a folder (train/000.tar) or a word of the name (train-000.tar).

    Only where two splits are named and train is one of them; else the words mean something else.

    Args:
        paths: Relative to the source.
    """
    splits = [_split_of_path(path) for path in paths]
    named = set(splits) - {None}
    return splits if "train" in named and len(named) > 1 else [None] * len(splits)


def _split_of_path(path: str) -> Split | None:
    *folders, file = path.split("/")
    words = (split_named(word) for word in [*folders, *re.split(r"[-_.]", file)])
    return next((split for split in words if split is not None), None)


def given_split(value: object) -> tuple[Split | None, RecordRejected | None]:
    """The split in a cell of a split column, or why the record cannot be given one."""
    if value is None or value == "":
        return None, None
    split = split_named(str(value))
    if split is None:
        detail = f"split {value!r} is none of train, val, test"
        return None, RecordRejected(Reason.BAD_SPLIT, detail)
    return split, None


def class_label(value: object) -> str | None:
    """The class in a cell of a label column; None where the cell is empty or blank."""
    if value is None:
        return None
    label = str(value)
    return label if label.strip() else None


def too_large(size: int) -> RecordRejected | None:
    """A refusal of what is too large for a picture to be brought into memory."""
    if size <= MAX_FILE_BYTES:
        return None
    detail = f"{size >> 20} MiB; more than {MAX_FILE_BYTES >> 20} MiB is not read as a picture"
    return RecordRejected(Reason.UNSUPPORTED, detail)
