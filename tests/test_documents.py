"""What the documents say is there is there: files, tests, settings, recipes."""

import ast
import re
from pathlib import Path

import pytest

from pipelines.recipe import load_recipe

ROOT = Path(__file__).parent.parent
NAME = re.compile(r"`(\w+\.py)`")
DOCUMENTS = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")
PATH = re.compile(r"`((?:components|clusters|pipelines|tests|notebooks)/[\w/.]+)(?:::(\w+))?`")


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text_of("README.md"), re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_and_pictures_lead_somewhere(name: str) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", text_of(name)):
        assert (ROOT / target).exists(), target


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_files_and_tests_that_are_named_exist(name: str) -> None:
    named = PATH.findall(text_of(name))
    assert len(named) > 5
    for path, test in named:
        assert (ROOT / path).exists(), path
        if test:
            tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
            assert test in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    rooms = ("components", "clusters", "pipelines", "tests")
    there = {file.name for room in rooms for file in (ROOT / room).rglob("*.py")}
    assert set(NAME.findall(text_of(name))) <= there


def test_recipes_in_the_readme_load(tmp_path: Path) -> None:
    whole, *sections = blocks("yaml")
    recipe = tmp_path / "whole.yaml"
    recipe.write_text(whole, encoding="utf-8")
    assert load_recipe(str(recipe)).name == "flowers"
    for section in sections:
        recipe.write_text(f"name: x\ndata: {{source: {{path: x}}}}\n{section}", encoding="utf-8")
        assert load_recipe(str(recipe)).model.name == "transformers"


def test_settings_in_the_readme_exist() -> None:
    commands = "\n".join(blocks("bash")).replace("\\\n", " ").splitlines()
    found = 0
    for command in commands:
        words = command.split("#")[0].split()
        if "pipelines" not in words or not {"run", "plan"} & set(words):
            continue
        start = words.index("pipelines") + 2
        settings = [word for word in words[start + 1 :] if "=" in word]
        load_recipe(words[start], settings)
        found += 1
    assert found >= 3
