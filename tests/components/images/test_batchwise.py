"""Whole batches at once: drawn as albumentations draws, applied as it applies, within a level."""

import pickle
from typing import Any

import cv2
import numpy as np
import pytest
from albumentations.augmentations.geometric import functional as geometric
from albumentations.augmentations.pixel import functional as pixel

from components.images import augment
from components.images.augment import AugmentConfig, build_batch_augmenter, policy_names
from components.images.batchwise import (
    BatchAugmenter,
    ColourChange,
    Flip,
    Gray,
    Holes,
    RandomCrop,
    Warp,
    turn_hue,
)
from components.records.identity import record_uniforms

LIBRARY = augment._library()
IDS = [f"{n * 0x9E3779B97F4A7C15F39CC0605CEDC835 % 2**128:032x}" for n in range(4000)]
CROP = RandomCrop((0.35, 1.0), (3 / 4, 4 / 3))


def draws(change: Any, count: int = 64, epoch: int = 0) -> np.ndarray:
    return record_uniforms(5, epoch, IDS[:count], change.num_draws)


def scenes(count: int = 8, height_px: int = 40, width_px: int = 56) -> np.ndarray:
    """Smooth pictures in many colours, (count, H, W, 3)."""
    rng = np.random.default_rng(3)
    coarse = rng.integers(0, 256, (count, 6, 8, 3), dtype=np.uint8)
    size = (width_px, height_px)
    return np.stack([cv2.resize(c, size, interpolation=cv2.INTER_CUBIC) for c in coarse])


def built(*items: object, image_px: int = 32) -> BatchAugmenter | None:
    config = AugmentConfig.model_validate({"transforms": list(items)})
    return build_batch_augmenter(config, image_px=image_px)


# What is taken, and what is left to albumentations


@pytest.mark.parametrize("policy", policy_names())
def test_every_shipped_policy_is_taken_and_travels(policy: str) -> None:
    batchwise = build_batch_augmenter(AugmentConfig(policy=policy), image_px=32)
    assert batchwise is not None
    assert pickle.loads(pickle.dumps(batchwise)) == batchwise


@pytest.mark.parametrize(
    "item",
    [
        "Blur",
        {"RandomResizedCrop": {"p": 0.5}},
        {"RandomResizedCrop": {"size": [16, 16]}},
        {"RandomResizedCrop": {"interpolation": cv2.INTER_CUBIC}},
        {"Affine": {"interpolation": cv2.INTER_NEAREST}},
        {"Affine": {"fit_output": True}},
        {"Affine": {"translate_px": [1, 3]}},
        {"ToGray": {"method": "max"}},
        {"CoarseDropout": {"fill": "random"}},
        {"CoarseDropout": {"hole_height_range": [3, 8], "hole_width_range": [3, 8]}},
    ],
)
def test_what_batches_cannot_do_alike_is_left_to_albumentations(item: object) -> None:
    assert built("HorizontalFlip") is not None
    assert built(item, "HorizontalFlip") is None


def test_a_crop_after_another_transform_is_left_to_albumentations() -> None:
    assert built("HorizontalFlip", "RandomResizedCrop") is None


def test_albumentations_can_be_asked_for() -> None:
    config = AugmentConfig(policy="light", engine="albumentations")
    assert build_batch_augmenter(config, image_px=32) is None


# Crops


def test_crops_are_distributed_as_albumentations_draws_them() -> None:
    heights, widths = np.full(4000, 300), np.full(4000, 200)
    found = CROP.rectangles(draws(CROP, 4000), heights, widths)
    theirs = LIBRARY.RandomResizedCrop(size=(8, 8), scale=CROP.scale, ratio=CROP.ratio)
    theirs.set_random_seed(1)
    boxes = np.array(
        [
            theirs.get_params_dependent_on_data({"shape": (300, 200, 3)}, {})["crop_coords"]
            for _ in range(4000)
        ]
    )
    left, top, right, bottom = boxes.T
    expected = np.stack([top, left, bottom - top, right - left], axis=1)
    # Two samples of one distribution: Kolmogorov and Smirnov's statistic below 0.0436 at 0.1 %.
    for column in range(4):
        one, other = np.sort(found[:, column]), np.sort(expected[:, column])
        grid = np.arange(301)
        steps = [np.searchsorted(values, grid, side="right") / 4000 for values in (one, other)]
        assert np.abs(steps[0] - steps[1]).max() < 0.0436
    assert (found[:, 0] + found[:, 2] <= 300).all() and (found[:, 1] + found[:, 3] <= 200).all()


