"""What the documents say is there is there: files, tests, settings, recipes."""

import ast
import json
import re
from pathlib import Path

import pytest

from components.records.findings import FINDINGS_SCHEMA
from components.records.merging import DUPLICATES_SCHEMA
from components.records.reasons import REASONS, Reason
from components.records.staging import QUARANTINE_SCHEMA
from pipelines.cli import app
from pipelines.recipe import load_recipe

ROOT = Path(__file__).parent.parent
NAME = re.compile(r"`(\w+\.py)`")
DETAILS = "docs/preparation.md"
DOCUMENTS = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", DETAILS)
PATH = re.compile(r"`((?:components|clusters|pipelines|tests|notebooks)/[\w/.]+)(?:::(\w+))?`")


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text_of("README.md"), re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_and_pictures_lead_somewhere(name: str) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", text_of(name)):
        assert ((ROOT / name).parent / target).exists(), target


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
    recipe = tmp_path / "recipe.yaml"
    names = set()
    for block in blocks("yaml"):
        is_whole = block.startswith("name:")
        text = block if is_whole else f"name: x\ndata: {{source: {{path: x}}}}\n{block}"
        recipe.write_text(text, encoding="utf-8")
        loaded = load_recipe(str(recipe))
        names.add(loaded.name)
        assert is_whole or loaded.model.name == "transformers" or loaded.compression
    assert names == {"flowers", "houses", "x"}


def test_settings_in_the_readme_exist() -> None:
    commands = "\n".join(blocks("bash")).replace("\\\n", " ").splitlines()
    found = 0
    for command in commands:
        words = command.split("#")[0].split()
        if "pipelines" not in words or not {"run", "plan", "prepare"} & set(words):
            continue
        start = words.index("pipelines") + 2
        settings = [word for word in words[start + 1 :] if "=" in word]
        load_recipe(words[start], settings)
        found += 1
    assert found >= 7


def test_commands_in_the_readme_are_those_that_there_are() -> None:
    table = text_of("README.md").partition("## The commands")[2].partition("\n## ")[0]
    named = re.findall(r"^\| `([\w-]+)` \|", table, re.MULTILINE)
    there = [
        command.name or str(getattr(command.callback, "__name__", ""))
        for command in app.registered_commands
    ]
    assert sorted(named) == sorted(there)


def test_every_reason_has_its_row_with_what_is_done_about_it() -> None:
    rows = re.findall(
        r"^\| `(\w+)` \| .+ \| (\w+) \| ([\w, ]+) \|$", text_of(DETAILS), re.MULTILINE
    )
    told = {reason: (default, set(others.split(", "))) for reason, default, others in rows}
    assert len(told) == len(rows)
    assert told == {
        reason.value: (info.default.value, {p.value for p in info.allowed} - {info.default.value})
        for reason, info in REASONS.items()
    }


def test_policies_in_the_readme_are_of_reasons() -> None:
    named = re.findall(r"clean\.policy\.(\w+)=", text_of("README.md"))
    assert named and set(named) <= {reason.value for reason in Reason}


def test_columns_of_the_files_of_a_data_set_are_named() -> None:
    text = text_of(DETAILS)
    for schema in (QUARANTINE_SCHEMA, DUPLICATES_SCHEMA, FINDINGS_SCHEMA):
        assert [name for name in schema.names if f"`{name}`" not in text] == []
    (line,) = blocks("json")
    assert list(json.loads(line)) == FINDINGS_SCHEMA.names
