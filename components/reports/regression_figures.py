"""The figures of a model of numbers: predicted beside true values, and how far they lie apart."""

import numpy as np
from matplotlib.ticker import MaxNLocator

from components.reports.data import Values
from components.reports.svg import GRID, MUTED, SERIES, Drawing, draw, new_axes

MAX_POINTS = 1500
"""Most points of a drawing: a page needs no more, and each is bytes in it."""

_BINS = 40


def predicted_and_true(values: Values, name: str) -> Drawing | None:
    """Draw predicted over true values; on the line they are equal.

    Args:
        values: Of some records; the first 1500 are drawn.
        name: Makes the ids of the drawing unique within a page.
    """
    true_N, predicted_N = _finite(values)
    if not len(true_N):
        return None
    figure, axes = new_axes(5.0, 4.7)
    both = np.concatenate([true_N, predicted_N])
    ends = [float(both.min()), float(both.max())]
    axes.plot(ends, ends, color=GRID, linewidth=1.4)
    axes.plot(
        true_N[:MAX_POINTS],
        predicted_N[:MAX_POINTS],
        "o",
        color=SERIES[0],
        markersize=3,
        alpha=0.35,
        markeredgewidth=0,
    )
    axes.set_xlabel(f"true {values.name}")
    axes.set_ylabel(f"predicted {values.name}")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(5))
    return draw(figure, name, "Predicted and true values")


def residuals(values: Values, name: str) -> Drawing | None:
    """Draw how often the model is how far off; the middle 99 % of the residuals.

    Args:
        values: Of some records.
        name: Makes the ids of the drawing unique within a page.
    """
    true_N, predicted_N = _finite(values)
    if not len(true_N):
        return None
    errors_N = predicted_N - true_N
    low, high = np.quantile(errors_N, [0.005, 0.995])
    counts, edges = np.histogram(errors_N[(errors_N >= low) & (errors_N <= high)], bins=_BINS)
    figure, axes = new_axes(5.0, 3.4)
    width = float(edges[1] - edges[0])
    axes.bar(edges[:-1], counts, width * 0.92, align="edge", color=SERIES[0], alpha=0.85)
    axes.axvline(0.0, color=MUTED, linewidth=0.8)
    axes.grid(axis="y")
    axes.spines["left"].set_visible(False)
    axes.set_xlabel(f"predicted less true {values.name}")
    axes.set_ylabel("records")
    axes.xaxis.set_major_locator(MaxNLocator(6))
    return draw(figure, name, "How far off the model is")


def _finite(values: Values) -> tuple[np.ndarray, np.ndarray]:
    kept_N = np.isfinite(values.true_N) & np.isfinite(values.predicted_N)
    return values.true_N[kept_N], values.predicted_N[kept_N]
