"""Nearest low-rank layers: exact at full rank, the error that theory says, ranks by energy."""

import copy

import pytest
import torch
from torch import nn

from components.compression.factorize import factorize, low_rank_layer
from components.errors import RecipeError
from components.models.low_rank import make_low_rank

torch.set_num_threads(1)


def drawn(layer: nn.Module, seed: int = 0) -> nn.Module:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.normal_(generator=generator)
    return layer


LAYERS = {
    "linear": (lambda: nn.Linear(24, 40), (7, 24)),
    "linear without bias": (lambda: nn.Linear(40, 24, bias=False), (2, 5, 40)),
    "convolution": (lambda: nn.Conv2d(24, 40, 1), (2, 24, 6, 6)),
    "stride and padding": (lambda: nn.Conv2d(24, 40, 1, stride=2, padding=1), (2, 24, 6, 6)),
    "reflected": (
        lambda: nn.Conv2d(40, 24, 1, padding=1, padding_mode="reflect", bias=False),
        (2, 40, 6, 6),
    ),
}


@pytest.mark.parametrize("label", LAYERS)
def test_full_rank_is_the_layer_itself(label: str) -> None:
    make, shape = LAYERS[label]
    layer = drawn(make())
    x = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    state = torch.get_rng_state()
    pair = low_rank_layer(layer, 24)
    assert torch.equal(torch.get_rng_state(), state)
    torch.testing.assert_close(pair(x), layer(x), rtol=1e-5, atol=2e-5)
    assert pair(x).shape == layer(x).shape


def test_the_error_is_what_the_left_out_singular_values_hold() -> None:
    layer = drawn(nn.Linear(24, 40))
    singular = torch.linalg.svdvals(layer.weight.detach().double())
    for rank in (1, 8, 20):
        first, second = low_rank_layer(layer, rank)
        error = (second.weight.double() @ first.weight.double() - layer.weight).square().sum()
        torch.testing.assert_close(error, singular[rank:].square().sum(), rtol=1e-5, atol=1e-5)
        # Evenly shared: both have the same sum of squares.
        torch.testing.assert_close(
            first.weight.square().sum(), second.weight.square().sum(), rtol=1e-4, atol=0.0
        )


class Network(nn.Module):
    """Layers of all kinds; the wide ones are nearly of rank 4."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 32, 3)
        self.thin = nn.Conv2d(32, 48, 1)
        self.grouped = nn.Conv2d(48, 48, 1, groups=4)
        self.wide = nn.Linear(48, 64)
        self.head = nn.Linear(64, 2)
        drawn(self)
        with torch.no_grad():
            for layer in (self.thin, self.wide):
                out, inside = layer.weight.shape[:2]
                left, right = torch.randn(out, 4), torch.randn(4, inside)
                low = (left @ right).view(layer.weight.shape)
                layer.weight.copy_(low + 0.01 * layer.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.wide(self.grouped(self.thin(self.conv(x))).mean(dim=(2, 3))))


def test_rank_follows_the_energy_and_only_layers_that_shrink_are_replaced() -> None:
    model = Network().eval()
    before = copy.deepcopy(model.state_dict())
    smaller, ranks = factorize(model, energy=0.99)
    # 2 x 64 would need a rank below 1.9, and holds 99 % only in both.
    assert ranks == {"thin": 4, "wide": 4}
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    x = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(2))
    expected = model(x)
    assert (smaller(x) - expected).abs().max() < 0.05 * expected.abs().max()
    assert not smaller.training and not smaller.wide[0].training
    rebuilt = Network().eval()
    make_low_rank(rebuilt, ranks)
    rebuilt.load_state_dict(smaller.state_dict())
    assert torch.equal(rebuilt(x), smaller(x))
    assert set(factorize(model, rank=12, layers=["wide"])[1].items()) == {("wide", 12)}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "exactly one of energy and rank, not None and None"),
        ({"energy": 0.5, "rank": 3}, "exactly one of energy and rank, not 0.5 and 3"),
        ({"energy": 0.0}, "energy 0.0 is not above 0"),
        ({"energy": 1.1}, "energy 1.1 is not above 0"),
        ({"rank": 0}, "rank 0 is below 1"),
        ({"rank": 40}, "rank 40 makes no layer of the model smaller; lower it"),
        ({"energy": 1.0}, r"energy 1\.0 makes no layer of the model smaller; lower it"),
        ({"rank": 2, "layers": ["conv"]}, "layer 'conv' is no linear layer .*thin, wide, head"),
        ({"rank": 2, "layers": ["grouped"]}, "layer 'grouped' is no linear layer"),
        ({"rank": 2, "layers": ["nose"]}, "layer 'nose' is no linear layer"),
    ],
)
def test_what_cannot_be_factorized_is_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        factorize(Network(), **settings)  # type: ignore[arg-type]
