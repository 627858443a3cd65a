"""The loop on one rank: what it learns, what it reports, and that stopping changes nothing."""

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from components.errors import HeadraceError
from components.images.fit import ChannelTransform
from components.images.geometry import InputConfig
from components.records.epoch_plan import Position, Segment
from components.tasks.image_classification import ImageClassification
from components.training import loop
from components.training.batch import Batch
from components.training.checkpoint import load_checkpoint, save_checkpoint
from components.training.loop import Listener, LoopSettings, StepReport, train_epochs
from components.training.schedules import Schedule

torch.set_num_threads(1)

SIDE_PX, STEPS, ROWS, VAL_ROWS = 4, 5, 8, 11
SETTINGS = LoopSettings(
    epochs=4,
    steps_per_epoch=STEPS,
    seed=3,
    rank=0,
    world_size=1,
    device=torch.device("cpu"),
    max_grad_norm=None,
    report_every_s=0.0,
)

TASK = ImageClassification(
    InputConfig(image_px=SIDE_PX),
    ChannelTransform(mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25), num_pixels=1),
    ("dark", "bright"),
)


def rows(seed: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Dark pictures of class 0 and bright ones of class 1, read-only as the feed's are."""
    rng = np.random.default_rng(seed)
    labels_B = rng.integers(0, 2, count)
    noise = rng.integers(0, 100, (count, SIDE_PX, SIDE_PX, 3))
    images_BHWC = (noise + 120 * labels_B[:, None, None, None]).astype(np.uint8)
    images_BHWC.setflags(write=False)
    return images_BHWC, labels_B


@dataclass
class FakeFeed:
    """Batches from memory; training batches differ from epoch to epoch."""

    padding: int = 0
    asked: list[Segment] = field(default_factory=list)

    def segment(self, segment: Segment) -> Iterator[Batch]:
        self.asked.append(segment)
        steps = range(segment.first_step, STEPS) if segment.training else range(2)
        for step in steps:
            yield self.batch(segment, step)

    def batch(self, segment: Segment, step: int) -> Batch:
        count = ROWS if segment.training else (VAL_ROWS - 3 if step == 0 else 3)
        seed = 1000 * segment.epoch + step if segment.training else 77 + step
        images_BHWC, labels_B = rows(seed, count)
        # As the feed pads: with copies of a row, under a label that would teach nonsense.
        padded_BHWC = np.concatenate([images_BHWC, images_BHWC[: self.padding]])
        padded_B = np.concatenate([labels_B, 1 - labels_B[: self.padding]])
        weights_B = np.concatenate([np.ones(count), np.zeros(self.padding)]).astype(np.float32)
        return Batch(
            epoch=segment.epoch,
            training=segment.training,
            step=step,
            inputs={"image": padded_BHWC},
            targets_B=padded_B,
            weights_B=weights_B,
            record_ids=np.array(["00"] * len(padded_B), dtype=object),
            global_rows=count,
        )


def linear_model(dropout: float = 0.0) -> nn.Module:
    generator = torch.Generator().manual_seed(0)
    linear = nn.Linear(3 * SIDE_PX * SIDE_PX, 2)
    with torch.no_grad():
        linear.weight.copy_(torch.randn(linear.weight.shape, generator=generator) * 0.1)
        linear.bias.zero_()
    return nn.Sequential(nn.Flatten(), nn.Dropout(dropout), linear)


def falling(step: int) -> float:
    return 0.05 / (1 + step)


@dataclass
class Story(Listener):
    """Everything that a training told, and its model."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    feed: FakeFeed
    steps: list[StepReport] = field(default_factory=list)
    epochs: list[tuple[dict[str, float], Position]] = field(default_factory=list)
    folder: Path | None = None

    def run(
        self,
        settings: LoopSettings = SETTINGS,
        *,
        start: Position | None = None,
        learned: tuple[float, ...] = (),
        schedule: Schedule = falling,
    ) -> "Story":
        train_epochs(
            self.model,
            self.optimizer,
            schedule,
            self.feed,
            TASK,
            settings,
            self,
            start=start or Position(),
            learned=learned,
        )
        return self

    def step(self, report: StepReport) -> None:
        self.steps.append(report)

    def epoch(self, row: dict[str, float], position: Position) -> None:
        self.epochs.append((row, position))

    def checkpoint(self, position: Position, learned: tuple[float, ...]) -> None:
        if self.folder is not None:
            save_checkpoint(
                self.folder / f"{position.global_step}",
                model=self.model,
                optimizer=self.optimizer,
                position=position,
                history=[],
                learned=learned,
            )

    def rows(self) -> list[dict[str, float]]:
        """What was told of each epoch, less the clock's part."""
        clocks = {"records_per_s", "data_wait_share", "first_batch_s", "epoch_s"}
        return [{k: v for k, v in row.items() if k not in clocks} for row, _ in self.epochs]


def new(feed: FakeFeed | None = None, *, dropout: float = 0.0) -> Story:
    model = linear_model(dropout)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0, momentum=0.9)
    return Story(model, optimizer, feed or FakeFeed())


