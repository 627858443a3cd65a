"""The judges: full marks for perfect output, none for nothing, and every fault is counted."""

import csv
import io
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from components.records.reasons import Reason
from tests.dirty.judge import judge_images, judge_table, judge_variants
from tests.dirty.perfect import Output, perfect_images, perfect_table, prepare
from tests.dirty.tables import make_dirty_table
from tests.dirty.truth import ImageTruth, Planted
from tests.dirty.variants import CsvVariant, csv_variants

SEED = 4

pytestmark = pytest.mark.processes


def test_perfect_output_gets_full_marks(tmp_path: Path, truth: ImageTruth) -> None:
    score = judge_images(perfect_images(tmp_path, truth).write(), truth)
    assert score.missed == () and score.found == len(truth.defects)
    assert score.wrongly_aside == score.false_alarms == score.accounts == score.silent == ()
    assert f"{len(truth.defects)} of {len(truth.defects)} found" in score.text()


def test_no_output_gets_none(tmp_path: Path, truth: ImageTruth) -> None:
    score = judge_images(tmp_path, truth)
    assert score.found == 0 and len(score.wrongly_aside) == score.num_clean == 110
    assert any("vanished" in problem for problem in score.accounts)


def _set_clean_aside(output: Output, truth: ImageTruth) -> None:
    origin = min(truth.clean)
    del output.prepared[origin]
    output.set_aside(origin, Reason.CORRUPT)


def _warn_of_clean(output: Output, truth: ImageTruth) -> None:
    output.find(min(truth.clean), Reason.VERY_DARK)


def _relate_clean(output: Output, truth: ImageTruth) -> None:
    blurred = next(d for d in truth.defects if d.kind == "very blurred")
    output.find(blurred.origins[0], Reason.NEAR_DUPLICATE, other=[min(truth.clean)])


def _mislabel(output: Output, truth: ImageTruth) -> None:
    origin = next(o for o in sorted(truth.clean) if truth.classes[o] == "boat")
    output.prepared[origin] = ("boats", *output.prepared[origin][1:])


def _prepare_twice(output: Output, truth: ImageTruth) -> None:
    output.set_aside(min(truth.clean), Reason.CORRUPT)


def _forget_a_bomb(output: Output, truth: ImageTruth) -> None:
    bomb = next(d for d in truth.defects if d.kind == "bomb").origins[0]
    output.quarantine = [row for row in output.quarantine if row["origin"] != bomb]


def _keep_both_copies(output: Output, truth: ImageTruth) -> None:
    copy = next(d for d in truth.defects if d.kind == "exact copy")
    prepare(output, truth, copy.origins[1])
    output.duplicates = [row for row in output.duplicates if row["origin"] != copy.origins[1]]


def _turn_wrongly(output: Output, truth: ImageTruth) -> None:
    turned = next(d for d in truth.defects if d.kind == "EXIF orientation")
    prepare(output, truth, turned.origins[0])


@pytest.mark.parametrize(
    ("spoil", "missed", "aside", "alarms", "accounts"),
    [
        (_set_clean_aside, 0, 1, 0, 0),
        (_warn_of_clean, 0, 0, 1, 0),
        (_relate_clean, 0, 0, 1, 0),
        (_mislabel, 0, 0, 2, 0),  # the class has two labels, and the label two classes
        (_prepare_twice, 0, 0, 0, 1),
        (_forget_a_bomb, 1, 0, 0, 1),
        (_keep_both_copies, 1, 0, 0, 0),
        (_turn_wrongly, 1, 0, 0, 0),
    ],
)
def test_each_fault_is_counted(
    tmp_path: Path,
    truth: ImageTruth,
    spoil: Callable[[Output, ImageTruth], None],
    missed: int,
    aside: int,
    alarms: int,
    accounts: int,
) -> None:
    output = perfect_images(tmp_path, truth)
    spoil(output, truth)
    score = judge_images(output.write(), truth)
    assert len(score.missed) == missed and len(score.wrongly_aside) == aside, score.text()
    assert len(score.false_alarms) == alarms and len(score.accounts) == accounts, score.text()


