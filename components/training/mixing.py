"""What is mixed into the rows of a batch: its settings, and its draws as numbers; without torch.

Everything is drawn for the rows of the global batch, from (seed, epoch, step) alone, and a rank
takes the numbers of its own rows. As the epoch plan gives the same global batches to any number of
workers, they mix the same records in the same way, with one exception: a pair of rows that lies on
two ranks, which there is only where a rank's share of the batch is odd, is left as it is.
"""

from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from components.config import Config
from components.training.batch import Batch

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


class MixingConfig(Config):
    """What is mixed into the rows of a training batch, anew in every step; by default nothing."""

    mixup_alpha: float = Field(0.0, ge=0.0, allow_inf_nan=False)
    """Mixup (Zhang et al. 2018): a row becomes the weighted mean of itself and another, and so
    does its loss; the weight is drawn from Beta(alpha, alpha). 0 is none; 0.1 to 0.4 is usual."""
    cutmix_alpha: float = Field(0.0, ge=0.0, allow_inf_nan=False)
    """CutMix (Yun et al. 2019), of pictures only: a rectangle comes from another picture, and its
    share of the pixels is that of the other's loss. 0 is none; 1 is usual."""
    probability: float = Field(1.0, gt=0.0, le=1.0)
    """Share of the rows that mixup or cutmix changes."""
    switch_probability: float = Field(0.5, gt=0.0, lt=1.0)
    """Where both alphas are above 0: the share of the changed rows that cutmix changes."""
    erasing_probability: float = Field(0.0, ge=0.0, le=1.0)
    """Random erasing (Zhong et al. 2020), of pictures only: the share of the pictures that lose a
    rectangle, which becomes the mean colour of train. 0 is none; 0.25 to 0.5 is usual."""
    erasing_area: tuple[
        Annotated[float, Field(gt=0.0, le=1.0)], Annotated[float, Field(gt=0.0, le=1.0)]
    ] = (0.02, 0.4)
    """Least and largest share of a picture that is erased."""
    erasing_ratio: tuple[
        Annotated[float, Field(gt=0.0, allow_inf_nan=False)],
        Annotated[float, Field(gt=0.0, allow_inf_nan=False)],
    ] = (0.3, 3.3)
    """Least and largest height of the erased rectangle over its width."""

    @model_validator(mode="after")
    def _rectangles_fit(self) -> Self:
        for name, (least, largest) in (
            ("erasing_area", self.erasing_area),
            ("erasing_ratio", self.erasing_ratio),
        ):
            if least > largest:
                raise ValueError(f"{name} goes from {least:g} to {largest:g}; swap them")
        area, (flat, tall) = self.erasing_area[1], self.erasing_ratio
        if flat * area > 1.0 or tall < area:
            raise ValueError(
                f"erasing_area up to {area:g} does not fit into a picture at an erasing_ratio of "
                f"{flat:g} to {tall:g}; lower the area, or let the ratio come nearer to 1"
            )
        return self

    @property
    def blends(self) -> bool:
        """Whether rows are mixed with others."""
        return self.mixup_alpha > 0.0 or self.cutmix_alpha > 0.0

    @property
    def of_pictures_only(self) -> dict[str, float]:
        """What is switched on that only pictures can have: setting and value."""
        settings = {
            "cutmix_alpha": self.cutmix_alpha,
            "erasing_probability": self.erasing_probability,
        }
        return {name: value for name, value in settings.items() if value > 0.0}


@dataclass(frozen=True)
class Blend:
    """Mixup and cutmix of some rows, an element per row.

    Attributes:
        other_N: Weight of the partner in mixup, float32 in [0, 1]; 0 in all other rows.
        pasted_N4: Top, bottom, left and right of what cutmix takes from the partner, in pixels,
            ends excluded; all 0 in all other rows.
        share_N: Share of the row itself in its loss (lambda of both papers), float32 in [0, 1].
    """

    other_N: npt.NDArray[np.float32]
    pasted_N4: Integers
    share_N: npt.NDArray[np.float32]

    def of_rows(self, rows: Integers) -> Self:
        """Those of some rows."""
        return type(self)(self.other_N[rows], self.pasted_N4[rows], self.share_N[rows])


def step_rng(
    seed: int, epoch: int, step: int, purpose: Literal["erasing", "blending"]
) -> np.random.Generator:
    """Random numbers that depend on (seed, epoch, step, purpose) and on nothing else.

    Args:
        seed: The recipe's seed, 0 <= seed < 2**63.
        epoch: Epoch number, from 0.
        step: Step in the epoch, from 0.
        purpose: What they are for, so that one can be switched on without changing the other.
    """
    # The upper half of the key keeps these draws apart from those of the epoch plan, where it is 0.
    key = ({"erasing": 1, "blending": 2}[purpose] << 64) | seed
    return np.random.Generator(np.random.Philox(key=key, counter=(epoch << 192) | (step << 128)))


def rank_rows(batch: Batch, rank: int) -> Integers:
    """Places of a rank's rows in the global batch; padding, which is never mixed, has the last."""
    count = len(batch.weights_B)
    return np.minimum(rank * count + np.arange(count), batch.global_rows - 1)


