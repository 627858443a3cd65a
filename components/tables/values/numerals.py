"""What stands in a cell that may be a number: digits, separators, signs, units, typed letters."""

import polars as pl

from components.tables.values.units import with_units

MANNERS = (
    "blanks",
    "characters",
    "quotes",
    "about",
    "confused_letter",
    "word",
    "parentheses",
    "trailing_minus",
    "plus",
    "exponent",
    "leading_zeros",
    "magnitude",
    "unit",
    "percent",
    "grouped",
    "decimal",
)
"""Ways to write a number other than `-12.5`. `grouped`: a thousands separator, `decimal`: a
decimal sign, that is not the column's own."""

LARGEST_EXACT = 2**53
"""Whole numbers from it on have no exact float64; they are not read as numbers."""

_ONES = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
]
_TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
_WORDS = (
    {word: str(number) for number, word in enumerate(_ONES)}
    | {ten: str(20 + 10 * i) for i, ten in enumerate(_TENS)}
    | {
        f"{ten}{joint}{_ONES[one]}": str(20 + 10 * i + one)
        for i, ten in enumerate(_TENS)
        for one in range(1, 10)
        for joint in "- "
    }
    | {"hundred": "100", "one hundred": "100", "a hundred": "100", "one thousand": "1000"}
)
# Digits of other scripts, signs and blanks that look like the plain ones.
_DIGITS = {
    chr(start + digit): str(digit)
    for start in (0xFF10, 0x0660, 0x06F0, 0x0966)
    for digit in range(10)
}
_SIGNS = dict.fromkeys("\u2212\u2013\u2014\ufe63\uff0d", "-") | {
    "\uff0b": "+",
    "\uff0e": ".",
    "\uff0c": ",",
    "\u066b": ".",
    "\u066c": ",",
}
_BLANKS = dict.fromkeys("\u00a0\u2007\u2009\u200a\u202f\u2002\u2003\u3000", " ") | {
    "\u200b": "",
    "\ufeff": "",
}
_APOSTROPHES = dict.fromkeys("\u2019\u02bc\u00b4`", "'")

PLAIN = r"^ *-?(?:0|[1-9]\d*)(?:\.\d*)? *$|^ *-?\.\d+ *$"
"""Numbers that every program writes and reads."""

_CONFUSED = r"^[+-]?[.,]?[\dOoIl|](?:[\dOoIl|SB.,]*[\dOoIl|])?$"
_INFINITE = r"(?i)^[+-]?(?:inf|infinity|∞|1\.#inf\d*|1\.#ind\d*|1\.#qnan\d*|-?nan\(.*\))$"
_NUMBER = (
    r"^(?P<sign>[+-])?\s*(?:(?P<prefix>US\$|[A-Z]{3}|Rs\.?|[$€£¥₹₽₩₺₪฿])\s*(?P<inner>[+-])?)?\s*"
    r"(?P<body>[.,]?\d(?:[\d.,' ]*\d)?[.,]?)(?P<exponent>[eE][+-]?\d{1,3})?"
    r"\s*(?P<suffix>[^\d\s+\-.,'][^\d\s]*?(?:\d|[²³])?)?\s*(?P<minus>-)?$"
)
_POINT = (
    r"^\d+\.?$|^\d*\.\d+$|^[1-9]\d{0,2}(?:,\d{3})+(?:\.\d*)?$|^[1-9]\d{0,2}(?: \d{3})+(?:\.\d*)?$"
    r"|^[1-9]\d{0,2}(?:'\d{3})+(?:\.\d*)?$|^[1-9]\d?(?:,\d{2})+,\d{3}(?:\.\d*)?$"
)
_COMMA = (
    r"^\d+,?$|^\d*,\d+$|^[1-9]\d{0,2}(?:\.\d{3})+(?:,\d*)?$|^[1-9]\d{0,2}(?: \d{3})+(?:,\d*)?$"
    r"|^[1-9]\d{0,2}(?:'\d{3})+(?:,\d*)?$"
)


def could_be_number(texts: pl.Expr) -> pl.Expr:
    """Whether a cell is worth a look of `number_cells`; cheap, and true for every number."""
    short = texts.str.len_chars() <= 40
    return short & (
        texts.str.contains(r"\d|∞|^[+-]?[Ii]") | texts.str.to_lowercase().is_in(list(_WORDS))
    )


def number_cells(texts: pl.Series, unit: str | None = None) -> pl.DataFrame:
    """Take written numbers apart, without knowing how their column is written.

    Args:
        texts: Utf8, distinct.
        unit: The column's unit; None where it is not yet known.

    Returns:
        One row per text, in any order: `text`; `point` and `comma`, Float64: the number where the
        decimal sign is a point, or a comma (null where it cannot be); `body` (the digits with
        separators); `unit_name` (canonical, "" for none); `infinite`; a Boolean per manner, except
        `grouped` and `decimal`, which only the column's form tells.
    """
    plain = texts.str.contains(PLAIN)
    return pl.concat([_plain_cells(texts.filter(plain)), _odd_cells(texts.filter(~plain), unit)])


def _plain_cells(texts: pl.Series) -> pl.DataFrame:
    """Cells as `12`, `-12.5` or `.5`: the most, and quickly read."""
    core = pl.col("text").str.strip_chars()
    body = core.str.strip_prefix("-")
    number = core.cast(pl.Float64, strict=False)
    whole = ~body.str.contains(".", literal=True)
    number = pl.when(~(whole & (number.abs() >= LARGEST_EXACT)) & number.is_finite()).then(number)
    groups = body.str.contains(r"^[1-9]\d{0,2}\.\d{3}$")
    return pl.DataFrame({"text": texts}).select(
        "text",
        point=number,
        comma=pl.when(whole).then(number).when(groups).then((number * 1000).round(0)),
        body=body,
        unit_name=pl.lit(""),
        infinite=pl.lit(False),
        blanks=pl.col("text") != core,
        **{manner: pl.lit(False) for manner in MANNERS[1:-2]},
    )


