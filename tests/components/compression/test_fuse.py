"""What can be one layer, found in any code, and what is never joined."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from components.compression.fuse import chains, fold_norms
from components.compression.trace import trace
from components.models.compressed import fold_away
from tests.components.compression.nets import CONFIGS, net, pictures

torch.set_num_threads(1)


class Tricky(nn.Module):
    """Every way in which a norm or ReLU behind a layer is not alone, and some in which it is."""

    def __init__(self) -> None:
        super().__init__()
        self.alone = nn.Conv2d(3, 4, 1)
        self.alone_norm = nn.BatchNorm2d(4)
        self.alone_relu = nn.ReLU(inplace=True)
        self.read_twice = nn.Conv2d(4, 4, 1)
        self.read_twice_norm = nn.BatchNorm2d(4)
        self.changed = nn.Conv2d(4, 4, 1)
        self.changed_norm = nn.BatchNorm2d(4)
        self.changed_relu = nn.ReLU(inplace=True)
        self.called_twice = nn.Conv2d(4, 4, 1)
        self.shared_relu = nn.ReLU()
        self.functional = nn.Conv2d(4, 4, 1)
        self.given = nn.Conv2d(4, 4, 1)
        self.given_relu = nn.ReLU()
        self.never = nn.Conv2d(4, 4, 1)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = self.alone_relu(self.alone_norm(self.alone(x)))
        y = self.read_twice(x)
        x = self.read_twice_norm(y) + y
        y = self.changed_norm(self.changed(x))
        y += x
        x = self.changed_relu(y)
        x = self.called_twice(self.called_twice(x))
        x = self.shared_relu(self.shared_relu(x))
        x = F.relu(self.functional(x))
        y = self.given(x)
        return y, self.given_relu(y)


def test_only_what_is_alone_is_joined() -> None:
    model = Tricky()
    model.changed_norm.eval()
    state = torch.get_rng_state()
    found = {
        chain.layer: (chain.norm, chain.relu) for chain in chains(model, [torch.ones(2, 3, 2, 2)])
    }
    assert found == {
        "alone": ("alone_norm", "alone_relu"),
        "read_twice": (None, None),
        # The sum is made in place: the ReLU does not read what the norm gave.
        "changed": ("changed_norm", None),
        "functional": (None, None),
        "given": (None, None),
    }
    # The model is as before: no hooks, no statistics, modes one by one, no random numbers drawn.
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert model.training and not model.changed_norm.training
    assert int(model.alone_norm.num_batches_tracked) == 0
    assert torch.equal(torch.get_rng_state(), state)


def test_a_trace_counts_reads_also_in_inference_mode() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.ReLU())
    for mode in (torch.inference_mode(), torch.no_grad()):
        with mode:
            flow = trace(model, [torch.ones(2, 3)])
        assert list(flow.calls) == ["0", "1", ""]
        assert flow.uses[flow.calls["0"].output] == 1 and flow.uses[flow.calls["1"].output] == 0
        assert flow.outputs == {flow.calls["1"].output}


@pytest.mark.parametrize("name", CONFIGS)
def test_folding_keeps_the_outputs(name: str) -> None:
    model = net(name).train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    x = pictures(8, seed=3)
    folded, norms = fold_norms(model, chains(model, [x]))
    assert model.training and folded.training
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    num_norms = sum(isinstance(module, nn.BatchNorm2d) for module in model.modules())
    assert len(norms) == num_norms > 0
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    with torch.inference_mode():
        expected, got = model.eval()(x), folded.eval()(x)
    assert (got - expected).abs().max() < 1e-5 * expected.abs().max()
    # As a package builds it again.
    rebuilt = net(name, seed=1)
    fold_away(rebuilt, norms)
    rebuilt.load_state_dict(folded.state_dict())
    with torch.inference_mode():
        assert torch.equal(rebuilt.eval()(x), got)


def test_folding_norms_without_weights_and_convolutions_with_bias() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, affine=False))
    model(pictures(8))
    x = pictures(2, seed=1)
    folded, _ = fold_norms(model.eval(), chains(model, [x]))
    torch.testing.assert_close(folded(x), model(x))
    # Statistics of the batch cannot be folded.
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False))
    assert [chain.norm for chain in chains(model, [x])] == [None]
