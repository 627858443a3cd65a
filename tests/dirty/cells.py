"""Dirt for single cells: from the text of a clean cell to what a careless hand makes of it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from components.records.reasons import Reason

Dirty = Callable[[str, np.random.Generator], str | None]
"""Text of the clean cell -> dirty text; None where this cell cannot carry that dirt."""

R = Reason
_NUMBER = frozenset({R.NUMBER_FORMAT, R.NOT_A_NUMBER})
_DATE = frozenset({R.DATE_FORMAT})
_CATEGORY = frozenset({R.CATEGORY_VARIANT, R.CATEGORY_MISSPELT, R.TEXT_FORM, R.UNKNOWN_CATEGORY})
_MISSING = frozenset({R.MISSING_VALUE, R.SENTINEL, R.NOT_A_NUMBER, R.NOT_FINITE})
_FAR = frozenset({R.OUTLIER, R.RULE_VIOLATED})


@dataclass(frozen=True)
class Dirt:
    """One kind of dirt on one column.

    Attributes:
        kind: What it is, in words.
        column: Where.
        count: How many cells.
        dirty: Makes it.
        reasons: Reason codes that name it rightly.
        repairable: Whether a perfect repair follows from the file.
        lost: Whether the perfect repair is a missing value.
    """

    kind: str
    column: str
    count: int
    dirty: Dirty
    reasons: frozenset[Reason]
    repairable: bool = True
    lost: bool = False


def missing(column: str, *spellings: str, each: int = 3) -> list[Dirt]:
    """Missing values in words and signs."""
    return [
        Dirt("missing spelling", column, each, _constant(text), _MISSING, lost=True)
        for text in spellings
    ]


def sentinel(column: str, text: str, count: int) -> Dirt:
    """A number that stands for a missing value."""
    return Dirt("sentinel", column, count, _constant(text), _MISSING | _FAR, lost=True)


def broken_numbers(column: str) -> list[Dirt]:
    """What is no number at all."""
    return [
        *[
            Dirt("not finite", column, 1, _constant(text), _MISSING | _FAR, lost=True)
            for text in ("inf", "-Infinity", "1e999")
        ],
        *[
            Dirt("spreadsheet error", column, 2, _constant(text), _MISSING, lost=True)
            for text in ("#DIV/0!", "#VALUE!")
        ],
        Dirt("words for a number", column, 2, _constant("a dozen"), _NUMBER, repairable=False),
    ]


def number_forms(column: str, decimal: str, *, currency: bool, large: bool) -> list[Dirt]:
    """Numbers in another form than the column's; `large` where many are 1,000 and more."""
    other = "," if decimal == "." else "."
    forms: list[tuple[str, int, Dirty]] = [
        ("number as text", 2, lambda text, _: f"'{text}"),
        ("number as text", 2, lambda text, _: f"  {text} "),
        ("number as text", 1, lambda text, _: f"+{text}"),
        ("other decimal mark", 5, lambda text, _: _swapped_mark(text, decimal, other)),
    ]
    if currency:
        forms += [
            ("unit", 3, lambda text, _: f"€{text}"),
            ("unit", 3, lambda text, _: f"{text} EUR"),
            ("unit", 2, lambda text, _: f"$ {text}"),
        ]
    if large:
        forms += [
            ("thousands separator", 4, lambda text, _: _grouped(text, decimal, other)),
            ("thousands separator", 2, lambda text, _: _grouped(text, decimal, " ")),
            ("thousands separator", 1, lambda text, _: _grouped(text, decimal, "'")),
            ("thousands separator", 1, lambda text, _: _grouped(text, decimal, "\u202f")),
            ("other marks", 3, lambda text, _: _grouped(text, decimal, other, swap=True)),
        ]
    return [Dirt(kind, column, count, dirty, _NUMBER) for kind, count, dirty in forms]


def unit(column: str, *forms: str, each: int = 3) -> list[Dirt]:
    """Numbers with a unit, as in "{} kg"."""
    return [Dirt("unit", column, each, _formatted(form), _NUMBER) for form in forms]


