"""How far two thumbnails differ once one is laid on the other: scale and shift of each axis."""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

SIDE = 48
"""Rows and columns of a thumbnail."""
NUM_BITS = 255
"""Largest distance; also that of pictures whose detail does not agree."""

# Cells at the border that are not compared: the part that a crop of 5 % a side may have cut off,
# and what the alignment moves beyond the edge.
_MARGIN = 5
_INNER = slice(_MARGIN, SIDE - _MARGIN)
_CENTRE = (SIDE - 1) / 2
_CELLS = np.arange(SIDE, dtype=np.float32)
_OFFSETS = ((_CELLS - _CENTRE) / _CENTRE)[_INNER]
_MAX_SCALE, _MAX_SHIFT = 0.13, 0.07 * SIDE
_LIMITS = np.array([_MAX_SCALE * _CENTRE, _MAX_SHIFT] * 2, np.float32)
_MIN_COARSE, _MIN_FINE = 0.975, 0.94
_TINY = np.float32(1e-6)


def distances(left_PHW: Floats, right_PHW: Floats) -> npt.NDArray[np.int64]:
    """Distance of each pair of thumbnails in bits: 0 the same, 255 not the same picture.

    Either is laid on the other by least squares over scale and shift along each axis and over
    brightness and contrast (Lucas and Kanade 1981; Baker and Matthews 2004, inverse compositional),
    coarsely and then finely; the better way round counts. Compared are 43 - 5 = 38 cells a side:
    the distance is the number of differing signs among the 255 lowest frequencies. Pairs whose
    detail correlates by less than 0.975 (after the mean of 9 x 9 cells is taken off) or 0.94 (fine
    detail alone) get 255: silhouettes of one kind of thing agree in signs, not in detail.

    Args:
        left_PHW: float32 (P, 48, 48), levels.
        right_PHW: The same shape.
    """
    signs_P, coarse_P, fine_P = _compare(left_PHW, right_PHW)
    other_signs_P, other_coarse_P, other_fine_P = _compare(right_PHW, left_PHW)
    agrees_P = np.maximum(coarse_P, other_coarse_P) >= _MIN_COARSE
    agrees_P &= np.maximum(fine_P, other_fine_P) >= _MIN_FINE
    return np.where(agrees_P, np.minimum(signs_P, other_signs_P), NUM_BITS)


def _compare(moved_PHW: Floats, fixed_PHW: Floats) -> tuple[npt.NDArray[np.int64], Floats, Floats]:
    """Differing signs, and how the coarse and the fine detail correlate, once aligned."""
    moves_P4 = np.zeros((len(moved_PHW), 4), np.float32)
    moves_P4 = _aligned(_both(_COARSE, moved_PHW), _both(_COARSE, fixed_PHW), moves_P4, steps=4)
    moved_PHW, fixed_PHW = _both(_SMOOTH, moved_PHW), _both(_SMOOTH, fixed_PHW)
    moves_P4 = _aligned(moved_PHW, fixed_PHW, moves_P4, steps=5)
    moved_PHW, fixed_PHW = _moved(moved_PHW, moves_P4), fixed_PHW[:, _INNER, _INNER]
    signs_P = (_signs(moved_PHW) != _signs(fixed_PHW)).sum(1)
    coarse_P = _correlation(
        moved_PHW - _both(_NEAR, moved_PHW), fixed_PHW - _both(_NEAR, fixed_PHW)
    )
    fine_P = _correlation(_both(_FINE, moved_PHW), _both(_FINE, fixed_PHW))
    return signs_P.astype(np.int64), coarse_P, fine_P


