"""Overrides of a recipe from the command line: `train.epochs=3` laid over what the file says."""

import copy
from collections.abc import Sequence
from typing import Any

from components.errors import RecipeError
from pipelines.recipe_document import (
    Document,
    Path,
    Place,
    Problem,
    dotted,
    parse_document,
    plain_scalar,
)


def lay_over(document: Document, overrides: Sequence[str]) -> Document:
    """Return the document with `a.b.c=value` overrides applied in order; the last one wins.

    A value is a YAML scalar (`null`, `true`, `3`, `1e-3`, any other text as it stands) or, where it
    starts with a bracket or a quote, a YAML list, mapping or quoted text. A number in the key is
    the index of a list item that exists. Missing sections are made; wrong overrides become
    problems of the document.
    """
    result = copy.deepcopy(document)
    for number, override in enumerate(overrides):
        place = Place(1_000_000 + number, f"override {override!r}", from_file=False)
        try:
            path, value = _parse_override(override)
            _assign(result, path, value, place)
        except RecipeError as error:
            result.problems.append(Problem(place, str(error)))
    return result


def _parse_override(override: str) -> tuple[Path, Any]:
    key, equals, text = (part.strip() for part in override.partition("="))
    if not equals or not text:
        raise RecipeError(
            "expected KEY=VALUE, as train.epochs=3 (null for nothing, '' for empty text)"
        )
    if not override.isprintable():
        raise RecipeError("holds characters that are no printable text; expected KEY=VALUE")
    path = tuple(key.split("."))
    if not all(path):
        raise RecipeError(f"{key!r} is no name of a setting; expected names with dots between")
    if text[0] in "[{'\"":
        values = parse_document(f"value: {text}", "the value")
        if values.problems:
            raise RecipeError(values.problems[0].message)
        return path, values.values.get("value")
    return path, plain_scalar(text)


def _assign(document: Document, path: Path, value: Any, place: Place) -> None:
    """Set the value at `path` and mark everything in it as written at `place`."""
    container: Any = document.values
    real: Path = ()
    for part in path[:-1]:
        key = _key_in(container, part, real)
        real = (*real, key)
        if isinstance(container, dict) and container.get(key) is None:
            container[key] = {}
            document.places[real] = place
        container = container[key]
    key = _key_in(container, path[-1], real)
    real = (*real, key)
    for old in [known for known in document.places if known[: len(real)] == real]:
        del document.places[old]
    container[key] = value
    document.places[real] = place


def _key_in(container: Any, part: str | int, path: Path) -> str | int:
    """Return `part` as a key of a mapping or as an index of a list."""
    if isinstance(container, dict):
        return part
    if not isinstance(container, list):
        raise RecipeError(f"{dotted(path)} is {container!r}, which has no settings in it")
    if not str(part).isdecimal() or int(part) >= len(container):
        raise RecipeError(
            f"{dotted(path)} is a list of {len(container)} items; {part!r} is none of "
            f"0 to {len(container) - 1}"
        )
    return int(part)
