"""Tabular classification: encoded columns in, one class out."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from components.errors import DataError
from components.tables.fitting.columns import ClassTarget
from components.tables.fitting.transform import TableTransform
from components.tables.schema import TableSchema
from components.tasks.classification import Classification
from components.tasks.names import TaskName
from components.tasks.tabular import Tabular, parts_of


@dataclass(frozen=True)
class TabularClassification(Tabular, Classification):
    """Rows of a table, encoded by the fitted transform, told apart by class.

    Attributes:
        schema: What the columns hold.
        transform: Fitted on the train split; knows the classes.
        label_smoothing: Share of the target that the loss spreads over all classes, in [0, 1).
        seed: The recipe's seed.
    """

    schema: TableSchema
    transform: TableTransform
    label_smoothing: float = 0.0
    seed: int = 0
    name: ClassVar[TaskName] = "tabular_classification"

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in the order of the logits.

        Raises:
            DataError: The target is a number.
        """
        target = self.transform.target
        if not isinstance(target, ClassTarget):
            raise DataError(f"the target {self.target!r} was fitted as a number, not as a class")
        return target.classes

    @property
    def num_outputs(self) -> int:
        """Number of classes K."""
        return len(self.classes)

    def files(self) -> dict[str, Any]:
        """The fitted transform, the schema with target and output, and the classes."""
        output = {"dtype": "float32", "shape": [len(self.classes)], "sum": 1}
        return self.written({"probabilities": output}) | {"classes": list(self.classes)}

    @classmethod
    def from_files(cls, files: Mapping[str, Any]) -> Self:
        """Read back what `files` gave.

        Raises:
            LookupError: A part is missing.
            ValueError: A part is damaged.
        """
        return cls(*parts_of(files))
