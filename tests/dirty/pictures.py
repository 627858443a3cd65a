"""Photo-like pictures made by code: gradients, textures, shapes, grain; all clearly different."""

import io

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from tests.dirty.truth import Colours, View

Picture = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

FAMILIES = ("page", "sky", "still", "bricks", "drawing", "chart")
"""Kinds of pictures of which two look alike from afar and are still no copies of each other."""


def photo(rng: np.random.Generator, height_px: int = 0, width_px: int = 0) -> Picture:
    """A picture like a photo: uint8 RGB (H, W, 3), with detail on all scales.

    Args:
        rng: Where its content comes from.
        height_px: 0 for a size by chance, 64 to 480.
        width_px: 0 for a size by chance, 64 to 640.
    """
    height_px = height_px or int(rng.integers(64, 481))
    width_px = width_px or int(rng.integers(64, 641))
    canvas = _gradient(rng, height_px, width_px)
    for cells, strength in ((3, 90.0), (6, 60.0), (14, 35.0), (40, 18.0)):
        canvas += _cloud(rng, height_px, width_px, cells, strength)
    picture = _bytes(canvas)
    for _ in range(int(rng.integers(5, 11))):
        _shape(rng, picture)
    return _grain(rng, picture, 6)


def low_key(rng: np.random.Generator) -> Picture:
    """A night scene: mostly dark, with lamps and lit walls; nothing is wrong with it."""
    picture = photo(rng, 300, 400).astype(np.float32) * 0.16
    for _ in range(12):
        centre = (int(rng.integers(400)), int(rng.integers(300)))
        cv2.circle(picture, centre, int(rng.integers(4, 22)), _colour(rng, 150, 250), -1)
    return _grain(rng, _bytes(picture), 4)


def high_key(rng: np.random.Generator) -> Picture:
    """Snow: mostly bright, with dark trees; nothing is wrong with it."""
    picture = 255 - photo(rng, 300, 400).astype(np.float32) * 0.14
    for _ in range(14):
        x, y = int(rng.integers(400)), int(rng.integers(300))
        cv2.line(picture, (x, y), (x + int(rng.integers(-20, 20)), y + 70), (50, 45, 40), 3)
    return _grain(rng, _bytes(picture), 4)


def bokeh(rng: np.random.Generator) -> Picture:
    """A sharp thing before a background out of focus; nothing is wrong with it."""
    back = cv2.GaussianBlur(photo(rng, 320, 420), (0, 0), 14)
    thing = photo(rng, 150, 160)
    back[90:240, 120:280] = thing
    return np.asarray(back, np.uint8)


def of_family(family: str, rng: np.random.Generator) -> Picture:
    """A picture of one of `FAMILIES`; other numbers give another one of the same look."""
    makers = {
        "page": _page,
        "sky": _sky,
        "still": _still,
        "bricks": _bricks,
        "drawing": _drawing,
        "chart": _chart,
    }
    return makers[family](rng)


def encoded(picture: Picture | Image.Image, format: str, **options: object) -> bytes:
    """The bytes of a picture file, quickly made."""
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    if format == "GIF" and image.mode == "RGB":
        image = palette_of(image, 128)
    if format == "PNG":
        options = {"compress_level": 2} | options
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def palette_of(picture: Picture | Image.Image, colours: int) -> Image.Image:
    """The picture with a palette, found in a tenth of the time of Pillow's default."""
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    return image.quantize(colours, Image.Quantize.FASTOCTREE)


def view_of(picture: Picture, tolerance: float = 6.0) -> View:
    """What a reader has to see: size and mean colours of the quarters."""
    height_px, width_px = picture.shape[:2]
    return View(height_px, width_px, quarter_means(picture), tolerance)


def quarter_means(picture: Picture) -> Colours:
    """Mean RGB of the quarters: top left, top right, bottom left, bottom right."""
    middle_y, middle_x = picture.shape[0] // 2, picture.shape[1] // 2
    quarters = [
        picture[rows, columns]
        for rows in (slice(None, middle_y), slice(middle_y, None))
        for columns in (slice(None, middle_x), slice(middle_x, None))
    ]
    means = [quarter.reshape(-1, 3).mean(axis=0) for quarter in quarters]
    return tuple((float(red), float(green), float(blue)) for red, green, blue in means)


def _gradient(rng: np.random.Generator, height_px: int, width_px: int) -> Floats:
    angle = rng.uniform(0, 2 * np.pi)
    down = np.linspace(-1, 1, height_px, dtype=np.float32)[:, None] * np.sin(angle)
    across = np.linspace(-1, 1, width_px, dtype=np.float32)[None, :] * np.cos(angle)
    share = ((down + across + 1.5) / 3)[..., None]
    first, second = (rng.uniform(50, 205, 3).astype(np.float32) for _ in range(2))
    return np.asarray(first * (1 - share) + second * share, np.float32)


def _cloud(
    rng: np.random.Generator, height_px: int, width_px: int, cells: int, strength: float
) -> Floats:
    colours = rng.uniform(-0.3, 0.3, (cells, cells, 3)) + rng.uniform(-0.7, 0.7, (cells, cells, 1))
    small = (colours * strength).astype(np.float32)
    return np.asarray(
        cv2.resize(small, (width_px, height_px), interpolation=cv2.INTER_CUBIC), np.float32
    )


