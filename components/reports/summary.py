"""What the numbers of a run say: worst confusions, weakest classes, remarks in words."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from components.reports.data import ReportData

DATA_WAIT_LIMIT = 0.2
IMBALANCE_LIMIT = 10.0
GAP_LIMIT = 0.1


@dataclass(frozen=True)
class Confusion:
    """How often records of one class are taken for another.

    Attributes:
        label: The true class.
        predicted: What the model said.
        count: Number of records.
        share: Share of the true class's records, 0 to 1.
    """

    label: str
    predicted: str
    count: int
    share: float


def top_confusions(
    confusion: npt.NDArray[np.int64], classes: Sequence[str], limit: int = 10
) -> list[Confusion]:
    """List the most frequent wrong answers, most frequent first.

    Args:
        confusion: Counts (K, K), rows true, columns predicted.
        classes: The K class names.
        limit: Longest list.
    """
    wrong = confusion.copy()
    np.fill_diagonal(wrong, 0)
    totals = confusion.sum(axis=1)
    found = []
    for flat in np.argsort(-wrong, axis=None, kind="stable")[:limit]:
        row, column = divmod(int(flat), len(classes))
        count = int(wrong[row, column])
        if count:
            share = count / int(totals[row])
            found.append(Confusion(classes[row], classes[column], count, share))
    return found


_NAMES = {"f1_macro": "F1 (macro)", "rmse": "RMSE", "mae": "MAE", "r2": "R²"}


def number_text(value: float) -> str:
    """Write a number as a person reads it: 47,312 and 0.08321, never 4.7e+04."""
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e15 else f"{value:.4g}"


def kept_sentence(data: ReportData) -> str:
    """Say which epoch's model was kept, and how good it was; or how many epochs there were."""
    count = len(data.history)
    if data.kept is None:
        return f"{count} {'epoch' if count == 1 else 'epochs'}."
    told: dict[str, Callable[[float], str]] = {
        "accuracy": lambda value: f"{value * 100:.1f} %",
        "rmse": number_text,
        "r2": "{:.4f}".format,
        "loss": "{:.4f}".format,
    }
    numbers = [
        f"{_NAMES.get(name, name)} {text(data.kept[f'val_{name}'])}"
        for name, text in told.items()
        if f"val_{name}" in data.kept
    ]
    return (
        f"The model kept is that of epoch {int(data.kept['epoch']) + 1} of {count}, the best by "
        f"validation {_NAMES.get(data.monitor, data.monitor)}: {', '.join(numbers)}."
    )


def remarks(data: ReportData) -> list[str]:
    """Say in whole sentences what a reader should not miss; an ordinary run has none."""
    found = [_data_wait(data), _overfitting(data), _imbalance(data)]
    return [remark for remark in found if remark is not None]


def _data_wait(data: ReportData) -> str | None:
    if data.data_wait_share <= DATA_WAIT_LIMIT:
        return None
    waited = f"Training waited for data {data.data_wait_share * 100:.0f} % of the time"
    return f"{waited}. {data.bound.sentence()}" if data.bound else f"{waited}."


def _overfitting(data: ReportData) -> str | None:
    last = data.history[-1] if data.history else {}
    gap = last.get("train_accuracy", 0.0) - last.get("val_accuracy", 1.0)
    if gap <= GAP_LIMIT:
        return None
    return (
        f"Training accuracy ends {gap * 100:.0f} points above validation accuracy: the model "
        f"learned its training records by heart; more weight decay, dropout or augmentation may "
        f"help."
    )


def _imbalance(data: ReportData) -> str | None:
    counts = data.class_counts.get("train", {})
    if not counts:
        return None
    largest, smallest = max(counts, key=counts.__getitem__), min(counts, key=counts.__getitem__)
    if counts[largest] <= IMBALANCE_LIMIT * counts[smallest]:
        return None
    return (
        f"Classes are uneven: {largest} has {counts[largest]:,} training records, "
        f"{smallest} has {counts[smallest]:,}. Read the macro F1 rather than the accuracy."
    )
