import random
import string
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.records.reasons import Reason
from components.tables.cleaning.categories import edit_distance, fold_key, learn_mapping

VARIANT, MISSPELT = Reason.CATEGORY_VARIANT, Reason.CATEGORY_MISSPELT


def test_variants_become_the_most_frequent_spelling():
    counts = {
        "New York": 50,
        "new york": 3,
        "NEW YORK": 2,
        " New York ": 1,
        "New  York": 1,
        "New\u00a0York": 1,
        "New-York": 2,
        "new_york": 1,
        "NewYork": 1,
        "Boston": 40,
        "Boston.": 1,
    }
    learned = learn_mapping(counts)
    # Blanks around and doubled ones are told as the form of the text; the mapping comes after.
    assert learned.mapping == {
        "new york": "New York",
        "NEW YORK": "New York",
        "New-York": "New York",
        "new_york": "New York",
        "NewYork": "New York",
        "Boston.": "Boston",
    }
    assert set(learned.reasons.values()) == {VARIANT}


def test_accents_unicode_forms_and_misread_bytes_are_variants():
    learned = learn_mapping({"Zürich": 40, "Zurich": 3, "Zu\u0308rich": 2, "ZÃ¼rich": 1, "Genf": 9})
    assert learned.mapping == {"Zurich": "Zürich"}


def test_letters_that_only_look_latin_are_variants():
    assert learn_mapping({"France": 40, "Fr\u0430nce": 3}).mapping == {"Fr\u0430nce": "France"}
    # Whole words in another script stay what they are.
    assert fold_key("\u0441\u043e\u043a") != fold_key("cok")


def test_equally_frequent_variants_become_the_first_in_order():
    assert learn_mapping({"b c": 5, "B C": 5, "B-C": 5}).mapping == {"b c": "B C", "B-C": "B C"}


@pytest.mark.parametrize("slip", ["Electroncis", "Elecronics", "Electronicss", "Elektronics"])
def test_a_rare_slip_of_a_frequent_name_is_misspelt(slip: str):
    learned = learn_mapping({"Electronics": 300, "Garden": 200, slip: 2})
    assert learned.mapping == {slip: "Electronics"}
    assert learned.reasons == {slip: MISSPELT}


def test_variants_of_a_misspelling_follow_it():
    learned = learn_mapping({"Garden": 200, "Gardne": 1, "GARDNE": 1, "Toys": 100})
    assert learned.mapping == {"Gardne": "Garden", "GARDNE": "Garden"}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Q1", "Q2"),
        ("A1", "A2"),
        ("Boeing 737", "Boeing 747"),
        ("737-7H4", "737-3H4"),
        ("male", "female"),
        ("cat", "car"),
        ("Iran", "Iraq"),
        ("Gambia", "Zambia"),
        ("active", "inactive"),
        ("complete", "incomplete"),
        ("typical", "atypical"),
        ("northeast", "northwest"),
        ("northeast", "southeast"),
        ("internal", "external"),
        ("hypertension", "hypotension"),
        ("Slovakia", "Slovenia"),
        ("Austria", "Australia"),
        ("A-", "A"),
        ("1-2", "12"),
        ("USD", "USN"),
        ("が", "か"),
        ("AIRBUS", "AIRBUS INDUSTRIE"),
        ("MCDONNELL DOUGLAS", "MCDONNELL DOUGLAS AIRCRAFT CO"),
    ],
)
def test_other_things_stay_apart(one: str, other: str):
    for rare, frequent in ((one, other), (other, one)):
        assert learn_mapping({rare: 1, frequent: 500, "something else": 90}).mapping == {}


def test_codes_of_one_length_stay_apart():
    assert (
        learn_mapping({"KJFK": 500, "KLGA": 300, "KEWR": 400, "KBOS": 90, "KEWT": 1}).mapping == {}
    )


def test_a_name_that_is_not_rare_is_no_misspelling():
    assert learn_mapping({"Jansen": 100, "Janssen": 11, "Bakker": 90}).mapping == {}


def test_a_slip_of_two_names_is_of_neither():
    assert learn_mapping({"Marta": 200, "Maria": 200, "Mara": 1}).mapping == {}


def test_a_column_of_many_rare_names_is_left_alone():
    rng = random.Random(7)
    names = {"".join(rng.choices(string.ascii_lowercase, k=9)): 1 for _ in range(60)}
    assert learn_mapping({**names, "Anders": 12, "Andrers": 1}).mapping == {}


def test_stated_categories_are_the_right_ones_however_rare():
    counts = {"opne": 30, "Open": 40, "closed": 2, "clsoed": 3, "weird": 9}
    learned = learn_mapping(counts, known=("open", "closed"))
    assert learned.mapping == {"opne": "open", "Open": "open", "clsoed": "closed"}
    assert learned.reasons["Open"] is VARIANT and learned.reasons["opne"] is MISSPELT


def test_many_spellings_take_little_time():
    rng = random.Random(3)
    counts = {
        "".join(rng.choices("abcdefghijklmnop ", k=rng.randint(4, 25))): rng.choice((1, 2, 100))
        for _ in range(2_000)
    }
    start = time.perf_counter()
    learn_mapping(counts)
    assert time.perf_counter() - start < 10.0


@given(st.text(max_size=12), st.text(max_size=12))
def test_edit_distance_is_symmetric_and_bounded(first: str, second: str):
    distance = edit_distance(first, second)
    assert distance == edit_distance(second, first)
    assert abs(len(first) - len(second)) <= distance <= max(len(first), len(second))
    assert (distance == 0) == (first == second)


@pytest.mark.parametrize(
    ("first", "second", "distance"),
    [("ab", "ba", 1), ("kitten", "sitting", 3), ("ca", "abc", 3), ("", "abc", 3)],
)
def test_edit_distances_computed_by_hand(first: str, second: str, distance: int):
    assert edit_distance(first, second) == distance


@given(st.dictionaries(st.text(min_size=1, max_size=10), st.integers(1, 500), max_size=12))
def test_a_mapping_ends_in_spellings_that_stay(counts: dict[str, int]):
    learned = learn_mapping(counts)
    assert not set(learned.mapping) & set(learned.mapping.values())
    assert set(learned.mapping) == set(learned.reasons)


def test_fold_key_keeps_what_tells_things_apart():
    assert fold_key("U.S.A.") == fold_key("usa")
    assert fold_key("A+") != fold_key("A-") != fold_key("A")
    assert fold_key("12.5") != fold_key("125")
