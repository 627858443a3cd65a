"""Missing values: how people spell them, and numbers that stand for them."""

from collections.abc import Mapping, Sequence

import polars as pl

CERTAIN = (
    "NA",
    "N/A",
    "n/a",
    "N/a",
    "n.a.",
    "N.A.",
    "na",
    "<NA>",
    "<na>",
    "NaN",
    "nan",
    "NAN",
    "-nan",
    "-NaN",
    "NaT",
    "null",
    "NULL",
    "<null>",
    "(null)",
    "[null]",
    "(NULL)",
    "nil",
    "NIL",
    "#N/A",
    "#N/A N/A",
    "#NA",
    "#NULL!",
    "#VALUE!",
    "#DIV/0!",
    "#REF!",
    "#NAME?",
    "#NUM!",
    "(blank)",
    "(empty)",
    "<blank>",
    "<empty>",
    "--",
    "---",
    "-- --",
    "?",
    "??",
    "???",
    "\\N",
    "N\\A",
    "-",
    "\u2013",
    "\u2014",
)
"""Spellings that are a missing value in any column, unless the column says otherwise
(`ColumnSchema.not_missing`). Written as given: `Null` and `Na` may be names."""

CONTEXTUAL = (
    ".",
    "..",
    "...",
    "*",
    "x",
    "xx",
    "xxx",
    "_",
    "/",
    "null",
    "nan",
    "nil",
    "na",
    "none",
    "missing",
    "unknown",
    "undefined",
    "unspecified",
    "not available",
    "not applicable",
    "not known",
    "not recorded",
    "not specified",
    "not reported",
    "no data",
    "no value",
    "no answer",
    "no info",
    "n.d.",
    "nd",
    "n/d",
    "tbd",
    "tba",
    "tbc",
    "blank",
    "empty",
    "void",
    "pending",
    "error",
    "err",
    "k.a.",
    "keine angabe",
    "unbekannt",
    "0000-00-00",
    "00/00/0000",
    "0000-00-00 00:00:00",
)
"""Spellings, in any case, that count as missing among numbers, dates and booleans, and rarely
elsewhere; those that a column uses so stand in its `ColumnSchema.missing`."""

SENTINELS = (
    -1.0,
    *(
        sign * float("9" * nines)
        for nines in range(1, 8)
        for sign in (-1, 1)
        if nines > 1 or sign < 0
    ),
    -8888.0,
    -888.0,
    -88.0,
    -777.0,
    888.0,
    8888.0,
    -32768.0,
    -2147483648.0,
    -999.9,
    -999.25,
    -99.9,
    999.9,
    9999.9,
    -9999.9,
    1e20,
    -1e20,
    1e30,
)
"""Numbers that stand for a missing value where they lie far from all others."""

COUNTED = (*SENTINELS, 0.0)
"""Numbers that are counted each: those, and 0, which may stand for a missing one (see
`zero_is_missing`)."""

_RARE_SHARE = 0.02
_RARE_OF_MEDIAN = 1 / 3
_ZERO_SHARE = 0.05
_WIDE = 30


def is_missing(
    texts: pl.Expr, missing: Sequence[str] = (), not_missing: Sequence[str] = ()
) -> pl.Expr:
    """Whether a cell of text is missing: null, blank, or spelled so.

    Args:
        texts: Utf8.
        missing: The column's own spellings (in any case), beside the certain ones.
        not_missing: Certain spellings that are names in this column, as written.
    """
    text = texts.str.strip_chars()
    certain = [spelling for spelling in CERTAIN if spelling not in not_missing]
    spelled = (text == "") | text.is_in(certain)
    if missing:
        own = [spelling.strip().lower() for spelling in missing]
        spelled = spelled | text.str.to_lowercase().is_in(own)
    return texts.is_null() | spelled.fill_null(True)


def could_be_missing(texts: pl.Expr) -> pl.Expr:
    """Whether a cell is written in one of all known spellings of a missing value, or is blank."""
    text = texts.str.strip_chars()
    return (
        (text == "") | text.is_in(list(CERTAIN)) | text.str.to_lowercase().is_in(list(CONTEXTUAL))
    )


def contextual_missing(spellings: Mapping[str, int]) -> tuple[str, ...]:
    """Spellings that mean missing in a column of numbers, dates or booleans."""
    return tuple(sorted(text for text in spellings if text not in CERTAIN and text.strip()))


