import dataclasses

import numpy as np

from components.reports.data import ReportData
from components.reports.summary import Confusion, remarks, top_confusions


def test_top_confusions_are_counted_off_the_diagonal() -> None:
    confusion = np.array([[6, 3, 1], [0, 9, 0], [4, 0, 4]])
    assert top_confusions(confusion, ["a", "b", "c"], limit=2) == [
        Confusion("c", "a", 4, 0.5),
        Confusion("a", "b", 3, 0.3),
    ]
    assert top_confusions(np.eye(3, dtype=np.int64), ["a", "b", "c"]) == []
    assert confusion[0, 0] == 6


def test_ordinary_run_has_no_remarks(run: ReportData) -> None:
    assert remarks(run) == []


def test_remarks_name_what_a_reader_must_not_miss(run: ReportData) -> None:
    bad = dataclasses.replace(
        run,
        data_wait_share=0.34,
        history=[{"epoch": 0, "train_accuracy": 0.99, "val_accuracy": 0.8}],
        class_counts={"train": {"a": 100, "b": 9}},
    )
    wait, gap, uneven = remarks(bad)
    assert "34 %" in wait
    assert "19 points" in gap
    assert "a has 100 training records, b has 9" in uneven
    at_limit = dataclasses.replace(
        run, data_wait_share=0.2, class_counts={"train": {"a": 90, "b": 9}}
    )
    assert remarks(at_limit) == []
