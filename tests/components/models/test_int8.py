"""Integer layers: fast equals plain, what is loaded is checked, and copies work."""

import copy
import os
import pickle
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from components.errors import DataError
from components.models import int8_layers
from components.models.int8 import Int8Layer, QParams, handing_codes_on, make_int8
from components.models.int8_layers import (
    Grid,
    Int8Conv2d,
    Int8DynamicLinear,
    dequantize,
    on_grid,
    onednn_is_exact,
    quantize,
    unsupported,
    use_reference,
)

torch.set_num_threads(1)
INPUT = QParams(scale=0.0625, zero_point=7)
OUTPUT = QParams(scale=0.125, zero_point=3)


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def fill(module: nn.Module, seed: int = 0, largest: int = 127) -> None:
    generator = torch.Generator().manual_seed(seed)
    state = module.state_dict()
    codes = torch.randint(
        -largest, largest + 1, state["weight_int8"].shape, generator=generator, dtype=torch.int8
    )
    scale = torch.rand(len(codes), generator=generator) * 1e-2 + 1e-4
    bias = torch.randn(len(codes), generator=generator)
    module.load_state_dict({"weight_int8": codes, "weight_scale": scale, "bias": bias})


def int8_of(layer: nn.Module, *, relu: bool = False, output: QParams | None = None) -> nn.Module:
    model = nn.Sequential(layer, nn.ReLU())
    op = "conv2d" if isinstance(layer, nn.Conv2d) else "linear"
    spec = Int8Layer(op=op, input=INPUT, output=output, relu="1" if relu else None)
    make_int8(model, {"0": spec}, {}, everywhere=True)
    fill(model[0])
    return model[0]


def test_codes_by_hand() -> None:
    x = torch.tensor([-9.0, -0.75, -0.25, 0.0, 0.25, 0.75, 1.25, 200.0])
    codes = quantize(x, 0.5, 3)
    # Ties go to the even number before the zero point is added, as in ONNX: -1.5 -> -2, 0.5 -> 0.
    assert codes.tolist() == [0, 1, 3, 3, 3, 5, 5, 255] and codes.dtype == torch.uint8
    values = dequantize(codes, 0.5, 3)
    assert values.tolist() == [-1.5, -1.0, 0.0, 0.0, 0.0, 1.0, 1.0, 126.0]
    assert torch.equal(on_grid(x, Grid(0.5, 3)), values)
    assert torch.equal(on_grid(values, Grid(0.5, 3)), values)
    assert torch.equal(dequantize(quantize(x, 0.5, 0), 0.5, 0), on_grid(x, Grid(0.5, 0)))


LAYERS = {
    "conv": nn.Conv2d(16, 32, 3, padding=1),
    "conv 7x7 of pictures": nn.Conv2d(3, 16, 7, stride=2, padding=3),
    "conv 1x1, stride": nn.Conv2d(16, 24, 1, stride=2, bias=False),
    "depthwise": nn.Conv2d(16, 16, 3, padding=1, groups=16),
    "groups, dilation": nn.Conv2d(16, 32, 3, dilation=2, groups=4),
    "same": nn.Conv2d(16, 8, 3, padding="same"),
    "valid": nn.Conv2d(16, 8, (3, 1), padding="valid"),
    "linear": nn.Linear(16, 10),
}


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("output", [None, OUTPUT], ids=["float out", "codes out"])
@torch.inference_mode()
def test_fast_equals_plain_and_by_hand(name: str, output: QParams | None) -> None:
    layer = LAYERS[name]
    module = int8_of(copy.deepcopy(layer), relu=True, output=output)
    is_conv = isinstance(layer, nn.Conv2d)
    x = drawn(4, layer.in_channels, 9, 11) if is_conv else drawn(4, 5, 16)
    fast = module(x)
    if is_conv:
        assert torch.equal(module(x.contiguous(memory_format=torch.channels_last)), fast)
    use_reference(module)
    plain = module(x)
    twin = copy.deepcopy(layer).double()
    twin.weight = nn.Parameter(module.weight.double())
    twin.bias = nn.Parameter(module.bias.double())
    exact = twin(on_grid(x, INPUT.grid).double()).relu()
    step = 0.0 if output is None else output.scale
    if output is not None:
        exact = on_grid(exact.float(), output.grid)
    assert fast.shape == plain.shape == exact.shape and fast.dtype == torch.float32
    for one, other in ((fast, plain), (plain, exact)):
        differs = (one - other).abs() > 1e-4
        # On a border between two values of a grid they may part by one step.
        assert differs.float().mean() < 2e-3 and (one - other).abs().max() <= step + 1e-4