def partners(weights_B: npt.NDArray[Any], first_row: int) -> Integers:
    """The row of this rank that each row is mixed with; its own number where there is none.

    Rows 2k and 2k + 1 of the global batch are partners: the order of the epoch is drawn anew in
    every epoch, so that these are as good as any. A row has no partner if that one lies on
    another rank, or if one of the two is padding.

    Args:
        weights_B: 1 for a row that counts, 0 for padding.
        first_row: Place of this rank's first row in the global batch.
    """
    own_B = np.arange(len(weights_B))
    other_B = ((first_row + own_B) ^ 1) - first_row
    other_B = np.where((other_B >= 0) & (other_B < len(own_B)), other_B, own_B)
    return np.where((weights_B > 0) & (weights_B[other_B] > 0), other_B, own_B)


def draw_blend(
    rng: np.random.Generator,
    num_rows: int,
    *,
    mixup_alpha: float,
    cutmix_alpha: float,
    probability: float,
    switch_probability: float,
    side_px: int,
) -> Blend:
    """Draw mixup or cutmix for each of some rows.

    Args:
        rng: Gives the numbers.
        num_rows: Rows N of the global batch.
        mixup_alpha: Of the Beta distribution of mixup's weight; 0 for no mixup.
        cutmix_alpha: Of that of cutmix's; 0 for no cutmix; one of the two is above 0.
        probability: Share of the rows that are changed.
        switch_probability: Share of the changed rows that cutmix changes, if both alphas are set.
        side_px: Height and width of the pictures; 0 where there are none.
    """
    switch = switch_probability if mixup_alpha and cutmix_alpha else float(cutmix_alpha > 0)
    changed_N, cut_N = rng.random(num_rows) < probability, rng.random(num_rows) < switch
    alpha_N = np.where(cut_N, cutmix_alpha, mixup_alpha)
    lambda_N = np.where(changed_N, rng.beta(alpha_N, alpha_N), 1.0)
    centres_N2 = rng.random((num_rows, 2))
    pasted_N4 = cutmix_rectangles(np.where(cut_N, lambda_N, 1.0), centres_N2, side_px)
    pasted_share_N = _area(pasted_N4) / max(side_px, 1) ** 2
    share_N = np.where(cut_N, 1.0 - pasted_share_N, lambda_N)
    other_N = np.where(cut_N, 0.0, 1.0 - lambda_N)
    return Blend(other_N.astype(np.float32), pasted_N4, share_N.astype(np.float32))


def cutmix_rectangles(lambda_N: Floats, centres_N2: Floats, side_px: int) -> Integers:
    """Rectangles (N, 4) of a share of about 1 - lambda, cut off at the picture's border.

    As in the paper's code: height and width are sqrt(1 - lambda) of the picture's, in whole
    pixels, half of that to each side of the centre.

    Args:
        lambda_N: Share of the picture that stays, in [0, 1].
        centres_N2: Where their centres lie, uniform in [0, 1).
        side_px: Height and width of the pictures.
    """
    half_N1 = ((side_px * np.sqrt(1.0 - lambda_N)).astype(np.int64) // 2)[:, None]
    centres_N2 = (centres_N2 * side_px).astype(np.int64)
    starts_N2 = np.maximum(centres_N2 - half_N1, 0)
    ends_N2 = np.minimum(centres_N2 + half_N1, side_px)
    return _rectangles(starts_N2, ends_N2)


def draw_erasing(
    rng: np.random.Generator,
    num_rows: int,
    *,
    probability: float,
    area: tuple[float, float],
    ratio: tuple[float, float],
    side_px: int,
) -> Integers:
    """Draw the rectangle (N, 4) that each of some pictures loses; all 0 where it loses none.

    The area is uniform; the ratio is uniform in its logarithm, as in torchvision, among those at
    which the area fits into the picture, so that nothing need be drawn twice and the area stays
    uniform; the place is uniform among those where the rectangle fits.

    Args:
        rng: Gives the numbers.
        num_rows: Pictures N of the global batch.
        probability: Share of the pictures that lose something.
        area: Least and largest share of the picture.
        ratio: Least and largest height over width; some of them fit each area.
        side_px: Height and width of the pictures; rectangles have whole pixels, at least one.
    """
    chance_N, area_N, ratio_N, *places = rng.random((num_rows, 5)).T
    log_area_N = np.log(area[0] + area_N * (area[1] - area[0]))
    least_N = np.maximum(np.log(ratio[0]), log_area_N)
    largest_N = np.minimum(np.log(ratio[1]), -log_area_N)
    log_ratio_N = least_N + ratio_N * (largest_N - least_N)
    log_sizes_N2 = np.stack([log_area_N + log_ratio_N, log_area_N - log_ratio_N], axis=1) / 2
    sizes_N2 = np.maximum(np.rint(side_px * np.exp(log_sizes_N2)), 1.0).astype(np.int64)
    starts_N2 = (np.stack(places, axis=1) * (side_px - sizes_N2 + 1)).astype(np.int64)
    erased_N4 = _rectangles(starts_N2, starts_N2 + sizes_N2)
    return np.where((chance_N < probability)[:, None], erased_N4, 0)


def _rectangles(starts_N2: Integers, ends_N2: Integers) -> Integers:
    return np.stack([starts_N2[:, 0], ends_N2[:, 0], starts_N2[:, 1], ends_N2[:, 1]], axis=1)


def _area(rectangles_N4: Integers) -> Integers:
    top_N, bottom_N, left_N, right_N = rectangles_N4.T
    area_N: Integers = (bottom_N - top_N) * (right_N - left_N)
    return area_N
