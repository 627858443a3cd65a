"""Sums are exact and add up in any order; mean and std equal numpy's."""

import numpy as np
import pydantic
import pytest

from components.errors import DataError
from components.images.fit import MIN_STD, ChannelSums, ChannelTransform, channel_sums, fit_channels


def random_images() -> list[np.ndarray]:
    rng = np.random.default_rng(3)
    shapes = [(1, 1), (7, 5), (64, 64), (33, 129), (533, 400)]
    return [rng.integers(0, 256, (*shape, 3), dtype=np.uint8) for shape in shapes]


def total(images: list[np.ndarray]) -> ChannelSums:
    return sum((channel_sums(image) for image in images), ChannelSums.zero())


def test_sums_are_exact_integers() -> None:
    for image_HWC in random_images():
        values = image_HWC.reshape(-1, 3).astype(np.int64)
        sums = channel_sums(image_HWC)
        assert sums.num_pixels == len(values)
        assert sums.sums == tuple(values.sum(0).tolist())
        assert sums.sums_of_squares == tuple((values**2).sum(0).tolist())
        assert all(type(value) is int for value in (*sums.sums, *sums.sums_of_squares))


@pytest.mark.parametrize("value", [1, 255])
def test_sums_are_exact_beyond_24_bits(value: int) -> None:
    """17 million equal pixels: float32 counts end at 16,777,216, int32 sums at 33 thousand."""
    sums = channel_sums(np.full((4100, 4101, 3), value, np.uint8))
    assert sums.num_pixels == 16_814_100
    assert sums.sums == (16_814_100 * value,) * 3
    assert sums.sums_of_squares == (16_814_100 * value * value,) * 3


def test_views_and_read_only_images_are_summed_too() -> None:
    image_HWC = random_images()[3]
    image_HWC.setflags(write=False)
    view = image_HWC[::2, ::-1]
    assert channel_sums(view) == channel_sums(np.ascontiguousarray(view))


def test_order_and_grouping_do_not_matter() -> None:
    images = random_images()
    in_groups = total(images[3:]) + (total(images[:1]) + total(images[1:3]))
    assert in_groups == total(images) == total(images[::-1])


def test_mean_and_std_equal_numpy() -> None:
    images = random_images()
    pixels = np.concatenate([image.reshape(-1, 3) for image in images]) / 255.0
    fitted = fit_channels(total(images))
    np.testing.assert_allclose(fitted.mean, pixels.mean(0), rtol=0, atol=1e-12)
    np.testing.assert_allclose(fitted.std, pixels.std(0), rtol=0, atol=1e-12)
    assert fitted.num_pixels == len(pixels)


def test_nothing_cancels_near_a_constant() -> None:
    """One pixel in a million differs by one level: std 1e-3 of a level, floored; not 0 or nan."""
    image_HWC = np.full((1000, 1000, 3), 250, np.uint8)
    image_HWC[0, 0] = 251
    sums = channel_sums(image_HWC)
    exact = 1_000_000 * sums.sums_of_squares[0] - sums.sums[0] ** 2
    assert exact == 999_999
    assert fit_channels(sums).std == (MIN_STD,) * 3


def test_constant_channel_has_the_std_of_one_level() -> None:
    image_HWC = np.zeros((4, 4, 3), np.uint8)
    image_HWC[..., 1] = np.arange(16).reshape(4, 4) * 16
    fitted = fit_channels(channel_sums(image_HWC))
    assert fitted.std[0] == fitted.std[2] == 1 / 255
    assert fitted.std[1] == pytest.approx((np.arange(16) * 16 / 255).std(), abs=1e-12)


def test_nothing_to_fit_on_is_refused() -> None:
    with pytest.raises(DataError, match="train split has 0 images"):
        fit_channels(ChannelSums.zero())


def test_json_round_trip_keeps_every_bit_and_the_hash() -> None:
    fitted = fit_channels(total(random_images()))
    again = ChannelTransform.from_json(fitted.to_json())
    assert again == fitted
    assert again.hash == fitted.hash
    assert len(fitted.hash) == 16
    assert int(fitted.hash, 16) >= 0


def test_hash_changes_with_any_value() -> None:
    fitted = fit_channels(total(random_images()))
    changed = [
        fitted.model_copy(update={"num_pixels": fitted.num_pixels + 1}),
        fitted.model_copy(update={"mean": (np.nextafter(fitted.mean[0], 1), *fitted.mean[1:])}),
    ]
    assert len({fitted.hash, *(other.hash for other in changed)}) == 3


def test_impossible_transforms_are_refused() -> None:
    good = {"mean": (0.5,) * 3, "std": (0.2,) * 3, "num_pixels": 1}
    for wrong in ({"std": (0.2, 0.0, 0.2)}, {"mean": (float("nan"),) * 3}, {"num_pixels": 0}):
        with pytest.raises(pydantic.ValidationError):
            ChannelTransform.model_validate(good | wrong)
