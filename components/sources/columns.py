"""Columns that a recipe names and a file must have."""

import difflib

from components.errors import DataError
from components.sources.config import SourceConfig


def require_columns(wanted: list[str], present: list[str], place: str) -> None:
    """Check that a file has the columns that the recipe names.

    Raises:
        DataError: One is missing; names the nearest.
    """
    for column in wanted:
        if column not in present:
            near = difflib.get_close_matches(column, present, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]}? " if near else ""
            raise DataError(
                f"{place}: no column {column!r}; {hint}it has {', '.join(present)}; set "
                "data.source.image_column, path_column, label_column or split_column"
            )


def label_columns(config: SourceConfig) -> list[str]:
    """The columns of class and split, as far as the recipe names them."""
    return [config.label_column, *([config.split_column] if config.split_column else [])]
