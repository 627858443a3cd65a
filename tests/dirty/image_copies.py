"""The same picture several times: copies, near copies, under two labels, in two splits."""

import cv2
import numpy as np

from components.records.reasons import Reason
from components.records.split import Split
from tests.dirty.pictures import Picture, encoded
from tests.dirty.studio import NewFile, Plant, Studio
from tests.dirty.truth import Outcome

Variant = tuple[bytes, str]
"""Bytes and extension."""

_SIDES: tuple[tuple[Split, Split], ...] = (("train", "test"), ("train", "val"), ("val", "test"))


def copies(studio: Studio) -> list[Plant]:
    """Copies within a class: by bytes, by pixels, and nearly."""
    plants = [
        _group(studio, "exact copy", [(data, "jpg"), (data, "jpg")], {Reason.DUPLICATE})
        for data in (studio.jpeg() for _ in range(6))
    ]
    png = encoded(studio.usual(), "PNG")
    plants.append(_group(studio, "exact copy", [(png, "png")] * 2, {Reason.DUPLICATE}))
    triple = studio.jpeg()
    plants.append(_group(studio, "exact copy", [(triple, "jpg")] * 3, {Reason.DUPLICATE}))
    by_pixels = {Reason.DUPLICATE_PIXELS, Reason.DUPLICATE}
    plants += [_group(studio, "same pixels", pair, by_pixels) for pair in _same_pixels(studio)]
    plants += [
        _group(studio, "near copy", pair, {Reason.NEAR_DUPLICATE}, Outcome.TOGETHER)
        for pair in (_near(studio.usual(), number) for number in range(16))
    ]
    return plants


def conflicts(studio: Studio, labels: tuple[str, str]) -> list[Plant]:
    """The same picture under two labels, exactly and nearly."""
    plants = []
    for number in range(8):
        if number < 4:
            data = studio.jpeg()
            pair = [(data, "jpg"), (data, "jpg")]
        else:
            pair = _near(studio.usual(), number)
        kind = "two labels" if number < 4 else "two labels, nearly"
        files = tuple(
            NewFile(studio.name(extension), data, label)
            for (data, extension), label in zip(pair, labels, strict=True)
        )
        reasons = frozenset({Reason.LABEL_CONFLICT})
        plants.append(Plant(kind, files, reasons, Outcome.NAMED))
    return plants


def leaks(studio: Studio) -> list[Plant]:
    """The same picture in two given splits, under one label."""
    plants = []
    for number in range(12):
        exact = number < 5
        data = studio.jpeg()
        pair = [(data, "jpg")] * 2 if exact else _near(studio.usual(), number)
        files = tuple(
            NewFile(studio.name(extension), data, split=split)
            for (data, extension), split in zip(pair, _SIDES[number % 3], strict=True)
        )
        kind = "leak" if exact else "leak, nearly"
        plants.append(Plant(kind, files, frozenset({Reason.SPLIT_LEAK}), Outcome.TOGETHER))
    return plants


def _group(
    studio: Studio,
    kind: str,
    variants: list[Variant],
    reasons: set[Reason],
    outcome: Outcome = Outcome.ONE_KEPT,
) -> Plant:
    files = tuple(NewFile(studio.name(extension), data) for data, extension in variants)
    return Plant(kind, files, frozenset(reasons), outcome)


def _same_pixels(studio: Studio) -> list[list[Variant]]:
    pictures = [studio.usual() for _ in range(6)]
    pngs = [(encoded(picture, "PNG", compress_level=1), "png") for picture in pictures]
    others: list[Variant] = [
        (encoded(pictures[0], "PNG", compress_level=9), "png"),
        (encoded(pictures[1], "BMP"), "bmp"),
        (encoded(pictures[2], "WEBP", lossless=True), "webp"),
        (encoded(pictures[3], "TIFF", compression="tiff_lzw"), "tif"),
        (encoded(pictures[4], "PNG", dpi=(300, 300)), "png"),
    ]
    pairs = [[png, other] for png, other in zip(pngs, others, strict=False)]
    # A comment in the header: other bytes, the same pictures.
    jpeg = encoded(pictures[5], "JPEG", quality=90)
    pairs.append([(jpeg, "jpg"), (jpeg[:2] + b"\xff\xfe\x00\x0bcopy two!" + jpeg[2:], "jpg")])
    return pairs


def _near(picture: Picture, number: int) -> list[Variant]:
    """A JPEG and one that shows the same with other bytes and other pixels."""
    height_px, width_px = picture.shape[:2]
    first = (encoded(picture, "JPEG", quality=92), "jpg")
    variant = number % 8
    if variant == 0:
        return [first, (encoded(picture, "JPEG", quality=40), "jpg")]
    if variant == 1:
        return [first, (encoded(_resized(picture, 0.6), "JPEG", quality=88), "jpg")]
    if variant == 2:
        return [first, (encoded(_cropped(picture, 0.03), "JPEG", quality=90), "jpg")]
    if variant == 3:
        return [first, (encoded(_cropped(picture, 0.05), "JPEG", quality=92), "jpg")]
    if variant == 4:
        return [first, (encoded(picture, "WEBP", quality=80), "webp")]
    if variant == 5:
        brighter = np.clip(picture * 1.06 + 4, 0, 255).astype(np.uint8)
        return [first, (encoded(brighter, "JPEG", quality=90), "jpg")]
    if variant == 6:
        return [first, (encoded(_resized(picture, 1.5), "PNG"), "png")]
    signed = picture.copy()
    place = (width_px // 2, height_px - 12)
    cv2.putText(signed, "(c) 2024", place, cv2.FONT_HERSHEY_SIMPLEX, 0.45, (255, 255, 255))
    return [first, (encoded(signed, "JPEG", quality=85), "jpg")]


def _resized(picture: Picture, scale: float) -> Picture:
    return np.asarray(
        cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8
    )


def _cropped(picture: Picture, share: float) -> Picture:
    """Cut off at the left and top by that share of the sides."""
    height_px, width_px = picture.shape[:2]
    return np.ascontiguousarray(picture[round(height_px * share) :, round(width_px * share) :])
