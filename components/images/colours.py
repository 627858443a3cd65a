"""Every colour form that Pillow reads, brought to 8-bit RGB in the right colours."""

import numpy as np
from PIL import Image

from components.records.reasons import Reason, RecordRejected

_DIRECT = ("RGB", "L", "1", "P", "CMYK", "YCbCr", "RGBX", "HSV")
_WITH_ALPHA = ("RGBA", "LA", "PA", "RGBa", "La")


def to_rgb(image: Image.Image) -> Image.Image:
    """Bring one loaded Pillow image to mode RGB.

    - transparency (alpha, or a transparent palette entry or colour): laid on white;
    - 16-bit gray: the high byte, as libpng and OpenCV do, so that 8-bit values widened by x 257
      or by x 256 both come back exactly (Pillow's own conversion clips at 255: white pictures);
    - 32-bit integers: taken as 16-bit when they reach beyond 255 and lie in 0..65535;
    - floats: 0..1 scaled by 255 and rounded;
    - CMYK, YCCK: Pillow's conversion, R = (255 - C)(255 - K) / 255, inverted as Adobe writes it.

    Raises:
        RecordRejected: UNSUPPORTED where the range or the colour space has no one meaning.
    """
    if image.mode.startswith("I") or image.mode == "F":
        return Image.fromarray(_deep_gray(np.asarray(image), image.mode)).convert("RGB")
    if image.mode in _WITH_ALPHA or image.has_transparency_data:
        return _on_white(image.convert("RGBA"))
    if image.mode in _DIRECT:
        return image.convert("RGB")
    raise RecordRejected(Reason.UNSUPPORTED, f"no conversion from {image.mode} to RGB")


def _deep_gray(gray_HW: np.ndarray, mode: str) -> np.ndarray:
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


def _on_white(rgba: Image.Image) -> Image.Image:
    white = Image.new("RGB", rgba.size, "white")
    white.paste(rgba.convert("RGB"), mask=rgba.getchannel("A"))
    return white
