"""Nested settings as the flat, short keys and values that a tracking server takes."""

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePath

from components.tracking.tracker import Scalar

MAX_VALUE_CHARS = 500
"""Longest value kept whole: the limit of MLflow servers before 2.8; later ones take 6000."""

MAX_KEY_CHARS = 250


def flatten(settings: Mapping[str, object], prefix: str = "") -> dict[str, Scalar]:
    """Turn nested mappings into dotted keys: `{"train": {"epochs": 3}}` is `train.epochs = 3`.

    A list of scalars becomes one value, `[1, 2]`; a list that holds mappings gets its positions
    as keys, `images.augment.transforms.0.HorizontalFlip.p`. An empty mapping or list stays as
    `{}` or `[]`, so that it can be told from a setting that is not there.

    Args:
        settings: As `model_dump(mode="json")` of a recipe gives them.
        prefix: Put before every key, with its dot.
    """
    flat: dict[str, Scalar] = {}
    for key, value in settings.items():
        flat |= _flatten_value(f"{prefix}{key}", value)
    return flat


def _flatten_value(key: str, value: object) -> dict[str, Scalar]:
    if isinstance(value, Mapping) and value:
        return flatten(value, f"{key}.")
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        if any(isinstance(item, Mapping) for item in value):
            return flatten({str(index): item for index, item in enumerate(value)}, f"{key}.")
        return {key: f"[{', '.join(str(item) for item in value)}]"}
    if value is None or isinstance(value, str | int | float | bool):
        return {key: value}
    return {key: value.as_posix() if isinstance(value, PurePath) else str(value)}


def safe_key(key: str) -> str:
    """Replace what MLflow refuses in a key by `_`: it takes letters, digits and `_-. :/`.

    Keys also become paths there, so that empty and dotted path parts are refused as well.
    """
    parts = [part for part in re.sub(r"[^\w\-. :/]", "_", key).split("/") if part.strip(".")]
    return "/".join(parts)[:MAX_KEY_CHARS] or "_"


def short_value(value: Scalar) -> str:
    """Write a setting as text of at most 500 characters; a cut one ends with its real length."""
    text = str(value)
    if len(text) <= MAX_VALUE_CHARS:
        return text
    end = f"... ({len(text)} characters, whole in recipe.yaml)"
    return text[: MAX_VALUE_CHARS - len(end)] + end