@torch.inference_mode()
def test_dynamic_linear() -> None:
    linear = nn.Linear(64, 10)
    linear.weight.copy_(drawn(10, 64) / 8)
    module = Int8DynamicLinear(linear)
    scale = linear.weight.abs().amax(1) / 127
    module.load_state_dict(
        {
            "weight_int8": (linear.weight / scale[:, None]).round().to(torch.int8),
            "weight_scale": scale,
            "bias": linear.bias,
        }
    )
    x = drawn(7, 3, 64)
    x[2] *= 1000.0
    x[3] = 0.0
    x[4] = x[4].abs() + 5.0
    fast = module(x)
    # Rows as different as these share no grid: each is as near as alone.
    error = (fast - linear(x)).norm(dim=-1) / linear(x).norm(dim=-1)
    assert error.max() < 0.02
    torch.testing.assert_close(fast[3], linear.bias.expand(3, 10))
    for row in range(7):
        assert torch.equal(module(x[row : row + 1])[0], fast[row])
    use_reference(module)
    torch.testing.assert_close(module(x), fast, rtol=1e-5, atol=1e-3)
    assert module(x[:0]).shape == (0, 3, 10)


@torch.inference_mode()
def test_results_do_not_depend_on_the_batch_or_on_what_came_before() -> None:
    module = int8_of(nn.Conv2d(48, 96, 3, padding=1))
    x = drawn(6, 48, 8, 8)
    whole = module(x)
    module(drawn(2, 48, 5, 7))
    assert torch.equal(torch.cat([module(x[row : row + 1]) for row in range(6)]), whole)


@torch.inference_mode()
def test_weights_are_packed_for_the_size_of_the_input() -> None:
    # Packed for none or another, oneDNN reorders 96 x 96 x 3 x 3 weights at every call: 4.3 ms
    # where 0.05 ms are enough.
    model = nn.Sequential(nn.Conv2d(96, 96, 3, padding=1), nn.ReLU())
    grid = QParams(scale=0.0625, zero_point=0)
    make_int8(model, {"0": Int8Layer(op="conv2d", input=grid, relu="1")}, {})
    for sizes_px in ([8], [32, 8]):
        fill(model[0])
        for size_px in sizes_px:
            x = drawn(1, 96, size_px, size_px).contiguous(memory_format=torch.channels_last)
            model(x)
        times_s = []
        for _ in range(15):
            start = time.thread_time()
            model(x)
            times_s.append(time.thread_time() - start)
        assert min(times_s) < 1e-3


@torch.inference_mode()
def test_copies_and_new_weights() -> None:
    module = int8_of(nn.Conv2d(8, 8, 3), output=OUTPUT)
    x = drawn(2, 8, 6, 6)
    before = module(x)
    for twin in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert torch.equal(twin(x), before)
    fill(module, seed=1)
    after = module(x)
    fresh = int8_of(nn.Conv2d(8, 8, 3), output=OUTPUT)
    fresh.load_state_dict(module.state_dict())
    assert torch.equal(fresh(x), after) and not torch.equal(after, before)
    # As the training loop has its models.
    assert torch.equal(copy.deepcopy(module).to(memory_format=torch.channels_last)(x), after)
    assert torch.equal(module.to(memory_format=torch.channels_last)(x), after)
    assert set(module.state_dict()) == {"weight_int8", "weight_scale", "bias"}
    assert not list(module.parameters())


def test_what_surrounding_code_reads() -> None:
    module = int8_of(nn.Conv2d(16, 32, 3, stride=2, padding="valid", groups=2))
    assert (module.in_channels, module.out_channels, module.kernel_size) == (16, 32, (3, 3))
    assert (module.stride, module.padding, module.dilation) == ((2, 2), (0, 0), (1, 1))
    # transformers' ViT converts its pictures to the dtype of the first layer's weights.
    assert module.weight.dtype == torch.float32
    state = module.state_dict()
    expected = state["weight_int8"].float() * state["weight_scale"].view(-1, 1, 1, 1)
    assert torch.equal(module.weight, expected)


@torch.inference_mode()
def test_without_the_operators(monkeypatch: pytest.MonkeyPatch) -> None:
    module = int8_of(nn.Conv2d(16, 16, 3), output=OUTPUT)
    x = drawn(2, 16, 8, 8)
    fast = module(x)
    monkeypatch.setattr(int8_layers, "onednn_is_exact", lambda *, seven_bits: False)
    monkeypatch.setattr(torch.ops.onednn, "qconv2d_pointwise", None)
    plain = copy.deepcopy(module)(x)
    assert (plain - fast).abs().max() <= OUTPUT.scale + 1e-4


