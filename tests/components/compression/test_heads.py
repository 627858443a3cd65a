"""Whole heads and hidden units leave the transformers that are written as ViT."""

import pytest
import torch
from torch import nn

from components.compression.budget import flops, outputs_of
from components.compression.channels import prune_channels
from components.compression.heads import attention_parts, hidden_parts, prune_heads
from components.errors import RecipeError
from components.models.registry import TransformersConfig, build_model
from components.models.shapes import ImageShape
from components.models.structure import resize
from tests.components.compression.packages import SMALL_VIT

# transformers takes seconds to import.
pytestmark = pytest.mark.processes
torch.set_num_threads(1)
INPUTS = (torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(0)),)
DINO = {name: value for name, value in SMALL_VIT.items() if name != "intermediate_size"}


def classifier(architecture: str, settings: dict[str, object]) -> nn.Module:
    config = TransformersConfig(name="transformers", architecture=architecture, config=settings)
    model = build_model(config, ImageShape(16), num_outputs=5, seed=0)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        # Loud enough that every head shows in the logits.
        for parameter in model.parameters():
            parameter.normal_(std=0.3, generator=generator)
    return model


@pytest.mark.parametrize(
    ("architecture", "settings"),
    [
        ("vit", SMALL_VIT),
        ("deit", SMALL_VIT),
        ("dinov2", DINO),
        ("vit_msn", SMALL_VIT),
        ("ijepa", SMALL_VIT),
        ("clip", {"vision_config": SMALL_VIT}),
        ("siglip", {"vision_config": SMALL_VIT}),
    ],
)
def test_heads_and_units_leave_within_the_budget(
    architecture: str, settings: dict[str, object]
) -> None:
    model = classifier(architecture, settings)
    pruned = prune_heads(model, INPUTS, max_flops=0.6)
    share = flops(pruned.model, INPUTS) / flops(model, INPUTS)
    assert 0.45 < share <= 0.6 and share == pruned.flops_share
    before, after = attention_parts(model), attention_parts(pruned.model)
    assert before.keys() == after.keys() and len(before) >= 2
    for name, parts in after.items():
        assert parts.size == before[name].size == 8
        assert 1 <= parts.count < before[name].count == 4
    for name, parts in hidden_parts(pruned.model).items():
        assert parts.count % 8 == 0 and parts.count < hidden_parts(model)[name].count
    rebuilt = classifier(architecture, settings)
    resize(rebuilt, pruned.sizes)
    rebuilt.load_state_dict(pruned.model.state_dict())
    first, second = (outputs_of(m.eval(), INPUTS) for m in (rebuilt, pruned.model))
    assert torch.equal(first, second) and first.shape == (3, 5)


def test_the_heads_with_the_smallest_weights_leave() -> None:
    model = classifier("vit", SMALL_VIT)
    quiet = {0: [1, 2], 1: [0, 3]}
    with torch.no_grad():
        for (_, parts), heads in zip(attention_parts(model).items(), quiet.values(), strict=True):
            channels = parts.channels(heads)
            for layer in parts.into:
                layer.weight[channels] *= 0.01
            parts.out.weight[:, channels] *= 0.01
    pruned = prune_heads(model, INPUTS, max_flops=0.6)
    pairs = zip(attention_parts(model).items(), attention_parts(pruned.model).items(), strict=True)
    for index, ((_, before), (_, after)) in enumerate(pairs):
        assert after.count == 2
        kept = before.channels([n for n in range(4) if n not in quiet[index]])
        for old, new in zip(before.into, after.into, strict=True):
            assert torch.equal(new.weight, old.weight[kept])
        assert torch.equal(after.out.weight, before.out.weight[:, kept])
        assert torch.equal(after.out.bias, before.out.bias)


class Splitting(nn.Module):
    """Attention that shares out what channels there are among a fixed number of heads."""

    def __init__(self) -> None:
        super().__init__()
        self.head_dim, self.heads = 4, 2
        self.q_proj, self.k_proj, self.v_proj, self.o_proj = (nn.Linear(8, 8) for _ in range(4))

    def forward(self, x_BTC: torch.Tensor) -> torch.Tensor:
        def split(values: torch.Tensor) -> torch.Tensor:
            return values.view(*values.shape[:2], self.heads, -1).transpose(1, 2)

        q, k, v = (split(layer(x_BTC)) for layer in (self.q_proj, self.k_proj, self.v_proj))
        mixed = (q @ k.transpose(2, 3)).softmax(dim=-1) @ v
        return self.o_proj(mixed.transpose(1, 2).flatten(2))


def test_heads_that_would_be_mixed_unseen_are_refused() -> None:
    model = nn.Sequential(Splitting(), nn.Flatten(), nn.Linear(24, 2))
    x = torch.randn(2, 3, 8, generator=torch.Generator().manual_seed(0))
    with pytest.raises(RecipeError, match="gives other outputs than with heads of zero"):
        prune_heads(model, (x,), max_flops=0.6)


def test_models_without_such_heads_are_refused() -> None:
    resnet = {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1]}
    with pytest.raises(RecipeError, match="has no heads to remove; use what: channels"):
        prune_heads(classifier("resnet", resnet), INPUTS, max_flops=0.5)
    swin = {"embed_dim": 16, "depths": [1, 1], "num_heads": [2, 4], "patch_size": 2}
    with pytest.raises(RecipeError, match=r"blocks\.0\.attention: does not work with fewer"):
        prune_heads(classifier("swin", {**swin, "window_size": 4}), INPUTS, max_flops=0.6)
    with pytest.raises(RecipeError, match=r"layers\.0\.attention: .* head size 8 is fixed; use"):
        prune_channels(classifier("vit", SMALL_VIT), INPUTS, max_flops=0.5)
    with pytest.raises(RecipeError, match=r"0\.01 of the FLOPs cannot .* least is 0\.\d\d; raise"):
        prune_heads(classifier("vit", SMALL_VIT), INPUTS, max_flops=0.01)
    with pytest.raises(RecipeError, match="round_to 0 is below 1"):
        prune_heads(classifier("vit", SMALL_VIT), INPUTS, max_flops=0.5, round_to=0)
