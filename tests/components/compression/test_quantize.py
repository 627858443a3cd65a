"""Models of integers: near the float model, the same each time, with the right grids."""

import copy
from itertools import pairwise

import pytest
import torch
from torch import nn

from components.compression.fuse import chains, fold_norms
from components.compression.quantize import (
    quantize_dynamic,
    quantize_static,
    sensitivity,
    static_spec,
    with_integers,
)
from components.errors import DataError, RecipeError
from components.models.int8 import make_int8
from components.models.int8_layers import Int8Conv2d, Int8Linear, on_grid, use_reference
from tests.components.compression.nets import CONFIGS, net, pictures

torch.set_num_threads(1)
BATCHES = [[pictures(16, seed=seed)] for seed in (10, 11)]
nets = pytest.mark.parametrize("name", CONFIGS)


@nets
@torch.inference_mode()
def test_near_the_float_model_and_the_reference(name: str) -> None:
    model, x = net(name), pictures(200)
    quantized, _ = quantize_static(model, BATCHES)
    expected, fast = model(x), quantized(x)
    assert (fast - expected).norm() < 0.05 * expected.norm()
    use_reference(quantized)
    plain = quantized(x)
    assert (fast.argmax(1) == plain.argmax(1)).float().mean() >= 0.995
    assert (fast - plain).norm() < 0.005 * expected.norm()
    # All weights count: with those of another seed the outputs are far away.
    other, _ = quantize_static(net(name, seed=1), BATCHES)
    assert (other(x) - expected).norm() > 0.5 * expected.norm()


@nets
@torch.inference_mode()
def test_integers_do_not_depend_on_the_batch(name: str) -> None:
    x = pictures(12)
    quantized, _ = quantize_static(net(name), BATCHES)
    alone = torch.cat([quantized(x[row : row + 1]) for row in range(12)])
    assert torch.equal(alone, quantized(x))


@nets
def test_what_becomes_of_each_layer(name: str) -> None:
    model = net(name)
    quantized, spec = quantize_static(model, BATCHES)
    floats = [n for n, m in model.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert list(spec.layers) and set(spec.layers) == set(floats)
    left = [m for m in quantized.modules() if isinstance(m, nn.BatchNorm2d | nn.Conv2d | nn.Linear)]
    assert not left
    assert spec.layers["head"].output is None
    for layer, own in spec.layers.items():
        assert (own.op == "conv2d") == (layer != "head") == (own.output is not None)
    if name == "convnet":
        # From convolution to convolution, also through the pool, the grid is one.
        names = [layer for layer in spec.layers if layer != "head"]
        for before, after in pairwise(names):
            assert spec.layers[after].input == spec.layers[before].output
            assert spec.layers[before].output.zero_point == 0
        hands_on = [quantized.get_submodule(layer).gives_codes for layer in names]
        assert hands_on == [True, False, True, False]
        assert spec.outputs == {}
    else:
        # What a block gives is read by two layers of the next, or by one and the shortcut.
        assert spec.layers["stages.1.body.0"].input == spec.layers["stages.1.shortcut.0"].input
        assert spec.layers["stages.0.body.0"].input == spec.layers["stem.0"].output
        hands_on = [n for n in floats if getattr(quantized.get_submodule(n), "gives_codes", False)]
        assert hands_on == ["stages.0.body.0", "stages.1.body.0"]


@nets
def test_weights_within_half_a_step(name: str) -> None:
    model = net(name)
    x = pictures(2)
    folded, _ = fold_norms(model, chains(model, [x]))
    for bits, largest in ((8, 127), (7, 63)):
        quantized, spec = quantize_static(model, BATCHES, weight_bits=bits)
        for layer, own in spec.layers.items():
            module, twin = quantized.get_submodule(layer), folded.get_submodule(layer)
            steps = module.weight_scale.view(-1, *[1] * (twin.weight.ndim - 1))
            assert ((module.weight - twin.weight).abs() <= steps * 0.5001).all()
            assert int(module.weight_int8.abs().max()) == largest
            # The bias is a whole number of steps of the sums.
            bias_steps = module.weight_scale * own.input.scale
            assert ((module.bias - twin.bias).abs() <= bias_steps * 0.5001).all()
            sums = module.bias / bias_steps
            assert (sums - sums.round()).abs().max() < 1e-3


class TwoReaders(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.act = nn.Linear(4, 4), nn.GELU()
        self.second, self.third = nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.act(self.first(x))
        return self.third(self.second(x) + x)


@torch.inference_mode()
def test_sums_that_others_read_have_a_grid() -> None:
    model = TwoReaders()
    x = torch.randn(64, 4, generator=torch.Generator().manual_seed(0))
    quantized, spec = quantize_static(model, [[x]])
    # `second` and the sum read what `act` gives; nothing in integers reads `first`.
    assert spec.outputs == {"act": spec.layers["second"].input}
    assert [layer.output for layer in spec.layers.values()] == [None, None, None]
    seen = {}
    rounded = with_integers(model, spec, everywhere=True)
    rounded.third.register_forward_pre_hook(lambda _, args: seen.update(sum=args[0]))
    rounded.second.register_forward_hook(lambda *call: seen.update(given=call[1][0], own=call[2]))
    rounded(x)
    assert torch.equal(seen["given"], on_grid(seen["given"], spec.outputs["act"].grid))
    assert torch.equal(seen["sum"], seen["own"] + seen["given"])
    given = []
    quantized.second.register_forward_pre_hook(lambda _, args: given.append(args[0]))
    quantized(x)
    assert not torch.equal(given[0], seen["given"])


@nets
@torch.inference_mode()
def test_rounding_everywhere_is_near(name: str) -> None:
    model, x = net(name), pictures(100)
    quantized, spec = quantize_static(model, BATCHES)
    everywhere = with_integers(model, spec, everywhere=True)
    error = (everywhere(x) - quantized(x)).norm() / quantized(x).norm()
    # Here it rounds more: before the mean of the last layer, and where blocks add.
    assert 0.0 < error < 0.03


def test_keep_float_and_sensitivity() -> None:
    model, x = net("convnet"), pictures(64)
    with torch.inference_mode():
        expected = model(x)

    def score(candidate: nn.Module) -> float:
        with torch.inference_mode():
            return -float((candidate(x) - expected).norm() / expected.norm())

    costs = sensitivity(model, BATCHES, score)
    assert {cost.layer for cost in costs} == set(static_spec(model, BATCHES).layers)
    assert [cost.drop for cost in costs] == sorted((cost.drop for cost in costs), reverse=True)
    assert all(cost.drop > 0 and cost.score == -cost.drop for cost in costs)
    assert costs[0].num_weights == model.get_submodule(costs[0].layer).weight.numel()
    # Without its most expensive layer the model is nearer, and that layer is float.
    kept, spec = quantize_static(model, BATCHES, keep_float=[costs[0].layer])
    everything, _ = quantize_static(model, BATCHES)
    assert score(kept) > score(everything)
    assert costs[0].layer not in spec.layers
    assert isinstance(kept.get_submodule(costs[0].layer), nn.Conv2d | nn.Linear)


def test_a_pool_keeps_the_grid_whatever_its_own_percentiles_are() -> None:
    layers = static_spec(net("convnet"), BATCHES, percentile=99.0).layers
    assert layers["features.3.0"].input == layers["features.1.0"].output


def test_outliers_are_cut_off_by_the_percentile() -> None:
    x = pictures(16)
    x[0, 0, 0, 0] = 1000.0
    model = net("convnet")
    wide = static_spec(model, [[x]]).layers["features.0.0"].input
    narrow = static_spec(model, [[x]], percentile=99.9).layers["features.0.0"].input
    assert wide.scale > 3.9 and narrow.scale < 0.05


def test_dead_channels_and_zero_weights() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 3))
    model(pictures(4))
    model[1].weight.data[:2] = 0.0
    model[1].bias.data[:2] = torch.tensor([-5.0, 3.0])
    model[3].weight.data.zero_()
    model[3].bias.data.fill_(2.0)
    x = pictures(4, seed=1)
    quantized, _ = quantize_static(model.eval(), [[x]])
    with torch.inference_mode():
        torch.testing.assert_close(quantized(x), torch.full((4, 2, 12, 12), 2.0))
    sums = quantized[0].bias / quantized[0].weight_scale
    assert (sums.abs() < 2**31).all()


