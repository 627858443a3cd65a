"""The training loop of one rank: plain values in, reports out; no cluster in sight."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from torch import nn

from components.errors import HeadraceError
from components.images.device import to_model_input
from components.records.epoch_plan import Position, Segment
from components.training.batch import Batch
from components.training.checkpoint import seed_step
from components.training.metrics import ClassificationSums
from components.training.parallel import broadcast_buffers, sum_over_ranks, unwrap
from components.training.schedules import Schedule
from components.training.step import StepResult, eval_step, train_step


class Feed(Protocol):
    """Where batches come from."""

    def segment(self, segment: Segment, global_step: int) -> Iterator[Batch]:
        """The batches of one pass, from the segment's first step."""
        ...


@dataclass(frozen=True)
class StepReport:
    """What is worth telling while an epoch runs; of this rank, for the eye."""

    epoch: int
    step: int
    global_step: int
    steps_per_epoch: int
    total_steps: int
    loss: float
    learning_rate: float
    grad_norm: float
    images_per_s: float
    data_wait_share: float


@dataclass(frozen=True)
class LoopSettings:
    """Plain values of a training.

    Attributes:
        epochs: Epochs in all.
        steps_per_epoch: Optimizer steps of one epoch.
        num_classes: K.
        mean: Channel means in units of 1.
        std: Channel standard deviations in units of 1.
        seed: For what the model itself draws (dropout).
        rank: Of this worker.
        world_size: Number of workers.
        device: Where the model computes.
        max_grad_norm: Gradients with a larger norm are scaled down; None leaves them.
        label_smoothing: In [0, 1).
        report_every_s: Seconds between two step reports.
    """

    epochs: int
    steps_per_epoch: int
    num_classes: int
    mean: Sequence[float]
    std: Sequence[float]
    seed: int
    rank: int
    world_size: int
    device: torch.device
    max_grad_norm: float | None
    label_smoothing: float
    report_every_s: float = 0.5


@dataclass
class _Clock:
    """Where the time of an epoch goes; the wait for a stream's first batch is kept apart."""

    started_s: float = field(default_factory=time.perf_counter)
    wait_s: float = 0.0
    rows: float = 0.0
    first_batch_s: float | None = None

    def elapsed_s(self) -> float:
        return max(time.perf_counter() - self.started_s, 1e-9)


def train_epochs(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    schedule: Schedule,
    feed: Feed,
    settings: LoopSettings,
    *,
    start: Position,
    on_step: Callable[[StepReport], None],
    on_epoch: Callable[[dict[str, float], Position], None],
) -> None:
    """Train from `start` to the last epoch, evaluating on val after each.

    Args:
        model: On the device, wrapped in DDP where there are several ranks.
        optimizer: Over its parameters.
        schedule: Learning rate by global step.
        feed: This rank's batches.
        settings: Plain values.
        start: Where to begin; the state must be that of this position.
        on_step: Called now and then while an epoch runs.
        on_epoch: Called on every rank after each epoch with metrics over all ranks (the same on
            all) and the position after it.

    Raises:
        HeadraceError: The loss is not a number any more.
    """
    position = start
    while position.epoch < settings.epochs:
        clock = _Clock(first_batch_s=None if position == start else 0.0)
        learned = _train_epoch(model, optimizer, schedule, feed, settings, position, clock, on_step)
        train_s, wait_s = clock.elapsed_s(), clock.wait_s
        broadcast_buffers(model)
        sums = evaluate(unwrap(model), feed, settings, position)
        global_step = position.global_step + settings.steps_per_epoch - position.step
        row = {f"val_{name}": value for name, value in sums.metrics().items()}
        row |= learned | {
            "epoch": float(position.epoch),
            "global_step": float(global_step),
            "learning_rate": schedule(global_step - 1),
            "images_per_s": learned["images"] / train_s,
            "data_wait_share": wait_s / train_s,
            "first_batch_s": clock.first_batch_s or 0.0,
            "epoch_s": clock.elapsed_s(),
        }
        position = Position(position.epoch + 1, 0, global_step)
        on_epoch(row, position)


