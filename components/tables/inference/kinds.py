"""What kind of values a column holds, told from its profile."""

import re

from components.tables.config import ColumnConfig
from components.tables.inference.forms import number_form
from components.tables.inference.profile import ColumnProfile
from components.tables.schema import ColumnKind
from components.tables.values.booleans import boolean_pair

READABLE_SHARE = 0.8
"""Share of the values of a column that have to read as numbers (dates) to make it one of them."""
UNIQUE_SHARE = 0.9
"""Distinct values per value from which on a column may be a key: some records may be copies."""
MAX_CATEGORIES = 1_000

_REPEATED_SHARE = 0.5
_LONGEST_NAME = 60
_KEY_WORD = "id|key|uuid|guid|pk|code|number|no|nr"
_KEY_NAME = re.compile(
    rf"^(?:{_KEY_WORD}|index|rownames|row_?id|unnamed: 0)$|[_\-. ](?:{_KEY_WORD})$"
    r"|^(?:id|key|uuid)[_\-. ]",
    re.IGNORECASE,
)
_KEY_CAMEL = re.compile(r"[a-z](?:Id|ID|Key|Code|No|Nr|UUID)$")

_STRONG_KEY = re.compile(
    r"(?i:(?:^|[_\-. ])(?:id|uuid|guid|pk|key)(?:$|[_\-. ]))|[a-z](?:Id|ID|UUID|Key)$"
)
_NO_KEY = re.compile(r"zip|post(?:al)?[_\-. ]?code|phone|mobile|fax|area|house")


def column_kind(name: str, column: ColumnProfile, config: ColumnConfig) -> ColumnKind:
    """The kind that the recipe pins, or the one that most values have."""
    if config.kind is not None:
        return config.kind
    if config.mapping is not None or config.categories is not None:
        return "category"
    if column.stored == "integer" and is_key_name(name) and is_unique(column):
        return "identifier"
    return _written_kind(name, column) if column.stored == "text" else column.stored


def is_key_name(name: str) -> bool:
    """Whether a column is called as keys are: id, order_id, userId, Sample Number."""
    return bool(_KEY_NAME.search(name.strip()) or _KEY_CAMEL.search(name.strip()))


def key_share(name: str, *, first: bool) -> float | None:
    """Distinct values per value that a column needs to be taken for the table's key.

    Some records may be copies, so that less than 1 is enough; the less a name and place speak for
    a key, the more. None: never, as a zip code or a phone number.
    """
    plain = name.strip().lower()
    if not is_key_name(name) or _NO_KEY.search(plain):
        return None
    if plain in ("id", "key", "uuid", "guid", "pk"):
        return 0.95
    strong = _STRONG_KEY.search(name.strip()) is not None
    if first:
        return 0.95 if strong else 0.97
    return 0.98 if strong else 0.995


def is_unique(column: ColumnProfile) -> bool:
    """Whether (nearly) no value repeats."""
    return bool(column.values.counts) and column.values.share_distinct >= UNIQUE_SHARE


def reads_as_dates(column: ColumnProfile) -> bool:
    """Whether most values are dates; bare numbers count where half are written as dates."""
    dates = sum(column.dates.shapes.values()) + column.dates.impossible
    enough = dates + column.dates.serials >= READABLE_SHARE * column.filled
    return column.filled > 0 and dates >= 0.5 * column.filled and enough


def reads_as_numbers(column: ColumnProfile) -> bool:
    """Whether most values are numbers, and no codes."""
    counts = column.numbers.counts
    numbers = counts.get("readable", 0) + counts.get("infinite", 0) + counts.get("wide", 0)
    enough = numbers >= READABLE_SHARE * column.filled
    return column.filled > 0 and enough and not _are_codes(column)


def _written_kind(name: str, column: ColumnProfile) -> ColumnKind:
    """The kind of a column of text."""
    if not column.filled:
        return "text"
    if column.values.complete and boolean_pair(column.values.counts, READABLE_SHARE):
        return "boolean"
    if reads_as_dates(column):
        timed = column.dates.timed >= 0.05 * sum(column.dates.shapes.values())
        return "datetime" if timed else "date"
    if reads_as_numbers(column):
        fractions = column.numbers.counts.get("fractional", 0)
        if is_key_name(name) and is_unique(column) and not fractions:
            return "identifier"
        whole = not fractions and number_form(column.numbers).whole
        return "integer" if whole else "number"
    return _kind_of_names(name, column)


def _are_codes(column: ColumnProfile) -> bool:
    """Whether what reads as numbers are codes: too long, zeros in front, letters of all kinds."""
    counts, units = column.numbers.counts, column.numbers.units
    readable, wide, zeros = (
        counts.get(trait, 0) for trait in ("readable", "wide", "leading_zeros")
    )
    if wide > 0.01 * (readable + wide) or zeros > 0.05 * readable:
        return True
    lengths = [trait for trait in counts if trait.startswith("digits:")]
    if zeros > 1 and len(lengths) == 1:
        return True
    with_unit = sum(units.values())
    return with_unit > 0.2 * readable and max(units.values()) < 0.8 * with_unit


def _kind_of_names(name: str, column: ColumnProfile) -> ColumnKind:
    """Category, identifier or text, by how often values repeat and how long they are."""
    filled, values = column.filled, column.values
    share = values.share_distinct
    has_words = column.spaced > 0.2 * filled
    if column.characters > _LONGEST_NAME * filled or not values.counts:
        return "text"
    if share >= UNIQUE_SHARE and filled > 1:
        return "text" if has_words else "identifier"
    if is_key_name(name) and share >= 0.3 and not has_words:
        return "identifier"
    if values.num_distinct <= MAX_CATEGORIES and (share <= _REPEATED_SHARE or filled < 20):
        return "category"
    return "text" if has_words or share <= _REPEATED_SHARE else "identifier"
