"""The gradient of a step is that of the mean loss over the global batch."""

import copy
import math
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from components.tasks.classification import Classification
from components.tasks.view import View
from components.training.step import eval_step, train_step

torch.set_num_threads(1)


@dataclass(frozen=True)
class Three(Classification):
    """Three classes, as every classifier learns them."""

    label_smoothing: float = 0.0
    num_outputs: ClassVar[int] = 3

    def view(self) -> View:
        raise AssertionError("nothing is read here")


def of(task: Three) -> dict[str, Any]:
    return {"losses": task.losses, "scores": task.scores}


PLAIN = of(Three())


def linear_model(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 3)).double()


def batch(num_rows: int, seed: int = 1) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(num_rows, 3, 2, 2, dtype=torch.float64, generator=generator)
    labels = torch.randint(0, 3, (num_rows,), generator=generator)
    return images, labels, torch.ones(num_rows, dtype=torch.float64)


def sgd(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=99.0)


def gradients(model: nn.Module) -> torch.Tensor:
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


def test_uneven_ranks_average_to_the_gradient_of_the_global_batch() -> None:
    model = linear_model()
    images, labels, weights = batch(7)
    F.cross_entropy(model(images), labels).backward()
    expected = gradients(model)

    by_rank = []
    for rows in (slice(0, 5), slice(5, 7)):
        rank = copy.deepcopy(model)
        train_step(
            rank,
            sgd(rank),
            [images[rows]],
            labels[rows],
            weights[rows],
            **PLAIN,
            loss_scale=2 / 7,
            learning_rate=0.1,
        )
        by_rank.append(gradients(rank))
    torch.testing.assert_close((by_rank[0] + by_rank[1]) / 2, expected, rtol=1e-12, atol=1e-15)


def test_padding_rows_change_nothing() -> None:
    images, labels, weights = batch(6)
    weights[4:] = 0.0
    padded, short = linear_model(), linear_model()
    result = train_step(
        padded, sgd(padded), [images], labels, weights, **PLAIN, loss_scale=1 / 4, learning_rate=0.1
    )
    expected = train_step(
        short,
        sgd(short),
        [images[:4]],
        labels[:4],
        weights[:4],
        **PLAIN,
        loss_scale=1 / 4,
        learning_rate=0.1,
    )
    torch.testing.assert_close(gradients(padded), gradients(short), rtol=1e-12, atol=1e-15)
    assert result.count == expected.count == 4
    assert result.score_sum == expected.score_sum
    assert result.loss_sum.item() == pytest.approx(expected.loss_sum.item(), rel=1e-12)


def test_result_and_learning_rate() -> None:
    model = linear_model()
    before = copy.deepcopy(model)
    images, labels, weights = batch(8)
    optimizer = sgd(model)
    result = train_step(
        model, optimizer, [images], labels, weights, **PLAIN, loss_scale=1 / 8, learning_rate=0.25
    )
    logits = before(images)
    assert result.loss_sum.item() == pytest.approx(
        F.cross_entropy(logits, labels, reduction="sum").item(), rel=1e-12
    )
    assert result.score_sum == (logits.argmax(dim=1) == labels).sum()
    assert optimizer.param_groups[0]["lr"] == 0.25
    moved = torch.cat([(b - a).flatten() for a, b in _pairs(model, before)])
    torch.testing.assert_close(moved, 0.25 * gradients(model), rtol=1e-9, atol=1e-12)


def _pairs(a: nn.Module, b: nn.Module) -> list[tuple[torch.Tensor, torch.Tensor]]:
    return list(zip(a.parameters(), b.parameters(), strict=True))


def test_clipping() -> None:
    images, labels, weights = batch(8)
    free, clipped, loose = linear_model(), linear_model(), linear_model()
    norms = [
        train_step(
            model,
            sgd(model),
            [images],
            labels,
            weights,
            **PLAIN,
            loss_scale=1 / 8,
            learning_rate=0.1,
            max_grad_norm=limit,
        ).grad_norm.item()
        for model, limit in ((free, None), (clipped, 0.05), (loose, 1e6))
    ]
    # The norm reported is the one before clipping, and a limit that is not reached does nothing.
    assert norms == [pytest.approx(gradients(free).norm().item(), rel=1e-12)] * 3
    assert norms[0] > 0.05
    assert gradients(clipped).norm().item() == pytest.approx(0.05, rel=1e-4)
    assert torch.equal(gradients(loose), gradients(free))


def test_label_smoothing_by_hand() -> None:
    model = linear_model()
    images, labels, weights = batch(1)
    logs = F.log_softmax(model(images), dim=1)[0]
    expected = -(0.9 * logs[labels[0]] + 0.1 * logs.mean()).item()
    result = train_step(
        model,
        sgd(model),
        [images],
        labels,
        weights,
        **of(Three(0.1)),
        loss_scale=1.0,
        learning_rate=0.1,
    )
    assert result.loss_sum.item() == pytest.approx(expected, rel=1e-12)


def test_same_step_twice_is_bitwise_equal() -> None:
    images, labels, weights = batch(16)
    first, second = linear_model(), linear_model()
    for model in (first, second):
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        for _ in range(3):
            train_step(
                model,
                optimizer,
                [images],
                labels,
                weights,
                **PLAIN,
                loss_scale=1 / 16,
                learning_rate=0.1,
            )
    assert all(torch.equal(a, b) for a, b in _pairs(first, second))


def test_eval_step_learns_nothing() -> None:
    model = linear_model().eval()
    images, labels, _ = batch(4)
    logits = eval_step(model, [images])
    losses = Three().losses(logits, labels)
    assert not logits.requires_grad and logits.shape == (4, 3)
    probabilities = logits.softmax(dim=1)
    expected = [-math.log(probabilities[i, labels[i]].item()) for i in range(4)]
    assert losses.tolist() == pytest.approx(expected, rel=1e-9)
