"""What is simulated in training is what comes out, and training helps."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from components.compression.qat import convert_qat, prepare_qat
from components.compression.quantize import quantize_dynamic, quantize_static, static_spec
from components.models.int8_layers import use_reference
from tests.components.compression.nets import CONFIGS, net, pictures

torch.set_num_threads(1)
BATCHES = [[pictures(32, seed=10)]]
nets = pytest.mark.parametrize("name", CONFIGS)


def train(model: nn.Module, num_steps: int, target_BK: torch.Tensor, x: torch.Tensor) -> float:
    optimizer = torch.optim.Adam(model.parameters(), 5e-3)
    model.train()
    for _ in range(num_steps):
        loss = F.mse_loss(model(x), target_BK)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    with torch.inference_mode():
        return float(F.mse_loss(model(x), target_BK))


@nets
@pytest.mark.parametrize("bits", [8, 7])
@torch.inference_mode()
def test_untrained_simulation_is_the_quantized_model(name: str, bits: int) -> None:
    model, x = net(name), pictures(50)
    quantized, spec = quantize_static(model, BATCHES, weight_bits=bits)
    simulated = prepare_qat(model, spec, weight_bits=bits)
    use_reference(quantized)
    assert torch.equal(simulated(x), quantized(x))


@nets
def test_trained_simulation_is_what_is_converted(name: str) -> None:
    model, x = net(name).train(), pictures(32, seed=4)
    before = copy.deepcopy(model.state_dict())
    spec = static_spec(model, BATCHES)
    simulated = prepare_qat(model, spec, weight_bits=7)
    target = torch.linspace(-1.0, 1.0, 5).expand(32, 5)
    start = train(simulated, 0, target, x)
    end = train(simulated, 15, target, x)
    assert end < 0.8 * start
    converted, same = convert_qat(model, simulated, spec)
    assert same == spec and model.training
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    with torch.inference_mode():
        expected, fast = simulated(x), converted.eval()(x)
        use_reference(converted)
        assert torch.equal(converted(x), expected)
    assert (fast.argmax(1) == expected.argmax(1)).float().mean() >= 0.96
    assert (fast - expected).norm() < 0.01 * expected.norm()
    largest = max(
        int(value.abs().max())
        for value in converted.state_dict().values()
        if value.dtype == torch.int8
    )
    assert largest == 63


def test_training_gets_back_what_rounding_lost() -> None:
    # Grids that are four times too small cut most values off.
    model, x = net("convnet"), pictures(64, seed=4)
    with torch.no_grad():
        target = model(x)
    spec = static_spec(model, [[x * 0.25]])
    simulated = prepare_qat(model, spec)
    start = train(simulated, 0, target, x)
    assert train(simulated, 25, target, x) < 0.5 * start


def test_gradients_pass_the_rounding_and_stop_where_values_are_cut_off() -> None:
    model = nn.Sequential(nn.Linear(1, 1))
    model[0].weight.data.fill_(0.5)
    model[0].bias.data.fill_(0.0)
    spec = static_spec(model, [[torch.tensor([[-1.0], [1.0]])]])
    simulated = prepare_qat(model, spec)
    x = torch.tensor([[0.301], [0.9], [3.0], [-3.0]], requires_grad=True)
    simulated(x).sum().backward()
    torch.testing.assert_close(x.grad, torch.tensor([[0.5], [0.5], [0.0], [0.0]]))
    # d y / d w is the rounded input, cut off at the ends of the grid: 1 - 1 for the last two.
    torch.testing.assert_close(simulated[0].weight.grad, torch.tensor([[1.2]]), atol=0.02, rtol=0)
    torch.testing.assert_close(simulated[0].bias.grad, torch.tensor([4.0]))


def test_other_layers_are_trained_and_converted_too() -> None:
    model = nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8), nn.Linear(8, 3), nn.Linear(3, 2))
    x = torch.randn(16, 6, generator=torch.Generator().manual_seed(0))
    spec = static_spec(model, [[x]], keep_float=["3"])
    simulated = prepare_qat(model, spec)
    train(simulated, 3, torch.ones(16, 2), x)
    converted, _ = convert_qat(model, simulated, spec)
    use_reference(converted)
    with torch.inference_mode():
        assert torch.equal(converted(x), simulated(x))
    assert not torch.equal(converted[1].weight, model[1].weight)
    assert not torch.equal(converted[3].weight, model[3].weight)


def test_what_cannot_be_simulated() -> None:
    model = nn.Sequential(nn.Linear(4, 4))
    with pytest.raises(ValueError, match="layer 0 has dynamic grids"):
        prepare_qat(model, quantize_dynamic(model).spec)
    with pytest.raises(ValueError, match="7 or 8 bits"):
        prepare_qat(model, static_spec(model, [[torch.ones(2, 4)]]), weight_bits=9)
