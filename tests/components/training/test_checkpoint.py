"""A resumed training equals one that never stopped, and damaged files are told."""

import os
import pickle
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from components.errors import DataError, StorageError
from components.records.epoch_plan import Position
from components.training.checkpoint import (
    FILE_NAME,
    load_checkpoint,
    save_checkpoint,
    seed_step,
)
from components.training.optimizers import AdamWConfig, SGDConfig, build_optimizer
from components.training.step import train_step
from tests.full_disk import files_of_at_most

torch.set_num_threads(1)


def new_model(width: int = 8) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Flatten(), nn.Linear(12, width), nn.BatchNorm1d(width), nn.Dropout(0.5), nn.Linear(8, 3)
    )


def train(model: nn.Module, optimizer: torch.optim.Optimizer, steps: range) -> None:
    for step in steps:
        images = torch.randn(6, 3, 2, 2, generator=torch.Generator().manual_seed(step))
        labels = torch.arange(6) % 3
        seed_step(7, step, rank=0)
        train_step(
            model,
            optimizer,
            [images],
            labels,
            torch.ones(6),
            losses=partial(F.cross_entropy, reduction="none"),
            scores=lambda outputs, labels_B: outputs.argmax(dim=1) == labels_B,
            loss_scale=1 / 6,
            learning_rate=0.1,
        )


@pytest.mark.parametrize("config", [SGDConfig(), AdamWConfig(name="adamw")])
def test_resumed_equals_never_stopped(config: SGDConfig | AdamWConfig, tmp_path: Path) -> None:
    straight = new_model()
    train(straight, build_optimizer(config, straight), range(6))

    stopped = new_model()
    optimizer = build_optimizer(config, stopped)
    train(stopped, optimizer, range(3))
    position, history = Position(epoch=1, step=1, global_step=3), [{"epoch": 0, "loss": 0.5}]
    save_checkpoint(
        tmp_path, model=stopped, optimizer=optimizer, position=position, history=history
    )

    resumed = new_model()
    with torch.no_grad():
        for parameter in resumed.parameters():
            parameter.add_(1.0)
    optimizer = build_optimizer(config, resumed)
    checkpoint = load_checkpoint(tmp_path)
    checkpoint.restore(resumed, optimizer)
    assert checkpoint.position == position and checkpoint.history == history
    torch.manual_seed(12345)  # whatever a restarted process drew before
    train(resumed, optimizer, range(checkpoint.position.global_step, 6))
    straight_state = straight.state_dict()
    for name, value in resumed.state_dict().items():
        assert torch.equal(value, straight_state[name]), name


def test_dropout_differs_between_steps_and_ranks() -> None:
    def draw(*key: int) -> list[float]:
        seed_step(*key)
        return torch.rand(4).tolist()

    keys = [(0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0), (0, 10, 1), (0, 1, 1)]
    drawn = [draw(*key) for key in keys]
    assert len({tuple(values) for values in drawn}) == len(keys)
    assert [draw(*key) for key in reversed(keys)] == drawn[::-1]


def saved(folder: Path) -> Path:
    model = new_model()
    optimizer = build_optimizer(SGDConfig(), model)
    train(model, optimizer, range(1))
    return save_checkpoint(
        folder, model=model, optimizer=optimizer, position=Position(), history=[]
    )


def test_missing_and_damaged_files_are_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no checkpoint at .*start without resume"):
        load_checkpoint(tmp_path)
    path = saved(tmp_path)
    whole = path.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", b"not a checkpoint"):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match="is damaged"):
            load_checkpoint(tmp_path)
    torch.save({"format": 99}, path)
    with pytest.raises(DataError, match="has format 99, this version reads 1"):
        load_checkpoint(tmp_path)
    torch.save({"format": 1}, path)
    with pytest.raises(DataError, match="is damaged"):
        load_checkpoint(tmp_path)


class _Bomb:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    for write in (
        torch.save,
        lambda value, path: path.write_bytes(pickle.dumps(value, protocol=2)),
    ):
        write({"format": 1, "model": _Bomb(tmp_path / "ran")}, tmp_path / FILE_NAME)
        with pytest.raises(DataError, match="is damaged"):
            load_checkpoint(tmp_path)
    assert not (tmp_path / "ran").exists()


def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    saved(tmp_path)
    with pytest.raises(DataError, match="belongs to another model or optimizer"):
        load_checkpoint(tmp_path).restore(nn.Linear(2, 2))
    model = new_model()
    optimizer = torch.optim.SGD([next(model.parameters())], lr=0.1)
    with pytest.raises(DataError, match="belongs to another model or optimizer"):
        load_checkpoint(tmp_path).restore(model, optimizer)


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path) -> None:
    refused = pytest.raises(StorageError, match=r"could not be written: .*; free space")
    with refused, files_of_at_most(1000):
        saved(tmp_path / "checkpoint")
    assert list((tmp_path / "checkpoint").iterdir()) == []