def _odd_cells(texts: pl.Series, unit: str | None) -> pl.DataFrame:
    cells = pl.DataFrame({"text": texts}).with_columns(core=pl.col("text").str.strip_chars())
    cells = _plain_characters(cells)
    cells = _unwrapped(cells, unit)
    cells = cells.with_columns(pl.col("core").str.extract_groups(_NUMBER).alias("parts")).unnest(
        "parts"
    )
    cells = with_units(cells)
    names = ("text", "point", "comma", "body", "unit_name", "infinite", *MANNERS[:-2])
    return _readings(cells).select(names)


def _plain_characters(cells: pl.DataFrame) -> pl.DataFrame:
    """Bring digits, signs and blanks of other scripts to ASCII."""
    looks = _DIGITS | _SIGNS
    tame = _BLANKS | _APOSTROPHES
    core = pl.col("core")
    ascii_core = core.str.replace_many(list(looks), list(looks.values()))
    return cells.with_columns(
        core=ascii_core.str.replace_many(list(tame), list(tame.values())).str.strip_chars(),
        blanks=pl.col("text") != core,
        characters=(ascii_core != core)
        | (pl.col("text").str.strip_chars(" \t\r\n") != core)
        | core.str.contains("[\u200b\ufeff]"),
    )


def _unwrapped(cells: pl.DataFrame, unit: str | None) -> pl.DataFrame:
    """Take off quotes, `ca.`, brackets; turn number words and mistyped letters into digits."""
    core = pl.col("core")
    cells = cells.with_columns(
        infinite=core.str.contains(_INFINITE),
        core=core.str.replace(r"^'(.+)$|^\"(.+)\"$", "$1$2").str.strip_chars(),
        quotes=core.str.contains(r"^'.+$|^\".+\"$"),
    )
    loose = core.str.replace(r"(?i)^(?:~|≈|ca\.?|approx\.?|about)\s*(.*\d.*)$", "$1")
    loose = loose.str.replace(r"^(.*\d)\s*[*†]+$", "$1")
    cells = cells.with_columns(core=loose, about=loose != core)
    cells = cells.with_columns(
        core=core.str.replace(r"^\(\s*([^()-]*)\s*\)$", "-$1"),
        parentheses=core.str.contains(r"^\([^()-]*\d[^()-]*\)$"),
    )
    word = core.str.to_lowercase()
    cells = cells.with_columns(
        core=pl.when(word.is_in(list(_WORDS))).then(word.replace(_WORDS)).otherwise(core),
        word=word.is_in(list(_WORDS)),
    )
    return _without_confused_letters(cells, unit)


def _without_confused_letters(cells: pl.DataFrame, unit: str | None) -> pl.DataFrame:
    """O for 0, l or I for 1, S for 5, B for 8, among digits that are at least as many."""
    core = pl.col("core")
    letters = core.str.count_matches("[OoIl|SB]")
    confused = (
        core.str.contains(_CONFUSED)
        & (letters > 0)
        & (core.str.count_matches(r"\d") >= letters)
        & ~core.str.contains(r"^\d[\d.,]*[Il|]$" if unit in (None, "l") else r"^$")
    )
    digits = core.str.replace_many(list("OoIl|SB"), list("0011158"))
    return cells.with_columns(
        core=pl.when(confused).then(digits).otherwise(core), confused_letter=confused
    )


def _readings(cells: pl.DataFrame) -> pl.DataFrame:
    """The number under either decimal sign, and the manners of its digits."""
    body, exponent = pl.col("body"), pl.col("exponent").fill_null("")
    negative = pl.any_horizontal(
        (pl.col("sign") == "-").fill_null(False),
        (pl.col("inner") == "-").fill_null(False),
        pl.col("minus").is_not_null(),
    )
    factor = pl.col("factor").fill_null(1.0) * pl.when(negative).then(-1.0).otherwise(1.0)
    point = body.str.replace_all("[, ']", "")
    comma = body.str.replace_all("[. ']", "").str.replace(",", ".", literal=True)
    cells = cells.with_columns(
        pl.when(body.str.contains(pattern))
        .then((digits + exponent).cast(pl.Float64, strict=False) * factor)
        .alias(name)
        for name, pattern, digits in (("point", _POINT, point), ("comma", _COMMA, comma))
    )
    whole = body.str.contains(r"^[\d ']+$|^\d{1,3}(?:,\d{2,3}){2,}$|^\d{1,3}(?:\.\d{3}){2,}$")
    sound = {
        reading: pl.when(
            pl.col(reading).is_finite() & ~(whole & (pl.col(reading).abs() >= LARGEST_EXACT))
        ).then(pl.col(reading))
        for reading in ("point", "comma")
    }
    infinite = pl.col("infinite") | pl.col("point").is_infinite().fill_null(False)
    return cells.with_columns(
        **sound,
        infinite=infinite,
        unit_name=pl.col("unit_name").fill_null(""),
        unit=pl.col("unit_name").fill_null("") != "",
        trailing_minus=pl.col("minus").is_not_null(),
        plus=pl.col("sign").eq_missing("+") | pl.col("inner").eq_missing("+"),
        exponent=pl.col("exponent").is_not_null(),
        leading_zeros=body.str.contains(r"^0\d").fill_null(False),
    )
