"""Files that cannot or should not be learned from: no pictures, damaged, junk, bombs, poor ones."""

import cv2
import numpy as np

from components.records.reasons import Reason
from tests.dirty import damage
from tests.dirty.pictures import Picture, encoded
from tests.dirty.studio import OUTSIDE, NewFile, Plant, Studio
from tests.dirty.truth import Outcome

_CUT = {Reason.TRUNCATED, Reason.CORRUPT}


def unusable(studio: Studio) -> list[Plant]:
    """All defects that concern one file and its bytes or name."""
    return [
        *_no_images(studio),
        *_truncated_jpegs(studio),
        *_truncated_others(studio),
        *_corrupt(studio),
        *_names(studio),
        *_junk(studio),
        *_bombs(studio),
        *_sizes(studio),
        *_poor(studio),
    ]


def _no_images(studio: Studio) -> list[Plant]:
    contents = {
        "jpg": b"This is a note about the pictures, not a picture.\n" * 20,
        "png": damage.html(),
        "jpeg": damage.pdf(),
        "gif": damage.archive(),
        "webp": damage.random_bytes(studio.rng, 5000),
        "bmp": b'{"id": 7, "label": "barn", "boxes": [[1, 2, 30, 40]]}\n' * 9,
    }
    plants = [
        studio.plant("not an image", data, {Reason.NOT_AN_IMAGE}, extension=extension)
        for extension, data in contents.items()
    ]
    video = b"\0\0\0\x20ftypisom\0\0\x02\0isomiso2avc1mp41" + bytes(3000)
    plants.append(studio.plant("not an image", video, {Reason.NOT_AN_IMAGE, Reason.UNSUPPORTED}))
    plants += [
        studio.plant("zero bytes", b"", {Reason.EMPTY}, extension=extension)
        for extension in ("jpg", "png", "webp")
    ]
    return plants


def _truncated_jpegs(studio: Studio) -> list[Plant]:
    def plant(kind: str, data: bytes) -> Plant:
        return studio.plant(kind, data, _CUT)

    def progressive() -> bytes:
        return studio.jpeg(progressive=True)

    return [
        *[plant("truncated JPEG", damage.cut(studio.jpeg(), share)) for share in (0.3, 0.6, 0.9)],
        *[
            plant("grey rest", damage.cut_and_closed(studio.jpeg(quality), share))
            for quality, share in ((90, 0.3), (95, 0.6), (75, 0.8), (85, 0.93))
        ],
        *[plant("zero rest", damage.zero_filled(studio.jpeg(), share)) for share in (0.4, 0.8)],
        *[
            plant("truncated progressive", damage.cut(progressive(), share))
            for share in (0.35, 0.7)
        ],
        plant("progressive, closed", damage.cut_in_first_scan(progressive(), 0.6)),
        plant("progressive, closed", damage.cut_in_last_scan(progressive(), 0.4)),
    ]


def _truncated_others(studio: Studio) -> list[Plant]:
    def picture(format: str, **options: object) -> bytes:
        return encoded(studio.usual(), format, **options)

    def plant(kind: str, data: bytes, extension: str) -> Plant:
        return studio.plant(kind, data, _CUT, extension=extension)

    return [
        plant("truncated PNG", damage.cut(picture("PNG"), 0.5), "png"),
        plant("truncated PNG", picture("PNG")[:-12], "png"),
        plant("truncated PNG", damage.without_png_data(picture("PNG"), 0.6), "png"),
        plant("truncated GIF", damage.cut(picture("GIF"), 0.4), "gif"),
        plant("truncated GIF", damage.cut(picture("GIF"), 0.85), "gif"),
        plant("truncated WebP", damage.cut(picture("WEBP", quality=80), 0.5), "webp"),
        plant("truncated WebP", damage.cut(picture("WEBP", lossless=True), 0.8), "webp"),
        plant("truncated BMP", damage.cut(picture("BMP"), 0.6), "bmp"),
        plant("truncated TIFF", damage.cut(picture("TIFF", compression="tiff_lzw"), 0.5), "tif"),
    ]


def _corrupt(studio: Studio) -> list[Plant]:
    def noise(length: int) -> bytes:
        return studio.rng.integers(0, 256, length, dtype=np.uint8).tobytes()

    def plant(data: bytes, extension: str = "jpg") -> Plant:
        return studio.plant(f"corrupt {extension}", data, _CUT, extension=extension)

    def png() -> bytes:
        return encoded(studio.usual(), "PNG")

    gif = encoded(studio.usual(), "GIF")
    jpeg = studio.jpeg()
    return [
        plant(damage.overwritten(studio.jpeg(), noise(2000))),
        plant(damage.overwritten(studio.jpeg(), noise(800), 0.3)),
        plant(damage.overwritten(studio.jpeg(progressive=True), noise(1500), 0.4)),
        plant(damage.overwritten(studio.jpeg(), bytes(1500))),
        plant(damage.overwritten(studio.jpeg(), b"\xff" * 600, 0.6)),
        plant(jpeg[:25] + b"\xff" * 200 + jpeg[225:]),
        plant(damage.flipped(png()), "png"),
        plant(damage.flipped(png(), 0.9), "png"),
        plant(damage.overwritten(png(), noise(500)), "png"),
        plant(gif[:800] + b"\xff" * 400 + gif[1200:], "gif"),
    ]


