"""Mixup, cutmix and random erasing of a rank's rows, on the device, and what becomes of the loss.

`mixing.py` draws what is done here. Inputs are changed in place: they are the step's own, and on a
CPU the memory of another batch costs more than the arithmetic.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from components.errors import RecipeError
from components.models.shapes import ImageShape, InputShape, TableShape
from components.training.batch import Batch
from components.training.mixing import (
    Blend,
    Integers,
    MixingConfig,
    draw_blend,
    draw_erasing,
    partners,
    rank_rows,
    step_rng,
)
from components.training.step import PerRow

Inputs = tuple[torch.Tensor, ...]


class Mixed(NamedTuple):
    """A batch as the step takes it: inputs, what is learned to be small, what is told beside it."""

    inputs: Inputs
    losses: PerRow
    scores: PerRow


Mixing = Callable[[Batch, Inputs, PerRow, PerRow], Mixed]
"""(batch, its inputs on the device, losses and scores of the task) -> what the step takes; may
change the inputs in place."""


def unmixed(batch: Batch, inputs: Inputs, losses: PerRow, scores: PerRow) -> Mixed:
    """Give everything back as it is."""
    return Mixed(inputs, losses, scores)


def check_mixing(config: MixingConfig, shape: InputShape) -> None:
    """Refuse what cannot be mixed.

    Raises:
        RecipeError: Rows of a table hold codes, of which there is no mean.
    """
    if config.blends and isinstance(shape, TableShape) and shape.cardinalities:
        raise RecipeError(
            f"train.mixing.mixup_alpha = {config.mixup_alpha:g}: {len(shape.cardinalities)} of the "
            "table's columns are embedded by their codes, of which there is no mean; set it to 0, "
            "or encode them otherwise (data.encode.large_categories=hashing)"
        )


def build_mixing(config: MixingConfig, shape: InputShape, *, seed: int, rank: int) -> Mixing:
    """Build what changes the training batches of one rank.

    Pictures lose their rectangles before they are mixed.

    Args:
        config: Of the recipe; has nothing of pictures in it where the inputs are none.
        shape: Of the model's inputs.
        seed: The recipe's seed.
        rank: Of this worker; its rows follow those of the ranks before it in the global batch.

    Raises:
        RecipeError: See `check_mixing`.
    """
    check_mixing(config, shape)
    side_px = shape.image_px if isinstance(shape, ImageShape) else 0
    mixings: list[Mixing] = []
    if config.erasing_probability:
        draw_rectangles = partial(
            draw_erasing,
            probability=config.erasing_probability,
            area=config.erasing_area,
            ratio=config.erasing_ratio,
            side_px=side_px,
        )
        mixings.append(partial(_mix_by_erasing, draw_rectangles, seed, rank))
    if config.blends:
        draw = partial(
            draw_blend,
            mixup_alpha=config.mixup_alpha,
            cutmix_alpha=config.cutmix_alpha,
            probability=config.probability,
            switch_probability=config.switch_probability,
            side_px=side_px,
        )
        mixings.append(partial(_mix_by_blending, draw, seed, rank))
    return partial(_mix_by_all, mixings) if mixings else unmixed


def _mix_by_all(
    mixings: Sequence[Mixing], batch: Batch, inputs: Inputs, losses: PerRow, scores: PerRow
) -> Mixed:
    mixed = Mixed(inputs, losses, scores)
    for mix in mixings:
        mixed = mix(batch, *mixed)
    return mixed


def _mix_by_erasing(
    draw: Callable[[np.random.Generator, int], Integers],
    seed: int,
    rank: int,
    batch: Batch,
    inputs: Inputs,
    losses: PerRow,
    scores: PerRow,
) -> Mixed:
    rng = step_rng(seed, batch.epoch, batch.step, "erasing")
    erased_B4 = draw(rng, batch.global_rows)[rank_rows(batch, rank)]
    erased_B4[batch.weights_B == 0] = 0
    (images_BCHW,) = inputs
    erase_(images_BCHW, _beside(images_BCHW, erased_B4))
    return Mixed(inputs, losses, scores)


def _mix_by_blending(
    draw: Callable[[np.random.Generator, int], Blend],
    seed: int,
    rank: int,
    batch: Batch,
    inputs: Inputs,
    losses: PerRow,
    scores: PerRow,
) -> Mixed:
    rng = step_rng(seed, batch.epoch, batch.step, "blending")
    blend = draw(rng, batch.global_rows).of_rows(rank_rows(batch, rank))
    # Beside the features of a table lie its codes, of which check_mixing has seen that there are
    # none.
    values_B = inputs[0]
    partner_B = _beside(values_B, partners(batch.weights_B, rank * len(batch.weights_B)))
    share_B = _beside(values_B, blend.share_N)
    blend_(values_B, partner_B, others_weights(blend, values_B))
    return Mixed(
        inputs,
        blended_losses(losses, partner_B, share_B),
        heavier_scores(scores, partner_B, share_B),
    )


def inside(rectangles_B4: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Which pixels lie in each row's rectangle: bool (B, 1, H, W).

    Args:
        rectangles_B4: Top, bottom, left and right, ends excluded.
        height: H of the pictures.
        width: W of the pictures.
    """
    top_B1, bottom_B1, left_B1, right_B1 = rectangles_B4.T[:, :, None]
    y_H = torch.arange(height, device=rectangles_B4.device)
    x_W = torch.arange(width, device=rectangles_B4.device)
    rows_BH: torch.Tensor = (y_H >= top_B1) & (y_H < bottom_B1)
    columns_BW: torch.Tensor = (x_W >= left_B1) & (x_W < right_B1)
    return (rows_BH[:, :, None] & columns_BW[:, None, :])[:, None]


