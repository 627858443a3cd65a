"""Normalization on the device."""

import warnings

import numpy as np
import pytest
import torch

from components.images.device import shared_tensor, to_model_input

MEAN, STD = (0.1, 0.5, 0.9), (0.25, 1 / 255, 0.3)


def test_equals_the_formula_in_float64() -> None:
    images = np.random.default_rng(0).integers(0, 256, (4, 9, 7, 3), dtype=np.uint8)
    expected = ((images / 255.0 - MEAN) / STD).transpose(0, 3, 1, 2)
    got = to_model_input(torch.from_numpy(images), MEAN, STD, device="cpu")
    assert (got.dtype, tuple(got.shape)) == (torch.float32, (4, 3, 9, 7))
    np.testing.assert_allclose(got.numpy(), expected, rtol=1e-6, atol=3e-5)


def test_layout_is_channels_last() -> None:
    got = to_model_input(torch.zeros(2, 8, 8, 3, dtype=torch.uint8), MEAN, STD, device="cpu")
    assert got.is_contiguous(memory_format=torch.channels_last)


def test_batch_is_not_changed() -> None:
    images = torch.full((1, 2, 2, 3), 7, dtype=torch.uint8)
    to_model_input(images, MEAN, STD, device="cpu")
    assert (images == 7).all()


def test_floats_are_refused() -> None:
    with pytest.raises(TypeError, match=r"torch\.float32, expected torch\.uint8"):
        to_model_input(torch.zeros(1, 2, 2, 3), MEAN, STD, device="cpu")


def test_shared_tensor_is_the_same_memory_without_a_warning() -> None:
    images = np.zeros((2, 3, 3, 3), np.uint8)
    images.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tensor = shared_tensor(images)
    assert tensor.data_ptr() == images.ctypes.data