@pytest.mark.parametrize(("height_px", "width_px"), [(1000, 10), (10, 1000), (1, 1), (1, 50)])
def test_where_nothing_fits_the_crop_is_albumentations_own(height_px: int, width_px: int) -> None:
    crop = RandomCrop((0.9, 1.0), (3 / 4, 4 / 3))
    sizes = np.array([height_px]), np.array([width_px])
    (top, left, height, width) = crop.rectangles(draws(crop, 1), *sizes)[0].tolist()
    theirs = LIBRARY.RandomResizedCrop(size=(8, 8), scale=crop.scale, ratio=crop.ratio)
    theirs.set_random_seed(1)
    shape = {"shape": (height_px, width_px, 3)}
    expected = theirs.get_params_dependent_on_data(shape, {})["crop_coords"]
    assert (left, top, left + width, top + height) == tuple(expected)


def test_a_crop_is_cut_and_resized_and_asks_for_no_more_than_it_needs() -> None:
    pictures = scenes(4, 200, 300)
    asked: list[tuple[int, int]] = []

    def decode(row: int, height_px: int, width_px: int) -> np.ndarray:
        asked.append((height_px, width_px))
        return pictures[row]

    augmenter = BatchAugmenter(CROP, (), 32)
    numbers, sizes = draws(augmenter, 4), (np.full(4, 200), np.full(4, 300))
    found = np.empty((4, 32, 32, 3), np.uint8)
    augmenter.fill(found, decode, *sizes, numbers)
    for row, (top, left, height, width) in enumerate(CROP.rectangles(numbers, *sizes)):
        cut = pictures[row][top : top + height, left : left + width]
        expected = cv2.resize(cut, (32, 32), interpolation=cv2.INTER_AREA)
        assert np.abs(found[row].astype(int) - expected).mean() < 1.0
        # At the size asked for the crop has at least 32 pixels a side.
        assert asked[row][0] * height / 200 >= 32 and asked[row][1] * width / 300 >= 32
    small = [cv2.resize(p, (150, 100), interpolation=cv2.INTER_AREA) for p in pictures]
    half = np.empty_like(found)
    augmenter.fill(half, lambda row, height_px, width_px: small[row], *sizes, numbers)
    # A pixel of the small picture is two of the whole: crops move by less than one of its pixels.
    assert np.abs(half.astype(int) - found).mean() < 2.5


# Changes


def test_flips_are_opencvs_for_their_share() -> None:
    pictures = scenes(64)
    for axis in (0, 1):
        flip, found = Flip(axis, 0.25), pictures.copy()
        numbers = draws(flip)
        flip(found, numbers)
        for row, picture in enumerate(pictures):
            flipped = numbers[row, 0] < 0.25
            assert np.array_equal(found[row], cv2.flip(picture, axis) if flipped else picture)
        assert 5 <= (numbers[:, 0] < 0.25).sum() <= 30


@pytest.mark.parametrize("border", [cv2.BORDER_CONSTANT, cv2.BORDER_REFLECT_101])
def test_warps_are_albumentations_for_the_same_numbers(border: int) -> None:
    scale, rotate, shear, move = (0.8, 1.3), (-30.0, 40.0), (-8.0, 3.0), (-0.2, 0.1)
    warp = Warp(scale, scale, False, rotate, shear, shear, move, move, border, (9, 8, 7), 1.0)
    pictures = scenes()
    numbers, found = draws(warp, 8), pictures.copy()
    warp(found, numbers)

    def between(row: int, at: int, interval: tuple[float, float]) -> float:
        return interval[0] + (interval[1] - interval[0]) * numbers[row, at]

    for row, picture in enumerate(pictures):
        matrix = geometric.create_affine_transformation_matrix(
            {
                "x": int(between(row, 6, move) * 56),
                "y": int(between(row, 7, move) * 40),
            },
            {"x": -between(row, 4, shear), "y": -between(row, 5, shear)},
            {"x": between(row, 1, scale), "y": between(row, 2, scale)},
            between(row, 3, rotate),
            geometric.center((40, 56)),
        )
        expected = geometric.warp_affine(
            picture, matrix, cv2.INTER_LINEAR, (9, 8, 7), border, (40, 56)
        )
        # The same but for the last bit of the matrix, which may move a rounding.
        assert np.abs(found[row].astype(int) - expected).max() <= 1


