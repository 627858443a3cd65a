"""Copies are found, relatives are not, and no candidate search misses what comparing would find."""

import io

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from sklearn.datasets import load_digits, load_sample_image

from components.images.similarity import (
    NEAR_DISTANCE,
    NUM_KEYS,
    are_near,
    band_key_matrix,
    band_keys,
    distance,
    find_pairs,
    groups,
    near_pairs,
    similarity_hash,
)


def photo() -> np.ndarray:
    return np.ascontiguousarray(load_sample_image("china.jpg"))


def jpeg(image_HWC: np.ndarray, quality: int) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(image_HWC).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


def scaled(image_HWC: np.ndarray, factor: float) -> np.ndarray:
    return cv2.resize(image_HWC, None, fx=factor, fy=factor, interpolation=cv2.INTER_LINEAR)


def cropped(image_HWC: np.ndarray, *shares: float) -> np.ndarray:
    height_px, width_px = image_HWC.shape[:2]
    left, right, top, bottom = shares
    rows = slice(round(height_px * top), round(height_px * (1 - bottom)))
    return np.ascontiguousarray(
        image_HWC[rows, round(width_px * left) : round(width_px * (1 - right))]
    )


def marked(image_HWC: np.ndarray) -> np.ndarray:
    white = (255, 255, 255)
    return cv2.putText(image_HWC.copy(), "(c) 2024", (20, 410), cv2.FONT_HERSHEY_SIMPLEX, 1, white)


COPIES = {
    "q30": lambda a: jpeg(a, 30),
    "x0.3": lambda a: scaled(a, 0.3),
    "x3": lambda a: scaled(a, 3.0),
    "stretched": lambda a: cv2.resize(a, (300, 300)),
    "crop all sides": lambda a: cropped(a, 0.05, 0.05, 0.05, 0.05),
    "crop a corner": lambda a: cropped(a, 0.05, 0.0, 0.0, 0.05),
    "crop one side": lambda a: cropped(a, 0.0, 0.04, 0.0, 0.0),
    "all of it": lambda a: jpeg(scaled(cropped(a, 0.04, 0.03, 0.05, 0.02), 0.5), 50),
    "brighter": lambda a: np.clip(a * 1.1 + 8, 0, 255).astype(np.uint8),
    "watermark": marked,
}


def described(image_HWC: np.ndarray) -> bytes:
    described = similarity_hash(image_HWC)
    assert described is not None
    return described


@pytest.mark.parametrize("kind", COPIES)
@pytest.mark.parametrize("name", ["china.jpg", "flower.jpg"])
def test_copies_share_a_key_and_are_near(name: str, kind: str) -> None:
    original = np.ascontiguousarray(load_sample_image(name))
    left, right = described(original), described(COPIES[kind](original))
    assert set(band_keys(left)) & set(band_keys(right))
    assert distance(left, right) == distance(right, left) <= NEAR_DISTANCE
    assert are_near(left, right)


def test_other_parts_mirrors_and_other_pictures_are_not_near() -> None:
    original = photo()
    others = [
        load_sample_image("flower.jpg"),
        original[:, ::-1],
        original[::-1],
        cropped(original, 0.3, 0.0, 0.0, 0.0),
    ]
    for other in others:
        assert not are_near(described(original), described(np.ascontiguousarray(other)))


@pytest.mark.processes
def test_digits_enlarged_are_not_linked() -> None:
    """Handwriting of one digit looks alike when small: no two of 300 may be taken for copies."""
    digits = [np.dstack([(a * 255 / 16).astype(np.uint8)] * 3) for a in load_digits().images[:300]]
    large = [cv2.resize(a, (112, 112), interpolation=cv2.INTER_CUBIC) for a in digits]
    hashes = [described(image_HWC) for image_HWC in large]
    keys = [set(band_keys(item)) for item in hashes]
    shared = [(i, j) for i in range(300) for j in range(i) if keys[i] & keys[j]]
    assert len(shared) > 100
    assert not any(are_near(hashes[i], hashes[j]) for i, j in shared[:150])
    assert all(similarity_hash(image_HWC) is None for image_HWC in digits)


def test_pictures_without_contrast_or_size_are_not_searched() -> None:
    assert similarity_hash(np.full((300, 300, 3), 77, np.uint8)) is None
    assert similarity_hash(photo()[:31]) is None
    assert similarity_hash(photo()[:32]) is not None


@pytest.mark.processes
def test_many_pairs_at_once_are_judged_as_each_alone() -> None:
    pictures = [photo(), np.ascontiguousarray(load_sample_image("flower.jpg"))]
    copies = [change(image) for image in pictures for change in COPIES.values()]
    hashes = [described(image) for image in [*pictures, *copies]]
    pairs = [(left, right) for left in hashes for right in hashes]
    alone = [are_near(left, right) for left, right in pairs]
    assert len(pairs) > 300 and 0.2 < sum(alone) / len(alone) < 0.8
    left, right = ([pair[side] for pair in pairs] for side in (0, 1))
    assert near_pairs(left, right).tolist() == alone
    assert near_pairs([], []).tolist() == []


def test_pairs_of_a_bucket_are_those_that_comparing_each_finds() -> None:
    pictures = [photo(), np.ascontiguousarray(load_sample_image("flower.jpg"))]
    hashes = [described(image) for image in pictures]
    hashes += [described(jpeg(image, 60)) for image in pictures]
    hashes.append(described(scaled(pictures[0], 0.5)))
    expected = [
        (i, j, distance(hashes[i], hashes[j]))
        for i in range(5)
        for j in range(i + 1, 5)
        if are_near(hashes[i], hashes[j])
    ]
    assert find_pairs(hashes) == expected
    assert [pair[:2] for pair in expected] == [(0, 2), (0, 4), (1, 3), (2, 4)]
    assert groups(pair[:2] for pair in expected) == [[0, 2, 4], [1, 3]]
    assert find_pairs([]) == find_pairs(hashes[:1]) == []


def test_keys_are_bounded_and_do_not_depend_on_the_batch() -> None:
    rng = np.random.default_rng(2)
    hashes = [rng.integers(0, 256, 48 * 48, dtype=np.uint8).tobytes() for _ in range(50)]
    keys_NK = band_key_matrix(hashes)
    assert keys_NK.shape == (50, NUM_KEYS)
    assert keys_NK.min() >= 0 and keys_NK.max() < 1 << 28
    for item, keys_K in zip(hashes, keys_NK, strict=True):
        assert band_keys(item) == tuple(sorted(set(keys_K.tolist())))


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=40))
def test_groups_are_the_connected_components(pairs: list[tuple[int, int]]) -> None:
    joined = groups(pairs)
    members = [member for group in joined for member in group]
    assert sorted(members) == sorted({member for pair in pairs for member in pair})
    where = {member: number for number, group in enumerate(joined) for member in group}
    assert all(where[left] == where[right] for left, right in pairs)
    for group in joined:  # connected: every member is reached from the first
        reached = {group[0]}
        for _ in group:
            reached |= {b for a, b in pairs if a in reached} | {a for a, b in pairs if b in reached}
        assert reached == set(group)
    assert joined == [sorted(group) for group in sorted(joined)]
