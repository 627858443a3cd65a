import re
import warnings
from xml.etree import ElementTree

import numpy as np
import pytest

from components.reports import figures
from components.reports.data import ReportData
from components.reports.svg import Drawing


def texts(drawing: Drawing) -> list[str]:
    """The words of a figure; fails when the SVG is not well formed."""
    root = ElementTree.fromstring(drawing.svg)
    return ["".join(node.itertext()) for node in root.iter() if node.tag.endswith("}text")]


def test_learning_curves_are_four_in_the_colours_of_the_page(run: ReportData) -> None:
    drawings = figures.learning_curves(run.history, run.steps)
    assert [drawing.title for drawing in drawings] == [
        "Loss",
        "Accuracy and F1",
        "Learning rate",
        "Throughput",
    ]
    for drawing in drawings:
        assert "var(--series-1, " in drawing.svg
        # A colour outside a variable would not follow the dark page.
        assert not re.search(r"(?<!, )#[0-9a-f]{6}", drawing.svg)
        assert len(drawing.svg) < 40_000
    assert {"training", "validation"} <= set(texts(drawings[0]))


def test_a_curve_without_data_is_left_out() -> None:
    history = [{"epoch": 0, "global_step": 5, "train_loss": 1.0}]
    assert [drawing.title for drawing in figures.learning_curves(history)] == ["Loss"]
    assert figures.learning_curves([]) == []


def test_long_training_is_thinned_and_keeps_its_last_step() -> None:
    rows = [{"global_step": step, "loss": 1.0} for step in range(100_001)]
    thinned = figures._thinned(rows)
    assert 200 <= len(thinned) <= 400
    assert thinned[-1]["global_step"] == 100_000
    assert [row["global_step"] for row in figures._thinned(rows[:3])] == [0, 1, 2]


def test_confusion_matrix_shows_its_counts_and_names() -> None:
    drawing = figures.confusion_matrix(np.array([[31, 2], [0, 47]]), ["cat", "dog"])
    shown = texts(drawing)
    assert {"31", "2", "47", "cat", "dog"} <= set(shown)
    assert "0" not in shown


def test_confusion_matrix_of_many_classes_is_one_picture_without_numbers() -> None:
    confusion = np.eye(150, dtype=np.int64) * 777
    drawing = figures.confusion_matrix(confusion, [f"class {i}" for i in range(150)])
    assert "777" not in texts(drawing)
    assert drawing.svg.count("<image") == 1
    assert len(drawing.svg) < 60_000


@pytest.mark.parametrize("name", ["$x_0$", "a & b <c>", "帽子", "\N{COOKING}"])
def test_class_names_are_drawn_as_they_are(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drawing = figures.class_balance({"train": {name: 3, "other": 4}})
    assert drawing is not None
    assert name in texts(drawing)


def test_class_balance_names_30_classes_and_ranks_more() -> None:
    few = figures.class_balance({"train": {f"c{i}": i + 1 for i in range(30)}, "val": {"c3": 1}})
    many = figures.class_balance({"train": {f"c{i}": i + 1 for i in range(31)}})
    assert few is not None
    assert many is not None
    assert {"c0", "c29", "train", "val"} <= set(texts(few))
    assert "31 classes, largest first" in texts(many)
    assert figures.class_balance({}) is None


def test_timings_are_written_beside_their_bars() -> None:
    drawing = figures.timings({"prepare": 6.44, "train": 185.2})
    assert drawing is not None
    assert {"prepare", "6.4 s", "train", "3 min 05 s"} <= set(texts(drawing))
    assert figures.timings({}) is None


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0.0 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (3599.4, "59 min 59 s"),
        (7620, "2 h 07 min"),
    ],
)
def test_durations_are_written_as_said(seconds: float, text: str) -> None:
    assert figures.format_seconds(seconds) == text


def test_drawings_of_one_page_share_no_ids(run: ReportData) -> None:
    drawings = figures.learning_curves(run.history, run.steps)
    found = [each for drawing in drawings for each in re.findall(r' id="([^"]+)"', drawing.svg)]
    assert len(found) == len(set(found))