def _aligned(moved_PHW: Floats, fixed_PHW: Floats, moves_P4: Floats, *, steps: int) -> Floats:
    """Gauss-Newton steps of scale and shift, across and down; with the Jacobian of the fixed."""
    inner_PHW = fixed_PHW[:, _INNER, _INNER]
    level_PHW = inner_PHW - inner_PHW.mean((1, 2), keepdims=True)
    across_PHW = ((np.roll(fixed_PHW, -1, 2) - np.roll(fixed_PHW, 1, 2)) / 2)[:, _INNER, _INNER]
    down_PHW = ((np.roll(fixed_PHW, -1, 1) - np.roll(fixed_PHW, 1, 1)) / 2)[:, _INNER, _INNER]
    columns = [
        across_PHW * _OFFSETS,
        across_PHW,
        down_PHW * _OFFSETS[:, None],
        down_PHW,
        level_PHW,
        np.ones_like(level_PHW),
    ]
    jacobian_PKN = np.stack(columns, 1).reshape(len(fixed_PHW), 6, -1)
    normal_PKK = jacobian_PKN @ jacobian_PKN.transpose(0, 2, 1)
    damping_P = 1e-3 * (1 + np.trace(normal_PKK[:, :4, :4], axis1=1, axis2=2) / 4)
    normal_PKK += damping_P[:, None, None] * np.eye(6, dtype=np.float32)
    solver_P4N = (np.linalg.inv(normal_PKK) @ jacobian_PKN)[:, :4]
    size_P11 = np.sqrt((level_PHW**2).sum((1, 2), keepdims=True))
    target_PHW = _normalized(inner_PHW)
    for _ in range(steps):
        error_PHW = (target_PHW - _normalized(_moved(moved_PHW, moves_P4))) * size_P11
        change_P4 = np.einsum("pkn,pn->pk", solver_P4N, error_PHW.reshape(len(error_PHW), -1))
        moves_P4 = np.clip(moves_P4 + change_P4, -_LIMITS, _LIMITS).astype(np.float32)
    return moves_P4


def _moved(image_PHW: Floats, moves_P4: Floats) -> Floats:
    """The inner cells, scaled and shifted; bilinear."""
    across, down = _weights(moves_P4[:, :2]), _weights(moves_P4[:, 2:])
    return np.asarray(down @ image_PHW @ across.transpose(0, 2, 1), np.float32)


def _weights(scale_and_shift_P2: Floats) -> Floats:
    scale_P1, shift_P1 = scale_and_shift_P2[:, :1], scale_and_shift_P2[:, 1:]
    places_PN = np.clip(_CELLS[_INNER] + shift_P1 + scale_P1 * _OFFSETS, 0, SIDE - 1)
    weights_PNS = np.maximum(0, 1 - np.abs(places_PN[:, :, None] - _CELLS))
    return np.asarray(weights_PNS, np.float32)


def _normalized(image_PHW: Floats) -> Floats:
    level_PHW = image_PHW - image_PHW.mean((1, 2), keepdims=True)
    size_P11 = np.sqrt((level_PHW**2).sum((1, 2), keepdims=True))
    return np.asarray(level_PHW / np.maximum(size_P11, _TINY), np.float32)


def _correlation(left_PHW: Floats, right_PHW: Floats) -> Floats:
    product_PHW = _normalized(left_PHW) * _normalized(right_PHW)
    return np.asarray(product_PHW.sum((1, 2)), np.float32)


def _signs(image_PHW: Floats) -> npt.NDArray[np.bool_]:
    positive_PHW = _both(_FREQUENCIES, image_PHW) > 0
    return positive_PHW.reshape(len(image_PHW), -1)[:, 1:]


def _both(matrix: Floats, image_PHW: Floats) -> Floats:
    """Apply a matrix along both axes."""
    return np.asarray(matrix @ image_PHW @ matrix.T, np.float32)


def _mean_of_near(size: int, reach: int) -> Floats:
    """Triangular weights up to `reach` cells away."""
    places = np.arange(size)
    weights = np.maximum(0, reach + 1 - np.abs(places[:, None] - places)).astype(np.float32)
    return np.asarray(weights / weights.sum(1, keepdims=True), np.float32)


def cosines(num: int, size: int) -> Floats:
    """The `num` lowest frequencies of the DCT-II over `size` cells, not normalized."""
    angles = np.pi * np.arange(num)[:, None] * (2 * np.arange(size) + 1) / (2 * size)
    return np.cos(angles).astype(np.float32)


_INNER_SIDE = SIDE - 2 * _MARGIN
_COARSE, _SMOOTH = _mean_of_near(SIDE, 4), _mean_of_near(SIDE, 2)
_NEAR = _mean_of_near(_INNER_SIDE, 4)
_FINE = np.eye(_INNER_SIDE, dtype=np.float32) - _mean_of_near(_INNER_SIDE, 6)
_FREQUENCIES = cosines(16, _INNER_SIDE)