def test_operators_that_are_missing_or_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("unsupported")

    for operators in (SimpleNamespace(), SimpleNamespace(qconv_prepack=fail)):
        monkeypatch.setattr(torch.ops, "onednn", operators)
        assert not onednn_is_exact.__wrapped__(seven_bits=True)


_ON_AN_OLD_PROCESSOR = """
import torch
from tests.components.models.test_int8 import drawn, fill, int8_of, nn, use_reference
from components.models.int8_layers import onednn_is_exact
print(onednn_is_exact(seven_bits=False), onednn_is_exact(seven_bits=True))
x = 10 + drawn(2, 64, 6, 6).abs()
for layer in (nn.Conv2d(64, 8, 3), nn.Linear(6, 8)):
    for largest in (63, 127):
        module = int8_of(layer)
        fill(module, largest=largest)
        fast = module(x)
        use_reference(module)
        assert (fast - module(x)).abs().max() < 1e-3, (layer, largest)
"""


@pytest.mark.processes
def test_a_processor_that_overflows_gives_the_same() -> None:
    environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2", "PYTHONPATH": os.getcwd()}
    told = subprocess.run(
        [sys.executable, "-c", _ON_AN_OLD_PROCESSOR],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 0, told.stderr
    # Seven bits are what such a processor can do; without x86 the variable says nothing.
    assert told.stdout.split()[1] == str(onednn_is_exact(seven_bits=True))


@pytest.mark.processes
@torch.inference_mode()
def test_export_sees_plain_torch() -> None:
    module = int8_of(nn.Conv2d(3, 8, 3), output=OUTPUT)
    x = drawn(2, 3, 8, 8)
    use_reference(module)
    expected = module(x)
    use_reference(module, False)
    program = torch.export.export(module, (x,))
    assert "onednn" not in str(program.graph)
    assert torch.equal(program.module()(x), expected)


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 1))
        self.shortcut = nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x) + self.shortcut(x)


def residual_net() -> nn.Module:
    stem = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU())
    return nn.Sequential(stem, nn.Identity(), nn.Sequential(nn.Conv2d(8, 8, 3)), Residual())


GRID = QParams(scale=0.25, zero_point=10)
CONV = Int8Layer(op="conv2d", input=GRID, output=GRID)
RESIDUAL_LAYERS = {
    "0.0": CONV.model_copy(update={"norm": "0.1", "relu": "0.2"}),
    "2.0": CONV,
    "3.body.0": CONV,
    "3.body.1": CONV,
}


def test_codes_go_on_only_where_nothing_else_sees_them() -> None:
    model = residual_net()
    # Through the norm and the ReLU that are gone and the Identity, but never into a block.
    assert handing_codes_on(model, RESIDUAL_LAYERS, {}) == {"0.0", "3.body.0"}
    assert handing_codes_on(model, RESIDUAL_LAYERS, {"1": GRID}) == {"3.body.0"}
    # What a grid is put on is looked at: it is left in float.
    assert handing_codes_on(model, RESIDUAL_LAYERS, {"0": GRID}) == {"3.body.0"}
    other = {**RESIDUAL_LAYERS, "2.0": CONV.model_copy(update={"input": OUTPUT})}
    assert handing_codes_on(model, other, {}) == {"3.body.0"}
    make_int8(model, RESIDUAL_LAYERS, {})
    assert handing_codes_on(model, RESIDUAL_LAYERS, {}) == {"0.0", "3.body.0"}
    assert type(model[0][1]) is nn.Identity and type(model[0][2]) is nn.Identity
    for module in model.modules():
        if isinstance(module, Int8Conv2d):
            fill(module)
    with torch.inference_mode():
        y = model(drawn(2, 3, 12, 12))
        inside = model[0](drawn(2, 3, 12, 12))
    assert y.dtype == torch.float32 and inside.dtype == torch.uint8


