"""Weights by class, by source and by column; what cannot be is refused in one line."""

import numpy as np
import pyarrow as pa
import pytest
from pydantic import ValidationError

from components.errors import DataError, RecipeError
from components.records.identity import repeat_id
from components.records.sampling import RecordWeights, SamplingConfig, stratum_weights


def test_balance_gives_each_value_the_same_share() -> None:
    weights = stratum_weights(
        {"cat": 900, "dog": 90, "owl": 10, "none": 0}, SamplingConfig(balance=True)
    )
    # 1,000 records in three equal parts.
    assert weights == pytest.approx({"cat": 1000 / 2700, "dog": 1000 / 270, "owl": 1000 / 30})


def test_shares_count_by_their_ratio_alone() -> None:
    counts = {"web": 300, "own": 100}
    for shares in ({"web": 0.5, "own": 0.5}, {"web": 7.0, "own": 7.0}):
        weights = stratum_weights(counts, SamplingConfig(by="origin", shares=shares))
        assert weights == pytest.approx({"web": 200 / 300, "own": 2.0})
    assert sum(weights[name] * counts[name] for name in counts) == pytest.approx(400)


@pytest.mark.parametrize(
    ("shares", "message"),
    [
        (
            {"web": 1.0, "onw": 1.0},
            r"shares has 'onw', which no record of train has; .* are own, web",
        ),
        ({"web": 1.0}, r"shares has no share for 'own' \(100 records\); .*: give each of them"),
    ],
)
def test_shares_name_the_values_that_there_are(shares: dict[str, float], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        stratum_weights({"web": 300, "own": 100}, SamplingConfig(by="origin", shares=shares))


def test_a_column_of_too_many_values_has_no_shares() -> None:
    counts = {str(number): 1 for number in range(10_001)}
    with pytest.raises(DataError, match=r"by = 'price' has 10,001 values, 10,000 at most"):
        stratum_weights(counts, SamplingConfig(by="price", balance=True))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"balance": True, "weight_column": "w"},
            "balance and weight_column are rules of their own",
        ),
        ({"shares": {"a": 0.0}}, r"shares.a = 0: must be a number above 0"),
        ({"shares": {"a": float("inf")}}, r"shares.a = inf: must be a number above 0"),
        ({"rows_per_epoch": 0}, "greater than or equal to 1"),
    ],
)
def test_rules_that_cannot_be(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        SamplingConfig.model_validate(settings)


def test_the_weight_of_a_record_is_found_by_class_source_or_number() -> None:
    labels = pa.chunked_array([[0, 1], [1, None]], pa.int32())
    by_class = RecordWeights("label", {"cat": 0.5, "dog": 2.0, "None": 1.0}, names=("cat", "dog"))
    assert by_class.of(labels).tolist() == [0.5, 2.0, 2.0, 1.0]
    origins = pa.chunked_array([["web/a/b.jpg", "own.csv#12", "web/c.jpg", "web"]])
    by_source = RecordWeights("origin", {"web": 0.25, "own.csv": 3.0}, top_only=True)
    assert by_source.of(origins).tolist() == [0.25, 3.0, 0.25, 0.25]
    by_number = RecordWeights("w", scale=0.5)
    np.testing.assert_array_equal(by_number.of(pa.chunked_array([[2, 0], [5]])), [1.0, 0.0, 2.5])


def test_a_plan_says_how_records_are_drawn_in_words() -> None:
    assert str(SamplingConfig()) == ""
    assert str(SamplingConfig(balance=True, rows_per_epoch=5000)) == (
        "5,000 records an epoch; as many of each label"
    )
    shares = SamplingConfig(by="origin", shares={"web": 3.0, "own": 1.0})
    assert str(shares) == "origin 75% web, 25% own"
    assert str(SamplingConfig(weight_column="w")) == "as often as w says"


def test_repeats_have_names_of_their_own() -> None:
    name = "6f2334bc15995ccb5d003cba61b1205a"
    names = {name, *(repeat_id(name, repeat) for repeat in (1, 2, 1 << 32))}
    assert len(names) == 4 and all(len(bytes.fromhex(found)) == 16 for found in names)
