"""The figures of a run: learning curves, confusion matrix, class balance, timings."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from components.reports.svg import GRID, INK, MUTED, PAPER, SERIES, Drawing, draw, new_axes

MAX_CLASSES_WITH_NUMBERS = 20
"""Confusion matrices with more classes show shades only."""

_MAX_NAME_CHARS = 18
_MAX_POINTS = 400

Row = Mapping[str, float]


def learning_curves(history: Sequence[Row], steps: Sequence[Row] = ()) -> list[Drawing]:
    """Draw loss, scores, learning rate and throughput over training.

    Args:
        history: One mapping per epoch; see `ReportData.history`.
        steps: One mapping per logged step; see `ReportData.steps`.

    Returns:
        One drawing for each that there is data for.
    """
    drawings = [
        _loss(history, steps),
        _scores(history),
        _errors(history),
        _learning_rate(history, steps),
        _throughput(history),
    ]
    return [drawing for drawing in drawings if drawing is not None]


def _loss(history: Sequence[Row], steps: Sequence[Row]) -> Drawing | None:
    figure, axes = new_axes()
    step_x, step_y = _series(_thinned(steps), "global_step", "loss")
    # The steps of an epoch lead up to its point on the epoch curves.
    per_epoch = _steps_per_epoch(history)
    if len(step_x) and per_epoch:
        axes.plot(step_x / per_epoch, step_y, color=SERIES[0], alpha=0.25, linewidth=1.0)
    if not _epoch_lines(axes, history, {"train_loss": "training", "val_loss": "validation"}):
        return None
    x, y = _series(history, "epoch", "val_loss")
    if np.isfinite(y).any():
        best = int(np.nanargmin(y))
        axes.plot(x[best] + 1, y[best], "o", color=SERIES[1], markersize=5)
    axes.set_ylim(bottom=0)
    return _finished(figure, axes, "loss", "Loss", "epoch", _loss_name(history))


def _scores(history: Sequence[Row]) -> Drawing | None:
    figure, axes = new_axes()
    names = {
        "train_accuracy": "training accuracy",
        "val_accuracy": "validation accuracy",
        "val_f1_macro": "validation F1",
    }
    if not _epoch_lines(axes, history, names):
        return None
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value * 100:g} %"))
    axes.set_ylim(top=1.005)
    return _finished(figure, axes, "scores", "Accuracy and F1", "epoch", None)


def _loss_name(history: Sequence[Row]) -> str:
    classified = any("val_accuracy" in row for row in history)
    return "cross-entropy" if classified else "loss of the scaled target"


def _errors(history: Sequence[Row]) -> Drawing | None:
    figure, axes = new_axes()
    names = {
        "train_rmse": "training RMSE",
        "val_rmse": "validation RMSE",
        "val_mae": "validation MAE",
    }
    if not _epoch_lines(axes, history, names):
        return None
    axes.set_ylim(bottom=0)
    return _finished(figure, axes, "errors", "Error", "epoch", "unit of the target")


def _learning_rate(history: Sequence[Row], steps: Sequence[Row]) -> Drawing | None:
    x, y = _series(_thinned(steps), "global_step", "learning_rate")
    label = "step"
    if len(x) == 0:
        x, y = _series(history, "epoch", "learning_rate")
        x, label = x + 1, "epoch"
    if len(x) == 0:
        return None
    figure, axes = new_axes(height_in=2.3)
    axes.plot(x, y, color=SERIES[0])
    axes.set_ylim(bottom=0)
    return _finished(figure, axes, "rate", "Learning rate", label, None)


def _throughput(history: Sequence[Row]) -> Drawing | None:
    x, y = _series(history, "epoch", "records_per_s")
    if len(x) == 0:
        return None
    figure, axes = new_axes(height_in=2.3)
    wait_x, wait = _series(history, "epoch", "data_wait_share")
    axes.bar(x + 1, y, width=0.7, color=SERIES[0], alpha=0.85, label="records/s")
    if len(wait_x) == len(x):
        axes.bar(x + 1, y * wait, width=0.7, color=SERIES[1], label="lost waiting for data")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    return _finished(figure, axes, "throughput", "Throughput", "epoch", "records/s")


def confusion_matrix(
    confusion: npt.NDArray[np.int64], classes: Sequence[str], name: str = "confusion"
) -> Drawing:
    """Draw which class is taken for which; shades are shares of the true class.

    Args:
        confusion: Counts (K, K), rows true, columns predicted.
        classes: The K class names.
        name: Makes the ids of the drawing unique within a page.
    """
    totals = np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    shares = confusion / totals
    count = len(classes)
    figure, axes = new_axes(5.0, 4.7)
    if count > MAX_CLASSES_WITH_NUMBERS:
        _shade(axes, shares)
    else:
        _cells(axes, confusion, shares)
        names = [_short(each) for each in classes]
        upright = max(map(len, names)) > 3
        axes.set_xticks(range(count), names, rotation=90 if upright else 0)
        axes.set_yticks(range(count), names)
    axes.set_xlim(-0.5, count - 0.5)
    axes.set_ylim(count - 0.5, -0.5)
    axes.set_aspect("equal")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(count > MAX_CLASSES_WITH_NUMBERS)
    what = "class" if count <= MAX_CLASSES_WITH_NUMBERS else "class number"
    axes.set_xlabel(f"predicted {what}")
    axes.set_ylabel(f"true {what}")
    return draw(figure, name, "Confusion matrix")


def _cells(axes: Axes, confusion: npt.NDArray[np.int64], shares: npt.NDArray[np.float64]) -> None:
    for row, column in np.ndindex(confusion.shape):
        share, right = float(shares[row, column]), row == column
        axes.fill(
            column + np.array([-0.48, 0.48, 0.48, -0.48]),
            row + np.array([-0.48, -0.48, 0.48, 0.48]),
            color=(SERIES[0] if right else SERIES[1]) if share else GRID,
            # Rare confusions would be invisible on a linear scale of shares.
            alpha=0.12 + 0.88 * share**0.6 if share else 0.35,
            linewidth=0,
        )
        if confusion[row, column]:
            axes.text(
                column,
                row,
                f"{confusion[row, column]}",
                ha="center",
                va="center_baseline",
                fontsize=8.5 if len(confusion) <= 12 else 6.5,
                color=PAPER if share > 0.4 else INK,
            )


def _shade(axes: Axes, shares: npt.NDArray[np.float64]) -> None:
    right = np.eye(len(shares), dtype=bool)
    rgba = np.empty((*shares.shape, 4))
    rgba[..., :3] = np.where(right[..., None], (0.04, 0.48, 0.60), (0.83, 0.45, 0.10))
    rgba[..., 3] = np.where(shares > 0, 0.15 + 0.85 * shares**0.6, 0.0)
    axes.imshow(rgba, interpolation="none")


def class_balance(class_counts: Mapping[str, Mapping[str, int]]) -> Drawing | None:
    """Draw how many records each class has, by split.

    Up to 30 classes are named; more are ranked by size without names.

    Args:
        class_counts: Split -> class -> number of records.
    """
    classes = list(dict.fromkeys(name for counts in class_counts.values() for name in counts))
    if not classes:
        return None
    table = np.array(
        [[counts.get(name, 0) for name in classes] for counts in class_counts.values()]
    )
    named = len(classes) <= 30
    if not named:
        table = table[:, np.argsort(-table.sum(axis=0), kind="stable")]
    figure, axes = new_axes(5.0, max(2.2, 0.5 + 0.26 * len(classes)) if named else 3.0)
    start = np.zeros(len(classes), dtype=np.int64)
    position = np.arange(len(classes))
    for index, split in enumerate(class_counts):
        colour = SERIES[index % len(SERIES)]
        if named:
            axes.barh(position, table[index], 0.72, left=start, color=colour, label=split)
        else:
            axes.bar(position, table[index], 1.0, bottom=start, color=colour, label=split)
        start = start + table[index]
    if named:
        axes.set_yticks(position, [_short(name) for name in classes])
        axes.invert_yaxis()
        axes.grid(axis="x")
        axes.spines["left"].set_visible(False)
        axes.set_xlabel("records")
    else:
        axes.grid(axis="y")
        axes.set_xlabel(f"{len(classes)} classes, largest first")
        axes.set_ylabel("records")
    _legend(figure)
    return draw(figure, "balance", "Records by class and split")


def timings(timings_s: Mapping[str, float]) -> Drawing | None:
    """Draw how long each stage took.

    Args:
        timings_s: Stage -> seconds, in the order of the run.
    """
    if not timings_s:
        return None
    figure, axes = new_axes(5.0, 0.4 + 0.3 * len(timings_s))
    names, values = list(timings_s), list(timings_s.values())
    axes.barh(names, values, 0.62, color=SERIES[0], alpha=0.85)
    longest = max(values) or 1.0
    for index, value in enumerate(values):
        axes.text(
            value + longest * 0.012,
            index,
            format_seconds(value),
            va="center_baseline",
            color=MUTED,
            fontsize=8.5,
        )
    axes.invert_yaxis()
    axes.set_xlim(0, longest * 1.14)
    axes.set_xticks([])
    axes.spines[:].set_visible(False)
    return draw(figure, "timings", "Time by stage")


def format_seconds(seconds: float) -> str:
    """Write a duration as a person says it: `0.4 s`, `12 s`, `3 min 05 s`, `2 h 07 min`."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def _epoch_lines(axes: Axes, history: Sequence[Row], names: Mapping[str, str]) -> int:
    drawn = 0
    for index, (key, label) in enumerate(names.items()):
        x, y = _series(history, "epoch", key)
        if len(x):
            # A single epoch has no line; a point shows it.
            marker = "o" if len(x) == 1 else None
            axes.plot(x + 1, y, color=SERIES[index], label=label, marker=marker)
            drawn += 1
    return drawn


