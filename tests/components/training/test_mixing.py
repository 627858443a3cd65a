"""Mixup, cutmix and random erasing: the papers' formulas, one draw for any number of workers."""

import copy
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import nn
from torch.nn import functional as F

from components.errors import RecipeError
from components.images.fit import ChannelTransform
from components.images.geometry import InputConfig
from components.models.shapes import ImageShape, TableShape
from components.records.epoch_plan import Position, Segment
from components.tasks.image_classification import ImageClassification
from components.training.batch import Batch
from components.training.blend import (
    Mixed,
    blend_,
    blended_losses,
    build_mixing,
    erase_,
    heavier_scores,
    inside,
    unmixed,
)
from components.training.loop import LoopSettings, train_epochs
from components.training.mixing import (
    MixingConfig,
    cutmix_rectangles,
    draw_blend,
    draw_erasing,
    partners,
    step_rng,
)
from tests.components.training.diary import Diary

torch.set_num_threads(1)

SIDE_PX = 16
SHAPE = ImageShape(SIDE_PX)
MIXUP = MixingConfig(mixup_alpha=0.4)
CUTMIX = MixingConfig(cutmix_alpha=1.0)
BOTH = MixingConfig(mixup_alpha=0.4, cutmix_alpha=1.0, probability=0.8)
ERASING = MixingConfig(erasing_probability=0.5)
ALL = MixingConfig(mixup_alpha=0.4, cutmix_alpha=1.0, erasing_probability=0.5)
NAMED = {"mixup": MIXUP, "cutmix": CUTMIX, "both": BOTH, "erasing": ERASING, "all": ALL}
EVERY = pytest.mark.parametrize("config", NAMED.values(), ids=NAMED)


def batch_of(
    count: int, *, padding: int = 0, global_rows: int | None = None, epoch: int = 2, step: int = 5
) -> Batch:
    weights_B = np.concatenate([np.ones(count), np.zeros(padding)]).astype(np.float32)
    return Batch(
        epoch=epoch,
        training=True,
        step=step,
        inputs={},
        targets_B=np.arange(count + padding),
        weights_B=weights_B,
        record_ids=np.array([f"{row:032x}" for row in range(count + padding)], object),
        global_rows=count if global_rows is None else global_rows,
    )