def _shape(rng: np.random.Generator, picture: Picture) -> None:
    height_px, width_px = picture.shape[:2]
    centre = rng.uniform(0.05, 0.95, 2) * (width_px, height_px)
    reach = rng.uniform(0.06, 0.28) * min(height_px, width_px)
    colour = _colour(rng, 10, 245)
    x, y = int(centre[0]), int(centre[1])
    form = int(rng.integers(4))
    if form == 0:
        cv2.circle(picture, (x, y), max(2, int(reach)), colour, -1, cv2.LINE_AA)
    elif form == 1:
        angles = np.sort(rng.uniform(0, 2 * np.pi, 5))
        corners = centre + reach * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        cv2.fillPoly(picture, [corners.astype(np.int32)], colour, cv2.LINE_AA)
    elif form == 2:
        size = (max(2, int(reach)), max(2, int(reach * 0.5)))
        cv2.ellipse(picture, (x, y), size, rng.uniform(0, 180), 0, 360, colour, -1, cv2.LINE_AA)
    else:
        step = max(3, int(reach / 4))
        for offset in range(0, 5 * step, step):
            end = (x + offset + int(reach), y + int(reach))
            cv2.line(picture, (x + offset, y), end, colour, max(1, step // 3), cv2.LINE_AA)


def _page(rng: np.random.Generator) -> Picture:
    """A scanned page: black words on white paper."""
    page = np.full((420, 300, 3), 247, np.uint8)
    for y in range(30, 395, 14):
        x, end = 25, 275 - int(rng.integers(0, 90)) * int(rng.integers(2))
        while x < end:
            word = int(rng.integers(6, 34))
            height = int(rng.integers(5, 9))
            page[y : y + height, x : min(x + word, end) : 2] = int(rng.integers(20, 60))
            x += word + int(rng.integers(4, 9))
    for _ in range(2):
        x, y = int(rng.integers(30, 180)), int(rng.integers(30, 300))
        page[y : y + 80, x : x + 90] = photo(rng, 80, 90)
    return _grain(rng, page, 3)


def _sky(rng: np.random.Generator) -> Picture:
    """Blue above, bright below, clouds, a skyline."""
    share = np.linspace(0, 1, 280, dtype=np.float32)[:, None, None]
    top, bottom = (np.array(c, np.float32) for c in ((70, 120, 200), (200, 215, 235)))
    canvas = (top * (1 - share) + bottom * share) * np.ones((1, 380, 1), np.float32)
    canvas += _cloud(rng, 280, 380, 7, 45)
    x = 0
    while x < 380:
        width, height = int(rng.integers(12, 50)), int(rng.integers(30, 130))
        canvas[280 - height :, x : x + width] = _colour(rng, 30, 110)
        x += width
    return _grain(rng, _bytes(canvas), 4)


def _still(rng: np.random.Generator) -> Picture:
    """The same table and wall every time, another thing on it."""
    same = np.random.default_rng(5)
    scene = _bytes(_gradient(same, 300, 300) * 0.4 + _cloud(same, 300, 300, 5, 30) + 90)
    scene[210:] = (120, 85, 55)
    thing = photo(rng, 190, 190)
    mask = np.zeros((190, 190), np.uint8)
    cv2.ellipse(mask, (95, 95), (int(rng.integers(60, 94)), 92), 0, 0, 360, 255, -1)
    scene[70:260, 55:245][mask > 0] = thing[mask > 0]
    return _grain(rng, scene, 4)


def _bricks(rng: np.random.Generator) -> Picture:
    """A wall: the same bond, bricks of other colours."""
    wall = np.full((256, 320, 3), 190, np.uint8)
    for row in range(8):
        for column in range(-1, 6):
            x, y = column * 64 + (row % 2) * 32, row * 32
            wall[y + 2 : y + 30, max(0, x + 2) : x + 62] = (
                int(rng.integers(90, 230)),
                int(rng.integers(40, 140)),
                int(rng.integers(30, 110)),
            )
    return _grain(rng, wall, 9)


def _drawing(rng: np.random.Generator) -> Picture:
    """Thin black lines on white."""
    paper = np.full((300, 300, 3), 255, np.uint8)
    for _ in range(9):
        points = rng.integers(10, 290, (4, 2)).astype(np.int32)
        cv2.polylines(paper, [points], True, (0, 0, 0), 2, cv2.LINE_AA)
    return paper


def _chart(rng: np.random.Generator) -> Picture:
    """Bars on a grid."""
    chart = np.full((240, 360, 3), 250, np.uint8)
    chart[20:220:40, 30:340] = 200
    for number in range(9):
        x, height = 40 + number * 33, int(rng.integers(10, 195))
        chart[220 - height : 220, x : x + 24] = _colour(rng, 20, 230)
    return chart


def _colour(rng: np.random.Generator, low: int, high: int) -> tuple[int, int, int]:
    red, green, blue = (int(value) for value in rng.integers(low, high, 3))
    return red, green, blue


def _grain(rng: np.random.Generator, picture: Picture, strength: int) -> Picture:
    noise = rng.integers(-strength, strength + 1, picture.shape, dtype=np.int8)
    return np.asarray(np.clip(picture.astype(np.int16) + noise, 0, 255), np.uint8)


def _bytes(canvas: Floats) -> Picture:
    return np.asarray(np.clip(canvas, 0, 255), np.uint8)
