"""Clean pictures: plain ones, and benign oddities that must not be touched."""

import unicodedata
import zlib
from collections.abc import Iterator

import cv2
import numpy as np
from PIL import Image, ImageCms

from tests.dirty.damage import png_file
from tests.dirty.pictures import (
    FAMILIES,
    bokeh,
    encoded,
    high_key,
    low_key,
    of_family,
    view_of,
)
from tests.dirty.studio import Benign, NewFile, Studio

_NAMES = (
    "summer house 2.jpg",
    " leading blank.jpg",
    "two  blanks .jpg",
    unicodedata.normalize("NFC", "Gemälde für Zoë.jpg"),
    unicodedata.normalize("NFD", "Brücke über Fluß.jpg"),
    "日本の庭.jpg",
    "صورة.jpg",
    "sunset 🌅🌊.jpg",
    "100% sure.jpg",
    "a%20b%2Fc.jpg",
    'it\'s "quoted".jpg',
    "semi;colon,comma.jpg",
    "brackets [1] (2) {3}.jpg",
    "hash#tag?&=+.jpg",
    "back\\slash.jpg",
    "dots.in.the.name.jpg",
    "-rf.jpg",
    "line\nbreak.jpg",
    "n" * 240 + ".jpg",
    "sub folder/deeper/still deeper/nested.jpg",
)


def odd_ones(studio: Studio) -> list[Benign]:
    """All benign oddities."""
    return [*_names(studio), *_files(studio), *_contents(studio)]


def plain_ones(studio: Studio) -> Iterator[Benign]:
    """Clean pictures without end: mostly JPEG, some PNG and WebP."""
    while True:
        number = int(studio.rng.integers(10))
        picture = studio.photo()
        if number < 7:
            data, extension = encoded(picture, "JPEG", quality=80 + 2 * number), "jpg"
        elif number < 9:
            data, extension = encoded(picture, "PNG"), "png"
        else:
            data, extension = encoded(picture, "WEBP", quality=90), "webp"
        yield Benign("", NewFile(studio.name(extension), data), view_of(picture))


def _names(studio: Studio) -> list[Benign]:
    return [Benign("odd name", NewFile(name, studio.jpeg())) for name in _NAMES]


def _files(studio: Studio) -> list[Benign]:
    """Odd bytes or extensions of whole pictures."""
    upright = Image.Exif()
    upright[274] = 1
    upright[271] = "Headrace Cameras"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    picture = studio.usual()
    large = np.asarray(cv2.resize(studio.photo(600, 800), (3200, 2400)), np.uint8)
    opaque = Image.fromarray(studio.usual()).convert("RGBA")
    cases = [
        ("progressive JPEG", studio.jpeg(progressive=True), "jpg"),
        ("progressive JPEG", studio.jpeg(progressive=True, quality=70), "jpg"),
        ("trailing bytes", studio.jpeg() + bytes(800), "jpg"),
        ("trailing bytes", studio.jpeg() + b"\xff\xd9\xff\xd8trailer" * 9, "jpg"),
        ("trailing bytes", encoded(studio.usual(), "PNG") + b"\nappended by a tool\n", "png"),
        ("upper-case extension", studio.jpeg(), "JPG"),
        ("upper-case extension", studio.jpeg(), "JPEG"),
        ("upper-case extension", encoded(studio.usual(), "PNG"), "PNG"),
        ("other extension", studio.jpeg(), "jpeg"),
        ("other extension", studio.jpeg(), "jfif"),
        ("other extension", encoded(studio.usual(), "TIFF"), "tiff"),
        ("gray", encoded(Image.fromarray(studio.usual()).convert("L"), "JPEG"), "jpg"),
        ("gray", encoded(Image.fromarray(studio.usual()).convert("L"), "PNG"), "png"),
        ("EXIF, upright", studio.jpeg(exif=upright), "jpg"),
        ("colour profile", studio.jpeg(icc_profile=profile), "jpg"),
        ("opaque alpha", encoded(opaque, "PNG"), "png"),
        ("interlaced PNG", _interlaced(studio), "png"),
        ("restart markers", studio.jpeg(restart_marker_rows=1), "jpg"),
        ("4:4:4", studio.jpeg(subsampling=0, quality=98), "jpg"),
        ("low quality", studio.jpeg(quality=30), "jpg"),
        ("plain GIF", encoded(studio.usual(), "GIF"), "gif"),
        ("BMP", encoded(picture, "BMP"), "bmp"),
        ("large", encoded(large, "JPEG", quality=80), "jpg"),
        ("32 px icon", encoded(studio.photo(32, 32), "PNG"), "png"),
        ("32 px icon", encoded(studio.photo(32, 32), "PNG"), "png"),
        ("narrow, legal", encoded(studio.photo(80, 320), "JPEG", quality=92), "jpg"),
    ]
    return [Benign(kind, NewFile(studio.name(extension), data)) for kind, data, extension in cases]


def _contents(studio: Studio) -> list[Benign]:
    """Pictures that look odd and are right, and kinds of pictures that look alike."""
    makers = (low_key, low_key, high_key, high_key, bokeh, bokeh)
    pictures = [(maker.__name__.replace("_", " "), maker(studio.rng)) for maker in makers]
    pictures += [
        (f"alike: {family}", of_family(family, studio.rng)) for family in FAMILIES for _ in range(4)
    ]
    return [
        Benign(kind, NewFile(studio.name(), encoded(picture, "JPEG", quality=92)), view_of(picture))
        for kind, picture in pictures
    ]


def _interlaced(studio: Studio) -> bytes:
    """An Adam7 PNG, which Pillow does not write."""
    picture = studio.photo(120, 160)
    passes = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2))
    rows = [
        b"\0" + row.tobytes()
        for top, left, down, across in (*passes, (1, 0, 2, 1))
        for row in picture[top::down, left::across]
    ]
    return png_file(160, 120, 8, zlib.compress(b"".join(rows)), colour=2, interlace=1)