def pictures(count: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(count, 3, SIDE_PX, SIDE_PX, generator=generator)
    return images.to(memory_format=torch.channels_last)


def own_targets(outputs: torch.Tensor, targets_B: torch.Tensor) -> torch.Tensor:
    """A loss, and a score, that is the target itself: shows what stands behind a row."""
    return targets_B.float()


def mixed(
    config: MixingConfig,
    batch: Batch,
    images_BCHW: torch.Tensor,
    *,
    seed: int = 3,
    rank: int = 0,
) -> Mixed:
    mix = build_mixing(config, SHAPE, seed=seed, rank=rank)
    return mix(batch, (images_BCHW.clone(),), own_targets, own_targets)


def told(found: Mixed, targets_B: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Pictures, losses and scores."""
    nothing = torch.empty(0)
    return found.inputs[0], found.losses(nothing, targets_B), found.scores(nothing, targets_B)


# The formulas


def test_mixup_by_hand() -> None:
    values_BF = torch.tensor([[1.0, 2.0], [5.0, 10.0], [7.0, 7.0]])
    blend_(values_BF, torch.tensor([1, 0, 2]), torch.tensor([[0.25], [0.5], [0.9]]))
    assert values_BF.tolist() == [[2.0, 4.0], [3.0, 6.0], [7.0, 7.0]]


def test_weights_of_0_and_1_give_the_values_exactly() -> None:
    images_BCHW = pictures(2)
    before = images_BCHW.clone()
    blend_(images_BCHW, torch.tensor([1, 0]), torch.tensor([0.0, 1.0]).view(2, 1, 1, 1))
    assert torch.equal(images_BCHW, before[[0, 0]])


def test_cutmix_rectangles_by_hand() -> None:
    lambda_N = np.array([0.75, 0.75, 1.0, 0.0, 0.9])
    centres_N2 = np.array([[0.5, 0.5], [0.0, 0.99], [0.5, 0.5], [0.5, 0.5], [0.5, 0.5]])
    # Of 8 pixels: sqrt(1/4) is 4 wide, 2 to each side; sqrt(0.1) is 2.5, so 2 wide.
    assert cutmix_rectangles(lambda_N, centres_N2, 8).tolist() == [
        [2, 6, 2, 6],
        [0, 2, 5, 8],
        [4, 4, 4, 4],
        [0, 8, 0, 8],
        [3, 5, 3, 5],
    ]


def test_a_rectangle_covers_rows_and_columns_up_to_its_ends() -> None:
    mask_BHW = inside(torch.tensor([[1, 3, 0, 1], [0, 0, 0, 0]]), 3, 2)[:, 0]
    assert mask_BHW[0].tolist() == [[False, False], [True, False], [True, False]]
    assert not mask_BHW[1].any()


def test_erasing_by_hand() -> None:
    images_BCHW = torch.ones(2, 3, 4, 4)
    erase_(images_BCHW, torch.tensor([[0, 2, 1, 4], [0, 0, 0, 0]]))
    assert images_BCHW[0, 2].tolist() == [[1, 0, 0, 0], [1, 0, 0, 0], [1] * 4, [1] * 4]
    assert (images_BCHW[1] == 1).all()


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_is_cross_entropy_with_the_mixed_target(smoothing: float) -> None:
    generator = torch.Generator().manual_seed(0)
    logits_BK = torch.randn(4, 3, generator=generator, dtype=torch.float64)
    labels_B, partner_B = torch.tensor([0, 1, 2, 2]), torch.tensor([1, 0, 3, 2])
    share_B = torch.tensor([0.3, 0.8, 1.0, 0.5], dtype=torch.float64)
    task = replace(TASK, classes=("a", "b", "c"), label_smoothing=smoothing)
    found = blended_losses(task.losses, partner_B, share_B)(logits_BK, labels_B)
    one_hot = F.one_hot(labels_B, 3).double()
    target_BK = share_B[:, None] * one_hot + (1 - share_B)[:, None] * one_hot[partner_B]
    expected = F.cross_entropy(logits_BK, target_BK, reduction="none", label_smoothing=smoothing)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)


def test_the_heavier_label_is_scored_and_the_own_one_where_both_are_equal() -> None:
    share_B = torch.tensor([0.49, 0.5, 1.0, 0.0])
    scores = heavier_scores(own_targets, torch.tensor([1, 0, 3, 2]), share_B)
    assert scores(torch.empty(0), torch.tensor([10, 11, 12, 13])).tolist() == [11, 11, 12, 12]


@pytest.mark.parametrize("config", [MIXUP, CUTMIX, BOTH], ids=["mixup", "cutmix", "both"])
def test_the_share_in_the_loss_is_that_of_the_pixels(config: MixingConfig) -> None:
    # Each picture has the colour of its target, so that its mean is what its loss must be.
    targets_B = torch.arange(256) % 2
    images_BCHW = targets_B.float().view(-1, 1, 1, 1).expand(-1, 3, SIDE_PX, SIDE_PX)
    images_BCHW, losses_B, scores_B = told(mixed(config, batch_of(256), images_BCHW), targets_B)
    torch.testing.assert_close(images_BCHW.mean(dim=(1, 2, 3)), losses_B, rtol=0, atol=1e-6)
    clear_B = (losses_B - 0.5).abs() > 1e-6
    assert torch.equal(scores_B[clear_B], losses_B[clear_B].round())
    changed = (losses_B != targets_B).float().mean()
    assert changed > 0.5


# One draw for any number of workers


@EVERY
def test_the_same_seed_twice_is_bitwise_equal_and_others_differ(config: MixingConfig) -> None:
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].tolist()
    targets_B = torch.arange(64)
    one, other = (told(mixed(config, batch_of(64), pictures(64)), targets_B) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    for seed, batch in ((4, batch_of(64)), (3, batch_of(64, epoch=3)), (3, batch_of(64, step=6))):
        assert not torch.equal(mixed(config, batch, pictures(64), seed=seed).inputs[0], one[0])
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert np.random.get_state()[1].tolist() == numpy_state


def shared_out(
    config: MixingConfig, global_rows: int, world_size: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The rows that count of a global batch that is mixed on several ranks, padded as planned."""
    share = max(2, -(-global_rows // world_size))
    ranks = []
    for rank in range(world_size):
        places = np.minimum(np.arange(rank * share, (rank + 1) * share), global_rows - 1)
        count = int(np.clip(global_rows - rank * share, 0, share))
        batch = batch_of(count, padding=share - count, global_rows=global_rows)
        images_BCHW = pictures(global_rows)[places]
        found = told(mixed(config, batch, images_BCHW, rank=rank), torch.from_numpy(places))
        ranks.append([values[:count] for values in found])
    images, losses, scores = (torch.cat(parts) for parts in zip(*ranks, strict=True))
    return images, losses, scores


@EVERY
@pytest.mark.parametrize("global_rows", [64, 48, 8])
@pytest.mark.parametrize("world_size", [2, 4])
def test_ranks_mix_the_records_of_one(
    config: MixingConfig, global_rows: int, world_size: int
) -> None:
    one = shared_out(config, global_rows, 1)
    several = shared_out(config, global_rows, world_size)
    assert all(torch.equal(values, of_one) for values, of_one in zip(several, one, strict=True))


def test_only_a_pair_that_lies_on_two_ranks_is_left_as_it_is() -> None:
    # 44 rows on 4 ranks are 11 each: rows 10 and 11, and 32 and 33, are apart.
    one, several = shared_out(MIXUP, 44, 1), shared_out(MIXUP, 44, 4)
    assert (one[0] != several[0]).any(dim=(1, 2, 3)).nonzero().flatten().tolist() == [
        10, 11, 32, 33,
    ]  # fmt: skip
    assert torch.equal(several[0][[10, 11, 32, 33]], pictures(44)[[10, 11, 32, 33]])
    assert several[1][[10, 11, 32, 33]].tolist() == pytest.approx([10, 11, 32, 33])


def test_partners_are_pairs_of_the_global_batch() -> None:
    assert partners(np.ones(6), 0).tolist() == [1, 0, 3, 2, 5, 4]
    assert partners(np.ones(5), 0).tolist() == [1, 0, 3, 2, 4]
    assert partners(np.ones(5), 5).tolist() == [0, 2, 1, 4, 3]
    assert partners(np.array([1, 1, 1, 0, 0, 0]), 0).tolist() == [1, 0, 2, 3, 4, 5]


@EVERY
def test_padding_is_neither_changed_nor_mixed_into_others(config: MixingConfig) -> None:
    images_BCHW, targets_B = pictures(8), torch.arange(8)
    without = told(mixed(config, batch_of(5), images_BCHW[:5]), targets_B[:5])
    # The last row that counts would have one of these as its partner.
    images_BCHW[5:] = torch.nan
    found = told(mixed(config, batch_of(5, padding=3), images_BCHW), targets_B)
    assert found[0][5:].isnan().all()
    for values, expected in zip(found, without, strict=True):
        assert torch.equal(values[:5], expected)


def test_a_rank_of_nothing_but_padding_keeps_it() -> None:
    batch = batch_of(0, padding=2, global_rows=3)
    found = mixed(ALL, batch, pictures(2), rank=2)
    assert torch.equal(found.inputs[0], pictures(2))


def test_nothing_is_mixed_by_default_at_no_cost() -> None:
    mix = build_mixing(MixingConfig(), SHAPE, seed=0, rank=0)
    assert mix is unmixed
    inputs = (pictures(2),)
    found = mix(batch_of(2), inputs, own_targets, TASK.scores)
    assert found.inputs is inputs
    assert (found.losses, found.scores) == (own_targets, TASK.scores)


def test_erasing_leaves_what_mixup_draws() -> None:
    with_erasing = MixingConfig(mixup_alpha=0.4, erasing_probability=1.0)
    targets_B = torch.arange(32)
    one, other = (
        told(mixed(config, batch_of(32), pictures(32)), targets_B)
        for config in (MIXUP, with_erasing)
    )
    assert torch.equal(one[1], other[1]) and not torch.equal(one[0], other[0])


# The distributions


@pytest.mark.parametrize("alpha", [0.1, 0.4, 1.0, 8.0])
def test_lambda_is_beta(alpha: float) -> None:
    share_N = draw_blend(
        step_rng(0, 0, 0, "blending"),
        100_000,
        mixup_alpha=alpha,
        cutmix_alpha=0.0,
        probability=1.0,
        switch_probability=0.5,
        side_px=0,
    ).share_N.astype(np.float64)
    # Of Beta(a, a): mean 1/2, variance 1 / (4 (2 a + 1)); 0.01 is 6 of its standard errors.
    assert share_N.mean() == pytest.approx(0.5, abs=0.01)
    assert share_N.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.03)


def test_a_tiny_alpha_mixes_next_to_nothing_and_gives_numbers() -> None:
    draws = draw_blend(
        step_rng(0, 0, 0, "blending"),
        1000,
        mixup_alpha=1e-9,
        cutmix_alpha=1e9,
        probability=1.0,
        switch_probability=0.5,
        side_px=8,
    )
    assert np.isfinite(draws.share_N).all() and np.isfinite(draws.other_N).all()


def test_the_probabilities_are_shares_of_rows() -> None:
    draws = draw_blend(
        step_rng(0, 0, 0, "blending"),
        100_000,
        mixup_alpha=1.0,
        cutmix_alpha=1.0,
        probability=0.6,
        switch_probability=0.25,
        side_px=224,
    )
    blends_N = draws.other_N > 0
    cuts_N = draws.pasted_N4[:, 1] > draws.pasted_N4[:, 0]
    assert not (blends_N & cuts_N).any()
    assert blends_N.mean() == pytest.approx(0.6 * 0.75, abs=0.01)
    assert cuts_N.mean() == pytest.approx(0.6 * 0.25, abs=0.01)
    assert (draws.share_N[~blends_N & ~cuts_N] == 1.0).all()


def test_erased_areas_are_uniform_and_lie_in_the_picture() -> None:
    rectangles_N4 = draw_erasing(
        step_rng(0, 0, 0, "erasing"),
        100_000,
        probability=0.3,
        area=(0.02, 0.4),
        ratio=(0.3, 3.3),
        side_px=224,
    )
    erased_N = rectangles_N4.any(axis=1)
    assert erased_N.mean() == pytest.approx(0.3, abs=0.01)
    top, bottom, left, right = rectangles_N4[erased_N].T
    assert min(top.min(), left.min()) == 0 and max(bottom.max(), right.max()) == 224
    height, width = bottom - top, right - left
    share = height * width / 224**2
    # Uniform in 0.02 to 0.4: mean 0.21, standard deviation 0.38 / sqrt(12) = 0.1097.
    assert share.mean() == pytest.approx(0.21, abs=0.002)
    assert share.std() == pytest.approx(0.1097, abs=0.001)
    assert 0.018 < share.min() < share.max() < 0.405
    ratio = height / width
    assert 0.27 < ratio.min() < 0.31 and 3.2 < ratio.max() < 3.5
    assert np.log(ratio).mean() == pytest.approx(0.0, abs=0.03)


def test_an_erased_area_that_hardly_fits_keeps_its_share() -> None:
    rectangles_N4 = draw_erasing(
        step_rng(0, 0, 0, "erasing"), 1000, probability=1.0, area=(1.0, 1.0), ratio=(0.3, 3.3),
        side_px=9,
    )  # fmt: skip
    assert (rectangles_N4 == [0, 9, 0, 9]).all()


# Settings


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"mixup_alpha": -0.1}, "greater than or equal to 0"),
        ({"cutmix_alpha": float("inf")}, "finite number"),
        ({"probability": 0.0}, "greater than 0"),
        ({"switch_probability": 1.0}, "less than 1"),
        ({"erasing_probability": 1.1}, "less than or equal to 1"),
        ({"erasing_area": (0.0, 0.4)}, "greater than 0"),
        ({"erasing_area": (0.4, 0.1)}, "erasing_area goes from 0.4 to 0.1; swap them"),
        ({"erasing_ratio": (3.0, 0.3)}, "erasing_ratio goes from 3 to 0.3; swap them"),
        ({"erasing_ratio": (4.0, 5.0)}, "erasing_area up to 0.4 does not fit into a picture at"),
        ({"erasing_ratio": (0.1, 0.3)}, "lower the area, or let the ratio come nearer to 1"),
    ],
)
def test_what_cannot_hold_is_refused(settings: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        MixingConfig.model_validate(settings)


def test_features_of_a_table_are_mixed_and_codes_are_refused() -> None:
    features_BF, codes_BE = torch.arange(8.0)[:, None] % 2, torch.empty(8, 0, dtype=torch.int64)
    mix = build_mixing(MIXUP, TableShape(1), seed=0, rank=0)
    inputs, losses, _ = mix(batch_of(8), (features_BF, codes_BE), own_targets, own_targets)
    losses_B = losses(torch.empty(0), torch.arange(8) % 2)
    torch.testing.assert_close(inputs[0][:, 0], losses_B)
    assert inputs[1].shape == (8, 0)
    assert ((losses_B > 0) & (losses_B < 1)).sum() >= 4
    with pytest.raises(RecipeError) as caught:
        build_mixing(MIXUP, TableShape(1, (40, 7)), seed=0, rank=0)
    assert str(caught.value) == (
        "train.mixing.mixup_alpha = 0.4: 2 of the table's columns are embedded by their codes, of "
        "which there is no mean; set it to 0, or encode them otherwise "
        "(data.encode.large_categories=hashing)"
    )
    build_mixing(MixingConfig(), TableShape(1, (40, 7)), seed=0, rank=0)


# Learning

TASK = ImageClassification(
    InputConfig(image_px=SIDE_PX),
    ChannelTransform(mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25), num_pixels=1),
    ("sky", "sea"),
)