def _train_epoch(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    schedule: Schedule,
    feed: Feed,
    settings: LoopSettings,
    start: Position,
    clock: _Clock,
    on_step: Callable[[StepReport], None],
) -> dict[str, float]:
    """One epoch from `start`; returns loss, accuracy and rows over all ranks."""
    model.train()
    # Summed on the device: reading a number back would make the device wait in every step.
    totals = torch.zeros(3, dtype=torch.float64, device=settings.device)
    segment = Segment(start.epoch, True, start.step)
    global_step = start.global_step
    reported_s = time.perf_counter()
    for batch in _timed(feed.segment(segment, start.global_step), clock):
        learning_rate = schedule(global_step)
        seed_step(settings.seed, global_step, settings.rank)
        images_BCHW, labels_B, weights_B = _on_device(batch, settings)
        result = train_step(
            model,
            optimizer,
            images_BCHW,
            labels_B,
            weights_B,
            loss_scale=settings.world_size / batch.global_rows,
            learning_rate=learning_rate,
            max_grad_norm=settings.max_grad_norm,
            label_smoothing=settings.label_smoothing,
        )
        totals += torch.stack([result.loss_sum, result.correct, result.count]).double()
        clock.rows += batch.global_rows
        global_step += 1
        last = batch.step + 1 == settings.steps_per_epoch
        if last or time.perf_counter() - reported_s >= settings.report_every_s:
            reported_s = time.perf_counter()
            on_step(_report(batch, global_step - 1, learning_rate, result, settings, clock))
    loss_sum, correct, count = sum_over_ranks(totals).tolist()
    if not math.isfinite(loss_sum):
        raise HeadraceError(
            f"the training loss became {loss_sum} in epoch {start.epoch + 1} (learning rate "
            f"{schedule(global_step - 1):.3g}); lower train.optimizer.learning_rate, lengthen "
            "train.schedule.warmup_epochs or set train.max_grad_norm"
        )
    return {
        "train_loss": loss_sum / count,
        "train_accuracy": correct / count,
        "images": count,
    }


def _report(
    batch: Batch,
    global_step: int,
    learning_rate: float,
    result: StepResult,
    settings: LoopSettings,
    clock: _Clock,
) -> StepReport:
    return StepReport(
        epoch=batch.epoch,
        step=batch.step,
        global_step=global_step,
        steps_per_epoch=settings.steps_per_epoch,
        total_steps=settings.epochs * settings.steps_per_epoch,
        loss=float(result.loss_sum / result.count.clamp(min=1)),
        learning_rate=learning_rate,
        grad_norm=float(result.grad_norm),
        images_per_s=clock.rows / clock.elapsed_s(),
        data_wait_share=clock.wait_s / clock.elapsed_s(),
    )


def evaluate(
    model: nn.Module, feed: Feed, settings: LoopSettings, position: Position
) -> ClassificationSums:
    """One pass over val after an epoch; sums over all ranks, the same on each."""
    model.eval()
    sums = ClassificationSums.zero(settings.num_classes)
    for batch in feed.segment(Segment(position.epoch, False), position.global_step):
        images_BCHW, labels_B, weights_B = _on_device(batch, settings)
        logits_BK, _ = eval_step(model, images_BCHW, labels_B)
        sums.update(logits_BK, labels_B, weights_B)
    return ClassificationSums.from_tensor(sum_over_ranks(sums.to_tensor()))


def _timed(batches: Iterator[Batch], clock: _Clock) -> Iterator[Batch]:
    while True:
        asked_s = time.perf_counter()
        batch = next(batches, None)
        waited_s = time.perf_counter() - asked_s
        if clock.first_batch_s is None:
            clock.first_batch_s, clock.started_s = waited_s, time.perf_counter()
        else:
            clock.wait_s += waited_s
        if batch is None:
            return
        yield batch


def _on_device(
    batch: Batch, settings: LoopSettings
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    # The feed's arrays are read-only views of shared memory; torch wants to own what it wraps.
    images_BHWC = torch.from_numpy(np.array(batch.images_BHWC))
    if settings.device.type == "cuda":
        images_BHWC = images_BHWC.pin_memory()
    return (
        to_model_input(images_BHWC, settings.mean, settings.std, device=settings.device),
        torch.from_numpy(np.array(batch.labels_B)).to(settings.device, non_blocking=True),
        torch.from_numpy(np.array(batch.weights_B)).to(settings.device, non_blocking=True),
    )
