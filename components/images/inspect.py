"""What makes a decoded image usable: limits, and what is judged from a picture's measures."""

import posixpath
from collections.abc import Sequence
from typing import Self

from pydantic import Field, model_validator

from components.config import Config
from components.images.colours import Note
from components.images.quality import Measures
from components.images.similarity import NEAR_DISTANCE
from components.records.reasons import (
    Policy,
    Reason,
    RecordRejected,
    checked_policy,
    policy_of,
)

IMAGE_REASONS = frozenset(
    {
        Reason.EMPTY,
        Reason.UNREADABLE,
        Reason.UNREADABLE_NAME,
        Reason.JUNK_FILE,
        Reason.WRONG_EXTENSION,
        Reason.MISSING_EXTENSION,
        Reason.NOT_AN_IMAGE,
        Reason.TRUNCATED,
        Reason.CORRUPT,
        Reason.UNSUPPORTED,
        Reason.TOO_MANY_PIXELS,
        Reason.TOO_SMALL,
        Reason.EXTREME_ASPECT,
        Reason.BLANK,
        Reason.VERY_DARK,
        Reason.VERY_BRIGHT,
        Reason.VERY_BLURRED,
        Reason.EXIF_ORIENTATION,
        Reason.COLOUR_FORM,
        Reason.TRANSPARENCY,
        Reason.DEEP_COLOUR,
        Reason.SEVERAL_FRAMES,
        Reason.MISSING_LABEL,
        Reason.OUTSIDE_CLASS,
        Reason.BAD_SPLIT,
        Reason.LABEL_CONFLICT,
        Reason.CLASS_NAME_VARIANT,
        Reason.EMPTY_CLASS,
        Reason.CLASS_IN_ONE_SPLIT,
        Reason.DUPLICATE,
        Reason.DUPLICATE_PIXELS,
        Reason.NEAR_DUPLICATE,
        Reason.SPLIT_LEAK,
    }
)
"""What can be found in a data set of images."""

_MEAN_LEVELS = 2
_EXTENSIONS = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".jif"),
    "MPO": (".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".mpo"),
    "PNG": (".png", ".apng"),
    "GIF": (".gif",),
    "BMP": (".bmp", ".dib"),
    "WEBP": (".webp",),
    "TIFF": (".tif", ".tiff"),
    "AVIF": (".avif", ".avifs"),
    "JPEG2000": (".jp2", ".j2k", ".jpx", ".jpf", ".j2c", ".jpc"),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm", ".pfm"),
}
_KNOWN_EXTENSIONS = frozenset(name for names in _EXTENSIONS.values() for name in names) | {
    *(".heic", ".heif", ".ico", ".psd", ".svg", ".tga", ".eps", ".pdf", ".raw", ".jxl", ".txt")
}


class CleanConfig(Config):
    """Which images are set aside, and how many of them stop the job."""

    min_size_px: int = Field(8, ge=1)
    """Shortest side in pixels, after orientation; smaller images are set aside as too_small."""
    max_pixels: int = Field(50_331_648, ge=1, le=357_913_940)
    """Height x width above which an image is set aside as too_many_pixels, before it is decoded: a
    guard against decompression bombs; WebP and JPEG 2000 may have half. The default is 8192 x 6144
    (cameras of 50 megapixels), which keeps a process under 500 MiB while it decodes; each further
    megapixel takes up to 9 MiB. 357,913,940 is the most that Pillow's readers accept."""
    max_aspect: float = Field(20.0, ge=1.0)
    """Longer side over shorter side above which an image is reported as extreme_aspect."""
    blank_contrast: float = Field(3.0, ge=0.0)
    """An image is blank if luma and each colour have at most this standard deviation (levels of
    0..255, at a longest side of 256 px), ..."""
    blank_deviation: float = Field(16.0, ge=0.0)
    """... and no pixel lies farther than this from the mean: a hairline on paper is no blank."""
    dark_level: int = Field(56, ge=0, le=255)
    """An image is very dark if all but 0.002 % of its pixels have at most this luma (0..255)."""
    bright_level: int = Field(200, ge=0, le=255)
    """An image is very bright if all but 0.01 % of its pixels have at least this luma (0..255)."""
    blurred_detail: float = Field(0.006, ge=0.0)
    """An image is very blurred if the variance of its Laplacian is less than this share of the
    variance of its luma (at a longest side of 256 px), ..."""
    blurred_edge: float = Field(0.12, ge=0.0, le=1.0)
    """... and its steepest edges (the top 0.1 %) step by less than this share of its range from
    pixel to pixel. Measured on photographs of 400 x 533 px: none flagged as they are or with a
    blur of 2 px (standard deviation), 6 % at 3 px, 63 % at 5 px, 99 % at 8 px."""
    near_duplicates: bool = True
    """Search for near duplicates: encoded anew, resized, brightened, cropped by 5 % a side."""
    near_distance: int = Field(NEAR_DISTANCE, ge=0, le=254)
    """Bits of 255 (signs of low frequencies, after alignment) up to which two images are near
    duplicates. Measured: copies as above 98 % up to 19; different shots of alike garments from
    41."""
    policy: dict[Reason, Policy] = Field(default_factory=dict)
    """What is done per reason: repair, quarantine, keep or stop. Reasons not named here follow
    their defaults."""
    max_quarantined_share: float = Field(0.5, ge=0.0, le=1.0)
    """Share of the records read that may be set aside; beyond it the job stops with the reasons.
    0 stops at the first."""
    min_images_per_class: int = Field(2, ge=1)
    """Fewest usable images that a class may have; a class with fewer stops the job."""

    @model_validator(mode="after")
    def _policy_fits(self) -> Self:
        checked_policy(self.policy, IMAGE_REASONS, "images")
        return self


