"""The books add up or cannot be made."""

import pytest
from pydantic import ValidationError

from components.records.accounting import Accounting, by_reason_text


def books(**changes: object) -> Accounting:
    values: dict[str, object] = {
        "read": 100,
        "prepared": 90,
        "quarantined": 7,
        "duplicates": 3,
        "quarantined_by_reason": {"truncated": 5, "too_small": 2},
    }
    return Accounting.model_validate(values | changes)


def test_books_that_add_up() -> None:
    assert books().quarantined_share == 0.07


@pytest.mark.parametrize("column", ["read", "prepared", "duplicates"])
@pytest.mark.parametrize("change", [-1, 1])
def test_one_record_more_or_less_is_noticed(column: str, change: int) -> None:
    with pytest.raises(ValidationError, match="records are missing: read"):
        books(**{column: getattr(books(), column) + change})


def test_reasons_must_cover_the_quarantine() -> None:
    with pytest.raises(ValidationError, match="quarantined 7 is not the sum of"):
        books(quarantined_by_reason={"truncated": 5, "too_small": 1})


def test_nothing_read_is_no_share() -> None:
    empty = books(read=0, prepared=0, quarantined=0, duplicates=0, quarantined_by_reason={})
    assert empty.quarantined_share == 0.0


def test_largest_reason_comes_first() -> None:
    assert by_reason_text({"too_small": 22, "truncated": 390}) == "390 truncated, 22 too_small"
