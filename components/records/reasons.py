"""What can be wrong with data: one code per reason, how bad it is, what is done, what to do."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """How much a reader should care."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class Policy(StrEnum):
    """What is done about a finding; chosen per reason in the recipe."""

    REPAIR = "repair"
    """The record is mended and prepared."""
    QUARANTINE = "quarantine"
    """The record is set aside."""
    KEEP = "keep"
    """The record is prepared as it is, and the finding is written down."""
    STOP = "stop"
    """The job stops at the first."""


class Reason(StrEnum):
    """Reason codes in `findings.jsonl` and `quarantine/*.parquet`; the value is what is written."""

    # Files
    EMPTY = "empty"
    UNREADABLE = "unreadable"
    UNREADABLE_NAME = "unreadable_name"
    JUNK_FILE = "junk_file"
    WRONG_EXTENSION = "wrong_extension"
    MISSING_EXTENSION = "missing_extension"
    # Images
    NOT_AN_IMAGE = "not_an_image"
    TRUNCATED = "truncated"
    CORRUPT = "corrupt"
    UNSUPPORTED = "unsupported"
    TOO_MANY_PIXELS = "too_many_pixels"
    TOO_SMALL = "too_small"
    EXTREME_ASPECT = "extreme_aspect"
    BLANK = "blank"
    VERY_DARK = "very_dark"
    VERY_BRIGHT = "very_bright"
    VERY_BLURRED = "very_blurred"
    EXIF_ORIENTATION = "exif_orientation"
    COLOUR_FORM = "colour_form"
    TRANSPARENCY = "transparency"
    DEEP_COLOUR = "deep_colour"
    SEVERAL_FRAMES = "several_frames"
    # Labels, classes and splits
    MISSING_LABEL = "missing_label"
    OUTSIDE_CLASS = "outside_class"
    BAD_SPLIT = "bad_split"
    LABEL_CONFLICT = "label_conflict"
    CLASS_NAME_VARIANT = "class_name_variant"
    EMPTY_CLASS = "empty_class"
    CLASS_IN_ONE_SPLIT = "class_in_one_split"
    # Copies
    DUPLICATE = "duplicate"
    DUPLICATE_PIXELS = "duplicate_pixels"
    NEAR_DUPLICATE = "near_duplicate"
    SPLIT_LEAK = "split_leak"
    # Tables: structure
    ENCODING = "encoding"
    BLANK_ROW = "blank_row"
    REPEATED_HEADER = "repeated_header"
    SUMMARY_ROW = "summary_row"
    SHIFTED_ROW = "shifted_row"
    RAGGED_ROW = "ragged_row"
    COLUMN_NAME = "column_name"
    EMPTY_COLUMN = "empty_column"
    PREAMBLE = "preamble"
    BROKEN_QUOTE = "broken_quote"
    BAD_LINE = "bad_line"
    # Tables: cells
    MISSING_VALUE = "missing_value"
    SENTINEL = "sentinel"
    NUMBER_FORMAT = "number_format"
    NOT_A_NUMBER = "not_a_number"
    NOT_FINITE = "not_finite"
    DATE_FORMAT = "date_format"
    SWAPPED_DATE = "swapped_date"
    AMBIGUOUS_DATE = "ambiguous_date"
    IMPOSSIBLE_DATE = "impossible_date"
    BOOLEAN_FORMAT = "boolean_format"
    TEXT_FORM = "text_form"
    CATEGORY_VARIANT = "category_variant"
    CATEGORY_MISSPELT = "category_misspelt"
    UNKNOWN_CATEGORY = "unknown_category"
    OUTLIER = "outlier"
    # Tables: rows
    KEY_CONFLICT = "key_conflict"
    MISSING_KEY = "missing_key"
    RULE_VIOLATED = "rule_violated"


@dataclass(frozen=True)
class ReasonInfo:
    """What belongs to a reason.

    Attributes:
        severity: How much a reader should care.
        default: What is done where the recipe says nothing.
        allowed: What the recipe may choose.
        remedy: What the user can do about it.
    """

    severity: Severity
    default: Policy
    allowed: tuple[Policy, ...]
    remedy: str


_REPAIR, _ASIDE, _KEEP, _STOP = Policy.REPAIR, Policy.QUARANTINE, Policy.KEEP, Policy.STOP
_UNUSABLE = (_ASIDE, _STOP)
_DOUBTFUL = (_KEEP, _ASIDE, _STOP)
_MENDABLE = (_REPAIR, _ASIDE, _STOP)
_MENDED = (_REPAIR, _STOP)


