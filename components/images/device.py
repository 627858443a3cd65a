"""The last step before the model: uint8 goes to the device, mean and std are applied there."""

import warnings
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch


def shared_tensor(images_BHWC: npt.NDArray[np.uint8]) -> torch.Tensor:
    """The same memory as a tensor, which must not be written to.

    The feed's pictures lie in Ray's object store, mapped read-only: to write there ends the
    process. Nothing has to: `to_model_input` makes floats of them.
    """
    with warnings.catch_warnings():
        # torch warns of just this, and copying 10 MB a step costs more than moving them.
        warnings.filterwarnings("ignore", "The given NumPy array is not writable", UserWarning)
        return torch.from_numpy(images_BHWC)


def to_model_input(
    images_BHWC: torch.Tensor,
    mean: Sequence[float],
    std: Sequence[float],
    *,
    device: torch.device | str,
) -> torch.Tensor:
    """Normalize a batch on the device: (image / 255 - mean) / std.

    The transfer carries bytes, a quarter of floats; it does not block if the batch is pinned.

    Args:
        images_BHWC: uint8 RGB batch, in memory as it came from the feed.
        mean: Per channel, scale 0..1.
        std: Per channel, scale 0..1.
        device: Where the model lives.

    Returns:
        float32 (B, C, H, W) in the channels_last memory format, without a copy for it: the
        feed's layout already is that one.

    Raises:
        TypeError: The batch is not uint8 (normalized twice, or augmented in floats).
    """
    if images_BHWC.dtype != torch.uint8:
        raise TypeError(f"images_BHWC is {images_BHWC.dtype}, expected torch.uint8")
    images_BCHW = images_BHWC.to(device, non_blocking=True).permute(0, 3, 1, 2)
    mean_C11 = torch.tensor(mean, dtype=torch.float64).view(-1, 1, 1)
    std_C11 = torch.tensor(std, dtype=torch.float64).view(-1, 1, 1)
    scale_C11 = (1.0 / (255.0 * std_C11)).to(device, torch.float32)
    shift_C11 = (-mean_C11 / std_C11).to(device, torch.float32)
    return torch.addcmul(shift_C11, images_BCHW.to(torch.float32), scale_C11)