def erase_(images_BCHW: torch.Tensor, rectangles_B4: torch.Tensor) -> None:
    """Random erasing (Zhong et al. 2020), in place: a rectangle of each picture becomes 0.

    In normalized pictures that is the mean colour of train, the paper's RE-M.
    """
    height, width = images_BCHW.shape[2:]
    images_BCHW.masked_fill_(inside(rectangles_B4, height, width), 0.0)


def others_weights(blend: Blend, values_B: torch.Tensor) -> torch.Tensor:
    """Weight of the partner, float32: (B, 1, H, W) where something is pasted, or (B, 1, ...).

    Args:
        blend: Of the rows of `values_B`.
        values_B: Pictures (B, C, H, W) or features (B, F).
    """
    other_B = _beside(values_B, blend.other_N).view(-1, *[1] * (values_B.ndim - 1))
    if not blend.pasted_N4.any():
        return other_B
    height, width = values_B.shape[2:]
    return torch.where(inside(_beside(values_B, blend.pasted_N4), height, width), 1.0, other_B)


def blend_(values_B: torch.Tensor, partner_B: torch.Tensor, weights_B: torch.Tensor) -> None:
    """Mixup (Zhang et al. 2018) and cutmix (Yun et al. 2019), in place.

    A row becomes (1 - weight) x own + weight x partner: exactly its own value where the weight is
    0, and exactly the partner's where it is 1.

    Args:
        values_B: (B, ...) float32.
        partner_B: The partner of each row, int64.
        weights_B: Of the partner, in [0, 1], float32; broadcasts over a row.
    """
    values_B.lerp_(values_B[partner_B], weights_B)


def blended_losses(losses: PerRow, partner_B: torch.Tensor, share_B: torch.Tensor) -> PerRow:
    """Per row, share x loss of its own target + (1 - share) x loss of its partner's.

    Of a squared error the gradient is that of the mixed target, and so is that of cross-entropy,
    with and without label smoothing.
    """

    def losses_of(outputs: torch.Tensor, targets_B: torch.Tensor) -> torch.Tensor:
        own_B, other_B = losses(outputs, targets_B), losses(outputs, targets_B[partner_B])
        return share_B * own_B + (1.0 - share_B) * other_B

    return losses_of


def heavier_scores(scores: PerRow, partner_B: torch.Tensor, share_B: torch.Tensor) -> PerRow:
    """Score a row by the target that has the larger share in it, by its own where both are equal.

    The training accuracy of mixed rows is therefore the share of them that are taken for what
    they mostly are, and lower than that of plain ones.
    """

    def scores_of(outputs: torch.Tensor, targets_B: torch.Tensor) -> torch.Tensor:
        return scores(outputs, torch.where(share_B >= 0.5, targets_B, targets_B[partner_B]))

    return scores_of


def _beside(values: torch.Tensor, numbers: npt.NDArray[Any]) -> torch.Tensor:
    return torch.from_numpy(numbers).to(values.device, non_blocking=True)