def _error(remedy: str, default: Policy = _ASIDE, *allowed: Policy) -> ReasonInfo:
    return ReasonInfo(Severity.ERROR, default, allowed or _UNUSABLE, remedy)


def _warning(remedy: str, default: Policy, *allowed: Policy) -> ReasonInfo:
    return ReasonInfo(Severity.WARNING, default, allowed or _DOUBTFUL, remedy)


def _info(remedy: str, default: Policy = _REPAIR, *allowed: Policy) -> ReasonInfo:
    return ReasonInfo(Severity.INFO, default, allowed or _MENDABLE, remedy)


_FETCH = "fetch the file again"
_LOOK = "look at it; set data.clean.policy.{} to quarantine where it should not be learned from"

REASONS: dict[Reason, ReasonInfo] = {
    Reason.EMPTY: _error("the file has zero bytes; fetch it again or delete it"),
    Reason.UNREADABLE: _error("check that the file exists and may be read"),
    Reason.UNREADABLE_NAME: _error("rename the file; its name is not UTF-8"),
    Reason.JUNK_FILE: _info("delete the file; it is no data", _ASIDE, _ASIDE, _STOP),
    Reason.WRONG_EXTENSION: _info("rename the file to what it holds", _KEEP, *_DOUBTFUL),
    Reason.MISSING_EXTENSION: _info("give the file the extension it lacks", _KEEP, *_DOUBTFUL),
    Reason.NOT_AN_IMAGE: _error("remove the file; its bytes are no known image format"),
    Reason.TRUNCATED: _error(f"the file ends early; {_FETCH}"),
    Reason.CORRUPT: _error(f"the bytes are damaged; {_FETCH}"),
    Reason.UNSUPPORTED: _error("convert the file to 8- or 16-bit JPEG or PNG (gray, RGB or CMYK)"),
    Reason.TOO_MANY_PIXELS: _error(
        "raise data.clean.max_pixels if pictures this large are expected"
    ),
    Reason.TOO_SMALL: _error("lower data.clean.min_size_px if pictures this small are expected"),
    Reason.EXTREME_ASPECT: _warning(
        "raise data.clean.max_aspect if pictures this long are expected", _KEEP
    ),
    Reason.BLANK: _warning("one colour all over says nothing; remove it", _ASIDE),
    Reason.VERY_DARK: _warning(_LOOK.format("very_dark"), _KEEP),
    Reason.VERY_BRIGHT: _warning(_LOOK.format("very_bright"), _KEEP),
    Reason.VERY_BLURRED: _warning(_LOOK.format("very_blurred"), _KEEP),
    Reason.EXIF_ORIENTATION: _info("nothing; the picture was turned upright"),
    Reason.COLOUR_FORM: _info("nothing; the colours were brought to RGB"),
    Reason.TRANSPARENCY: _info("nothing; the picture was laid on white"),
    Reason.DEEP_COLOUR: _info("nothing; the values were scaled to 8 bits"),
    Reason.SEVERAL_FRAMES: _info("nothing; the first frame was taken"),
    Reason.MISSING_LABEL: _error("fill the label"),
    Reason.OUTSIDE_CLASS: _error("move the file into the folder of its class"),
    Reason.BAD_SPLIT: _error("write train, val or test into the split column"),
    Reason.LABEL_CONFLICT: _error(
        "the same record carries several labels; keep the right one", _ASIDE, *_DOUBTFUL
    ),
    Reason.CLASS_NAME_VARIANT: _warning("give the class one name", _REPAIR, _REPAIR, _KEEP, _STOP),
    Reason.EMPTY_CLASS: _warning("fill the folder of the class or delete it", _KEEP, _KEEP, _STOP),
    Reason.CLASS_IN_ONE_SPLIT: _warning(
        "give the class records in every split", _KEEP, _KEEP, _STOP
    ),
    Reason.DUPLICATE: _info("delete the copies", _REPAIR, _REPAIR, _STOP),
    Reason.DUPLICATE_PIXELS: _info("delete the copies", _REPAIR, _REPAIR, _KEEP, _STOP),
    Reason.NEAR_DUPLICATE: _warning("look at both; delete one where they are the same", _KEEP),
    Reason.SPLIT_LEAK: _error(
        "the same record lies in two splits; delete it from train", _ASIDE, *_DOUBTFUL
    ),
    Reason.ENCODING: _info("save the file as UTF-8", _REPAIR, *_MENDED),
    Reason.BLANK_ROW: _info("delete the row", _REPAIR, *_MENDED),
    Reason.REPEATED_HEADER: _info("delete the row", _ASIDE, _ASIDE, _STOP),
    Reason.SUMMARY_ROW: _warning("delete the row; it repeats others in sum", _ASIDE, *_UNUSABLE),
    Reason.SHIFTED_ROW: _warning("put the values under their columns", _REPAIR, *_MENDABLE),
    Reason.RAGGED_ROW: _error("give the row as many fields as the header"),
    Reason.COLUMN_NAME: _info("give each column one name", _REPAIR, _REPAIR, _STOP),
    Reason.EMPTY_COLUMN: _warning("fill the column or drop it", _KEEP, _KEEP, _STOP),
    Reason.PREAMBLE: _info("delete the lines that are no records", _REPAIR, *_MENDED),
    Reason.BROKEN_QUOTE: _warning("close the quote, or double a quote inside", _REPAIR, *_MENDED),
    Reason.BAD_LINE: _error("mend the line; it is no JSON object"),
    Reason.MISSING_VALUE: _info("leave missing values empty"),
    Reason.SENTINEL: _warning("leave missing values empty", _REPAIR, _REPAIR, *_DOUBTFUL),
    Reason.NUMBER_FORMAT: _info("write numbers plainly"),
    Reason.NOT_A_NUMBER: _error("write a number or leave the cell empty", _REPAIR, *_MENDABLE),
    Reason.NOT_FINITE: _warning("leave the cell empty", _REPAIR, *_MENDABLE),
    Reason.DATE_FORMAT: _info("write dates as 2024-12-31"),
    Reason.SWAPPED_DATE: _warning("write dates as 2024-12-31", _REPAIR, *_MENDABLE),
    Reason.AMBIGUOUS_DATE: _warning(
        "write dates as 2024-12-31, or state the order in data.columns", _REPAIR, *_MENDABLE
    ),
    Reason.IMPOSSIBLE_DATE: _error("mend the date", _ASIDE, _ASIDE, _REPAIR, _STOP),
    Reason.BOOLEAN_FORMAT: _info("write true or false"),
    Reason.TEXT_FORM: _info("remove the blanks around the text"),
    Reason.CATEGORY_VARIANT: _info("spell the category one way", _REPAIR, _REPAIR, *_DOUBTFUL),
    Reason.CATEGORY_MISSPELT: _warning(
        "spell the category one way, or edit data.columns.NAME.mapping",
        _REPAIR,
        _REPAIR,
        *_DOUBTFUL,
    ),
    Reason.UNKNOWN_CATEGORY: _warning("mend the value or add it to the schema", _KEEP),
    Reason.OUTLIER: _warning("look at the value", _KEEP),
    Reason.KEY_CONFLICT: _error("one key, several rows; keep the right one", _ASIDE, *_DOUBTFUL),
    Reason.MISSING_KEY: _error("fill the key"),
    Reason.RULE_VIOLATED: _warning("mend the row so that the rule holds", _KEEP),
}


