"""Why a record is set aside: one code per reason, each with what the user can do about it."""

from enum import StrEnum


class Reason(StrEnum):
    """Reason codes in `quarantine/*.parquet`; the value is what is written."""

    EMPTY = "empty"
    NOT_AN_IMAGE = "not_an_image"
    TRUNCATED = "truncated"
    CORRUPT = "corrupt"
    TOO_MANY_PIXELS = "too_many_pixels"
    TOO_SMALL = "too_small"
    UNREADABLE = "unreadable"
    MISSING_LABEL = "missing_label"
    LABEL_CONFLICT = "label_conflict"
    UNSUPPORTED = "unsupported"


REMEDIES: dict[Reason, str] = {
    Reason.EMPTY: "the file has zero bytes; fetch it again or delete it",
    Reason.NOT_AN_IMAGE: "the bytes are no known image format; remove the file from the source",
    Reason.TRUNCATED: "the file ends early; fetch it again",
    Reason.CORRUPT: "the bytes are damaged; fetch the file again",
    Reason.TOO_MANY_PIXELS: "raise data.clean.max_pixels if pictures this large are expected",
    Reason.TOO_SMALL: "lower data.clean.min_size_px if pictures this small are expected",
    Reason.UNREADABLE: "the file could not be opened; check that it exists and its permissions",
    Reason.MISSING_LABEL: "the row has no label; fill the label column",
    Reason.LABEL_CONFLICT: "the same bytes carry several labels; keep the right one",
    Reason.UNSUPPORTED: "convert the file to 8- or 16-bit JPEG or PNG (gray, RGB or CMYK)",
}


class RecordRejected(Exception):
    """One record cannot be used; it goes to quarantine and the job goes on."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason.value}: {detail}")
        self.reason = reason
        self.detail = detail
