"""From what a table looks like to what it is: the schema, learned or pinned, with its evidence."""

import math
from collections.abc import Callable, Iterator, Mapping

from components.tables.cleaning.categories import learn_mapping
from components.tables.cleaning.outliers import Bounds, bound_text, plausible_bounds, plausible_days
from components.tables.config import ColumnConfig, OutlierConfig, TableCleanConfig
from components.tables.fitting.sketch import QuantileSketch
from components.tables.inference.forms import (
    date_form,
    number_form,
    numbers_written,
    sketch_without,
)
from components.tables.inference.kinds import (
    UNIQUE_SHARE,
    column_kind,
    key_share,
    reads_as_dates,
    reads_as_numbers,
)
from components.tables.inference.pinned import check_pinned
from components.tables.inference.profile import ColumnProfile, TableProfile
from components.tables.schema import ColumnKind, ColumnSchema, TableSchema
from components.tables.values.booleans import boolean_pair
from components.tables.values.missing import (
    contextual_missing,
    detected_sentinels,
    missing_among_names,
    names_not_missing,
    zero_is_missing,
)
from components.tables.values.text_forms import tidy_name, undo_cp1252

_BOUND_DIGITS = 6


def infer_schema(
    profile: TableProfile, columns: Mapping[str, ColumnConfig], clean: TableCleanConfig
) -> TableSchema:
    """The schema of a table, from its profile; what the recipe pins wins.

    A column is of a kind if at least 80 % of its values (missing ones left out) read so: booleans,
    then dates, then numbers. Numbers with leading zeros or from 2^53 on are names. Of names,
    those that (nearly) never repeat are identifiers, or text where they have several words; those
    that do are categories.

    Raises:
        DataError: The recipe names a column that is not there, or contradicts itself.
    """
    check_pinned(list(profile.columns), columns, clean)
    marks_as_na = any(
        "NA" in column.spellings and (reads_as_numbers(column) or reads_as_dates(column))
        for column in profile.columns.values()
    )
    schemas = tuple(
        _column_schema(name, column, columns.get(name, ColumnConfig()), clean, marks_as_na)
        for name, column in profile.columns.items()
    )
    key = clean.key if clean.key is not None else _likely_key(profile)
    return TableSchema(columns=schemas, key=key)


def schema_diff(old: TableSchema, new: TableSchema) -> list[str]:
    """What a table has become, against the schema that it had; one line per difference.

    Tells what would make records of the new table unfit for the old schema: columns lost, new or
    of another kind, and categories never seen. Counts, bounds and spellings may drift.
    """
    before = {column.name: column for column in old.columns}
    after = {column.name: column for column in new.columns}
    lines = [f"{name}: missing, was {before[name].kind}" for name in before if name not in after]
    lines += [f"{name}: new, {after[name].kind}" for name in after if name not in before]
    for name in before:
        if name in after:
            lines += _column_diff(before[name], after[name])
    if old.key != new.key:
        lines.append(f"key: was {', '.join(old.key) or 'none'}, is {', '.join(new.key) or 'none'}")
    return lines


def schema_text(schema: TableSchema) -> list[str]:
    """A schema in plain lines: a line per column, and what led to it below."""
    width = max((len(column.name) for column in schema.columns), default=0)
    lines = [f"key: {', '.join(schema.key) or 'none'}"]
    for column in schema.columns:
        lines.append(f"{column.name:<{width}}  {column.kind:<10}  {'; '.join(_facts(column))}")
        evidence = [f"{name} {_number(value)}" for name, value in column.evidence.items()]
        lines.append(f"{'':<{width}}  {', '.join(evidence)}")
    return [line.rstrip() for line in lines]


def _likely_key(profile: TableProfile) -> tuple[str, ...]:
    """The column that is called like a key and (nearly) never repeats; the likeliest of several."""
    found: list[tuple[float, str]] = []
    for position, (name, column) in enumerate(profile.columns.items()):
        needed = key_share(name, first=position == 0)
        filled = column.filled >= UNIQUE_SHARE * profile.rows
        if needed is not None and filled and column.values.share_distinct >= needed:
            found.append((needed, name))
    likeliest = min(found, key=lambda candidate: candidate[0], default=None)
    return (likeliest[1],) if likeliest and profile.columns[likeliest[1]].values.counts else ()


