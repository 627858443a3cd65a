"""What bound a training, from the seconds of its parts."""

from typing import Any

import pytest

from components.reports.bound import find_bound


def epoch(wait: float, read: float, decode: float, augment: float) -> dict[str, float]:
    """1,000 records in 10 s."""
    return {
        "records": 1000.0,
        "records_per_s": 100.0,
        "data_wait_share": wait,
        "feed_read_s": read,
        "feed_decode_s": decode,
        "feed_augment_s": augment,
    }


@pytest.mark.parametrize(
    ("row", "by", "advice"),
    [
        (epoch(0.01, 1, 4, 2), "the model", "a faster device"),
        (epoch(0.05, 1, 14, 4), "the model", "the feed has room"),
        (epoch(0.4, 1, 14, 4), "decoding", "data.store.short_side_px"),
        (epoch(0.4, 1, 4, 14), "augmenting", "a lighter policy"),
        (epoch(0.4, 14, 4, 1), "reading", "a faster disk"),
        (epoch(0.4, 1, 2, 2), "transfer", "train.batch_size"),
    ],
)
def test_what_is_waited_for_is_named(row: dict[str, float], by: str, advice: str) -> None:
    found = find_bound([row, row], data_cpus=2)
    assert found is not None and found.by == by and advice in found.advice
    assert sum(found.shares.values()) == pytest.approx(1.0)
    assert found.trained_records_per_s == 100.0


def test_the_sentence_has_the_numbers() -> None:
    found = find_bound([epoch(0.4, 1, 14, 5)], data_cpus=2)
    assert found is not None
    # 1,000 records in 20 s of work: 50 a second in each of two processes.
    assert found.feed_records_per_s == 100.0
    assert found.sentence().startswith(
        "Bound by decoding: the training took 100 records/s, the feed's processes could deliver "
        "100 (their work: reading 5%, decoding 70%, augmenting 25%). To go faster: more CPUs"
    )


def test_without_measurements_nothing_is_said() -> None:
    row: dict[str, Any] = {"records": 10.0, "records_per_s": 1.0, "data_wait_share": 0.5}
    assert find_bound([row], data_cpus=2) is None
    assert find_bound([], data_cpus=2) is None
