"""Limits, policies, and what is judged from names, sizes and measures."""

from dataclasses import dataclass

import pydantic
import pytest

from components.images.inspect import (
    IMAGE_REASONS,
    CleanConfig,
    enforce,
    extension_finding,
    quality_notes,
    size_notes,
)
from components.records.reasons import Policy, Reason, RecordRejected


@dataclass(frozen=True)
class Measured:
    """What `Measures` would say of a picture."""

    darkest: int = 3
    brightest: int = 250
    mean: float = 120.0
    contrast: float = 50.0
    deviation: float = 130.0
    detail: float = 0.3
    edge: float = 0.4


def test_short_side_and_aspect_decide() -> None:
    limits = {"min_size_px": 8, "max_aspect": 20.0}
    assert size_notes(8, 160, **limits) == []
    assert size_notes(7, 500, **limits) == [
        (Reason.TOO_SMALL, "500 x 7 px, shortest side allowed 8 px"),
        (Reason.EXTREME_ASPECT, "500 x 7 px, 71.4 : 1, allowed 20 : 1"),
    ]
    for height_px, width_px in ((8, 161), (161, 8)):
        [(reason, detail)] = size_notes(height_px, width_px, **limits)
        assert reason is Reason.EXTREME_ASPECT
        assert "20.1 : 1, allowed 20 : 1" in detail


def test_defaults_and_refused_values() -> None:
    config = CleanConfig()
    assert (config.min_size_px, config.max_pixels) == (8, 8192 * 6144)
    assert (config.max_quarantined_share, config.min_images_per_class) == (0.5, 2)
    wrong_values = (
        {"max_pixels": 400_000_000},
        {"min_size_px": 0},
        {"max_quarantined_share": 1.1},
        {"max_aspect": 0.5},
        {"near_distance": 255},
    )
    for wrong in wrong_values:
        with pytest.raises(pydantic.ValidationError):
            CleanConfig.model_validate(wrong)


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ({"outlier": "keep"}, "outlier is not found in images"),
        ({"corrupt": "keep"}, "corrupt: keep is not possible; use quarantine or stop"),
        ({"exif_orientation": "keep"}, "use repair or quarantine or stop"),
        ({"blurry": "keep"}, "blurry|Input should be"),
    ],
)
def test_impossible_policies_are_refused_with_what_is_possible(
    policy: dict[str, str], message: str
) -> None:
    with pytest.raises(pydantic.ValidationError, match=message):
        CleanConfig.model_validate({"policy": policy})


def test_policies_of_labels_and_copies_belong_to_images_too() -> None:
    policy = {"split_leak": "keep", "near_duplicate": "quarantine", "blank": "keep"}
    assert set(CleanConfig.model_validate({"policy": policy}).policy) <= IMAGE_REASONS


@pytest.mark.parametrize(
    ("changes", "reasons"),
    [
        ({}, []),
        ({"contrast": 3.0, "deviation": 16.0, "brightest": 9}, [Reason.BLANK]),
        ({"contrast": 3.0, "deviation": 17.0}, []),
        ({"brightest": 56, "mean": 56.9}, [Reason.VERY_DARK]),
        ({"brightest": 57, "mean": 20.0}, []),
        ({"darkest": 200, "mean": 199.1}, [Reason.VERY_BRIGHT]),
        ({"darkest": 199, "mean": 230.0}, []),
        ({"detail": 0.005, "edge": 0.11}, [Reason.VERY_BLURRED]),
        ({"detail": 0.005, "edge": 0.12}, []),
        ({"detail": 0.006, "edge": 0.11}, []),
        (
            {"brightest": 20, "mean": 9.0, "detail": 0.001, "edge": 0.01},
            [Reason.VERY_DARK, Reason.VERY_BLURRED],
        ),
    ],
)
def test_measures_are_judged_by_the_limits(
    changes: dict[str, float], reasons: list[Reason]
) -> None:
    notes = quality_notes(Measured(**changes), CleanConfig())
    assert [reason for reason, _ in notes] == reasons
    assert all(any(digit.isdigit() for digit in detail) for _, detail in notes)


@pytest.mark.parametrize(
    ("name", "source_format", "reason"),
    [
        ("a.jpg", "JPEG", None),
        ("a.JPG", "JPEG", None),
        ("a.jpe", "JPEG", None),
        ("dir.x/a.jfif", "JPEG", None),
        ("a.JPEG", "MPO", None),
        ("a.tif", "TIFF", None),
        ("a.TIFF", "TIFF", None),
        ("a b\u0301 \u00e9.png", "PNG", None),
        ("a.pgm", "PPM", None),
        ("a.jpg", "PNG", Reason.WRONG_EXTENSION),
        ("a.png", "WEBP", Reason.WRONG_EXTENSION),
        ("a.png.jpg", "PNG", Reason.WRONG_EXTENSION),
        ("a", "JPEG", Reason.MISSING_EXTENSION),
        ("v1.5/a", "PNG", Reason.MISSING_EXTENSION),
        ("photo.v2", "PNG", Reason.MISSING_EXTENSION),
    ],
)
def test_extension_is_compared_with_the_content(
    name: str, source_format: str, reason: Reason | None
) -> None:
    finding = extension_finding(name, source_format)
    assert (finding[0] if finding else None) is reason
    if finding:
        assert f"holds {source_format}" in finding[1]


def test_policy_decides_what_is_refused() -> None:
    notes = [(Reason.VERY_DARK, "brightest luma 9")]
    enforce(notes, {})
    enforce(notes, {Reason.VERY_DARK: Policy.KEEP})
    for policy in (Policy.QUARANTINE, Policy.STOP):
        with pytest.raises(RecordRejected, match="brightest luma 9"):
            enforce(notes, {Reason.VERY_DARK: policy})
    with pytest.raises(RecordRejected):
        enforce([(Reason.BLANK, "")], {})