class Halves:
    """Pictures that are brighter in their upper half, or in their lower half."""

    def segment(self, segment: Segment) -> Iterator[Batch]:
        for step in range(segment.first_step, 8):
            rng = np.random.default_rng([segment.epoch, step, segment.training])
            labels_B = rng.integers(0, 2, 16)
            images_BHWC = rng.integers(0, 200, (16, SIDE_PX, SIDE_PX, 3)).astype(np.uint8)
            images_BHWC[labels_B == 0, : SIDE_PX // 2] += 40
            images_BHWC[labels_B == 1, SIDE_PX // 2 :] += 40
            yield replace(
                batch_of(16, epoch=segment.epoch, step=step),
                training=segment.training,
                inputs={"image": images_BHWC},
                targets_B=labels_B,
            )


def trained(
    config: MixingConfig, *, start: Position | None = None, model: nn.Module | None = None
) -> tuple[nn.Module, list[dict[str, float]]]:
    if model is None:
        model = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE_PX**2, 2))
        nn.init.zeros_(model[1].weight)
        nn.init.zeros_(model[1].bias)
    diary = Diary()
    train_epochs(
        model,
        torch.optim.SGD(model.parameters()),
        lambda step: 0.003,
        Halves(),
        TASK,
        LoopSettings(3, 8, 0, 0, 1, torch.device("cpu"), None),
        diary,
        start=start or Position(),
        mix=build_mixing(config, SHAPE, seed=0, rank=0),
    )
    return model, diary.history