def test_dynamic() -> None:
    model = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 8), nn.Conv1d(1, 1, 1))[:3]
    model.append(nn.MultiheadAttention(8, 2))
    quantized, spec = quantize_dynamic(model, keep_float=["0"])
    assert list(spec.layers) == ["2"] and spec.layers["2"].activations == "dynamic"
    quantized, spec = quantize_dynamic(model)
    # The attention's own Linear has its weights read by others.
    assert list(spec.layers) == ["0", "2"]
    x = torch.randn(9, 32, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected, got = model[:3](x), quantized[:3](x)
    assert 0 < (got - expected).norm() < 0.02 * expected.norm()


def test_what_cannot_be_quantized() -> None:
    x = [torch.ones(2, 4)]
    with pytest.raises(RecipeError, match="Sequential has no Conv2d or Linear layer"):
        quantize_static(nn.Sequential(nn.LayerNorm(4)), [x])
    with pytest.raises(RecipeError, match=r"has no Linear layer .*; use int8_static"):
        quantize_dynamic(nn.Sequential(nn.Conv2d(3, 3, 3)))
    with pytest.raises(DataError, match="calibration got no batch"):
        quantize_static(nn.Linear(4, 4), [])
    model = nn.Sequential(nn.Linear(4, 4))
    with pytest.raises(RecipeError, match="keep_float: no layer 'head'; there are 0"):
        quantize_static(model, [x], keep_float=["head"])
    with pytest.raises(DataError, match=r"int8 layer stem\.0: .*no such layer"):
        with_integers(net("convnet"), static_spec(net("resnet"), BATCHES))
    with pytest.raises(ValueError, match="weights have 7 or 8 bits"):
        quantize_static(model, [x], weight_bits=4)
    with pytest.raises(ValueError, match="computes in int8 already"):
        quantize_static(quantize_static(model, [x]).model, [x])
    with pytest.raises(ValueError, match="computes in int8 already"):
        quantize_dynamic(quantize_dynamic(model).model)


def test_the_spec_and_the_weights_build_the_model_again() -> None:
    quantized, spec = quantize_static(net("resnet"), BATCHES)
    rebuilt = net("resnet", seed=2)
    make_int8(rebuilt, spec.layers, spec.outputs)
    rebuilt.load_state_dict(copy.deepcopy(quantized.state_dict()))
    x = pictures(5)
    with torch.inference_mode():
        assert torch.equal(rebuilt(x), quantized(x))
    assert sum(isinstance(m, Int8Conv2d | Int8Linear) for m in rebuilt.modules()) == len(
        spec.layers
    )
