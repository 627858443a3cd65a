"""Output folders as a perfect `prepare` would write them, made from the truth."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from components.records.reasons import REASONS, Reason
from tests.dirty.pictures import encoded
from tests.dirty.tables import canonical_text
from tests.dirty.truth import Defect, ImageTruth, Outcome, TableTruth, View


@dataclass
class Output:
    """An output folder in the making."""

    folder: Path
    prepared: dict[str, tuple[str, str, bytes]] = field(default_factory=dict)
    """Origin -> label, split, picture."""
    findings: list[dict[str, object]] = field(default_factory=list)
    quarantine: list[dict[str, str]] = field(default_factory=list)
    duplicates: list[dict[str, str]] = field(default_factory=list)

    def find(self, origin: str, reason: Reason, **more: object) -> None:
        severity = REASONS[reason].severity.value
        row: dict[str, object] = {"origin": origin, "reason": reason.value, "severity": severity}
        self.findings.append(row | {"action": "kept", "other": []} | more)

    def set_aside(self, origin: str, reason: Reason, other: str = "") -> None:
        row = {"record_id": "", "origin": written_origin(origin), "reason": reason.value}
        self.quarantine.append(row | {"detail": "", "other": other})

    def write(self, read: int | None = None) -> Path:
        """Write all files, with accounts that add up."""
        for name in ("shards", "quarantine", "duplicates"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        lines = [json.dumps(finding) + "\n" for finding in self.findings]
        (self.folder / "findings.jsonl").write_text("".join(lines))
        for name, rows in (("quarantine", self.quarantine), ("duplicates", self.duplicates)):
            if rows:
                pq.write_table(pa.Table.from_pylist(rows), self.folder / name / "0.parquet")
        classes = sorted({label for label, _, _ in self.prepared.values()})
        for split in sorted({split for _, split, _ in self.prepared.values()}):
            kept: list[dict[str, object]] = [
                {"origin": written_origin(origin), "label": classes.index(label), "image": image}
                for origin, (label, own_split, image) in self.prepared.items()
                if own_split == split
            ]
            path = self.folder / "shards" / f"{split}-00000.parquet"
            pq.write_table(pa.Table.from_pylist(kept), path)
        counts = [len(rows) for rows in (self.prepared, self.quarantine, self.duplicates)]
        names = ("prepared", "quarantined", "duplicates")
        books = dict(zip(names, counts, strict=True)) | {"read": sum(counts)}
        manifest = {"classes": classes, "accounting": books}
        (self.folder / "manifest.json").write_text(json.dumps(manifest))
        return self.folder


def written_origin(origin: str) -> str:
    """Parquet holds UTF-8 only."""
    return origin.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def picture_of(view: View | None) -> bytes:
    """A picture of four plain quarters that looks as the truth says."""
    if view is None:
        return encoded(np.full((20, 20, 3), 90, np.uint8), "PNG")
    picture = np.zeros((view.height_px, view.width_px, 3), np.uint8)
    middle_y, middle_x = view.height_px // 2, view.width_px // 2
    picture[:middle_y, :middle_x], picture[:middle_y, middle_x:] = view.quarters[:2]
    picture[middle_y:, :middle_x], picture[middle_y:, middle_x:] = view.quarters[2:]
    return encoded(picture, "PNG")


def perfect_images(folder: Path, truth: ImageTruth) -> Output:
    output = Output(folder)
    for origin in truth.clean:
        prepare(output, truth, origin, truth.views.get(origin))
    for defect in truth.defects:
        _settle(output, truth, defect)
    output.set_aside("train/ruins/Thumbs.db", Reason.JUNK_FILE)
    return output


def prepare(output: Output, truth: ImageTruth, origin: str, view: View | None = None) -> None:
    split = truth.splits.get(origin, "train")
    output.prepared[origin] = (truth.classes[origin], split, picture_of(view))


def _settle(output: Output, truth: ImageTruth, defect: Defect) -> None:
    reason, (first, *rest) = min(defect.reasons), defect.origins
    if defect.outcome is Outcome.ASIDE:
        for origin in defect.origins:
            output.set_aside(origin, reason)
        return
    if defect.outcome is Outcome.ONE_KEPT:
        prepare(output, truth, first)
        output.duplicates += [
            {"origin": origin, "kept_origin": first, "reason": reason.value} for origin in rest
        ]
        return
    output.find(first, reason, other=rest if defect.related else [])
    if defect.outcome in (Outcome.FOLDER, Outcome.MERGED):
        return
    leaks = len({truth.splits.get(origin) for origin in defect.origins}) > 1
    for origin in (first,) if leaks else defect.origins:
        prepare(output, truth, origin, defect.view)
    for origin in rest if leaks else ():
        output.set_aside(origin, reason, first)


def perfect_table(folder: Path, truth: TableTruth) -> tuple[Output, pl.DataFrame]:
    """Everything named; repaired where that can be, else set aside."""
    output, cells, gone = Output(folder), _texts(truth), set()
    for cell in truth.planted:
        origin, reason = f"t.csv#{cell.record}", min(cell.reasons)
        if cell.kind == "blank line":
            output.find("t.csv", reason, line=cell.line)
        elif cell.twin and cell.repairable:
            row = {"origin": origin, "kept_origin": f"t.csv#{cell.twin}", "reason": reason.value}
            output.duplicates.append(row)
        elif not cell.repairable:
            output.set_aside(origin, reason)
            gone.add(cell.key)
            if cell.twin:
                output.set_aside(f"t.csv#{cell.twin}", reason)
        else:
            output.find(origin, reason, record=cell.record, column=cell.column, before=cell.dirty)
            if cell.column is not None:
                cells[cell.key][cell.column] = cell.expected or ""
    aside = {row["origin"] for row in (*output.quarantine, *output.duplicates)}
    for number in truth.records:
        if f"t.csv#{number}" not in aside:
            output.prepared[f"t.csv#{number}"] = ("", "train", b"")
    return output, pl.DataFrame([row for key, row in cells.items() if key not in gone])


def _texts(truth: TableTruth) -> dict[str, dict[str, str]]:
    rows = truth.clean.iter_rows(named=True)
    return {str(r[truth.key]): {n: canonical_text(v) or "" for n, v in r.items()} for r in rows}
