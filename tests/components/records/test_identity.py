"""A record's name is its content; its randomness is a function of (seed, epoch, record id)."""

import itertools

import numpy as np
import pytest

from components.records.identity import record_id, record_rng

ONE, OTHER = record_id(b"one"), record_id(b"other")
LARGEST_SEED = 2**63 - 1


def draws(seed: int, epoch: int, identity: str, count: int = 256) -> list[int]:
    return record_rng(seed, epoch, identity).integers(0, 2**63, count).tolist()


def test_record_id_is_blake2b_of_128_bits() -> None:
    # b2sum --length 128 of the same bytes.
    assert record_id(b"") == "cae66941d9efbd404e4d88758ea67670"
    assert record_id(b"abc") == "cf4ab791c62b8d2b2109c90275287816"


def test_one_changed_bit_is_another_record() -> None:
    assert len({record_id(bytes([value])) for value in range(256)}) == 256


def test_same_three_give_the_same_numbers() -> None:
    assert draws(3, 7, ONE) == draws(3, 7, ONE)


def test_order_of_use_does_not_matter() -> None:
    alone = draws(3, 7, ONE)
    draws(3, 7, OTHER)
    np.random.default_rng(0).random(10)
    assert draws(3, 7, ONE) == alone


def test_any_of_the_three_gives_other_numbers() -> None:
    keys = list(itertools.product((0, 1, LARGEST_SEED), (0, 1, 2, 1000), (ONE, OTHER)))
    values = [value for key in keys for value in draws(*key)]
    # 24 streams of 256 draws of 63 bits: one value seen twice would be an overlap, not chance.
    assert len(keys) * 256 == len(values) == len(set(values))


@pytest.mark.parametrize("seed", [0, LARGEST_SEED])
def test_draws_are_uniform(seed: int) -> None:
    values = np.concatenate([record_rng(seed, epoch, ONE).random(100) for epoch in range(100)])
    # 10,000 draws: the mean of a uniform lies within 4 standard errors of 1/2.
    assert abs(values.mean() - 0.5) < 4 * (1 / 12 / 10_000) ** 0.5