def far_out(column: str, **counts: int) -> list[Dirt]:
    """Values ten times or a thousand times too large, or with the wrong sign."""
    makers: dict[str, Dirty] = {
        "times_10": lambda text, _: _times(text, 10),
        "times_1000": lambda text, _: _times(text, 1000),
        "sign": lambda text, _: f"-{text}" if text and float(text.replace(",", ".")) else None,
    }
    return [
        Dirt(f"outlier {name}", column, count, makers[name], _FAR | {R.SENTINEL}, repairable=False)
        for name, count in counts.items()
    ]


def broken_sum(column: str, count: int) -> Dirt:
    """A value that contradicts the others of its row."""

    def dirty(text: str, rng: np.random.Generator) -> str:
        return f"{float(text) + float(rng.integers(2, 30)):.2f}"

    return Dirt("broken sum", column, count, dirty, frozenset({R.RULE_VIOLATED}), repairable=False)


def date_forms(column: str, form: str) -> list[Dirt]:
    """Dates in other forms than the column's strptime form."""
    time = " %H:%M:%S" if "%S" in form else " %H:%M" if "%H" in form else ""
    unclear = frozenset({R.DATE_FORMAT, R.SWAPPED_DATE, R.AMBIGUOUS_DATE, R.IMPOSSIBLE_DATE})
    impossible = frozenset({R.IMPOSSIBLE_DATE, R.NOT_A_NUMBER})
    others = ["%d %B %Y", "%b %d, %Y", "%Y/%m/%d", "%Y%m%d", "%d-%b-%Y"]
    found = [Dirt("other date form", column, 2, _reformed(form, o + time), _DATE) for o in others]
    late = [o for o in ("%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y") if not form.startswith(o)]
    found += [
        Dirt("other order", column, 2, _late(_reformed(form, o + time), form), unclear)
        for o in late
    ]
    found += [
        Dirt("swapped day and month", column, 4, _late(_swapped(form), form), unclear),
        Dirt("spreadsheet day", column, 4, _serial(form), _DATE | {R.IMPOSSIBLE_DATE}),
        Dirt("epoch", column, 2, _epoch(form, 1), _DATE | {R.IMPOSSIBLE_DATE}),
        Dirt("epoch", column, 2, _epoch(form, 1000), _DATE | {R.IMPOSSIBLE_DATE}),
        *[
            Dirt("impossible date", column, 2, _constant(text), impossible, repairable=False)
            for text in _impossible(form)
        ],
    ]
    if form.startswith("%Y"):
        early = _early(_reformed(form, "%d/%m/%Y" + time), form)
        found.append(Dirt("ambiguous date", column, 4, early, unclear, repairable=False))
    return found


def category_forms(column: str, *, misspelt: int = 6) -> list[Dirt]:
    """Category names with other letters, case, blanks and invisible signs."""
    forms: list[tuple[str, int, Dirty]] = [
        ("misspelt", misspelt, _misspelt),
        ("other case", 2, lambda text, _: _changed(text, text.upper())),
        ("other case", 2, lambda text, _: _changed(text, text.lower()) or text.title()),
        ("other case", 1, lambda text, _: _changed(text, text.swapcase())),
        ("blanks", 2, lambda text, _: f" {text}"),
        ("blanks", 2, lambda text, _: f"{text}  "),
        ("blanks", 1, lambda text, _: f"{text}\u00a0"),
        ("invisible signs", 1, lambda text, _: f"{text[:2]}\u200b{text[2:]}"),
    ]
    return [Dirt(kind, column, count, dirty, _CATEGORY) for kind, count, dirty in forms]


def mojibake(column: str, count: int) -> Dirt:
    """UTF-8 that was read as cp1252."""
    reasons = _CATEGORY | {R.ENCODING}
    return Dirt("mojibake", column, count, _misread, reasons)


