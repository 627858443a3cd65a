"""How a column writes its numbers and dates, told from its profile."""

from collections.abc import Collection
from typing import Literal

import numpy as np

from components.tables.config import ColumnConfig
from components.tables.fitting.sketch import QuantileSketch
from components.tables.inference.written import DateProfile, NumberProfile
from components.tables.schema import DateForm, NumberForm
from components.tables.values.units import is_currency, known_units

Decimal = Literal[".", ","]
Thousands = Literal["", ",", ".", " ", "'"]

_USUAL_SHARE = 0.2
"""Share of the numbers from which on a way of writing is usual in a column."""
_FEW = 0.05
_SELDOM = 0.02
_CONTRADICTED = 0.1
_UNDECIDED = 1 / 3
_OF_NEGATIVES = ("parentheses", "trailing_minus")
_USUAL_MANNERS = (
    "blanks",
    "unit",
    "percent",
    "plus",
    "exponent",
    "magnitude",
    "quotes",
    "characters",
)


def number_form(profile: NumberProfile) -> NumberForm:
    """How a column writes its numbers.

    The decimal sign is the one that numbers show that can be read in one way only, as 12.5 or
    1.234,5. Where none does, and numbers as 1.234 stand beside ones below 1000 without any
    separator, the point separates thousands.
    """
    counts = profile.counts
    readable = counts.get("readable", 0)
    decimal = _decimal_sign(profile)
    thousands = _thousands_sign(profile, decimal)
    either = counts.get("either_point" if decimal == "." else "either_comma", 0)
    whole = counts.get("fractional", 0) <= _SELDOM * readable and either <= _USUAL_SHARE * readable
    percents = counts.get("percent", 0)
    form = NumberForm(
        decimal=decimal,
        thousands=thousands,
        unit=_unit(profile),
        percent=percents > 0.5 * readable,
        whole=whole,
        manners=_manners(profile),
    )
    shares = 0 < percents <= 0.5 * readable and _are_shares(numbers_written(profile, form))
    return form.model_copy(update={"fraction": shares})


def numbers_written(profile: NumberProfile, form: NumberForm) -> QuantileSketch:
    """Sketch of the numbers of a column that are written as `form` says."""
    sketch = profile.certain + (profile.as_point if form.decimal == "." else profile.as_comma)
    if form.percent:
        sketch = sketch + profile.percents
    if form.whole and not sketch.packed.size:
        return sketch_without(
            sketch, sketch.values[sketch.values != sketch.values.round()].tolist()
        )
    return sketch


def sketch_without(sketch: QuantileSketch, values: Collection[float]) -> QuantileSketch:
    """The sketch without some values, as far as they are points of their own."""
    if sketch.extremes is None or not values:
        return sketch
    mixed = np.zeros(sketch.values.size, bool)
    mixed[sketch.packed] = True
    kept = ~np.isin(sketch.values, list(values)) | mixed
    if kept.all():
        return sketch
    if not kept.any():
        return QuantileSketch()
    left = sketch.values[kept]
    low, high = sketch.extremes
    extremes = (
        float(left[0]) if low in values else low,
        float(left[-1]) if high in values else high,
    )
    return QuantileSketch(
        values=left,
        weights=sketch.weights[kept],
        packed=np.flatnonzero(mixed[kept]),
        extremes=extremes,
    )


def date_form(profile: DateProfile, config: ColumnConfig) -> DateForm:
    """How a column writes its dates; what the recipe pins wins.

    Per separator, the order of day and month is that of the dates that can be read in one way
    only. Up to a third of them may be the other way round (swapped by mistake); from a tenth on,
    all dates that could be either are doubtful. Beyond a third nothing is told.
    """
    told = {sign: _order(profile, sign) for sign in "-/. "}
    settled = {order for order, share in told.values() if order is not None and share is not None}
    common = config.day_first
    if common is None:
        common = settled.pop() if len(settled) == 1 else None
    shapes = sorted(profile.shapes, key=lambda shape: (-profile.shapes[shape], shape))
    formats = [_with_order(shape, told, config.day_first, common) for shape in shapes]
    main = shapes[0][1:2] if shapes and shapes[0].startswith("?") else ""
    _, contradicted = told.get(main, (None, None))
    return DateForm(
        formats=config.date_formats or tuple(dict.fromkeys(formats)),
        day_first=common,
        doubtful=config.day_first is None and (contradicted or 0.0) > _CONTRADICTED,
    )