class RecordRejected(Exception):
    """One record cannot be used; it goes to quarantine and the job goes on.

    Attributes:
        reason: Why.
        detail: The same in words, with the numbers behind it.
        also: Further reasons that would have been enough, with their details.
    """

    def __init__(
        self, reason: Reason, detail: str, also: tuple[tuple[Reason, str], ...] = ()
    ) -> None:
        super().__init__(f"{reason.value}: {detail}")
        self.reason = reason
        self.detail = detail
        self.also = also


def policy_of(reason: Reason, chosen: Mapping[Reason, Policy]) -> Policy:
    """What is done about a reason: what the recipe chose, else the default."""
    return chosen.get(reason, REASONS[reason].default)


def checked_policy(chosen: Mapping[Reason, Policy], found: Collection[Reason], where: str) -> None:
    """Check that every reason occurs in the modality, with a policy that makes sense for it.

    Args:
        chosen: The recipe's policies.
        found: Reasons that occur.
        where: In what, for the message: `images`.

    Raises:
        ValueError: One does not; names those that do.
    """
    foreign = [reason.value for reason in chosen if reason not in found]
    if foreign:
        known = ", ".join(sorted(reason.value for reason in found))
        raise ValueError(f"policy: {', '.join(foreign)} is not found in {where}; use {known}")
    for reason, policy in chosen.items():
        allowed = REASONS[reason].allowed
        if policy not in allowed:
            raise ValueError(
                f"{reason.value}: {policy.value} is not possible; use {' or '.join(allowed)}"
            )