def _column_schema(
    name: str,
    column: ColumnProfile,
    config: ColumnConfig,
    clean: TableCleanConfig,
    marks_as_na: bool,
) -> ColumnSchema:
    kind = column_kind(name, column, config)
    missing, not_missing = _missing(column, kind, config, marks_as_na)
    schema = ColumnSchema(
        name=name,
        kind=kind,
        nullable=column.filled < column.rows,
        missing=missing,
        not_missing=not_missing,
        unique=bool(column.values.counts) and column.values.share_distinct == 1.0,
        evidence=_evidence(column),
    )
    if kind in ("integer", "number"):
        return schema.model_copy(update=_numeric(column, config, config.outliers or clean.outliers))
    if kind in ("date", "datetime"):
        return schema.model_copy(update=_dated(column, config, config.outliers or clean.outliers))
    if kind == "boolean":
        pair = boolean_pair(column.values.counts, 0.0) if column.stored == "text" else None
        return schema.model_copy(update={"booleans": pair or ()})
    if kind == "category":
        mapping, categories = _categories(column, config, schema)
        return schema.model_copy(update={"mapping": mapping, "categories": categories})
    return schema.model_copy(update={"mapping": dict(config.mapping or {})})


def _missing(
    column: ColumnProfile, kind: ColumnKind, config: ColumnConfig, marks_as_na: bool
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Spellings of a missing value of this column's own, and usual ones that are names in it."""
    if kind not in ("category", "text", "identifier"):
        own = contextual_missing(column.spellings)
        return own if config.missing is None else config.missing, ()
    names = column.values.counts
    if config.missing is not None:
        own = config.missing
    elif kind == "category":
        own = missing_among_names(column.spellings, names, column.filled)
    else:
        # Without repeated names nothing tells a name from a missing value.
        own = ()
    kept = names_not_missing(column.spellings, names, marks_as_na)
    return own, tuple(text for text in kept if text not in own)


def _numeric(
    column: ColumnProfile, config: ColumnConfig, outliers: OutlierConfig
) -> dict[str, object]:
    """How numbers are written, which stand for a missing value, and which are plausible."""
    form = config.number or number_form(column.numbers)
    sketch = numbers_written(column.numbers, form)
    sentinels = config.sentinels
    if sentinels is None:
        sentinels = _sentinels(column, sketch)
    low, high = _bounds(sketch_without(sketch, sentinels), outliers)
    return {
        "number": form,
        "sentinels": sentinels,
        "minimum": low if config.minimum is None else config.minimum,
        "maximum": high if config.maximum is None else config.maximum,
    }


def _dated(
    column: ColumnProfile, config: ColumnConfig, outliers: OutlierConfig
) -> dict[str, object]:
    """How dates are written, and between which days they are plausible."""
    low, high = None, None
    days = column.dates.days
    if days.count and outliers.method != "none":
        low, high = plausible_days(days.quantile, days.count)
    return {
        "date": date_form(column.dates, config),
        "minimum": low,
        "maximum": high,
    }


def _sentinels(column: ColumnProfile, sketch: QuantileSketch) -> tuple[float, ...]:
    """Known sentinels that repeat and lie far from all other plausible values."""
    counts = {value: n for value, n in column.numbers.sentinels.items() if n > 1}
    num_zeros = counts.pop(0.0, 0)
    rest = sketch_without(sketch, list(counts))
    extent, bounds = _plausible_extent(rest)
    found: tuple[float, ...] = ()
    if counts and extent is not None:
        found = detected_sentinels(counts, extent, bounds, column.filled)
    if num_zeros:
        others = sketch_without(rest, [0.0])
        extent, _ = _plausible_extent(others)
        if extent is not None and zero_is_missing(
            num_zeros, extent, others.quantile(0.5), column.filled
        ):
            found = tuple(sorted((*found, 0.0)))
    return found


def _plausible_extent(sketch: QuantileSketch) -> tuple[tuple[float, float] | None, Bounds]:
    """Smallest and largest of the plausible values, None where there are none; and the bounds."""
    if not sketch.count:
        return None, (None, None)
    low, high = plausible_bounds(sketch.quantile, sketch.count, OutlierConfig())
    inside = sketch.values[
        (sketch.values >= (sketch.minimum if low is None else low))
        & (sketch.values <= (sketch.maximum if high is None else high))
    ]
    return ((float(inside[0]), float(inside[-1])) if inside.size else None), (low, high)


def _bounds(sketch: QuantileSketch, outliers: OutlierConfig) -> Bounds:
    """Plausible bounds in six digits, rounded to the outside."""
    if not sketch.count:
        return None, None
    low, high = plausible_bounds(sketch.quantile, sketch.count, outliers)
    return _rounded(low, math.floor), _rounded(high, math.ceil)


def _rounded(bound: float | None, to_side: Callable[[float], int]) -> float | None:
    if not bound or not math.isfinite(bound):
        return bound
    scale = _BOUND_DIGITS - 1 - math.floor(math.log10(abs(bound)))
    power = 10.0 ** abs(scale)
    return to_side(bound * power) / power if scale > 0 else to_side(bound / power) * power


def _categories(
    column: ColumnProfile, config: ColumnConfig, schema: ColumnSchema
) -> tuple[dict[str, str], tuple[str, ...]]:
    """Which spelling becomes which, and the names that are left; open where there are too many."""
    if not column.values.complete:
        return dict(config.mapping or {}), config.categories or ()
    own = {text.strip().lower() for text in schema.missing}
    names = dict(column.values.counts)
    usual = contextual_missing(column.spellings)
    for text, count in column.spellings.items():
        if text in schema.not_missing or (text in usual and text.lower() not in own):
            names[text] = names.get(text, 0) + count
    # A header that is repeated among the rows is no category.
    names = {name: count for name, count in names.items() if name.strip() != schema.name}
    mapping = config.mapping
    if mapping is None:
        mapping = learn_mapping(names, known=config.categories or ()).mapping
    if config.categories is not None:
        return dict(mapping), tuple(sorted(config.categories))
    plain = (tidy_name(undo_cp1252(name)) for name in names)
    kept = {mapping.get(name, name) for name in plain}
    return dict(mapping), tuple(sorted(kept - {""}))


def _evidence(column: ColumnProfile) -> dict[str, float | str]:
    """The counts behind a column's kind."""
    counts, dates = column.numbers.counts, column.dates
    told: dict[str, float | str] = {
        "values": column.filled,
        "missing": column.rows - column.filled,
        "distinct": round(column.values.num_distinct),
        "numbers": counts.get("readable", 0),
        "leading zeros": counts.get("leading_zeros", 0),
        "too large to be exact": counts.get("wide", 0),
        "infinite": counts.get("infinite", 0),
        "dates": sum(dates.shapes.values()),
        "impossible dates": dates.impossible,
        "serial dates": dates.serials if dates.shapes else 0,
        "of several words": column.spaced,
    }
    told |= {f"spelled {text!r}": count for text, count in column.spellings.items()}
    always = ("values", "missing")
    told = {name: value for name, value in told.items() if value or name in always}
    return {**told, "stored": column.stored} if column.stored != "text" else told


def _column_diff(before: ColumnSchema, after: ColumnSchema) -> list[str]:
    if before.kind != after.kind:
        return [f"{before.name}: was {before.kind}, is {after.kind}"]
    if not before.categories or before.kind != "category":
        return []
    known = {*before.categories, *before.mapping}
    unseen = [name for name in after.categories if name not in known]
    shown = ", ".join(repr(name) for name in unseen[:10]) + (", ..." if len(unseen) > 10 else "")
    plural = "category" if len(unseen) == 1 else "categories"
    return [f"{before.name}: {len(unseen)} {plural} never seen: {shown}"] if unseen else []


def _facts(column: ColumnSchema) -> Iterator[str]:
    """What the schema says of a column beside its kind."""
    if column.unique:
        yield "unique"
    if column.kind in ("integer", "number"):
        form = column.number
        written = [
            f"decimal {form.decimal!r}" if form.decimal != "." else "",
            f"thousands {form.thousands!r}" if form.thousands else "",
            f"unit {form.unit}" if form.unit else "",
            *form.manners,
        ]
        yield from filter(None, written)
    bounds = [bound_text(bound, column.kind) for bound in (column.minimum, column.maximum)]
    if column.kind in ("integer", "number") or bounds != ["any", "any"]:
        yield f"plausible {' to '.join(bounds)}"
    if column.sentinels:
        yield f"sentinels {', '.join(map(_number, column.sentinels))}"
    if column.missing:
        yield f"also missing: {', '.join(map(repr, column.missing))}"
    if column.not_missing:
        yield f"not missing: {', '.join(map(repr, column.not_missing))}"
    yield from column.date.formats
    if column.date.doubtful:
        yield "order of day and month doubtful"
    if column.booleans:
        yield "/".join(column.booleans)
    if column.categories:
        yield f"{len(column.categories)} categories: {', '.join(column.categories[:8])}"
    if column.mapping:
        merged = [f"{written} -> {kept}" for written, kept in sorted(column.mapping.items())[:8]]
        yield f"{len(column.mapping)} spellings merged: {', '.join(merged)}"


def _number(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.10g}"