def size_notes(height_px: int, width_px: int, *, min_size_px: int, max_aspect: float) -> list[Note]:
    """What is wrong with the size of an upright picture: TOO_SMALL, EXTREME_ASPECT."""
    short_px, long_px = sorted((height_px, width_px))
    if short_px >= min_size_px and long_px <= max_aspect * short_px:
        return []
    size = f"{width_px} x {height_px} px"
    notes = []
    if short_px < min_size_px:
        notes.append((Reason.TOO_SMALL, f"{size}, shortest side allowed {min_size_px} px"))
    if long_px > max_aspect * short_px:
        detail = f"{size}, {long_px / short_px:.1f} : 1, allowed {max_aspect:g} : 1"
        notes.append((Reason.EXTREME_ASPECT, detail))
    return notes


def quality_notes(measures: Measures, clean: CleanConfig) -> list[Note]:
    """What the pixels of a picture say against it: BLANK, or VERY_DARK, _BRIGHT and _BLURRED."""
    if measures.contrast <= clean.blank_contrast and measures.deviation <= clean.blank_deviation:
        detail = f"standard deviation {measures.contrast:.1f}, mean {measures.mean:.0f} of 255"
        return [(Reason.BLANK, detail)]
    notes = []
    # The mean tells most pictures: where nearly all pixels keep a limit, so does their mean, but
    # for the few and for rounding.
    if measures.mean <= clean.dark_level + _MEAN_LEVELS and measures.brightest <= clean.dark_level:
        detail = f"brightest luma {measures.brightest} of 255, limit {clean.dark_level}"
        notes.append((Reason.VERY_DARK, detail))
    if measures.mean >= clean.bright_level - _MEAN_LEVELS and (
        measures.darkest >= clean.bright_level
    ):
        detail = f"darkest luma {measures.darkest} of 255, limit {clean.bright_level}"
        notes.append((Reason.VERY_BRIGHT, detail))
    if measures.detail < clean.blurred_detail and measures.edge < clean.blurred_edge:
        detail = f"detail {measures.detail:.4f}, limit {clean.blurred_detail:g}; "
        detail += f"steepest edge {measures.edge:.3f}, limit {clean.blurred_edge:g}"
        notes.append((Reason.VERY_BLURRED, detail))
    return notes


def extension_finding(name: str, source_format: str) -> Note | None:
    """Compare a file's name with what it holds.

    Args:
        name: File name or path.
        source_format: Pillow's name of the format found.

    Returns:
        WRONG_EXTENSION or MISSING_EXTENSION with the detail; None where all is well. An ending
        that belongs to no format (`photo.v2`) counts as missing.
    """
    extension = posixpath.splitext(name)[1].lower()
    allowed = _EXTENSIONS.get(source_format, ())
    if not allowed or extension in allowed:
        return None
    usual = f"holds {source_format}, usually {allowed[0]}"
    if extension in _KNOWN_EXTENSIONS:
        return Reason.WRONG_EXTENSION, f"{extension} file {usual}"
    return Reason.MISSING_EXTENSION, f"no image extension; {usual}"


def enforce(notes: Sequence[Note], policy: dict[Reason, Policy]) -> None:
    """Refuse a record for the first of its notes that the policy does not let pass.

    The refusal carries the other notes, which are as true.

    Raises:
        RecordRejected: The policy of the reason is quarantine or stop (who stops is the caller).
    """
    for reason, detail in notes:
        if policy_of(reason, policy) in (Policy.QUARANTINE, Policy.STOP):
            also = tuple(note for note in notes if note != (reason, detail))
            raise RecordRejected(reason, detail, also)
