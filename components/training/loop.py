"""The training loop of one rank: plain values in, reports out; no cluster in sight."""

import math
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from torch import nn

from components.errors import HeadraceError
from components.records.epoch_plan import Position, Segment
from components.training.batch import Arrays, Batch
from components.training.blend import Mixing, unmixed
from components.training.checkpoint import seed_step
from components.training.metrics import MetricSums
from components.training.parallel import broadcast_buffers, sum_over_ranks, unwrap
from components.training.schedules import Schedule
from components.training.step import StepResult, eval_step, train_step
from components.training.stopwatch import STAGES


class Feed(Protocol):
    """Where batches come from."""

    def segment(self, segment: Segment) -> Iterator[Batch]:
        """The batches of one pass, from the segment's first step."""
        ...


class Objective(Protocol):
    """What is learned, in plain functions; a task gives them."""

    def to_inputs(self, arrays: Arrays, device: torch.device) -> tuple[torch.Tensor, ...]:
        """What the model's forward takes, on the device."""
        ...

    def losses(self, outputs: torch.Tensor, targets_B: torch.Tensor) -> torch.Tensor:
        """The loss of each row, (B,)."""
        ...

    def scores(self, outputs: torch.Tensor, targets_B: torch.Tensor) -> torch.Tensor:
        """What is told of each row of a training epoch beside its loss, (B,)."""
        ...

    def train_metrics(self, mean_score: float) -> dict[str, float]:
        """The training metrics that a mean score stands for, by name."""
        ...

    def new_sums(self) -> MetricSums:
        """The sums of an evaluation, over no rows yet."""
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
    records_per_s: float
    data_wait_share: float


@dataclass(frozen=True)
class LoopSettings:
    """Plain values of a training.

    Attributes:
        epochs: Epochs in all.
        steps_per_epoch: Optimizer steps of one epoch.
        seed: For what the model itself draws (dropout).
        rank: Of this worker.
        world_size: Number of workers.
        device: Where the model computes.
        max_grad_norm: Gradients with a larger norm are scaled down; None leaves them.
        report_every_s: Seconds between two step reports.
        checkpoint_every_steps: Optimizer steps between two checkpoints inside an epoch, or None.
    """

    epochs: int
    steps_per_epoch: int
    seed: int
    rank: int
    world_size: int
    device: torch.device
    max_grad_norm: float | None
    report_every_s: float = 0.5
    checkpoint_every_steps: int | None = None


class Listener:
    """Hears what a training tells; by itself it does nothing with it."""

    def step(self, report: StepReport) -> None:
        """Called now and then while an epoch runs."""

    def epoch(self, row: dict[str, float], position: Position) -> None:
        """Called on every rank after each epoch.

        Args:
            row: Metrics over all ranks, the same on all.
            position: What to do next.
        """

    def checkpoint(self, position: Position, learned: tuple[float, ...]) -> None:
        """Called on every rank inside an epoch.

        Args:
            position: What to do next.
            learned: What was learned in the epoch so far, over all ranks.
        """


@dataclass
class _Clock:
    """Where the time of an epoch goes; the wait for a stream's first batch is kept apart."""

    started_s: float = field(default_factory=time.perf_counter)
    wait_s: float = 0.0
    rows: float = 0.0
    spent_s: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    first_batch_s: float | None = None

    def add(self, batch: Batch) -> None:
        self.rows += batch.global_rows
        for stage, seconds in batch.spent_s.items():
            self.spent_s[stage] += seconds

    def elapsed_s(self) -> float:
        return max(time.perf_counter() - self.started_s, 1e-9)


def train_epochs(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    schedule: Schedule,
    feed: Feed,
    objective: Objective,
    settings: LoopSettings,
    listener: Listener,
    *,
    start: Position,
    learned: tuple[float, ...] = (),
    mix: Mixing = unmixed,
) -> None:
    """Train from `start` to the last epoch, evaluating on val after each.

    Args:
        model: On the device, wrapped in DDP where there are several ranks.
        optimizer: Over its parameters.
        schedule: Learning rate by global step.
        feed: This rank's batches.
        objective: What is learned from them.
        settings: Plain values.
        listener: Told what happens.
        start: Where to begin; the state must be that of this position.
        learned: What `Listener.checkpoint` was given with `start`.
        mix: What becomes of a training batch on the device before the step.

    Raises:
        HeadraceError: The loss is not a number any more.
    """
    position = start
    while position.epoch < settings.epochs:
        clock = _Clock(first_batch_s=None if position == start else 0.0)
        row = _train_epoch(
            model,
            optimizer,
            schedule,
            feed,
            objective,
            settings,
            position,
            clock,
            listener,
            learned if position == start else (),
            mix,
        )
        row |= _speed(clock, settings)
        broadcast_buffers(model)
        sums = evaluate(unwrap(model), feed, objective, settings, position)
        global_step = position.global_step + settings.steps_per_epoch - position.step
        row |= {f"val_{name}": value for name, value in sums.metrics().items()} | {
            "epoch": float(position.epoch),
            "global_step": float(global_step),
            "learning_rate": schedule(global_step - 1),
            "epoch_s": clock.elapsed_s(),
        }
        position = Position(position.epoch + 1, 0, global_step)
        listener.epoch(row, position)


