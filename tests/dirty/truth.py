"""What was planted: the truth against which the output files of `prepare` are judged."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import polars as pl

from components.records.reasons import Reason

Colours = tuple[tuple[float, float, float], ...]


class Outcome(StrEnum):
    """What must have become of the files of a defect, besides being named in the findings."""

    ASIDE = "aside"
    """None is among the prepared records."""
    KEPT = "kept"
    """All are prepared; the defect is only named."""
    NAMED = "named"
    """Kept or set aside, as the policy says; but named."""
    ONE_KEPT = "one kept"
    """Exactly one of the copies is prepared."""
    TOGETHER = "together"
    """Those that are prepared are in one split."""
    CONVERTED = "converted"
    """Prepared with the right colours, the right way up; naming it is noted, not asked."""
    MERGED = "merged"
    """Files in these class folders carry one label."""
    FOLDER = "folder"
    """A finding about a folder; nothing happens to files."""


@dataclass(frozen=True)
class View:
    """How a picture looks when it was read rightly.

    Attributes:
        height_px: Upright.
        width_px: Upright.
        quarters: Mean RGB of the quarters: top left, top right, bottom left, bottom right.
        tolerance: Largest difference of a mean.
    """

    height_px: int
    width_px: int
    quarters: Colours
    tolerance: float = 6.0


@dataclass(frozen=True)
class Defect:
    """One planted defect of a folder of images.

    Attributes:
        kind: What it is, in words; scores are given by kind.
        origins: The files or folders concerned; a finding at one of them counts.
        reasons: Reason codes that name it rightly.
        outcome: What must have become of the files.
        related: Whether a finding has to name another one of `origins` as well.
        view: The right picture, where the outcome is `CONVERTED`.
    """

    kind: str
    origins: tuple[str, ...]
    reasons: frozenset[Reason]
    outcome: Outcome
    related: bool = False
    view: View | None = None


@dataclass(frozen=True)
class ImageTruth:
    """A dirty folder of images.

    Attributes:
        defects: What is wrong.
        clean: Files that must be prepared, without a warning; the benign oddities among them.
        benign: Clean file -> what is odd about it.
        classes: File -> class that it belongs to, variants of a name being one class.
        splits: File -> split folder that it lies in; empty for class folders.
        files: All files, as origins: paths relative to the folder (`os.fsdecode`).
        views: Some clean files -> the right picture.
    """

    defects: tuple[Defect, ...]
    clean: frozenset[str]
    benign: Mapping[str, str]
    classes: Mapping[str, str]
    splits: Mapping[str, str]
    files: frozenset[str]
    views: Mapping[str, View] = field(default_factory=dict)

    @property
    def num_by_kind(self) -> dict[str, int]:
        """Defects by kind."""
        kinds = [defect.kind for defect in self.defects]
        return {kind: kinds.count(kind) for kind in dict.fromkeys(kinds)}


@dataclass(frozen=True)
class Planted:
    """One planted cell or row of a table.

    Attributes:
        kind: What it is, in words.
        record: Record number in the dirty file, from 1; 0 for a blank line, which is no record.
        line: Line of the file on which the record starts, from 1.
        key: Key of the record, as in the clean table; "" where the row is no record of its own.
        column: The cell's column; None where the whole row is concerned.
        original: Cell of the clean table as text; None where it is missing.
        dirty: What stands there instead.
        expected: What a perfect repair gives: the original, or None (missing) where that is lost.
        repairable: Whether the expected value follows from the file.
        reasons: Reason codes that name it rightly.
        twin: Record number of the row that it copies or contradicts; 0 where there is none.
    """

    kind: str
    record: int
    line: int
    key: str
    column: str | None
    original: str | None
    dirty: str
    expected: str | None
    repairable: bool
    reasons: frozenset[Reason]
    twin: int = 0


@dataclass(frozen=True)
class TableTruth:
    """A dirty table.

    Attributes:
        kind: Which one.
        data: The dirty file.
        clean: The clean table: typed columns, one row per key, in the order of the file.
        delimiter: What stands between the fields of the file.
        key: Name of the key column.
        rules: What holds in every clean row, for the recipe.
        planted: What is wrong; at most one per record.
        records: Record number -> key, of all rows that hold a record of the clean table.
        num_records: Rows of the dirty file after its header that are not blank.
    """

    kind: str
    data: bytes
    clean: pl.DataFrame
    delimiter: str
    key: str
    rules: tuple[str, ...]
    planted: tuple[Planted, ...]
    records: Mapping[int, str]
    num_records: int

    @property
    def num_by_kind(self) -> dict[str, int]:
        """Planted cells and rows by kind."""
        kinds = [cell.kind for cell in self.planted]
        return {kind: kinds.count(kind) for kind in dict.fromkeys(kinds)}
