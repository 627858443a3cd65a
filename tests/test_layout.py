"""The house rules that import-linter cannot see: who calls what, and what may not be used."""

import ast
import functools
import re
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
ROOMS = ("components", "clusters", "pipelines")
FILES = sorted(file for room in ROOMS for file in (ROOT / room).rglob("*.py"))


@functools.cache
def tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"), filename=str(file))


@functools.cache
def nodes(file: Path) -> tuple[ast.AST, ...]:
    return tuple(ast.walk(tree(file)))


def name(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


@functools.cache
def imports(file: Path) -> frozenset[str]:
    """Every module that a file imports, wherever in it."""
    found: set[str] = set()
    for node in nodes(file):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return frozenset(found)


def importers(module: str) -> list[str]:
    def is_it(found: str) -> bool:
        return found == module or found.startswith(f"{module}.")

    return [name(file) for file in FILES if any(is_it(found) for found in imports(file))]


@functools.cache
def calls(file: Path) -> frozenset[str]:
    """What a file calls by name or by dotted name, written as in the file."""
    found = (node.func for node in nodes(file) if isinstance(node, ast.Call))
    return frozenset(dotted for call in found if (dotted := written(call)))


def written(node: ast.expr) -> str:
    """`a.b.c` as in the file; empty where it does not begin with a name."""
    if isinstance(node, ast.Attribute):
        owner = written(node.value)
        return f"{owner}.{node.attr}" if owner else ""
    return node.id if isinstance(node, ast.Name) else ""


def callers(function: str) -> list[str]:
    """Files that call `module.function` written so, or import the function by name."""
    return [name(file) for file in FILES if function in calls(file) or function in imports(file)]


def test_there_is_something_to_look_at() -> None:
    assert len(FILES) > 30
    assert importers("pydantic") and callers("hashlib.sha256")


def test_one_file_imports_albumentations() -> None:
    assert importers("albumentations") == ["components/images/augment.py"]


def test_one_file_imports_mlflow() -> None:
    assert importers("mlflow") == ["components/tracking/mlflow_tracker.py"]


def test_one_file_calls_ray_init() -> None:
    assert callers("ray.init") == ["clusters/session.py"]


def test_components_import_neither_ray_nor_the_jobs() -> None:
    for module in ("ray", "pipelines", "clusters"):
        assert [file for file in importers(module) if file.startswith("components/")] == []


@pytest.mark.parametrize("call", ["eval", "exec", "pickle.load", "pickle.loads", "yaml.load"])
def test_nothing_reads_code_as_data(call: str) -> None:
    assert callers(call) == []


@pytest.mark.parametrize(
    "call",
    ["np.random.seed", "numpy.random.seed", "random.seed", "torch.manual_seed", "cv2.setRNGSeed"],
)
def test_no_component_seeds_global_random_state(call: str) -> None:
    seeding = [file for file in callers(call) if file.startswith("components/")]
    # Dropout draws from torch's global generator: its one owner seeds it for every step.
    assert set(seeding) <= {"components/training/checkpoint.py"}


def test_nothing_is_caught_to_be_ignored() -> None:
    for file in FILES:
        for node in nodes(file):
            if isinstance(node, ast.ExceptHandler):
                where = f"{name(file)}:{node.lineno}"
                assert node.type is not None, f"{where}: bare except"
                caught = ast.unparse(node.type)
                assert not re.search(r"\b(Base)?Exception\b", caught), f"{where}: except {caught}"


def test_every_file_says_what_it_is_for() -> None:
    assert [name(file) for file in FILES if not ast.get_docstring(tree(file))] == []


def test_no_function_is_longer_than_a_screen() -> None:
    long = [
        f"{name(file)}: {node.name} has {node.end_lineno - node.lineno + 1} lines"
        for file in FILES
        for node in nodes(file)
        if isinstance(node, ast.FunctionDef) and (node.end_lineno or 0) - node.lineno + 1 > 60
    ]
    assert long == []


def test_no_file_is_a_drawer_for_everything() -> None:
    assert [n for n in map(name, FILES) if Path(n).stem in {"utils", "helpers", "misc"}] == []


def test_every_dependency_is_pinned_and_every_pin_fits() -> None:
    from packaging.requirements import Requirement

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pins = {}
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            pin = Requirement(line)
            (specifier,) = pin.specifier
            assert specifier.operator == "==" and "+" not in specifier.version, line
            pins[pin.name.lower().replace("_", "-")] = specifier.version
    for asked in project["dependencies"] + project["optional-dependencies"]["dev"]:
        requirement = Requirement(asked)
        assert pins[requirement.name.lower()] in requirement.specifier, asked


def test_what_is_not_python_is_packaged() -> None:
    packaged = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    assert packaged["package-data"]["pipelines"] == ["recipes/*.yaml"]
    others = {
        name(file)
        for room in ROOMS
        for file in (ROOT / room).rglob("*")
        if file.is_file() and file.suffix not in {".py", ".pyc"}
    }
    assert {Path(n).parent.as_posix() + "/*" + Path(n).suffix for n in others} <= {
        "pipelines/recipes/*.yaml",
        "components/reports/*.j2",
    }


def test_recipes_are_plain_yaml_with_a_comment_on_top() -> None:
    for file in (ROOT / "pipelines/recipes").glob("*.yaml"):
        assert file.read_text().startswith("# ")
        assert yaml.safe_load(file.read_text())["name"] == file.stem