def _series(
    rows: Sequence[Row], x_key: str, y_key: str
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    pairs = [(row[x_key], row[y_key]) for row in rows if x_key in row and y_key in row]
    table = np.array(pairs, dtype=np.float64).reshape(-1, 2)
    return table[:, 0], table[:, 1]


def _thinned(rows: Sequence[Row]) -> Sequence[Row]:
    # A page needs no more points than it has pixels; the last one is always kept.
    stride = -(-len(rows) // _MAX_POINTS) or 1
    return rows[::-stride][::-1]


def _steps_per_epoch(history: Sequence[Row]) -> float:
    x, steps = _series(history, "epoch", "global_step")
    return float(steps[-1] / (x[-1] + 1)) if len(x) else 0.0


def _finished(
    figure: Figure, axes: Axes, name: str, title: str, x_label: str, y_label: str | None
) -> Drawing:
    axes.grid(axis="y")
    axes.spines["left"].set_visible(False)
    axes.set_xlabel(x_label)
    if y_label is not None:
        axes.set_ylabel(y_label)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    if len(axes.get_legend_handles_labels()[0]) > 1:
        _legend(figure)
    return draw(figure, name, title)


def _legend(figure: Figure) -> None:
    figure.legend(
        loc="outside upper left",
        ncols=4,
        frameon=False,
        fontsize=8.5,
        labelcolor=INK,
        borderpad=0.0,
        handlelength=1.2,
        handletextpad=0.5,
        columnspacing=1.4,
    )


def _short(name: str) -> str:
    return name if len(name) <= _MAX_NAME_CHARS else name[: _MAX_NAME_CHARS - 1] + "…"