@EVERY
def test_a_training_with_mixing_learns_and_repeats_bitwise(config: MixingConfig) -> None:
    model, history = trained(config)
    again, _ = trained(config)
    assert torch.equal(model[1].weight, again[1].weight)
    assert history[-1]["val_accuracy"] > 0.95
    assert history[-1]["val_loss"] < 0.8 * history[0]["val_loss"]
    plain_model, plain = trained(MixingConfig())
    assert not torch.equal(model[1].weight, plain_model[1].weight)
    # What is learned from is harder than what is judged by, which is never mixed.
    assert history[-1]["train_loss"] > plain[-1]["train_loss"]


def test_resumed_inside_an_epoch_mixes_what_the_whole_training_would_have() -> None:
    seen: list[torch.Tensor] = []

    class Watched(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3 * SIDE_PX**2, 2)

        def forward(self, images_BCHW: torch.Tensor) -> torch.Tensor:
            if self.training:
                seen.append(images_BCHW.clone())
            logits_BK: torch.Tensor = self.layer(images_BCHW.flatten(1))
            return logits_BK

    model = Watched()
    trained(ALL, model=copy.deepcopy(model))
    whole = seen[:]
    seen.clear()
    trained(ALL, model=model, start=Position(1, 3, 11))
    assert len(whole) == 24 and len(seen) == 13
    assert all(torch.equal(a, b) for a, b in zip(whole[11:], seen, strict=True))