def test_the_loss_falls_and_the_classes_are_told_apart() -> None:
    losses = [row["train_loss"] for row in new().run().rows()]
    assert losses == sorted(losses, reverse=True) and losses[-1] < 0.2 * losses[0]
    assert new().run().rows()[-1]["val_accuracy"] == 1.0


def test_epochs_are_told_with_the_position_after_them() -> None:
    story = new().run()
    assert [position for _, position in story.epochs] == [
        Position(1, 0, 5),
        Position(2, 0, 10),
        Position(3, 0, 15),
        Position(4, 0, 20),
    ]
    for epoch, (row, position) in enumerate(story.epochs):
        assert (row["epoch"], row["global_step"]) == (epoch, position.global_step)
        assert row["learning_rate"] == falling(position.global_step - 1)
        assert row["records"] == STEPS * ROWS == 40
        assert 0.0 <= row["data_wait_share"] <= 1.0 and row["records_per_s"] > 0
    asked = [(segment.epoch, segment.training) for segment in story.feed.asked]
    assert asked == [(epoch, training) for epoch in range(4) for training in (True, False)]


def test_steps_are_told_with_the_rate_they_took() -> None:
    story = new().run()
    told = [(s.epoch, s.step, s.global_step, s.learning_rate) for s in story.steps]
    assert told == [(n // 5, n % 5, n, falling(n)) for n in range(20)]
    assert {(s.steps_per_epoch, s.total_steps) for s in story.steps} == {(5, 20)}
    seldom = new().run(replace(SETTINGS, report_every_s=1e9))
    assert [s.step for s in seldom.steps] == [4, 4, 4, 4]


def test_the_first_step_is_that_of_torch() -> None:
    story = new()
    reference = copy.deepcopy(story.model)
    story.run(replace(SETTINGS, epochs=1), schedule=lambda step: 0.1 if step == 0 else 0.0)
    batch = FakeFeed().batch(Segment(0, True), 0)
    images_BCHW = torch.from_numpy((batch.inputs["image"].transpose(0, 3, 1, 2) / 255 - 0.5) / 0.25)
    loss = F.cross_entropy(reference(images_BCHW.float()), torch.from_numpy(batch.targets_B))
    loss.backward()
    with torch.no_grad():
        for parameter in reference.parameters():
            assert parameter.grad is not None
            parameter -= 0.1 * parameter.grad
    assert math.isclose(story.steps[0].loss, float(loss.detach()), rel_tol=1e-5)
    for ours, theirs in zip(story.model.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-7)


def test_validation_is_over_every_row_with_the_model_after_the_epoch() -> None:
    story = new().run(replace(SETTINGS, epochs=1))
    batches = [FakeFeed().batch(Segment(0, False), step) for step in (0, 1)]
    images_BHWC = np.concatenate([batch.inputs["image"] for batch in batches])
    labels_B = torch.from_numpy(np.concatenate([batch.targets_B for batch in batches]))
    assert len(labels_B) == VAL_ROWS
    images_BCHW = torch.from_numpy((images_BHWC.transpose(0, 3, 1, 2) / 255 - 0.5) / 0.25)
    with torch.no_grad():
        logits_BK = story.model(images_BCHW.float())
    (row,) = story.rows()
    hits = float((logits_BK.argmax(dim=1) == labels_B).double().mean())
    loss = float(F.cross_entropy(logits_BK, labels_B))
    assert row["val_accuracy"] == hits
    assert math.isclose(row["val_loss"], loss, rel_tol=1e-5)


def same(one: Story, other: Story) -> bool:
    pairs = zip(one.model.parameters(), other.model.parameters(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def test_the_same_seed_twice_is_bitwise_equal() -> None:
    one, other = (new(dropout=0.5).run() for _ in range(2))
    assert same(one, other) and one.rows() == other.rows()


def test_every_step_draws_from_its_own_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    seeds: list[tuple[int, int, int]] = []
    monkeypatch.setattr(loop, "seed_step", lambda *key: seeds.append(key))
    new().run(replace(SETTINGS, rank=2, epochs=2), start=Position(0, 1, 1))
    assert seeds == [(3, global_step, 2) for global_step in range(1, 10)]


def test_dropout_follows_the_seed() -> None:
    one = new(dropout=0.5).run()
    assert not same(one, new(dropout=0.5).run(replace(SETTINGS, seed=4)))


@pytest.mark.parametrize("stopped_after", [1, 3])
def test_resumed_equals_never_stopped_bitwise(tmp_path: Path, stopped_after: int) -> None:
    whole = new(dropout=0.5).run()

    first = new(dropout=0.5).run(replace(SETTINGS, epochs=stopped_after))
    position = first.epochs[-1][1]
    save_checkpoint(
        tmp_path, model=first.model, optimizer=first.optimizer, position=position, history=[]
    )
    second = new(dropout=0.5)
    checkpoint = load_checkpoint(tmp_path)
    checkpoint.restore(second.model, second.optimizer)
    torch.manual_seed(987)
    second.run(start=checkpoint.position)

    assert position == Position(stopped_after, 0, 5 * stopped_after)
    assert same(second, whole)
    assert first.rows() + second.rows() == whole.rows()


def test_resumed_at_any_checkpoint_equals_never_stopped_bitwise(tmp_path: Path) -> None:
    settings = replace(SETTINGS, checkpoint_every_steps=3)
    whole = new(dropout=0.5)
    whole.folder = tmp_path
    whole.run(settings)
    # Epochs of 5 steps: one that falls on an epoch's end is left to that.
    assert sorted(int(p.name) for p in tmp_path.iterdir()) == [3, 6, 9, 12, 18]
    for kept in tmp_path.iterdir():
        checkpoint = load_checkpoint(kept)
        again = new(dropout=0.5)
        checkpoint.restore(again.model, again.optimizer)
        again.run(settings, start=checkpoint.position, learned=checkpoint.learned)
        assert same(again, whole)
        assert again.rows() == whole.rows()[checkpoint.position.epoch :]


def test_resumed_inside_an_epoch_does_the_rest_of_it() -> None:
    story = new().run(replace(SETTINGS, epochs=2), start=Position(1, 3, 8))
    assert story.feed.asked[0] == Segment(1, True, 3)
    assert [(s.step, s.global_step) for s in story.steps] == [(3, 8), (4, 9)]
    ((row, position),) = story.epochs
    assert (row["records"], row["global_step"], position) == (16, 10, Position(2, 0, 10))


def test_nothing_left_to_do_is_nothing_done() -> None:
    story = new().run(start=Position(4, 0, 20))
    assert (story.feed.asked, story.epochs, story.steps) == ([], [], [])
    assert same(story, new())


def test_rows_of_weight_0_change_nothing() -> None:
    plain, padded = new().run(), new(FakeFeed(padding=3)).run()
    for ours, theirs in zip(plain.model.parameters(), padded.model.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-7)
    for one, other in zip(plain.rows(), padded.rows(), strict=True):
        assert one == pytest.approx(other, rel=1e-5)
        assert other["records"] == 40


def test_gradients_are_clipped_to_the_norm() -> None:
    story, reference = new(), new()
    one_epoch = replace(SETTINGS, epochs=1, max_grad_norm=0.01)
    story.run(one_epoch, schedule=lambda step: 1.0 if step == 0 else 0.0)
    moved = [
        (a - b).detach().flatten()
        for a, b in zip(story.model.parameters(), reference.model.parameters(), strict=True)
    ]
    assert math.isclose(float(torch.cat(moved).norm()), 0.01, rel_tol=1e-4)
    assert story.steps[0].grad_norm > 0.1


def test_a_loss_that_is_no_number_stops_with_what_to_change() -> None:
    story = new()
    with pytest.raises(HeadraceError) as caught:
        story.run(schedule=lambda step: 1e38)
    message = str(caught.value)
    assert message.startswith("the training loss became ") and " in epoch 1 " in message
    assert "learning rate 1e+38" in message and "lower train.optimizer.learning_rate" in message
    assert story.epochs == []
