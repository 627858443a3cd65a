"""The contract of the models of tables: the same as that of the models of pictures."""

import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from torch.nn import functional as F

from components.errors import RecipeError
from components.models.registry import (
    AnyModelConfig,
    ConvNetConfig,
    LinearConfig,
    MLPConfig,
    TableModelConfig,
    build_model,
    check_model,
    config_of,
    self_contained,
)
from components.models.shapes import ImageShape, InputShape, TableShape
from components.models.tabular import embedding_size

torch.set_num_threads(1)
SHAPES = {
    "both": TableShape(6, (4, 30)),
    "features": TableShape(6),
    "codes": TableShape(0, (4, 30)),
}
MODELS = {
    "linear": LinearConfig(name="linear"),
    "mlp": MLPConfig(hidden=(16, 8)),
    "mlp without norm": MLPConfig(hidden=(16,), norm="none", dropout=0.4),
}
contract = pytest.mark.parametrize(
    ("config", "shape"),
    [(config, shape) for config in MODELS.values() for shape in SHAPES.values()],
    ids=[f"{config} of {shape}" for config in MODELS for shape in SHAPES],
)


def inputs(shape: TableShape, num_rows: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    features_BF = torch.randn(num_rows, shape.num_features, generator=generator)
    codes_BE = torch.zeros(num_rows, len(shape.cardinalities), dtype=torch.int64)
    for column, size in enumerate(shape.cardinalities):
        codes_BE[:, column] = torch.randint(0, size, (num_rows,), generator=generator)
    return features_BF, codes_BE


@contract
def test_outputs_and_gradients(config: AnyModelConfig, shape: TableShape) -> None:
    model = build_model(config, shape, num_outputs=3, seed=0)
    assert model.training
    outputs = model(*inputs(shape))
    assert outputs.shape == (5, 3) and outputs.dtype == torch.float32
    loss = F.cross_entropy(outputs, torch.tensor([0, 1, 2, 0, 1]))
    assert 0.5 < loss.item() < 2.5
    loss.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name


@contract
def test_the_seed_decides_the_weights_and_nothing_else_moves(
    config: AnyModelConfig, shape: TableShape
) -> None:
    state = torch.get_rng_state()
    first, second, other = (
        build_model(config, shape, num_outputs=3, seed=seed).state_dict() for seed in (3, 3, 4)
    )
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


@contract
def test_each_row_is_judged_alone(config: AnyModelConfig, shape: TableShape) -> None:
    model = build_model(config, shape, num_outputs=1, seed=0)
    features_BF, codes_BE = inputs(shape)
    with torch.inference_mode():
        together = model.eval()(features_BF, codes_BE)
        alone = torch.cat([model(features_BF[n : n + 1], codes_BE[n : n + 1]) for n in range(5)])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-6)
    assert model(features_BF[:0], codes_BE[:0]).shape == (0, 1)


@contract
def test_check_counts_what_build_builds(config: AnyModelConfig, shape: TableShape) -> None:
    model = build_model(config, shape, num_outputs=3, seed=0)
    expected = sum(parameter.numel() for parameter in model.parameters())
    assert check_model(config, shape, num_outputs=3) == expected
    assert config_of(model, config) == self_contained(config, shape, num_outputs=3) == config


def test_linear_equals_one_hot_and_a_matrix() -> None:
    shape = SHAPES["both"]
    model = build_model(MODELS["linear"], shape, num_outputs=2, seed=1)
    features_BF, codes_BE = inputs(shape)
    weights = dict(model.named_parameters())
    expected = features_BF @ weights["features.weight"].T + weights["features.bias"]
    for column, size in enumerate(shape.cardinalities):
        one_hot = F.one_hot(codes_BE[:, column], size).float()
        expected = expected + one_hot @ weights[f"codes.{column}.weight"]
    torch.testing.assert_close(model(features_BF, codes_BE), expected)
    assert check_model(MODELS["linear"], shape, num_outputs=2) == 6 * 2 + 2 + (4 + 30) * 2


def test_embeddings_grow_slowly() -> None:
    assert [embedding_size(n) for n in (1, 2, 10, 100, 1000, 10**6)] == [2, 2, 6, 21, 64, 64]


@pytest.mark.parametrize(
    ("config", "shape", "message"),
    [
        (MODELS["mlp"], ImageShape(8), "model mlp takes encoded tables, not pictures of 8 x 8 px"),
        (ConvNetConfig(width=8), SHAPES["both"], "convnet takes pictures, not 6 features, 2 codes"),
        (MODELS["linear"], TableShape(0), "no column became a feature"),
    ],
)
def test_a_model_of_another_modality_is_refused(
    config: AnyModelConfig, shape: InputShape, message: str
) -> None:
    for refuse in (check_model, lambda *a, **k: build_model(*a, **k, seed=0)):
        with pytest.raises(RecipeError, match=message):
            refuse(config, shape, num_outputs=2)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "mlp", "hidden": []}, "at least 1 item"),
        ({"name": "mlp", "hidden": [0]}, "greater than or equal to 1"),
        ({"name": "mlp", "norm": "batch"}, "'layer' or 'none'"),
        ({"name": "linear", "dropout": 0.1}, "Extra inputs"),
        ({"name": "convnet"}, "'linear', 'mlp'"),
    ],
)
def test_settings_that_cannot_hold_are_refused(settings: dict[str, object], message: str) -> None:
    adapter: TypeAdapter[AnyModelConfig] = TypeAdapter(TableModelConfig)
    with pytest.raises(ValidationError, match=message):
        adapter.validate_python(settings)
