"""The loss equals its formula; features are compared as they were seen."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from components.compression.distill import FeatureMatch, distillation_losses
from components.errors import RecipeError
from components.models.registry import ConvNetConfig, build_model
from components.models.shapes import ImageShape
from tests.components.compression.nets import IMAGE_PX, net, pictures

torch.set_num_threads(1)


def logits(seed: int) -> torch.Tensor:
    return torch.randn(6, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


TARGETS = torch.tensor([0, 1, 2, 3, 0, 1])


def test_formula() -> None:
    student, teacher = logits(0) * 3, logits(1) * 3
    hard = F.cross_entropy(student, TARGETS, reduction="none", label_smoothing=0.1)
    for temperature, weight in ((1.0, 0.3), (4.0, 0.7), (20.0, 1.0)):
        losses = distillation_losses(student, teacher, hard, temperature=temperature, weight=weight)
        for row in range(6):
            p = (teacher[row] / temperature).softmax(0)
            q = (student[row] / temperature).softmax(0)
            kl = sum(float(p[k] * math.log(p[k] / q[k])) for k in range(4))
            expected = weight * temperature**2 * kl + (1 - weight) * float(hard[row])
            assert float(losses[row]) == pytest.approx(expected, rel=1e-12, abs=1e-12)


def test_limits() -> None:
    student, teacher = logits(0), logits(1)
    hard = F.cross_entropy(student, TARGETS, reduction="none")
    off = distillation_losses(student, teacher, hard, temperature=4.0, weight=0.0)
    assert torch.equal(off, hard)
    same = distillation_losses(teacher, teacher, hard, temperature=4.0, weight=1.0)
    assert same.abs().max() < 1e-12
    # As T grows the loss becomes half the mean squared distance of centred logits (Hinton et al.).
    hot = distillation_losses(student, teacher, hard, temperature=1e4, weight=1.0)
    apart = (student - student.mean(1, keepdim=True)) - (teacher - teacher.mean(1, keepdim=True))
    torch.testing.assert_close(hot, apart.square().sum(1) / 8, rtol=1e-3, atol=0)


def test_gradient_goes_to_the_student_alone() -> None:
    student, teacher = logits(0).requires_grad_(), logits(1).requires_grad_()
    losses = distillation_losses(student, teacher, torch.zeros(6), temperature=3.0, weight=1.0)
    losses.sum().backward()
    assert teacher.grad is None
    expected = 3.0 * ((student / 3).softmax(1) - (teacher / 3).softmax(1))
    torch.testing.assert_close(student.grad, expected.detach())


def test_bad_settings() -> None:
    with pytest.raises(ValueError, match=r"gives \(6, 4\) and the teacher \(6, 3\); both need"):
        distillation_losses(logits(0), logits(1)[:, :3], torch.zeros(6), temperature=1, weight=1)
    for temperature, weight in ((0.0, 0.5), (-1.0, 0.5), (1.0, 1.1), (1.0, -0.1), (math.nan, 0.5)):
        with pytest.raises(ValueError, match="need T > 0"):
            distillation_losses(
                logits(0), logits(1), torch.zeros(6), temperature=temperature, weight=weight
            )


def test_features_of_equal_width() -> None:
    student, teacher, x = net("resnet"), net("resnet", seed=1), pictures(3)
    with FeatureMatch(student, teacher, {"stages.0": "stages.0"}, [x], seed=0) as match:
        assert not list(match.parameters())
        student(x)
        teacher(x)
        distances = match()
    with torch.no_grad():
        mine, theirs = student.stages[0](student.stem(x)), teacher.stages[0](teacher.stem(x))
    torch.testing.assert_close(distances, (mine - theirs).square().flatten(1).mean(1))
    assert distances.shape == (3,)
    assert not student.stages[0]._forward_hooks and not teacher.stages[0]._forward_hooks
    distances.sum().backward()
    assert student.stem[0].weight.grad.abs().max() > 0 and student.head.weight.grad is None
    assert all(parameter.grad is None for parameter in teacher.parameters())


def test_projections_come_from_the_seed_and_nothing_else_changes() -> None:
    student, x = net("resnet").train(), pictures(4)
    config = ConvNetConfig(width=16, depth=2)
    teacher = build_model(config, ImageShape(IMAGE_PX), num_outputs=5, seed=1).eval()
    pairs = {"stages.1": "features.4", "head": "head", "stages.0": "features.1"}
    state = torch.get_rng_state()
    statistics = student.stem[1].running_mean.clone()
    projections = []
    for seed in (7, 7, 8):
        with FeatureMatch(student, teacher, pairs, [x], seed=seed) as match:
            shapes = [tuple(parameter.shape) for parameter in match.parameters()]
            assert shapes == [(32, 16, 1, 1), (16, 8, 1, 1)]
            projections.append(torch.cat([p.flatten() for p in match.parameters()]))
    assert torch.equal(projections[0], projections[1])
    assert not torch.equal(projections[0], projections[2])
    assert torch.equal(torch.get_rng_state(), state) and student.training and not teacher.training
    assert torch.equal(student.stem[1].running_mean, statistics)


def test_projections_of_channels_and_of_the_last_dimension_learn() -> None:
    class Wide(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, width, 1)
            self.tokens = nn.Linear(256, width)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            conv: torch.Tensor = self.conv(x)
            tokens: torch.Tensor = self.tokens(x.flatten(2))
            return conv.sum() + tokens.sum()

    student, teacher, x = Wide(4), Wide(6), pictures(2)
    pairs = {"conv": "conv", "tokens": "tokens"}
    with FeatureMatch(student, teacher, pairs, [x], seed=0) as match:
        assert [tuple(p.shape) for p in match.parameters()] == [(6, 4, 1, 1), (6, 4)]
        optimizer = torch.optim.Adam([*match.parameters(), *student.parameters()], 0.02)
        losses = []
        for _ in range(30):
            student(x)
            with torch.no_grad():
                teacher(x)
            loss = match().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        assert losses[-1] < 0.3 * losses[0]


def test_features_that_cannot_be_compared() -> None:
    student, teacher, x = net("resnet"), net("convnet"), pictures(2)
    for pairs, message in (
        ({"body": "features.0"}, "the student has no module 'body'; it has stem, stages, head"),
        ({"stem": "head.0"}, "the teacher has no module 'head.0'"),
        (
            {"stages.1": "features.0"},
            r"gives \(2, 16, 8, 8\) and 'features.0' of the teacher \(2, 8",
        ),
        ({"stem": "head"}, "only the width may differ"),
    ):
        with pytest.raises(RecipeError, match=message):
            FeatureMatch(student, teacher, pairs, [x], seed=0)
    assert not any(module._forward_hooks for m in (student, teacher) for module in m.modules())


def test_features_are_used_once() -> None:
    student, teacher, x = net("convnet"), net("convnet"), pictures(2)
    with FeatureMatch(student, teacher, {"head": "head"}, [x], seed=0) as match:
        with pytest.raises(RuntimeError, match="'head' of the student has not run"):
            match()
        student(x)
        teacher(x)
        assert match().abs().max() == 0.0
        student(x)
        with pytest.raises(RuntimeError, match="'head' of the teacher has not run"):
            match()
