"""Every notebook runs from an empty folder, uses public functions only and reaches its numbers."""

import ast
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
ROOMS = ("components", "clusters", "pipelines")


def read(path: Path) -> Any:
    return nbformat.read(path, as_version=4)


def code_of(path: Path) -> str:
    return "\n".join(cell.source for cell in read(path).cells if cell.cell_type == "code")


def check_first_run(result: dict[str, Any], notebook: Any, folder: Path) -> None:
    assert result["test_accuracy"] > 0.9
    assert result["package_agrees"] is True
    # 1,797 digits, a file that ends early and a second copy.
    assert {name: result["accounting"][name] for name in ("read", "prepared")} == {
        "read": 1799,
        "prepared": 1797,
    }
    assert result["accounting"]["quarantined_by_reason"] == {"truncated": 1}
    assert result["accounting"]["duplicates"] == 1
    drawings = [text for text in htmls(notebook) if "<svg" in text]
    # Class balance, four learning curves, the confusion matrix.
    assert len(drawings) == 6
    assert len(list(folder.glob("runs/digits-*/package/model.safetensors"))) == 1


CHECKS: dict[str, Callable[[dict[str, Any], Any, Path], None]] = {"01_first_run": check_first_run}


def htmls(notebook: Any) -> list[str]:
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    return [output.data.get("text/html", "") for output in outputs if "data" in output]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_stored_without_outputs(path: Path) -> None:
    for cell in read(path).cells:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_uses_public_functions_only(path: Path) -> None:
    found = 0
    for node in ast.walk(ast.parse(code_of(path))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith(ROOMS):
            found += 1
            parts = [*node.module.split("."), *(alias.name for alias in node.names)]
            assert [part for part in parts if part.startswith("_")] == []
        if isinstance(node, ast.Attribute):
            assert not re.match(r"_[^_]", node.attr), f"{node.attr} is private"
    assert found, "the notebook imports nothing of Headrace"


@pytest.mark.ray
@pytest.mark.timeout(300)
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_from_an_empty_folder(path: Path, tmp_path: Path) -> None:
    from nbclient import NotebookClient

    notebook = read(path)
    client = NotebookClient(
        notebook,
        timeout=280,
        kernel_name="python3",
        resources={"metadata": {"path": str(tmp_path)}},
    )
    client.execute()
    last = notebook.cells[-1].outputs[-1]
    CHECKS[path.stem](ast.literal_eval(last.data["text/plain"]), notebook, tmp_path)
