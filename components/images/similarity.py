"""Near duplicates: the same picture encoded anew, resized, slightly cropped, brightened or marked.

Found without comparing all pairs, in three steps of growing cost:

1. `similarity_hash` keeps a gray thumbnail of 48 x 48 cells.
2. `band_keys` gives each picture at most 48 keys. A key is the signs of 28 low frequencies, as in a
   perceptual hash (Zauner 2010), of the whole picture and of views cropped by 5 %, each also with
   its 3 weakest signs turned (multi-probe hashing, Lv et al. 2007). Near duplicates share a key.
3. Pictures that share a key and look alike at 12 x 12 cells are aligned and compared, see
   `alignment.distances`; about 1 ms a pair.

Turned and mirrored copies, and crops beyond 5 % a side, are not looked for.
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise

import cv2
import numpy as np
import numpy.typing as npt

from components.images.alignment import SIDE, cosines, distances
from components.images.geometry import resize
from components.images.quality import luma, reduced

ImageArray = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

MIN_SIDE_PX = 32
"""Pictures with a shorter side have too little detail to tell copies from relatives."""
NUM_KEYS = 48
"""Keys of one picture; some may be equal."""
NEAR_DISTANCE = 24
"""Bits of 255 up to which two pictures are near duplicates."""

_MIN_CONTRAST = 4.0
_KEY_BITS, _TURNED_BITS = 28, 3
_VIEW_SIDE = 24
_CROP = 0.05
# What is cut off left, right, at the top and at the bottom.
_VIEWS = (
    (0.0, 0.0, 0.0, 0.0),
    (_CROP, _CROP, _CROP, _CROP),
    (_CROP, 0.0, _CROP, 0.0),
    (0.0, _CROP, _CROP, 0.0),
    (_CROP, 0.0, 0.0, _CROP),
    (0.0, _CROP, 0.0, _CROP),
)
_MIN_LIKENESS, _MIN_VIEW_LIKENESS = 0.5, 0.87
_BATCH_PAIRS = 256


def similarity_hash(image_HWC: ImageArray, reduced_HW: ImageArray | None = None) -> bytes | None:
    """Describe a picture for the search of near duplicates.

    Args:
        image_HWC: uint8 RGB.
        reduced_HW: Its reduced luma where that is known, see `quality.Measures`.

    Returns:
        2,304 bytes (48 x 48 cells of luma, the whole picture stretched to a square), or None
        where it is not searched: a side below 32 px, or hardly any contrast.
    """
    if min(image_HWC.shape[:2]) < MIN_SIDE_PX:
        return None
    gray_HW = reduced(luma(image_HWC)) if reduced_HW is None else reduced_HW
    cells_HW = resize(gray_HW, height_px=SIDE, width_px=SIDE)
    if float(cv2.meanStdDev(cells_HW)[1][0, 0]) < _MIN_CONTRAST:
        return None
    return cells_HW.tobytes()


def band_keys(similarity_hash: bytes) -> tuple[int, ...]:
    """The distinct keys of one picture, sorted: at most `NUM_KEYS` numbers below 2**28."""
    return tuple(np.unique(band_key_matrix([similarity_hash])).tolist())


def band_key_matrix(hashes: Sequence[bytes]) -> npt.NDArray[np.int64]:
    """Keys of many pictures at once: int64 (N, `NUM_KEYS`); a row may hold a key twice."""
    cells_NHW = _cells(hashes)
    keys = []
    for left, right, top, bottom in _VIEWS:
        view_NHW = _window(top, bottom) @ cells_NHW @ _window(left, right).T
        spectrum_NUV = np.asarray(_COSINES @ view_NHW @ _COSINES.T, np.float32)
        keys.append(_keys(spectrum_NUV[:, _ROWS, _COLUMNS]))
    return np.concatenate(keys, axis=1)


def distance(left: bytes, right: bytes) -> int:
    """Bits of 255 in which two pictures differ once aligned; 255 where they are not the same."""
    return int(distances(_cells([left]), _cells([right]))[0])


def are_near(left: bytes, right: bytes, *, max_distance: int = NEAR_DISTANCE) -> bool:
    """True if two pictures are near duplicates."""
    return distance(left, right) <= max_distance


def near_pairs(
    left: Sequence[bytes], right: Sequence[bytes], *, max_distance: int = NEAR_DISTANCE
) -> npt.NDArray[np.bool_]:
    """`are_near` of many pairs: bool (P,), in a sixth of the time.

    Pairs of which no view of the one resembles a view of the other are not aligned: of the
    candidates among photographs of alike things two thirds. Of 1,500 copies (re-encoded, resized,
    darker, brighter, cropped by up to 7 % a side) the least alike came to 0.925.
    """
    batches = list(pairwise([*range(0, len(left), _BATCH_PAIRS), len(left)]))
    likeness = [_likeness(_cells(left[i:j]), _cells(right[i:j])) for i, j in batches]
    near = np.zeros(len(left), bool)
    if not likeness:
        return near
    alike = np.flatnonzero(np.concatenate(likeness) >= _MIN_VIEW_LIKENESS)
    for rows in (
        alike[start : start + _BATCH_PAIRS] for start in range(0, len(alike), _BATCH_PAIRS)
    ):
        sides = (_cells([side[row] for row in rows]) for side in (left, right))
        near[rows] = distances(*sides) <= max_distance
    return near


def find_pairs(
    hashes: Sequence[bytes], *, max_distance: int = NEAR_DISTANCE
) -> list[tuple[int, int, int]]:
    """Near duplicates among the pictures of one bucket, that is those that share a key.

    All pairs are looked at, at 12 x 12 cells by one matrix product (10 million pairs a second), and
    those that look alike are compared in full (about 1 ms each).

    Returns:
        (i, j, distance) with i < j, sorted.
    """
    if not hashes:
        return []
    cells_NHW = _cells(hashes)
    blocks_NHW = cells_NHW.reshape(-1, 12, SIDE // 12, 12, SIDE // 12).mean((2, 4))
    level_ND = blocks_NHW.reshape(len(blocks_NHW), -1)
    level_ND = level_ND - level_ND.mean(1, keepdims=True)
    level_ND /= np.maximum(np.linalg.norm(level_ND, axis=1, keepdims=True), 1e-6)
    alike = np.argwhere(np.triu(level_ND @ level_ND.T >= _MIN_LIKENESS, k=1))
    pairs = []
    for start in range(0, len(alike), _BATCH_PAIRS):
        left, right = alike[start : start + _BATCH_PAIRS].T
        found = distances(cells_NHW[left], cells_NHW[right])
        pairs += [
            (int(i), int(j), int(bits))
            for i, j, bits in zip(left, right, found, strict=True)
            if bits <= max_distance
        ]
    return pairs


def groups(pairs: Iterable[tuple[int, int]]) -> list[list[int]]:
    """Join pairs into sorted groups, whatever is connected, in order of first member."""
    parents: dict[int, int] = {}

    def root(member: int) -> int:
        parents.setdefault(member, member)
        while parents[member] != member:
            parents[member] = parents[parents[member]]
            member = parents[member]
        return member

    for left, right in pairs:
        first, second = sorted((root(left), root(right)))
        parents[second] = first
    joined: dict[int, list[int]] = {}
    for member in sorted(parents):
        joined.setdefault(root(member), []).append(member)
    return [joined[first] for first in sorted(joined)]


def _likeness(left_PHW: Floats, right_PHW: Floats) -> Floats:
    """Best correlation of a view of the left with a view of the right, at 12 x 12 cells; (P,)."""
    left_PVD, right_PVD = _views(left_PHW), _views(right_PHW)
    return np.asarray((left_PVD @ right_PVD.transpose(0, 2, 1)).max((1, 2)), np.float32)


def _views(cells_PHW: Floats) -> Floats:
    views = []
    for left, right, top, bottom in _VIEWS:
        view_PHW = _halved(_window(top, bottom)) @ cells_PHW @ _halved(_window(left, right)).T
        view_PD = view_PHW.reshape(len(view_PHW), -1)
        view_PD = view_PD - view_PD.mean(1, keepdims=True)
        views.append(view_PD / np.maximum(np.linalg.norm(view_PD, axis=1, keepdims=True), 1e-6))
    return np.asarray(np.stack(views, 1), np.float32)


def _halved(weights: Floats) -> Floats:
    """The averages of two neighbours each."""
    return np.asarray((weights[::2] + weights[1::2]) / 2, np.float32)


def _cells(hashes: Sequence[bytes]) -> Floats:
    cells = np.frombuffer(b"".join(hashes), np.uint8)
    return cells.reshape(-1, SIDE, SIDE).astype(np.float32)


def _keys(values_NK: Floats) -> npt.NDArray[np.int64]:
    """Signs as a number, and that number with each choice of the weakest signs turned."""
    places = np.int64(1) << np.arange(_KEY_BITS, dtype=np.int64)
    code_N = ((values_NK > 0) * places).sum(1)
    # Stable, so that equal magnitudes turn the same bits on every machine.
    weakest_NT = places[np.argsort(np.abs(values_NK), axis=1, kind="stable")[:, :_TURNED_BITS]]
    choices = np.arange(1 << _TURNED_BITS)[:, None] >> np.arange(_TURNED_BITS) & 1
    turned_NC = weakest_NT @ choices.T
    return np.asarray(code_N[:, None] ^ turned_NC, np.int64)


def _window(cut_low: float, cut_high: float) -> Floats:
    """Averages that bring a window of the 48 cells to 24, parts of cells included."""
    low, high = SIDE * cut_low, SIDE * (1 - cut_high)
    edges = low + (high - low) / _VIEW_SIDE * np.arange(_VIEW_SIDE + 1)
    cells = np.arange(SIDE)
    overlap = np.minimum(edges[1:, None], cells + 1) - np.maximum(edges[:-1, None], cells)
    weights = np.clip(overlap, 0, 1)
    return np.asarray(weights / weights.sum(1, keepdims=True), np.float32)


_COSINES = cosines(8, _VIEW_SIDE)
_FREQUENCIES = sorted(
    ((u, v) for u in range(8) for v in range(8) if u + v > 0),
    key=lambda f: (f[0] ** 2 + f[1] ** 2, f),
)[:_KEY_BITS]
_ROWS, _COLUMNS = (np.array(axis) for axis in zip(*_FREQUENCIES, strict=True))
