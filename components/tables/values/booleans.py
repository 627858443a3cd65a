"""Truth as people write it: yes and no, true and false, on and off."""

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

_PAIRS = (
    ("true", "false"),
    ("yes", "no"),
    ("y", "n"),
    ("t", "f"),
    ("on", "off"),
    ("1", "0"),
    ("1.0", "0.0"),
    ("ja", "nein"),
    ("oui", "non"),
    ("si", "no"),
    ("sí", "no"),
)
"""Words for true and false, in lower case."""

_TRUTHS = {true: True for true, _ in _PAIRS} | {false: False for _, false in _PAIRS}


@dataclass(frozen=True)
class ParsedBooleans:
    """Cells of one column, read as booleans; all series have the length of what was given."""

    values: pl.Series
    """Boolean; null where the cell is null or not readable."""
    exact: pl.Series
    """Boolean: written as the column mostly does."""
    readable: pl.Series
    """Boolean: `values` holds the truth."""


def parse_booleans(texts: pl.Series, main: tuple[str, ...] = ()) -> ParsedBooleans:
    """Read the cells of a column of booleans.

    Args:
        texts: Utf8, any length; null stays null.
        main: How the column writes true and false for the most part, as `ColumnSchema.booleans`;
            () takes every known word as exact.
    """
    word = texts.str.strip_chars().str.to_lowercase()
    values = word.replace_strict(_TRUTHS, default=None, return_dtype=pl.Boolean)
    readable = values.is_not_null()
    exact = texts.is_in(list(main)).fill_null(False) if main else readable
    return ParsedBooleans(values, exact & readable, readable)


def boolean_pair(counts: Mapping[str, int], share: float = 0.9) -> tuple[str, str] | None:
    """How a column writes true and false for the most part, if it is a column of booleans.

    It is one if `share` of its values are known words, both truths occur, and it is not mostly
    written in digits (those are whole numbers).

    Args:
        counts: How often each value occurs, missing ones left out.
        share: Least share of known words.

    Returns:
        The spellings of true and false, as written; None where it is no column of booleans.
    """
    known = {text: count for text, count in counts.items() if text.strip().lower() in _TRUTHS}
    num_known = sum(known.values())
    if not num_known or num_known < share * sum(counts.values()):
        return None
    in_digits = sum(count for text, count in known.items() if text.strip()[0] in "01")
    spellings = {
        truth: [text for text in sorted(known) if _TRUTHS[text.strip().lower()] is truth]
        for truth in (True, False)
    }
    if in_digits > 0.5 * num_known or not all(spellings.values()):
        return None
    true, false = (max(spellings[truth], key=lambda text: known[text]) for truth in (True, False))
    return true, false
