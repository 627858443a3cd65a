"""Every colour form that Pillow reads, brought to 8-bit RGB in the right colours."""

import numpy as np
import numpy.typing as npt
from PIL import Image

from components.records.reasons import Reason, RecordRejected

ImageArray = npt.NDArray[np.uint8]
Note = tuple[Reason, str]
"""Something found, and in words what it was."""

_DIRECT = ("RGB", "L", "1", "P", "CMYK", "YCbCr", "RGBX", "HSV")
_PLAIN = ("RGB", "L")
_WITH_ALPHA = ("RGBA", "LA", "PA", "RGBa", "La")
_NAMES = {"1": "1-bit", "P": "palette", "PA": "palette", "CMYK": "CMYK", "YCbCr": "YCbCr"}
# Rows are converted in strips, so that a large picture is held once and not three times.
_STRIP_PIXELS = 1 << 22


def to_rgb(image: Image.Image) -> tuple[ImageArray, list[Note]]:
    """Bring one loaded Pillow image to 8-bit RGB.

    - transparency (alpha, or a transparent palette entry or colour): laid on white;
    - 16-bit gray: the high byte, as libpng and OpenCV do, so that 8-bit values widened by x 257
      or by x 256 both come back exactly (Pillow's own conversion clips at 255: white pictures);
    - 32-bit integers: taken as 16-bit when they reach beyond 255 and lie in 0..65535;
    - floats: 0..1 scaled by 255 and rounded;
    - CMYK, YCCK: Pillow's conversion, R = (255 - C)(255 - K) / 255, inverted as Adobe writes it.

    Returns:
        uint8 RGB (H, W, 3), and what was changed: COLOUR_FORM, TRANSPARENCY, DEEP_COLOUR.

    Raises:
        RecordRejected: UNSUPPORTED where the range or the colour space has no one meaning.
    """
    if image.mode.startswith("I") or image.mode == "F":
        gray_HW = _deep_gray(np.asarray(image), image.mode)
        note = (Reason.DEEP_COLOUR, f"values of mode {image.mode} scaled to 8 bits")
        return np.repeat(gray_HW[..., None], 3, axis=2), [note]
    if image.mode in _WITH_ALPHA or image.has_transparency_data:
        return _on_white(image)
    if image.mode in _DIRECT:
        return _in_strips(image)[0], colour_notes(image.mode)
    raise RecordRejected(Reason.UNSUPPORTED, f"no conversion from {image.mode} to RGB")


def colour_notes(mode: str) -> list[Note]:
    """What is worth saying about a colour form; gray and RGB are as usual."""
    if mode in _PLAIN:
        return []
    return [(Reason.COLOUR_FORM, f"{_NAMES.get(mode, mode)} brought to RGB")]


def _deep_gray(gray_HW: np.ndarray, mode: str) -> ImageArray:
    if gray_HW.dtype.kind == "u" and gray_HW.dtype.itemsize == 2:
        return (gray_HW >> 8).astype(np.uint8)
    low, high = float(gray_HW.min()), float(gray_HW.max())
    if mode == "F" and low >= 0.0 and high <= 1.0:
        return np.rint(gray_HW * 255.0).astype(np.uint8)
    if mode == "I" and low >= 0 and 255 < high <= 65535:
        return (gray_HW >> 8).astype(np.uint8)
    known = "0..1 for floats" if mode == "F" else "0..65535, and beyond 255, for integers"
    raise RecordRejected(
        Reason.UNSUPPORTED, f"gray values {low:g}..{high:g} of mode {mode}; understood: {known}"
    )


def _on_white(image: Image.Image) -> tuple[ImageArray, list[Note]]:
    image_HWC, lowest_alpha = _in_strips(image)
    notes = colour_notes("P") if image.mode in ("P", "PA") else []
    if lowest_alpha < 255:
        return image_HWC, [*notes, (Reason.TRANSPARENCY, "transparent parts laid on white")]
    return image_HWC, notes or [(Reason.COLOUR_FORM, "alpha channel, opaque all over, dropped")]


def _in_strips(image: Image.Image) -> tuple[ImageArray, int]:
    """RGB pixels on white, and the lowest alpha; 255 where there is none."""
    width_px, height_px = image.size
    has_alpha = image.mode in _WITH_ALPHA or image.has_transparency_data
    rows = max(1, _STRIP_PIXELS // width_px)
    if height_px <= rows:
        return _strip(image, has_alpha=has_alpha)
    image_HWC, lowest_alpha = np.empty((height_px, width_px, 3), np.uint8), 255
    for top in range(0, height_px, rows):
        strip = image.crop((0, top, width_px, min(top + rows, height_px)))
        image_HWC[top : top + rows], alpha = _strip(strip, has_alpha=has_alpha)
        lowest_alpha = min(lowest_alpha, alpha)
    return image_HWC, lowest_alpha


def _strip(image: Image.Image, *, has_alpha: bool) -> tuple[ImageArray, int]:
    if not has_alpha:
        return np.asarray(image.convert("RGB")), 255
    rgba = image.convert("RGBA")
    alpha = rgba.getchannel("A")
    white = Image.new("RGB", rgba.size, "white")
    white.paste(rgba.convert("RGB"), mask=alpha)
    return np.asarray(white), int(np.asarray(alpha).min())
