"""Every task that a package can be of, by name."""

from collections.abc import Mapping
from typing import Any

from components.tasks.image_classification import ImageClassification
from components.tasks.task import Task


def task_from_files(name: str, files: Mapping[str, Any]) -> Task:
    """Build the task of a model package from what `Task.files` gave.

    Raises:
        LookupError: No task has that name, or a part is missing.
        ValueError: A part is damaged.
    """
    if name == ImageClassification.name:
        return ImageClassification.from_files(files)
    # What reads tables is only loaded for them.
    from components.tasks.tabular_classification import TabularClassification
    from components.tasks.tabular_regression import TabularRegression

    tables: dict[str, type[TabularClassification] | type[TabularRegression]] = {
        TabularClassification.name: TabularClassification,
        TabularRegression.name: TabularRegression,
    }
    return tables[name].from_files(files)
