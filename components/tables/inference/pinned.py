"""What a recipe pins of a table: is it there, and does it fit together."""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches

from components.errors import DataError
from components.tables.config import ColumnConfig, TableCleanConfig

_NUMERIC = ("integer", "number")
_DATES = ("date", "datetime")
_NAMES = ("category", "text", "identifier")
# Settings that only columns of some kinds have.
_BELONGS_TO = {
    "number": _NUMERIC,
    "sentinels": _NUMERIC,
    "minimum": _NUMERIC,
    "maximum": _NUMERIC,
    "outliers": _NUMERIC,
    "day_first": _DATES,
    "date_formats": _DATES,
    "mapping": _NAMES,
    "categories": ("category",),
}


def check_pinned(
    names: Sequence[str], columns: Mapping[str, ColumnConfig], clean: TableCleanConfig
) -> None:
    """Check that what the recipe pins is there and does not contradict itself.

    Args:
        names: Columns of the table.
        columns: What the recipe says of single columns.
        clean: What it says of the table.

    Raises:
        DataError: It is not; names the column and what to change.
    """
    for name in columns:
        _require(name, names, "data.columns")
    for name in clean.key or ():
        _require(name, names, "data.clean.key")
    if clean.key is not None and len(set(clean.key)) < len(clean.key):
        raise DataError(f"data.clean.key names a column twice: {', '.join(clean.key)}")
    for name, config in columns.items():
        problem = contradiction(config)
        if problem:
            raise DataError(f"data.columns.{name}: {problem}")


def contradiction(config: ColumnConfig) -> str:
    """What does not fit together in the settings of one column, in words; "" where all does."""
    given = [field for field in _BELONGS_TO if getattr(config, field) is not None]
    if config.kind is not None:
        for field in given:
            if config.kind not in _BELONGS_TO[field]:
                allowed = " or ".join(_BELONGS_TO[field])
                return f"kind {config.kind} has no {field}; remove it, or set kind to {allowed}"
    for first in given:
        for second in given:
            if not set(_BELONGS_TO[first]) & set(_BELONGS_TO[second]):
                return f"{first} and {second} belong to columns of different kinds; keep one"
    return _numbers(config) or _dates(config) or _mapping(config)


def nearest(name: str, names: Sequence[str]) -> str:
    """`; did you mean ...?` with the nearest of the names, or all of them."""
    lower = {known.strip().lower(): known for known in names}
    close = get_close_matches(name.strip().lower(), list(lower), n=1)
    if close:
        return f"did you mean {lower[close[0]]!r}?"
    shown = ", ".join(names[:20])
    return f"columns are {shown}{', ...' if len(names) > 20 else ''}"


def _require(name: str, names: Sequence[str], where: str) -> None:
    if name not in names:
        raise DataError(f"{where}: the table has no column {name!r}; {nearest(name, names)}")


def _numbers(config: ColumnConfig) -> str:
    low, high = config.minimum, config.maximum
    if low is not None and high is not None and low > high:
        return f"minimum {low:g} is larger than maximum {high:g}; swap them"
    form = config.number
    if form is not None and form.decimal == form.thousands:
        return f"{form.decimal!r} cannot be both decimal sign and thousands separator"
    for sentinel in config.sentinels or ():
        if low is not None and high is not None and low <= sentinel <= high:
            return f"the sentinel {sentinel:g} lies between minimum and maximum; narrow them"
    return ""


def _dates(config: ColumnConfig) -> str:
    for form in config.date_formats or ():
        if "%d" in form and "%m" in form and not form.startswith("%Y"):
            day_first = form.index("%d") < form.index("%m")
            if config.day_first is not None and config.day_first is not day_first:
                return f"date format {form} contradicts day_first {str(config.day_first).lower()}"
    return ""


def _mapping(config: ColumnConfig) -> str:
    mapping = config.mapping or {}
    for written, kept in mapping.items():
        further = mapping.get(kept, kept)
        if further != kept:
            return (
                f"mapping turns {written!r} into {kept!r}, and {kept!r} into {further!r}; "
                f"map {written!r} to {further!r}"
            )
        if config.categories is not None and kept not in config.categories:
            return f"mapping turns {written!r} into {kept!r}, which is none of the categories"
    return ""