def _names(studio: Studio) -> list[Plant]:
    def file(format: str, **options: object) -> bytes:
        return encoded(studio.photo(), format, **options)

    wrong = [("PNG", "jpg"), ("JPEG", "png"), ("GIF", "jpg"), ("WEBP", "jpg"), ("BMP", "png")]
    wrong += [("TIFF", "jpeg")]
    plants = [
        studio.plant(
            "wrong extension", file(held), {Reason.WRONG_EXTENSION}, Outcome.KEPT, extension=said
        )
        for held, said in wrong
    ]
    plants += [
        studio.plant(
            "missing extension", file(held), {Reason.MISSING_EXTENSION}, Outcome.KEPT, extension=""
        )
        for held in ("JPEG", "PNG", "JPEG")
    ]
    plants += [
        studio.plant(
            "unreadable name", file("JPEG"), {Reason.UNREADABLE_NAME}, Outcome.NAMED, name=name
        )
        for name in (b"caf\xe9 au lait.jpg", b"\xff\xfe\x80.jpg")
    ]
    links = [studio.plant("broken link", None, {Reason.UNREADABLE}) for _ in range(2)]
    outside = [
        Plant(
            "outside a class",
            (NewFile(studio.name(), file("JPEG"), OUTSIDE),),
            frozenset({Reason.OUTSIDE_CLASS, Reason.MISSING_LABEL}),
            Outcome.ASIDE,
        )
        for _ in range(2)
    ]
    return [*plants, *links, *outside]


def _junk(studio: Studio) -> list[Plant]:
    jpeg = studio.jpeg()
    contents = {
        ".DS_Store": damage.ds_store(),
        "Thumbs.db": damage.thumbs_db(),
        "desktop.ini": b"[.ShellClassInfo]\r\nIconIndex=0\r\n",
        "._IMG_7001.jpg": damage.apple_double(),
        "README.txt": b"Taken in spring. Ask before you use them.\n",
        "upload-7002.tmp": damage.cut(jpeg, 0.5),
        "IMG_7003.jpg.part": damage.cut(studio.jpeg(), 0.7),
        ".hidden-7004.jpg": studio.jpeg(),
        ".thumbnails/7005.jpg": studio.jpeg(),
        "checksums.md5": b"d41d8cd98f00b204e9800998ecf8427e  IMG_0001.jpg\n",
    }
    return [
        studio.plant("junk file", data, {Reason.JUNK_FILE}, name=name)
        for name, data in contents.items()
    ]


def _bombs(studio: Studio) -> list[Plant]:
    bombs = {
        "png": damage.png_bomb(50_000, 50_000),
        "PNG": damage.full_png_bomb(30_000, 30_000),
        "gif": damage.gif_bomb(65_000),
        "bmp": damage.bmp_bomb(80_000, 60_000),
        "tif": damage.tiff_bomb(60_000),
        "jpg": damage.jpeg_bomb(studio.jpeg(), 65_000),
    }
    return [
        studio.plant("bomb", data, {Reason.TOO_MANY_PIXELS}, extension=extension)
        for extension, data in bombs.items()
    ]


def _sizes(studio: Studio) -> list[Plant]:
    small, long = {Reason.TOO_SMALL}, {Reason.EXTREME_ASPECT}
    either = small | long
    sizes = [(1, 1, small), (3, 200, either), (5, 5, small), (200, 2, either)]
    plants = [
        studio.plant("too small", _png(studio, *size), reasons, extension="png")
        for *size, reasons in sizes
    ]
    plants += [
        studio.plant("extreme aspect", _png(studio, *size), long, Outcome.NAMED, extension="png")
        for size in ((20, 1000), (900, 16), (24, 1600))
    ]
    return plants


def _png(studio: Studio, height_px: int, width_px: int) -> bytes:
    size = (width_px, height_px)
    return encoded(np.asarray(cv2.resize(studio.usual(), size), np.uint8), "PNG")


def _poor(studio: Studio) -> list[Plant]:
    blank, dark, bright = {Reason.BLANK}, {Reason.VERY_DARK}, {Reason.VERY_BRIGHT}

    def plant(kind: str, picture: Picture, reasons: set[Reason]) -> Plant:
        data = encoded(picture, "JPEG", quality=92)
        return studio.plant(kind, data, reasons, Outcome.NAMED)

    def dim(share: float) -> Picture:
        return (studio.usual() * share).astype(np.uint8)

    near = studio.rng.integers(127, 130, (200, 260, 3), dtype=np.uint8)
    tint = np.full((240, 240, 3), (190, 60, 40), np.uint8)
    tint[::40] += 1
    return [
        plant("blank", np.full((200, 300, 3), 255, np.uint8), blank | bright),
        plant("blank", np.zeros((220, 220, 3), np.uint8), blank | dark),
        plant("blank", np.full((150, 330, 3), (40, 90, 160), np.uint8), blank),
        plant("near constant", near, blank),
        plant("near constant", tint, blank),
        *[plant("very dark", dim(share), dark | blank) for share in (0.03, 0.045, 0.06)],
        *[plant("very bright", 255 - dim(share), bright | blank) for share in (0.03, 0.045, 0.06)],
        *[
            plant("very blurred", _blurred(studio.usual(), share), {Reason.VERY_BLURRED})
            for share in (0.03, 0.05, 0.08, 0.12)
        ],
    ]


def _blurred(picture: Picture, share: float) -> Picture:
    """Out of focus by a share of the shorter side."""
    sigma = share * min(picture.shape[:2])
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), sigma), np.uint8)
