from pathlib import PurePosixPath

import pytest

from components.tracking.params import flatten, safe_key, short_value


def test_nested_settings_become_dotted_keys() -> None:
    settings = {
        "seed": 7,
        "data": {"path": PurePosixPath("a/b"), "classes": None, "limits": {}},
        "augment": [{"Affine": {"rotate": [-12, 12]}}, {"HorizontalFlip": {}}],
        "names": ["a", "b"],
        "empty": [],
    }
    assert flatten(settings) == {
        "seed": 7,
        "data.path": "a/b",
        "data.classes": None,
        "data.limits": "{}",
        "augment.0.Affine.rotate": "[-12, 12]",
        "augment.1.HorizontalFlip": "{}",
        "names": "[a, b]",
        "empty": "[]",
    }


@pytest.mark.parametrize(
    ("key", "safe"),
    [
        ("val/f1_macro", "val/f1_macro"),
        ("f1/T-shirt (blue)", "f1/T-shirt _blue_"),
        ("/a//../b", "a/b"),
        ("..", "_"),
        ("x" * 300, "x" * 250),
        ("f1/Mütze", "f1/Mütze"),
    ],
)
def test_keys_are_made_safe(key: str, safe: str) -> None:
    assert safe_key(key) == safe


def test_long_values_are_cut_at_500_characters_and_say_so() -> None:
    assert short_value("x" * 500) == "x" * 500
    cut = short_value("x" * 501)
    assert len(cut) == 500
    assert cut.endswith("x... (501 characters, whole in recipe.yaml)")