def boolean_forms(column: str, forms: Iterable[tuple[str, str]]) -> list[Dirt]:
    """Pairs of (as the column writes it, as it stands there)."""
    reasons = frozenset({R.BOOLEAN_FORMAT}) | _CATEGORY
    return [Dirt("other boolean", column, 1, _instead(a, b), reasons) for a, b in forms]


def _instead(clean: str, dirty: str) -> Dirty:
    return lambda text, _: dirty if text == clean else None


def _constant(value: str) -> Dirty:
    return lambda text, _: value if text else None


def _formatted(form: str) -> Dirty:
    return lambda text, _: form.format(text) if text else None


def _changed(text: str, dirty: str) -> str | None:
    return dirty if dirty != text else None


def _times(text: str, factor: int) -> str | None:
    value = float(text.replace(",", ".")) if text else 0.0
    if not value:
        return None
    digits = len(text.replace(",", ".").partition(".")[2])
    dirty = f"{value * factor:.{digits}f}"
    return dirty.replace(".", ",") if "," in text else dirty


def _swapped_mark(text: str, decimal: str, other: str) -> str | None:
    return text.replace(decimal, other) if decimal in text else None


def _grouped(text: str, decimal: str, separator: str, *, swap: bool = False) -> str | None:
    whole, _, rest = text.partition(decimal)
    if len(whole) < 4:
        return None
    marks = (decimal, separator) if swap else (separator, decimal)
    return f"{whole[:-3]}{marks[0]}{whole[-3:]}{marks[1]}{rest}"


def _misspelt(text: str, rng: np.random.Generator) -> str | None:
    """One letter lost, doubled, or two exchanged, behind the first; of four letters and more."""
    if len(text) < 4:
        return None
    place, way = int(rng.integers(1, len(text) - 1)), int(rng.integers(3))
    if way == 0:
        return _changed(text, text[:place] + text[place + 1 :])
    if way == 1:
        return text[:place] + text[place] + text[place:]
    return _changed(text, text[:place] + text[place + 1] + text[place] + text[place + 2 :])


def _misread(text: str, _: np.random.Generator) -> str | None:
    try:
        return _changed(text, text.encode().decode("cp1252"))
    except UnicodeDecodeError:
        return None


def _reformed(form: str, other: str) -> Dirty:
    return lambda text, _: datetime.strptime(text, form).strftime(other)


def _swapped(form: str) -> Dirty:
    swapped = form.replace("%m", "%?").replace("%d", "%m").replace("%?", "%d")
    return _reformed(form, swapped)


def _late(dirty: Dirty, form: str) -> Dirty:
    """Only for days beyond the 12th, which cannot be months."""
    return lambda text, rng: dirty(text, rng) if datetime.strptime(text, form).day > 12 else None


def _early(dirty: Dirty, form: str) -> Dirty:
    """Only for days that could be months."""

    def made(text: str, rng: np.random.Generator) -> str | None:
        moment = datetime.strptime(text, form)
        return dirty(text, rng) if moment.day <= 12 and moment.day != moment.month else None

    return made


def _serial(form: str) -> Dirty:
    """Days since 30 December 1899, as spreadsheets count; a fraction for the time."""

    def dirty(text: str, _: np.random.Generator) -> str:
        days = (datetime.strptime(text, form) - datetime(1899, 12, 30)) / timedelta(days=1)
        return f"{days:.6f}" if "%H" in form else f"{days:.0f}"

    return dirty


def _epoch(form: str, scale: int) -> Dirty:
    def dirty(text: str, _: np.random.Generator) -> str:
        seconds = (datetime.strptime(text, form) - datetime(1970, 1, 1)) / timedelta(seconds=1)
        return str(int(seconds) * scale)

    return dirty


def _impossible(form: str) -> list[str]:
    """The 30th of February, the 31st of April and month 13 with day 45, in the column's form."""
    return [
        form.replace("%Y", "2023")
        .replace("%m", month)
        .replace("%d", day)
        .replace("%H", "10")
        .replace("%M", "20")
        .replace("%S", "00")
        for month, day in (("02", "30"), ("04", "31"), ("13", "45"))
    ]