def missing_among_names(
    spellings: Mapping[str, int], names: Mapping[str, int], num_names: int
) -> tuple[str, ...]:
    """Which contextual spellings mean missing in a column of names.

    `none`, `unknown` and their like may be a category as good as any. They count as missing only
    where names repeat and they are rare: at most 2 % of the values, and at most a third as frequent
    as the name of the median value.

    Args:
        spellings: How often each known spelling of a missing value occurs, as written.
        names: How often each other value occurs (or a sample of them).
        num_names: How many cells hold other values.
    """
    middle = _count_of_middle(names)
    most = min(_RARE_SHARE * num_names, max(1.0, _RARE_OF_MEDIAN * middle))
    found = contextual_missing(spellings)
    return tuple(text for text in found if middle >= 3 and spellings[text] <= max(1.0, most))


def _count_of_middle(names: Mapping[str, int]) -> int:
    """How often the name of the median value occurs: of rare names, there may be many."""
    left = sum(names.values()) / 2
    for count in sorted(names.values(), reverse=True):
        left -= count
        if left <= 0:
            return count
    return 0


def names_not_missing(
    spellings: Mapping[str, int], names: Mapping[str, int], used_elsewhere: bool
) -> tuple[str, ...]:
    """Which certain spellings are names in this column.

    `NA` among at least five codes of two capitals (countries, states, continents) is one of them,
    unless other columns of the table leave their cells as `NA`. `-` stands beside `+`.

    Args:
        spellings: How often each known spelling of a missing value occurs, as written.
        names: How often each other value occurs (or a sample of them).
        used_elsewhere: Whether `NA` occurs among numbers or dates of the same table.
    """
    codes = [name for name in names if len(name) == 2 and name.isascii() and name.isupper()]
    are_codes = len(codes) >= 5 and len(codes) >= 0.9 * len(names)
    signs = ("-", "\u2013") if "+" in names else ()
    kept = (*(("NA",) if are_codes and not used_elsewhere else ()), *signs)
    return tuple(text for text in kept if text in spellings)


def detected_sentinels(
    counts: Mapping[float, int],
    extent: tuple[float, float],
    plausible: tuple[float | None, float | None],
    num_values: int,
) -> tuple[float, ...]:
    """Numbers that stand for a missing value: known ones, repeated, and far from all others.

    Far means: beyond all others by half of their range, and not plausible (99999 among incomes up
    to 41310 is a cap); or negative, where nothing else is. -1 may be a floor of a house:
    it counts where all others are 1 and more, or reach from 0 to 30 and more. Numbers of up to two
    digits have to occur three times, longer ones twice, and none may be half of the column.

    Args:
        counts: How often each of `SENTINELS` occurs.
        extent: Smallest and largest of the other values, outliers left out.
        plausible: Smallest and largest plausible value, where known.
        num_values: Number of values in all.
    """
    return tuple(
        sorted(
            value
            for value, count in counts.items()
            if value in SENTINELS
            and (3 if abs(value) < 100 else 2) <= count <= 0.5 * num_values
            and _is_far(value, extent, plausible)
        )
    )


def zero_is_missing(
    count: int, extent: tuple[float, float], middle: float, num_values: int
) -> bool:
    """Whether 0 stands for a missing number: rare, repeated, and far below all others.

    As an age, a pressure or a salary: the smallest of the others is a quarter of the median or
    more, and 5 or more (or half of their range), so that 0 is no step below 1. At least three
    zeros, at most 5 % of the values: a column with more of them means them.

    Args:
        count: How often 0 occurs.
        extent: Smallest and largest of the other values, outliers left out.
        middle: Their median.
        num_values: Number of values in all.
    """
    low, high = extent
    is_rare = 3 <= count <= _ZERO_SHARE * num_values
    return is_rare and low >= 0.25 * middle and (low >= 5 or low >= 0.5 * (high - low)) and low > 0


def _is_far(
    value: float, extent: tuple[float, float], plausible: tuple[float | None, float | None]
) -> bool:
    (low, high), most = extent, plausible[1]
    reach = 0.5 * (high - low)
    if -10 < value < 0:
        return low >= 1 or (low >= 0 and high >= _WIDE)
    if value < 0:
        return value < low - reach or low >= 0
    digits = 10 ** len(str(int(max(abs(high), abs(low)))))
    return value > high + reach and (value >= digits if most is None else value > most)