def test_scales_may_be_kept_equal_and_nothing_moves_where_nothing_is_drawn() -> None:
    still = (0.0, 0.0)
    kept = Warp((0.5, 2.0), (0.5, 2.0), True, *[still] * 5, cv2.BORDER_CONSTANT, (0, 0, 0), 1.0)
    matrices = kept.matrices(draws(kept), 40, 56)
    np.testing.assert_allclose(matrices[:, 0, 0], matrices[:, 1, 1])
    none = Warp((1.0, 1.0), (1.0, 1.0), False, *[still] * 5, cv2.BORDER_CONSTANT, (0, 0, 0), 1.0)
    pictures = scenes()
    found = pictures.copy()
    none(found, draws(none, 8))
    assert np.array_equal(found, pictures)


@pytest.mark.parametrize("hue", [0.04, -0.05, 0.1, -0.13, 1 / 6, 0.25, 1 / 3, -0.4, 0.5, -0.5, 0.0])
def test_turned_hues_are_those_of_hsv_within_a_level(hue: float) -> None:
    pictures = scenes(4)
    for picture in pictures:
        hsv = cv2.cvtColor(picture.astype(np.float32) / 255, cv2.COLOR_RGB2HSV)
        hsv[..., 0] = np.mod(hsv[..., 0] + 360 * hue, 360)
        expected = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB) * 255
        found = picture.copy()
        turn_hue(found, hue)
        assert np.abs(found - expected).max() < 1.01


RANGES = {"brightness": (0.7, 1.3), "contrast": (0.6, 1.2), "saturation": (0.5, 1.5)}


@pytest.mark.parametrize("only", ["brightness", "contrast", "saturation", "hue", "all"])
def test_colours_change_as_by_albumentations_with_the_same_numbers(only: str) -> None:
    ranges = {**RANGES, "hue": (-0.1, 0.1)}
    for name in ranges:
        if only not in (name, "all"):
            ranges[name] = (0.0, 0.0) if name == "hue" else (1.0, 1.0)
    change = ColourChange(**ranges, p=1.0)
    pictures = scenes(24) // 2 + 60  # away from black and white, where order of clipping counts
    found, numbers = pictures.copy(), draws(change, 24)
    change(found, numbers)
    steps = [
        pixel.adjust_brightness_torchvision,
        pixel.adjust_contrast_torchvision,
        pixel.adjust_saturation_torchvision,
        pixel.adjust_hue_torchvision,
    ]
    moved = 0.0
    for row, picture in enumerate(pictures):
        expected = picture
        for which in numbers[row, 5:9].argsort():
            low, high = list(ranges.values())[which]
            expected = steps[which](expected, low + (high - low) * numbers[row, 1 + which])
        moved += np.abs(expected.astype(int) - picture).mean() / len(pictures)
        assert np.abs(found[row].astype(int) - expected).mean() < 1.8
        assert np.abs(found[row].astype(int) - expected).max() <= 12
    assert moved > 3


def test_every_order_of_colour_changes_is_drawn_and_only_for_its_share() -> None:
    change = ColourChange(**RANGES, hue=(-0.1, 0.1), p=0.5)
    numbers = draws(change, 2400)
    assert len({tuple(order) for order in numbers[:, 5:9].argsort(axis=1)}) == 24
    pictures = np.tile(scenes(1), (200, 1, 1, 1))
    found = pictures.copy()
    change(found, numbers[:200])
    kept = (found == pictures).all((1, 2, 3))
    assert np.array_equal(kept, numbers[:200, 0] >= 0.5)


def test_gray_is_opencvs() -> None:
    pictures = scenes(16)
    gray, found = Gray(0.5), pictures.copy()
    numbers = draws(gray, 16)
    gray(found, numbers)
    for row, picture in enumerate(pictures):
        gray_HW = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
        expected = np.stack([gray_HW] * 3, axis=2) if numbers[row, 0] < 0.5 else picture
        assert np.array_equal(found[row], expected)


