"""Pictures that have to be brought to one form: turned, palettes, CMYK, alpha, 16 bits, frames."""

import cv2
import numpy as np
from PIL import Image

from components.records.reasons import Reason
from tests.dirty import damage
from tests.dirty.pictures import Picture, encoded, palette_of, view_of
from tests.dirty.studio import Plant, Studio
from tests.dirty.truth import Outcome

_ORIENTATION = 274
_STORED = {
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.transpose(1, 0, 2),
    6: lambda upright: np.rot90(upright),
    7: lambda upright: upright[::-1, ::-1].transpose(1, 0, 2),
    8: lambda upright: np.rot90(upright, -1),
}
"""EXIF orientation -> how the pixels of an upright picture are stored under it."""


def converted(studio: Studio) -> list[Plant]:
    """All forms, each with the right picture."""
    return [
        *[_turned(studio, orientation, "JPEG", "jpg") for orientation in _STORED],
        _turned(studio, 6, "PNG", "png"),
        _turned(studio, 3, "WEBP", "webp"),
        *_palettes(studio),
        *_print_colours(studio),
        *_transparent(studio),
        *_deep(studio),
        *_frames(studio),
    ]


def _turned(studio: Studio, orientation: int, format: str, extension: str) -> Plant:
    upright, exif = studio.usual(), Image.Exif()
    exif[_ORIENTATION] = orientation
    stored = np.ascontiguousarray(_STORED[orientation](upright))
    data = encoded(stored, format, quality=93, exif=exif)
    return _plant(
        studio, "EXIF orientation", data, upright, Reason.EXIF_ORIENTATION, extension=extension
    )


def _palettes(studio: Studio) -> list[Plant]:
    # One picture each: in two forms it would be a copy, under two classes a conflict.
    indexed = [palette_of(studio.usual(), 64) for _ in range(2)]
    plain, faxed = (Image.fromarray(studio.usual()).convert("1") for _ in range(2))
    fax = encoded(faxed, "TIFF", compression="group4")
    keyed = palette_of(studio.usual(), 16)
    hole = int(np.bincount(np.asarray(keyed).ravel()).argmax())
    rgba = np.asarray(_with_hole(keyed, hole).convert("RGBA"))
    return [
        _form(studio, "palette", encoded(indexed[0], "PNG"), _rgb(indexed[0]), "png"),
        _form(studio, "palette", encoded(indexed[1], "BMP"), _rgb(indexed[1]), "bmp"),
        _form(studio, "1 bit", encoded(plain, "PNG"), _rgb(plain), "png"),
        _form(studio, "1 bit", fax, _rgb(faxed), "tif"),
        _plant(
            studio,
            "transparency",
            encoded(keyed, "PNG", transparency=hole),
            _on_white(rgba),
            Reason.TRANSPARENCY,
            Reason.COLOUR_FORM,
            extension="png",
        ),
    ]


def _print_colours(studio: Studio) -> list[Plant]:
    plants = []
    for format, extension, with_black in (
        ("JPEG", "jpg", False),
        ("JPEG", "jpg", True),
        ("TIFF", "tif", True),
    ):
        picture = studio.usual()
        black_HW = (255 - picture.max(axis=2)) if with_black else np.zeros(picture.shape[:2])
        ink = 255.0 * (1 - picture / np.maximum(255 - black_HW, 1)[..., None])
        cmyk = np.dstack([np.clip(ink, 0, 255), black_HW]).astype(np.uint8)
        image = Image.frombytes("CMYK", picture.shape[1::-1], cmyk.tobytes())
        data = encoded(image, format, **({"quality": 95} if format == "JPEG" else {}))
        plants.append(
            _plant(
                studio, "CMYK", data, picture, Reason.COLOUR_FORM, extension=extension, tolerance=9
            )
        )
    return plants


def _transparent(studio: Studio) -> list[Plant]:
    plants = []
    for format, extension in (("PNG", "png"), ("WEBP", "webp"), ("LA", "png")):
        picture = studio.usual()
        height_px, width_px = picture.shape[:2]
        mask = np.zeros((height_px, width_px), np.uint8)
        size = (width_px // 2, height_px // 3)
        cv2.ellipse(mask, (width_px // 2, height_px // 2), size, 0, 0, 360, 255, -1)
        rgba = np.dstack([picture, mask])
        image = Image.fromarray(rgba)
        if format == "LA":
            image = image.convert("LA")
            rgba = np.asarray(image.convert("RGBA"))
        options = {"lossless": True, "exact": True} if format == "WEBP" else {}
        data = encoded(image, "PNG" if format == "LA" else format, **options)
        plants.append(
            _plant(
                studio,
                "transparency",
                data,
                _on_white(rgba),
                Reason.TRANSPARENCY,
                Reason.COLOUR_FORM,
                extension=extension,
            )
        )
    return plants


def _deep(studio: Studio) -> list[Plant]:
    """16 bits: read by clipping they are white, by the low byte noise."""
    gray, other, colour = (studio.usual().astype(np.uint16) * 257 for _ in range(3))
    tiff = encoded(Image.fromarray(np.ascontiguousarray(other[..., 1])), "TIFF")
    cases = [
        (damage.png_16_bit(gray[..., 0]), _gray(gray[..., 0]), "png"),
        (tiff, _gray(other[..., 1]), "tif"),
        (damage.png_16_bit(colour), (colour // 257).astype(np.uint8), "png"),
    ]
    return [
        _plant(studio, "16 bits", data, right, Reason.DEEP_COLOUR, extension=extension)
        for data, right, extension in cases
    ]


def _frames(studio: Studio) -> list[Plant]:
    plants = []
    for format, extension in (("GIF", "gif"), ("WEBP", "webp"), ("PNG", "png"), ("TIFF", "tif")):
        frames = [Image.fromarray(studio.photo(200, 260)) for _ in range(3)]
        frames = [palette_of(frame, 128) if format == "GIF" else frame for frame in frames]
        options = {"lossless": True} if format == "WEBP" else {}
        data = encoded(frames[0], format, save_all=True, append_images=frames[1:], **options)
        first = _rgb(frames[0])
        plants.append(
            _plant(
                studio,
                "several frames",
                data,
                first,
                Reason.SEVERAL_FRAMES,
                Reason.COLOUR_FORM,
                extension=extension,
            )
        )
    return plants


def _form(studio: Studio, kind: str, data: bytes, right: Picture, extension: str) -> Plant:
    return _plant(studio, kind, data, right, Reason.COLOUR_FORM, extension=extension)


def _plant(
    studio: Studio,
    kind: str,
    data: bytes,
    right: Picture,
    *reasons: Reason,
    extension: str,
    tolerance: float = 6.0,
) -> Plant:
    view = view_of(right, tolerance)
    return studio.plant(kind, data, set(reasons), Outcome.CONVERTED, extension=extension, view=view)


def _rgb(image: Image.Image) -> Picture:
    return np.asarray(image.convert("RGB"))


def _gray(values_HW: np.ndarray) -> Picture:
    return np.repeat((values_HW // 257).astype(np.uint8)[..., None], 3, axis=2)


def _with_hole(image: Image.Image, hole: int) -> Image.Image:
    copy = image.copy()
    copy.info["transparency"] = hole
    return copy


def _on_white(rgba_HWC: np.ndarray) -> Picture:
    alpha = rgba_HWC[..., 3:] / 255.0
    return np.asarray(rgba_HWC[..., :3] * alpha + 255 * (1 - alpha) + 0.5).astype(np.uint8)
