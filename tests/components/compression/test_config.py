"""Which steps can follow which, and that no other two can."""

import itertools

import pytest
from pydantic import TypeAdapter, ValidationError

from components.compression.config import AnyStep, CompressionStep, misplaced, step_name

STEP: TypeAdapter[AnyStep] = TypeAdapter(CompressionStep)
ORDER = (
    "prune channels",
    "factorize",
    "prune weights",
    "fold",
    "quantize int8_weights",
)


@pytest.mark.parametrize("length", range(len(ORDER) + 1))
def test_steps_in_their_order_are_never_refused(length: int) -> None:
    for names in itertools.combinations(ORDER, length):
        assert list(misplaced(names)) == []


def test_any_other_order_is_refused_once_for_each_step_that_is_too_late() -> None:
    for names in itertools.permutations(ORDER, 2):
        expected = [] if ORDER.index(names[0]) < ORDER.index(names[1]) else [(1, 0)]
        assert [(p.later, p.earlier) for p in misplaced(names)] == expected
    (problem,) = misplaced(["factorize", "fold", "prune heads"])
    assert problem == (2, 0, "prune heads comes before factorize", "move it before {earlier}")


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (["fold", "fold"], "fold cannot follow fold"),
        (["prune channels", "prune heads"], "prune heads cannot follow prune channels"),
        (["prune 2:4", "prune weights"], "prune weights cannot follow prune 2:4"),
        (
            ["quantize int8_weights", "quantize int8_static"],
            "quantize int8_static cannot follow quantize int8_weights",
        ),
        (
            ["prune weights", "quantize int8_static"],
            "quantize int8_static stores a byte for each weight, zero or not; prune weights saves "
            "nothing",
        ),
    ],
)
def test_two_of_a_kind_and_zeros_for_nothing_are_refused(names: list[str], reason: str) -> None:
    (problem,) = misplaced(names)
    assert (problem.later, problem.earlier, problem.reason) == (1, 0, reason)


def test_what_no_recipe_can_name_is_in_nobodys_way() -> None:
    assert list(misplaced(["distill", "prune channels", "distill", "fold"])) == []


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"kind": "prune", "what": "channels"}, "prune channels"),
        ({"kind": "prune", "what": "2:4"}, "prune 2:4"),
        ({"kind": "factorize", "rank": 4}, "factorize"),
        ({"kind": "fold"}, "fold"),
        ({"kind": "quantize", "what": "int4_weights"}, "quantize int4_weights"),
    ],
)
def test_every_step_has_a_name_and_comes_back_from_its_settings(
    settings: dict[str, object], name: str
) -> None:
    step = STEP.validate_python(settings)
    written = step.model_dump(mode="json")
    assert STEP.validate_python(written) == step
    assert step_name(written["kind"], written) == name


@pytest.mark.parametrize(
    "settings",
    [
        {"kind": "prune", "what": "weights", "amount": 0.0},
        {"kind": "prune", "what": "weights", "max_flops": 0.5},
        {"kind": "prune", "what": "channels", "max_flops": 1.0},
        {"kind": "factorize"},
        {"kind": "factorize", "rank": 2, "energy": 0.5},
        {"kind": "quantize", "what": "int8_static", "weight_bits": 6},
        {"kind": "quantize", "what": "int8_static", "calibration_records": 31},
        {"kind": "fold", "what": "norms"},
    ],
)
def test_what_would_do_nothing_or_is_of_another_step_is_refused(
    settings: dict[str, object],
) -> None:
    with pytest.raises(ValidationError):
        STEP.validate_python(settings)
