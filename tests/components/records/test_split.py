"""The split of a record is a pure function of its id and the seed."""

import numpy as np
import pytest

from components.records.identity import record_id
from components.records.split import SplitConfig, split_of, split_position

IDS = [record_id(str(number).encode()) for number in range(20_000)]


def splits(ids: list[str], *, seed: int = 0, val: float = 0.1, test: float = 0.2) -> list[str]:
    return [split_of(identity, seed, val=val, test=test) for identity in ids]


def test_known_records_never_move() -> None:
    assert splits(IDS[:12]) == splits(IDS[:12])
    positions = [split_position(record_id(data), 0) for data in (b"a", b"b")]
    # Fixed numbers: another value here would move the records of every data set ever prepared.
    assert positions == [14_705_472_743_435_734_686, 16_153_979_066_415_585_735]


def test_adding_records_moves_none() -> None:
    few = dict(zip(IDS[:500], splits(IDS[:500]), strict=True))
    many = dict(zip(IDS, splits(IDS), strict=True))
    assert {identity: many[identity] for identity in few} == few


@pytest.mark.parametrize(("val", "test"), [(0.1, 0.2), (0.05, 0.0), (0.0, 0.5), (0.45, 0.45)])
def test_shares_are_those_asked_for(val: float, test: float) -> None:
    found = splits(IDS, val=val, test=test)
    for name, share in (("val", val), ("test", test), ("train", 1 - val - test)):
        # 4 standard deviations of a binomial with 20,000 draws.
        slack = 4 * (share * (1 - share) * len(IDS)) ** 0.5
        assert abs(found.count(name) - share * len(IDS)) <= slack


def test_a_share_of_zero_is_none() -> None:
    assert set(splits(IDS, val=0.0, test=0.0)) == {"train"}


def test_a_larger_val_takes_from_train_and_leaves_test_alone() -> None:
    before, after = splits(IDS, val=0.1), splits(IDS, val=0.3)
    moved = {(b, a) for b, a in zip(before, after, strict=True) if b != a}
    assert moved == {("train", "val")}


def test_seeds_divide_independently() -> None:
    in_test = [np.array(splits(IDS, seed=seed)) == "test" for seed in (0, 1)]
    both = int((in_test[0] & in_test[1]).sum())
    # 20 % of 20 % of 20,000 records are in both test splits, within 4 standard deviations.
    assert abs(both - 800) < 4 * (800 * 0.96) ** 0.5


def test_nothing_left_to_train_on_is_refused() -> None:
    with pytest.raises(ValueError, match=r"val \+ test = 1 leaves no record to train on"):
        SplitConfig(val=0.5, test=0.5)