def _speed(clock: _Clock, settings: LoopSettings) -> dict[str, float]:
    """How fast an epoch was learned, and what the feed's processes worked on it for all ranks."""
    train_s = clock.elapsed_s()
    local = torch.tensor([clock.spent_s[stage] for stage in STAGES], device=settings.device)
    spent = sum_over_ranks(local.double()).tolist()
    return {
        "records_per_s": clock.rows / train_s,
        "data_wait_share": clock.wait_s / train_s,
        "first_batch_s": clock.first_batch_s or 0.0,
    } | {f"feed_{stage}_s": seconds for stage, seconds in zip(STAGES, spent, strict=True)}


def _train_epoch(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    schedule: Schedule,
    feed: Feed,
    objective: Objective,
    settings: LoopSettings,
    start: Position,
    clock: _Clock,
    listener: Listener,
    learned: tuple[float, ...],
    mix: Mixing,
) -> dict[str, float]:
    """One epoch from `start`; returns loss, training metrics and rows over all ranks."""
    model.train()
    # Summed on the device: reading a number back would make the device wait in every step.
    totals = torch.zeros(3, dtype=torch.float64, device=settings.device)
    if learned and settings.rank == 0:
        totals += torch.tensor(learned, dtype=torch.float64)
    segment = Segment(start.epoch, True, start.step)
    global_step = start.global_step
    reported_s = time.perf_counter()
    for batch in _timed(feed.segment(segment), clock):
        learning_rate = schedule(global_step)
        seed_step(settings.seed, global_step, settings.rank)
        inputs, targets_B, weights_B = _on_device(batch, objective, settings.device)
        inputs, losses, scores = mix(batch, inputs, objective.losses, objective.scores)
        result = train_step(
            model,
            optimizer,
            inputs,
            targets_B,
            weights_B,
            losses=losses,
            scores=scores,
            loss_scale=settings.world_size / batch.global_rows,
            learning_rate=learning_rate,
            max_grad_norm=settings.max_grad_norm,
        )
        totals += torch.stack([result.loss_sum, result.score_sum, result.count]).double()
        clock.add(batch)
        global_step += 1
        last = batch.step + 1 == settings.steps_per_epoch
        if last or time.perf_counter() - reported_s >= settings.report_every_s:
            reported_s = time.perf_counter()
            listener.step(_report(batch, global_step - 1, learning_rate, result, settings, clock))
        every = settings.checkpoint_every_steps
        if every and global_step % every == 0 and not last:
            after = Position(start.epoch, batch.step + 1, global_step)
            listener.checkpoint(after, tuple(sum_over_ranks(totals).tolist()))
    loss_sum, score_sum, count = sum_over_ranks(totals).tolist()
    if not math.isfinite(loss_sum):
        raise HeadraceError(
            f"the training loss became {loss_sum} in epoch {start.epoch + 1} (learning rate "
            f"{schedule(global_step - 1):.3g}); lower train.optimizer.learning_rate, lengthen "
            "train.schedule.warmup_epochs or set train.max_grad_norm"
        )
    told = objective.train_metrics(score_sum / count)
    named = {f"train_{name}": value for name, value in told.items()}
    return {"train_loss": loss_sum / count} | named | {"records": count}


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
        records_per_s=clock.rows / clock.elapsed_s(),
        data_wait_share=clock.wait_s / clock.elapsed_s(),
    )


def evaluate(
    model: nn.Module, feed: Feed, objective: Objective, settings: LoopSettings, position: Position
) -> MetricSums:
    """One pass over val after an epoch; sums over all ranks, the same on each."""
    model.eval()
    sums = objective.new_sums()
    for batch in feed.segment(Segment(position.epoch, False)):
        inputs, targets_B, weights_B = _on_device(batch, objective, settings.device)
        sums.update(eval_step(model, inputs), targets_B, weights_B)
    return sums.from_tensor(sum_over_ranks(sums.to_tensor()))


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
    batch: Batch, objective: Objective, device: torch.device
) -> tuple[tuple[torch.Tensor, ...], torch.Tensor, torch.Tensor]:
    # The feed's arrays are read-only views of shared memory; torch wants to own what it wraps.
    return (
        objective.to_inputs(batch.inputs, device),
        torch.from_numpy(np.array(batch.targets_B)).to(device, non_blocking=True),
        torch.from_numpy(np.array(batch.weights_B)).to(device, non_blocking=True),
    )
