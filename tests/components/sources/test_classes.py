"""Which class names are one name, and which only look alike."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.records.split import Split
from components.sources.classes import ClassCount, class_findings, merged_names


def count(name: str, num_records: int = 1, split: Split | None = None) -> ClassCount:
    place = name if split is None else f"{split}/{name}"
    return ClassCount(name, split, num_records, place)


@pytest.mark.parametrize(
    ("kept", "variant"),
    [
        ("cat", "Cat"),
        ("cat", " cat"),
        ("cat", "cat\u200b"),
        ("golden retriever", "golden_retriever"),
        ("golden retriever", "Golden-Retriever"),
        ("golden retriever", "golden  retriever"),
        ("golden retriever", "goldenretriever"),
        ("caf\u00e9", "cafe\u0301"),
        ("type 1", "type_1"),
        ("\u00c4ffin", "\u00e4ffin"),
    ],
)
def test_spellings_of_one_name(kept: str, variant: str) -> None:
    assert merged_names([count(variant), count(kept, 2)]) == {variant: kept}
    assert merged_names([count(kept), count(variant, 2)]) == {kept: variant}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("cat", "cats"),
        ("1", "01"),
        ("1", "-1"),
        ("1 0", "10"),
        ("1_1", "11"),
        ("A", "A-"),
        ("A+", "A"),
        ("cafe", "caf\u00e9"),
        ("1.0", "1"),
        ("c", "c++"),
        ("stra\u00dfe", "strasse"),
        ("_cat", "cat"),
    ],
)
def test_names_that_only_look_alike(one: str, other: str) -> None:
    assert merged_names([count(one), count(other)]) == {}


def test_of_equals_the_first_in_order_stays() -> None:
    assert merged_names([count("cat"), count("Cat"), count("CAT")]) == {"cat": "CAT", "Cat": "CAT"}


def test_an_alphabet_keeps_its_case() -> None:
    balanced = [*"0123456789", *"ABCDEFGHIJKLMNOPQRSTUVWXYZ", *"abdefghnqrt"]
    names, (finding,) = class_findings([count(name) for name in balanced], {})
    assert names == {} and finding.count == 22 and "no variants" in finding.detail
    assert merged_names([count("A"), count("a"), count("Cat"), count("cat")]) == {"cat": "Cat"}


def test_two_habits_of_writing_letters_are_no_alphabet() -> None:
    counts = [count(x, 2, "train") for x in "ABC"] + [count(x, 1, "test") for x in "abc"]
    assert merged_names(counts) == {"a": "A", "b": "B", "c": "C"}
    assert merged_names([count(x) for x in "aAbcdef"]) == {"a": "A"}


def test_most_classes_in_both_cases_are_variants() -> None:
    counts = [count(x, 2) for x in ("cat", "dog")] + [count(x) for x in ("Cat", "Dog")]
    assert merged_names(counts) == {"Cat": "cat", "Dog": "dog"}


@given(st.lists(st.text(max_size=6), unique=True, max_size=8))
def test_a_merge_is_one_step_and_order_free(names: list[str]) -> None:
    counts = [count(name, len(name)) for name in names]
    merged = merged_names(counts)
    assert merged == merged_names(counts[::-1])
    assert not set(merged) & set(merged.values())
    assert merged.keys() | merged.values() <= set(names)


@given(st.text(min_size=2, max_size=8))
def test_normal_forms_are_one_name(name: str) -> None:
    forms = {unicodedata.normalize(form, name) for form in ("NFC", "NFD")}
    assert len(merged_names([count(form) for form in forms])) == len(forms) - 1
