"""Which parameters decay, and that the updates are those of the papers."""

import subprocess
import sys

import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from torch import nn

from components.training.optimizers import (
    AdamWConfig,
    OptimizerConfig,
    SGDConfig,
    build_optimizer,
    decay_groups,
)

torch.set_num_threads(1)


class SmallNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.first = nn.Linear(4, 4)
        self.second = nn.Linear(4, 4)
        self.second.weight = self.first.weight


def test_norms_and_biases_do_not_decay() -> None:
    model = SmallNet()
    decaying, plain = decay_groups(model, 0.1)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    assert decaying["weight_decay"] == 0.1 and plain["weight_decay"] == 0.0
    assert [names[id(p)] for p in decaying["params"]] == ["conv.weight", "first.weight"]
    assert [names[id(p)] for p in plain["params"]] == [
        "conv.bias",
        "norm.weight",
        "norm.bias",
        "first.bias",
        "second.bias",
    ]


def test_frozen_parameters_are_left_out() -> None:
    model = SmallNet()
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    with pytest.raises(ValueError, match="no trainable parameter"):
        build_optimizer(SGDConfig(), model)
    model.first.bias.requires_grad_(True)
    (group,) = build_optimizer(SGDConfig(), model).param_groups
    assert [id(p) for p in group["params"]] == [id(model.first.bias)]


def test_sgd_by_hand() -> None:
    model = nn.Linear(1, 1, bias=False).double()
    nn.init.constant_(model.weight, 1.0)
    config = SGDConfig(learning_rate=0.1, momentum=0.5, nesterov=True, weight_decay=0.01)
    optimizer = build_optimizer(config, model)
    weight, velocity = 1.0, 0.0
    for _ in range(3):
        model.weight.grad = torch.full((1, 1), 2.0, dtype=torch.float64)
        optimizer.step()
        gradient = 2.0 + 0.01 * weight
        velocity = 0.5 * velocity + gradient
        weight -= 0.1 * (gradient + 0.5 * velocity)
    assert model.weight.item() == pytest.approx(weight, rel=1e-12)


def test_adamw_by_hand() -> None:
    model = nn.Linear(1, 1, bias=False).double()
    nn.init.constant_(model.weight, 1.0)
    config = AdamWConfig(
        name="adamw", learning_rate=0.1, betas=(0.9, 0.99), eps=1e-8, weight_decay=0.5
    )
    optimizer = build_optimizer(config, model)
    weight, first, second = 1.0, 0.0, 0.0
    for step in range(1, 4):
        gradient = 2.0 / step
        model.weight.grad = torch.full((1, 1), gradient, dtype=torch.float64)
        optimizer.step()
        first = 0.9 * first + 0.1 * gradient
        second = 0.99 * second + 0.01 * gradient**2
        unbiased = (second / (1 - 0.99**step)) ** 0.5
        weight = weight * (1 - 0.1 * 0.5) - 0.1 * first / (1 - 0.9**step) / (unbiased + 1e-8)
    assert model.weight.item() == pytest.approx(weight, rel=1e-9)


def test_name_decides_and_unknown_keys_are_refused() -> None:
    adapter: TypeAdapter[SGDConfig | AdamWConfig] = TypeAdapter(OptimizerConfig)
    assert isinstance(adapter.validate_python({"name": "adamw"}), AdamWConfig)
    assert adapter.validate_python({"name": "sgd", "learning_rate": 1}).learning_rate == 1.0
    with pytest.raises(ValidationError, match="momentum"):
        adapter.validate_python({"name": "adamw", "momentum": 0.9})
    with pytest.raises(ValidationError, match="set nesterov to false as well"):
        adapter.validate_python({"name": "sgd", "momentum": 0.0})
    with pytest.raises(ValidationError, match="greater than 0"):
        adapter.validate_python({"name": "sgd", "learning_rate": 0.0})


@pytest.mark.processes
def test_recipes_load_without_torch() -> None:
    code = (
        "import sys, components.training.config, components.models.registry;"
        "sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
