"""The names of tasks and metrics, and what is better; without torch, so that recipes load fast."""

from typing import Literal

TaskName = Literal["image_classification", "tabular_classification", "tabular_regression"]

ClassificationMetric = Literal["loss", "accuracy", "f1_macro"]
RegressionMetric = Literal["loss", "rmse", "mae", "r2"]

_FALLING = frozenset({"loss", "rmse", "mae"})


def score_of(metric: str, value: float) -> float:
    """Return `value` so that more is better, for choosing a checkpoint."""
    return -value if metric in _FALLING else value