def _order(profile: DateProfile, sign: str) -> tuple[bool | None, float | None]:
    """Whether the day comes first, and the share of dates that contradict; None where untold."""
    day, month = (profile.orders.get(f"{sign}{order}", 0) for order in ("day", "month"))
    if not day + month:
        return (True if sign == "." else None), None
    share = min(day, month) / (day + month)
    return (None if share > _UNDECIDED else day > month), share


def _with_order(
    shape: str,
    told: dict[str, tuple[bool | None, float | None]],
    pinned: bool | None,
    common: bool | None,
) -> str:
    """The strptime format of a shape, `?` left where the order is open."""
    if not shape.startswith("?"):
        return shape
    order, contradicted = told[shape[1:2]]
    if pinned is not None:
        order = pinned
    elif order is None and contradicted is None:
        order = common
    if order is None:
        return shape
    first, second = ("%d", "%m") if order else ("%m", "%d")
    return shape.replace("?", first, 1).replace("?", second, 1)


def _decimal_sign(profile: NumberProfile) -> Decimal:
    counts = profile.counts
    readable = counts.get("readable", 0)
    point = counts.get("point", 0) + counts.get("grouped,", 0)
    comma = counts.get("comma", 0) + counts.get("grouped.", 0)
    if comma > point and comma + counts.get("either_comma", 0) >= _FEW * readable:
        return ","
    dotted = counts.get("either_point", 0)
    groups = dotted > _FEW * readable and counts.get("small", 0) > _FEW * readable
    if not point and not counts.get("either_comma") and groups and not counts.get("large"):
        return ","
    return "."


def _thousands_sign(profile: NumberProfile, decimal: Decimal) -> Thousands:
    counts = profile.counts
    sign: Thousands
    sign, either = (",", "either_comma") if decimal == "." else (".", "either_point")
    grouped: dict[Thousands, int] = {
        sign: counts.get(f"grouped{sign}", 0) + counts.get(either, 0),
        " ": counts.get("grouped ", 0),
        "'": counts.get("grouped'", 0),
    }
    most = max(grouped, key=lambda name: grouped[name])
    return most if grouped[most] and grouped[most] >= counts.get("large", 0) else ""


def _unit(profile: NumberProfile) -> str:
    """The unit written most; where few numbers have one, it has to be known, and no currency.

    Signs of several currencies among bare numbers say that they were typed carelessly, not that
    the column is kept in one of them.
    """
    if not profile.units:
        return ""
    unit = max(sorted(profile.units), key=lambda name: profile.units[name])
    if profile.units[unit] >= _USUAL_SHARE * profile.counts.get("readable", 0):
        return unit
    return unit if unit in known_units() and not is_currency(unit) else ""


def _manners(profile: NumberProfile) -> tuple[str, ...]:
    counts = profile.counts
    readable, negative = counts.get("readable", 0), counts.get("negative", 0)
    usual = [name for name in _USUAL_MANNERS if counts.get(name, 0) > _USUAL_SHARE * readable]
    usual += [name for name in _OF_NEGATIVES if counts.get(name, 0) > 0.5 * negative > 0.5]
    return tuple(usual)


def _are_shares(numbers: QuantileSketch) -> bool:
    """Whether nearly all numbers lie between 0 and 1."""
    return numbers.count > 0 and numbers.quantile(0.02) >= 0 and 0 < numbers.quantile(0.98) <= 1
