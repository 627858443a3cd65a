"""What every task gives: views of the data, losses, metrics, predictions, and its written form."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy.typing as npt
import pyarrow as pa
import torch

from components.models.shapes import InputShape
from components.tasks.view import View
from components.training.batch import Arrays
from components.training.loop import Objective
from components.training.metrics import MetricSums


class Task(Objective, Protocol):
    """A modality, a model head, a loss and metrics, as plain values and functions.

    A task is built from a prepared data set for training, and from the files of a model package
    for everything after it, so that both see the data in the same way.
    """

    @property
    def name(self) -> str:
        """As recipes and packages call it."""
        ...

    @property
    def classes(self) -> Sequence[str]:
        """Class names in the order of the outputs; empty where there are none."""
        ...

    @property
    def num_outputs(self) -> int:
        """Width of what the model puts out."""
        ...

    @property
    def shape(self) -> InputShape:
        """What the model takes."""
        ...

    @property
    def transform_hash(self) -> str:
        """Of the fitted transform."""
        ...

    @property
    def prediction_columns(self) -> pa.Schema:
        """What is written down of each record that is judged, beside its id and origin."""
        ...

    def view(self) -> View:
        """How prepared rows become inputs in evaluation."""
        ...

    def arrays_of(self, records: Any) -> Arrays:
        """What the model sees of records as a caller of `predict` has them.

        Raises:
            ValueError: They are not of the form that the task takes.
        """
        ...

    def predictions(self, outputs: torch.Tensor) -> npt.NDArray[Any]:
        """What outputs mean: class probabilities (B, K), or values (B,) in the original unit."""
        ...

    def judged(self, predictions: npt.NDArray[Any], rows: pa.Table) -> dict[str, Any]:
        """The `prediction_columns` of prepared rows: predictions beside what is true."""
        ...

    def sums_of(self, judged: pa.Table) -> MetricSums:
        """The sums over judged records."""
        ...

    def files(self) -> dict[str, Any]:
        """What the task needs to be built again, as JSON values: transform, schema, classes."""
        ...
