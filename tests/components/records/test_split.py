"""The split of a record is a pure function of its key, the seed and the shares."""

import numpy as np
import polars as pl
import pytest

from components.records.identity import record_id
from components.records.split import SPLITS, Cut, SplitConfig, SplitRule, split_positions

IDS = [record_id(str(number).encode()) for number in range(20_000)]


def rows(
    ids: list[str],
    given: list[str | None] | None = None,
    labels: list[str] | None = None,
    times: list[int | None] | None = None,
) -> pl.DataFrame:
    nothing = [None] * len(ids)
    return pl.DataFrame(
        {
            "key": ids,
            "given": pl.Series(given or nothing, dtype=pl.String),
            "label": labels or [""] * len(ids),
            "time": pl.Series(times or nothing, dtype=pl.Int64),
        }
    )


def splits(ids: list[str], *, seed: int = 0, val: float = 0.1, test: float = 0.2) -> list[str]:
    return SplitRule(seed, val, test).assign(rows(ids)).to_list()


def test_known_records_never_move() -> None:
    assert splits(IDS[:12]) == splits(IDS[:12])
    keys = pl.Series([record_id(data) for data in (b"a", b"b")])
    # Fixed numbers: another value here would move the records of every data set ever prepared.
    assert split_positions(keys, 0).tolist() == [
        9_316_030_615_690_864_975,
        12_785_824_652_904_127_474,
    ]
    assert split_positions(keys, 2**63 - 1).tolist() == [
        10_463_250_427_084_834_162,
        10_126_837_619_959_136_633,
    ]


def test_positions_fill_the_axis_evenly() -> None:
    places = split_positions(pl.Series(IDS), 3) / 2**64
    counts = np.histogram(places, bins=10, range=(0, 1))[0]
    # 10 bins of 2,000, each within 4 standard deviations of a binomial.
    assert np.abs(counts - 2000).max() < 4 * (2000 * 0.9) ** 0.5


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


def test_what_the_source_says_holds() -> None:
    given: list[str | None] = ["test", "val", "train", None] * 5000
    rule = SplitRule(0, 0.3, 0.3, given=("train", "test"))
    found = rule.assign(rows(IDS, given)).to_list()
    assert {s for s, said in zip(found, given, strict=True) if said == "test"} == {"test"}
    assert {s for s, said in zip(found, given, strict=True) if said == "val"} == {"val"}
    # The source has a test split: val is carved out of its train, and no second test.
    assert {s for s, said in zip(found, given, strict=True) if said == "train"} == {"train", "val"}
    assert {s for s, said in zip(found, given, strict=True) if said is None} == set(SPLITS)


def test_folds_cut_what_is_not_test_into_equal_parts() -> None:
    found = [
        np.array(SplitRule(1, 0.0, 0.2, folds=4, fold=fold).assign(rows(IDS)).to_list())
        for fold in range(4)
    ]
    tested = [np.flatnonzero(names == "test").tolist() for names in found]
    assert all(rest == tested[0] for rest in tested)
    in_val = sum((names == "val").astype(int) for names in found)
    in_test = (found[0] == "test").astype(int)
    assert (in_val + in_test == 1).all()
    # A fifth of 20,000 each, within 4 standard deviations of a binomial.
    assert all(abs((names == "val").sum() - 4000) < 4 * (4000 * 0.8) ** 0.5 for names in found)


def test_cuts_decide_by_class() -> None:
    cuts = {"a": Cut(0, 0, 2**64), "b": Cut(2**64, 2**64, 2**64), "c": Cut(0, 0, 0)}
    labels = ["a", "b", "c", "a"]
    found = SplitRule(0, 0.1, 0.1, cuts=cuts).assign(rows(IDS[:4], labels=labels))
    assert found.to_list() == ["val", "test", "train", "val"]


def test_the_latest_are_test_and_those_before_them_val() -> None:
    times = [0, 9, 10, 19, 20, 99, None]
    rule = SplitRule(0, 0.3, 0.3, times=(10, 20))
    found = rule.assign(rows(IDS[:7], times=times)).to_list()
    assert found == ["train", "train", "val", "val", "test", "test", "train"]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"val": 0.5, "test": 0.5}, r"val \+ test = 1 leaves no record to train on"),
        ({"folds": 3, "fold": 3}, "use 0 to 2"),
        ({"method": "group"}, "name the column that it goes by"),
        ({"method": "time", "column": "day", "folds": 3}, "train on the future"),
        ({"column": "day"}, "is for method group or time"),
    ],
)
def test_what_cannot_be_done_is_refused(settings: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        SplitConfig.model_validate(settings)
