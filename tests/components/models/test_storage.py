"""Storage forms give back the same float32 bits, are small, and refuse what is damaged."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from components.errors import DataError
from components.models.storage import Form, decode, encode, sparse_forms

FORMS: tuple[Form, ...] = ("sparse", "int8", "int4", "sparse_int8")
LEVELS = {"int8": 127, "sparse_int8": 127, "int4": 7}


def drawn(shape: tuple[int, ...], seed: int, zeros: float, spread: float = 1.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(shape, generator=generator) * spread
    return weight.where(torch.rand(shape, generator=generator) >= zeros, 0.0)


def there_and_back(weight: torch.Tensor, form: Form) -> torch.Tensor:
    return decode(encode({"w": weight}, {"w": form}), {"w": form}, {"w": weight})["w"]


def bits(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.view(torch.int32)


@pytest.mark.parametrize("shape", [(7,), (5, 3), (4, 3, 3, 3), (1, 1), (0, 4)])
def test_sparse_gives_back_every_bit(shape: tuple[int, ...]) -> None:
    weight = drawn(shape, seed=0, zeros=0.6)
    assert torch.equal(bits(there_and_back(weight, "sparse")), bits(weight))


def test_sparse_keeps_what_is_not_finite() -> None:
    weight = torch.tensor([[float("nan"), 0.0, float("-inf"), 1e-45]])
    assert torch.equal(bits(there_and_back(weight, "sparse")), bits(weight))


@given(
    form=st.sampled_from(("int8", "int4", "sparse_int8")),
    shape=st.sampled_from([(3, 5), (8, 1), (2, 3, 3, 3), (1, 64)]),
    seed=st.integers(0, 2**32),
    exponent=st.integers(-140, 120),
    zeros=st.sampled_from([0.0, 0.5, 1.0]),
)
def test_encoding_again_changes_nothing(
    form: Form, shape: tuple[int, ...], seed: int, exponent: int, zeros: float
) -> None:
    weight = drawn(shape, seed, zeros, spread=2.0**exponent)
    parts = encode({"w": weight}, {"w": form})
    decoded = decode(parts, {"w": form}, {"w": weight})["w"]
    again = encode({"w": decoded}, {"w": form})
    assert parts.keys() == again.keys()
    assert all(torch.equal(parts[name], again[name]) for name in parts)
    assert torch.equal(bits(there_and_back(decoded, form)), bits(decoded))


@pytest.mark.parametrize("form", ["int8", "int4", "sparse_int8"])
def test_levels_are_the_nearest_of_each_output(form: Form) -> None:
    weight = drawn((6, 4, 3, 3), seed=1, zeros=0.3) * torch.logspace(-3, 3, 6).view(-1, 1, 1, 1)
    largest = weight.abs().flatten(1).amax(dim=1)
    error = (there_and_back(weight, form) - weight).abs().flatten(1).amax(dim=1)
    assert (error <= 0.5001 * largest / LEVELS[form]).all()
    assert (error > 0).all()
    # One output does not disturb another.
    alone = there_and_back(weight[2:3], form)
    assert torch.equal(alone, there_and_back(weight, form)[2:3])


def test_int4_holds_odd_numbers_of_weights_and_all_levels() -> None:
    weight = torch.arange(-7, 8, dtype=torch.float32).view(1, 15)
    parts = encode({"w": weight}, {"w": "int4"})
    assert parts["w:values"].dtype == torch.uint8 and len(parts["w:values"]) == 8
    assert torch.equal(there_and_back(weight, "int4"), weight)


def test_bytes_on_disk(tmp_path: Path) -> None:
    weight = drawn((64, 64, 3, 3), seed=2, zeros=0.6)
    size_of = {}
    for form in FORMS:
        save_file(encode({"w": weight}, {"w": form}), tmp_path / form)
        size_of[form] = (tmp_path / form).stat().st_size
        read = decode(load_file(tmp_path / form), {"w": form}, {"w": weight})
        assert torch.equal(read["w"], there_and_back(weight, form))
    base = 4 * weight.numel()
    assert base / size_of["sparse"] > 2.2
    assert base / size_of["int8"] > 3.9
    assert base / size_of["int4"] > 7.7
    assert base / size_of["sparse_int8"] > 7.3


def test_what_has_no_form_is_left_as_it_is_and_sparse_is_chosen_where_it_saves() -> None:
    tensors = {
        "dense": drawn((8, 8), 0, zeros=0.0),
        "sparse": drawn((8, 8), 0, zeros=0.5),
        "few": drawn((1, 64), 0, zeros=0.0).index_fill(1, torch.tensor([3]), 0.0),
        "count": torch.zeros(8, dtype=torch.int64),
    }
    forms = sparse_forms(tensors)
    assert forms == {"sparse": "sparse"}
    parts = encode(tensors, forms)
    assert set(parts) == {"dense", "few", "count", "sparse:values", "sparse:mask"}
    back = decode(parts, forms, tensors)
    assert back.keys() == tensors.keys()
    assert all(torch.equal(back[name], tensors[name]) for name in tensors)


def damaged(form: Form, **parts: torch.Tensor | None) -> dict[str, torch.Tensor]:
    whole = encode({"w": drawn((4, 6), 0, zeros=0.5)}, {"w": form})
    changed = {**whole, **{f"w:{name}": part for name, part in parts.items()}}
    return {name: part for name, part in changed.items() if part is not None}


@pytest.mark.parametrize(
    ("form", "parts", "message"),
    [
        ("sparse", {"values": None}, "part 'w:values' is missing"),
        ("sparse", {"mask": None}, "part 'w:mask' is missing"),
        ("int8", {"scale": None}, "part 'w:scale' is missing"),
        (
            "sparse",
            {"values": torch.ones(1)},
            r"'w:values' is torch.float32 \(1,\), expected .* \(1\d",
        ),
        ("sparse", {"mask": torch.full((3,), 255, dtype=torch.uint8)}, r"expected .* \(24,\)"),
        ("sparse", {"mask": torch.zeros(2, dtype=torch.uint8)}, r"'w:mask' .* expected .* \(3,\)"),
        ("sparse", {"mask": torch.zeros(3)}, "'w:mask' is torch.float32 .* expected torch.uint8"),
        ("sparse_int8", {"values": torch.ones(12)}, "'w:values' is torch.float32 .* torch.int8"),
        ("int8", {"values": torch.ones(6, 4, dtype=torch.int8)}, r"\(6, 4\), expected .* \(4, 6\)"),
        ("int4", {"values": torch.ones(11, dtype=torch.uint8)}, r"\(11,\), expected .* \(12,\)"),
        ("int8", {"scale": torch.ones(3)}, r"'w:scale' .* \(3,\), expected .* \(4,\)"),
        ("int8", {"scale": torch.zeros(4)}, "'w:scale' must be finite and above 0"),
        ("int4", {"scale": torch.full((4,), torch.nan)}, "'w:scale' must be finite and above 0"),
        ("int8", {"scale": torch.full((4,), torch.inf)}, "'w:scale' must be finite and above 0"),
        ("int8", {"scale": torch.full((4,), -1.0)}, "'w:scale' must be finite and above 0"),
    ],
)
def test_damaged_parts_are_refused(
    form: Form, parts: dict[str, torch.Tensor | None], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        decode(damaged(form, **parts), {"w": form}, {"w": torch.zeros(4, 6)})


def test_forms_that_do_not_suit_are_refused() -> None:
    for form in FORMS:
        with pytest.raises(DataError, match=f"storage {form} of 'v': the model has no such"):
            encode({"w": torch.zeros(2, 2)}, {"v": form})
        with pytest.raises(DataError, match=f"storage {form} of 'v': the model has no such"):
            decode({}, {"v": form}, {"w": torch.zeros(2, 2)})
        with pytest.raises(DataError, match=f"storage {form} does not suit 'w', torch.int64"):
            encode({"w": torch.zeros(2, 2, dtype=torch.int64)}, {"w": form})
    with pytest.raises(DataError, match=r"storage int8 does not suit 'b', torch.float32 \(3,\)"):
        encode({"b": torch.zeros(3)}, {"b": "int8"})
    with pytest.raises(DataError, match="weight 'w' is not finite, so it has no int4 form"):
        encode({"w": torch.tensor([[1.0, torch.nan]])}, {"w": "int4"})