def test_holes_have_the_drawn_sizes_and_lie_inside() -> None:
    holes = Holes((1, 1), (0.1, 0.3), (0.2, 0.5), (1, 2, 3), 1.0)
    found = np.full((300, 40, 50, 3), 255, np.uint8)
    holes(found, draws(holes, 300))
    inside = (found == (1, 2, 3)).all(3)
    talls, wides = inside.any(2).sum(1), inside.any(1).sum(1)
    assert np.array_equal(inside.sum((1, 2)), talls * wides)
    assert (talls.min(), talls.max()) == (4, 11) and (wides.min(), wides.max()) == (10, 24)
    many = Holes((2, 5), (0.1, 0.1), (0.1, 0.1), (0, 0, 0), 0.5)
    found = np.full((300, 40, 50, 3), 255, np.uint8)
    many(found, draws(many, 300))
    share = (found == 0).any((1, 2, 3)).mean()
    assert 0.4 < share < 0.6


# Draws


def test_draws_are_uniform_and_independent() -> None:
    numbers = record_uniforms(1, 2, IDS, 16)
    assert numbers.shape == (4000, 16) and numbers.min() >= 0 and numbers.max() < 1
    # Means of 4,000 uniform numbers: standard deviation 0.0046; correlations: 0.016.
    assert np.abs(numbers.mean(0) - 0.5).max() < 0.0185
    correlations = np.corrcoef(numbers.T) - np.eye(16)
    assert np.abs(correlations).max() < 0.07
    histogram = np.histogram(numbers, bins=64, range=(0, 1))[0]
    assert ((histogram - 1000) ** 2 / 1000).sum() < 104  # chi squared, 63 degrees, 0.1 %


def test_draws_hang_on_seed_epoch_and_record_alone() -> None:
    numbers = record_uniforms(1, 2, IDS[:100], 8)
    assert np.array_equal(numbers[40:60], record_uniforms(1, 2, IDS[40:60], 8))
    assert np.array_equal(numbers[:, :3], record_uniforms(1, 2, IDS[:100], 3))
    for other in (record_uniforms(2, 1, IDS[:100], 8), record_uniforms(1, 3, IDS[:100], 8)):
        assert not (other == numbers).any()
        assert abs(np.corrcoef(other.ravel(), numbers.ravel())[0, 1]) < 0.12
    # Records whose ids differ in one digit share nothing.
    near = [f"{n:032x}" for n in range(100)]
    assert np.abs(np.corrcoef(record_uniforms(0, 0, near, 100)) - np.eye(100)).max() < 0.55
    assert record_uniforms(2**64 - 1, 0, [], 4).shape == (0, 4)


@pytest.mark.parametrize("factor", [2, 4, 8])
def test_a_reduced_picture_is_cropped_where_the_whole_one_is(factor: int) -> None:
    # Sides that no factor divides: the last pixels of the reduced picture stand for fewer.
    height_px, width_px = 1003, 1501
    slope_HW = np.add.outer(np.arange(height_px), np.arange(width_px)) / 10
    whole_HWC = np.repeat(slope_HW[..., None], 3, axis=2).astype(np.uint8)
    rows, columns = -(-height_px // factor), -(-width_px // factor)
    bottom, right = rows * factor - height_px, columns * factor - width_px
    padded = cv2.copyMakeBorder(whole_HWC, 0, bottom, 0, right, cv2.BORDER_REPLICATE)
    reduced = cv2.resize(padded, (columns, rows), interpolation=cv2.INTER_AREA)
    augmenter = BatchAugmenter(CROP, (), 16)
    numbers, sizes = draws(augmenter, 30), (np.full(30, height_px), np.full(30, width_px))
    found = [np.empty((30, 16, 16, 3), np.uint8) for _ in range(2)]
    for images_BHWC, picture in zip(found, (whole_HWC, reduced), strict=True):
        augmenter.fill(images_BHWC, lambda *_, picture=picture: picture, *sizes, numbers)
    # A level is ten pixels of the slope: crops lie within half a reduced pixel of one another.
    assert np.abs(found[0].astype(int) - found[1]).max() <= 1 + factor / 5