@torch.inference_mode()
def test_everywhere_rounds_all_outputs() -> None:
    model = residual_net()
    make_int8(model, RESIDUAL_LAYERS, {"3": GRID}, everywhere=True)
    for module in model.modules():
        if isinstance(module, Int8Conv2d):
            fill(module)
    x = drawn(2, 3, 12, 12)
    seen = {}
    model[3].body.register_forward_hook(lambda *call: seen.update(body=call[2]))
    steps = model(x) / GRID.scale
    assert torch.equal(steps, steps.round())
    body = seen["body"] / GRID.scale
    assert torch.equal(body, body.round()) and body.unique().numel() > 20


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gone": CONV}, "int8 layer gone: expected a Conv2d, the model has no such layer"),
        ({"3": CONV}, "int8 layer 3: expected a Conv2d, the model has a Residual"),
        ({"0.0": CONV.model_copy(update={"op": "linear"})}, "expected a Linear, the model has a C"),
        ({"0.0": CONV.model_copy(update={"norm": "0.2"})}, "expected a BatchNorm2d, the model has"),
        ({"0.0": CONV.model_copy(update={"relu": "0.1"})}, "expected a ReLU, the model has a Batc"),
        ({"4": CONV.model_copy(update={"norm": "0.1"})}, "int8 norm 0.1 has 8 channels, its layer"),
        (
            {"2.0": CONV.model_copy(update={"relu": "0.2"})},
            "int8 layer 0.2 is named twice",
        ),
        ({"5": CONV}, "int8 layer 5 cannot be computed in int8: its padding is reflect"),
    ],
)
def test_layers_of_another_model_are_refused(change: dict[str, Int8Layer], message: str) -> None:
    model = residual_net()
    model.append(nn.Conv2d(8, 4, 1)).append(nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"))
    with pytest.raises(DataError, match=message) as refused:
        make_int8(model, {**RESIDUAL_LAYERS, **change}, {})
    assert "\n" not in str(refused.value)
    assert not any(isinstance(module, Int8Conv2d) for module in model.modules())


@pytest.mark.parametrize("name", ["gone", "2.0"])
def test_outputs_of_another_model_are_refused(name: str) -> None:
    with pytest.raises(DataError, match=f"int8 output {name}: "):
        make_int8(residual_net(), RESIDUAL_LAYERS, {name: GRID})


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("weight_int8", torch.ones(8, 3, 3, 3), "weights of 0 are torch.float32, not int8"),
        ("weight_scale", torch.zeros(8), "scale 0.0 of the int8 weights of 0"),
        ("weight_scale", torch.full((8,), -1.0), "scale -1.0"),
        ("weight_scale", torch.full((8,), torch.nan), "scale nan"),
        ("weight_scale", torch.full((8,), torch.inf), "scale inf"),
        ("bias", torch.full((8,), torch.nan), "bias of 0 is not finite"),
    ],
)
def test_damaged_weights_are_refused(key: str, value: torch.Tensor, message: str) -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3))
    make_int8(model, {"0": CONV}, {})
    with pytest.raises(DataError, match=message):
        model.load_state_dict({**model.state_dict(), f"0.{key}": value})


@pytest.mark.parametrize(
    "values",
    [
        {"scale": 0.0, "zero_point": 0},
        {"scale": -1.0, "zero_point": 0},
        {"scale": float("nan"), "zero_point": 0},
        {"scale": float("inf"), "zero_point": 0},
        {"scale": 0.1, "zero_point": 0},  # not a float32 value
        {"scale": 1.0, "zero_point": -1},
        {"scale": 1.0, "zero_point": 256},
        {"scale": 1.0, "zero_point": 1.5},
        {"scale": 1.0, "zero_point": 0, "axis": 1},
    ],
)
def test_grids_that_cannot_be(values: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        QParams.model_validate(values)


@pytest.mark.parametrize(
    "values",
    [
        {"op": "conv2d"},
        {"op": "linear"},
        {"op": "conv2d", "activations": "dynamic"},
        {"op": "linear", "activations": "dynamic", "input": INPUT},
        {"op": "linear", "activations": "dynamic", "relu": "1"},
        {"op": "embedding", "input": INPUT},
    ],
)
def test_layers_that_cannot_be(values: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Int8Layer.model_validate(values)


def test_layers_survive_json() -> None:
    layer = Int8Layer(op="conv2d", input=QParams(scale=float(torch.tensor(0.1)), zero_point=3))
    assert Int8Layer.model_validate_json(layer.model_dump_json()) == layer


def test_what_is_unsupported() -> None:
    assert unsupported(nn.Conv2d(3, 3, 3, padding="same")) == ""
    assert "differs between left and right" in unsupported(nn.Conv2d(3, 3, 2, padding="same"))
    assert "ConvTranspose2d" in unsupported(nn.ConvTranspose2d(3, 3, 3))