@pytest.mark.parametrize("kind", ["orders", "employees"])
def test_a_perfect_table_gets_full_marks(tmp_path: Path, kind: str) -> None:
    truth = make_dirty_table(kind, SEED)
    output, exported = perfect_table(tmp_path, truth)
    exported.write_csv(tmp_path / "export.csv")
    score = judge_table(output.write(), tmp_path / "export.csv", truth)
    assert score.missed == () and score.found == len(truth.planted)
    no_records = sum(c.kind in ("repeated header", "summary line") for c in truth.planted)
    assert score.repaired == sum(cell.repairable for cell in truth.planted), score.text()
    assert no_records >= 6 and score.notes == ()
    assert score.wrongly_aside == score.false_alarms == score.accounts == score.silent == ()


def test_a_table_that_went_through_unseen_is_silently_wrong(tmp_path: Path) -> None:
    truth = make_dirty_table("orders", SEED)
    rows = list(csv.reader(io.StringIO(truth.data.decode(), newline="")))
    width = truth.clean.width
    with (tmp_path / "export.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([*row, *[""] * width][:width] for row in rows if row)
    score = judge_table(tmp_path, tmp_path / "export.csv", truth)
    assert score.found == 0 and score.wrongly_aside == ()
    assert len(score.silent) >= 150
    assert not [v for v in score.verdicts if v.silent and v.repaired]


def test_faults_of_a_table_are_counted(tmp_path: Path) -> None:
    truth = make_dirty_table("orders", SEED)
    output, exported = perfect_table(tmp_path, truth)
    planted = {number for cell in truth.planted for number in (cell.record, cell.twin)}
    first, second, third = [n for n in truth.records if n not in planted][:3]
    output.find(f"t.csv#{first}", Reason.OUTLIER, record=first, column="quantity", before="7")
    output.find("t.csv", Reason.SENTINEL, column="total", before="77", count=1)
    changed = pl.col("order_id") == truth.records[second]
    exported = exported.with_columns(
        pl.when(changed).then(pl.lit("Ulm")).otherwise("city").alias("city")
    ).filter(pl.col("order_id") != truth.records[third])
    exported.write_csv(tmp_path / "export.csv")
    score = judge_table(output.write(), tmp_path / "export.csv", truth)
    assert len(score.false_alarms) == 3 and len(score.wrongly_aside) == 1, score.text()


def test_a_finding_about_the_column_names_all_cells_of_that_spelling(tmp_path: Path) -> None:
    truth = make_dirty_table("orders", SEED)
    (tmp_path / "export.csv").write_text(",".join(truth.clean.columns) + "\n")

    def found(before: str) -> list[Planted]:
        output = Output(tmp_path)
        output.find("t.csv", Reason.MISSING_VALUE, column="quantity", before=before, count=3)
        score = judge_table(output.write(), tmp_path / "export.csv", truth)
        pairs = zip(truth.planted, score.verdicts, strict=True)
        return [cell for cell, verdict in pairs if verdict.found]

    assert [cell.dirty for cell in found("NA")] == ["NA"] * 3
    assert found("N/A") == []


def test_variants_are_judged_by_their_cells_and_their_message(tmp_path: Path) -> None:
    variants = csv_variants(SEED)
    message = "DataError: t.csv: no table; the file is empty, give another"
    results = {
        v.name: _exported(tmp_path, v) if v.expected is not None else message for v in variants
    }
    score = judge_variants(variants, results)
    assert score.found == len(variants) and score.silent == ()
    wrong = pl.read_csv(tmp_path / "utf_8.csv", infer_schema=False)
    wrong = wrong.with_columns(pl.col("name").str.replace("ü", "Ã¼"))
    wrong.write_csv(tmp_path / "wrong.csv")
    results |= {"utf-8": tmp_path / "wrong.csv", "CRLF": message, "empty file": "a\nb\nc"}
    score = judge_variants(variants, results)
    assert len(score.missed) == 3 and len(score.silent) == 1
    assert "name of row" in score.missed[0]


def _exported(folder: Path, variant: CsvVariant) -> Path:
    assert variant.expected is not None
    path = folder / variant.file_name
    variant.expected.write_csv(path)
    return path
