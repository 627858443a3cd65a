"""Fingerprints change with what a result depends on and with nothing else."""

import ast
import hashlib
from pathlib import Path

import components
from components.records import fingerprint
from components.records.fingerprint import (
    file_sha256,
    json_sha256,
    prepare_code_sha256,
    prepare_versions,
)

ROOT = Path(components.__file__).parent


def imported_files(name: str) -> set[str]:
    """Files of components that a file imports, directly or not, and the file itself."""
    found: set[str] = set()
    pending = [name]
    while pending:
        current = pending.pop()
        if current in found:
            continue
        found.add(current)
        for node in ast.walk(ast.parse((ROOT / current).read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("components."):
                pending.append(
                    f"{str(node.module).removeprefix('components.').replace('.', '/')}.py"
                )
    return found


def test_json_is_hashed_in_canonical_form() -> None:
    assert json_sha256({"b": 1, "a": [1, 2]}) == json_sha256({"a": [1, 2], "b": 1})
    assert json_sha256({"b": 1}) == hashlib.sha256(b'{"b":1}').hexdigest()
    assert json_sha256({"a": [1, 2]}) != json_sha256({"a": [2, 1]})


def test_file_digest_is_sha256(tmp_path: Path) -> None:
    data = bytes(range(256)) * 2000
    (tmp_path / "file").write_bytes(data)
    assert file_sha256(tmp_path / "file") == hashlib.sha256(data).hexdigest()


def test_all_code_that_decides_the_shards_is_in_the_digest() -> None:
    roads = (
        "images/prepare.py",
        "images/similarity.py",
        "records/cuts.py",
        "records/merging.py",
        "records/relations.py",
        "sources/listing.py",
        "sources/tables.py",
        "tables/cleaning/clean.py",
        "tables/inference/infer.py",
        "tables/files/ingest.py",
        "tables/rows.py",
        "tables/fitting/transform.py",
    )
    needed = set().union(*map(imported_files, roads))
    inside = set(fingerprint.prepare_code_files())
    assert needed - {"config.py", "errors.py", "records/fingerprint.py"} <= inside
    # What is drawn anew in every epoch makes no data set stale.
    assert not {name for name in inside if "augment" in name or "epoch" in name}


def test_a_change_of_that_code_is_another_digest(tmp_path: Path) -> None:
    for name in ("a.py", "b.py"):
        (tmp_path / name).write_text(name)
    files = [tmp_path / "a.py", tmp_path / "b.py"]
    before = fingerprint._files_sha256(files)
    assert fingerprint._files_sha256(files) == before
    (tmp_path / "b.py").write_text("b.py ")
    assert fingerprint._files_sha256(files) != before


def test_digest_and_versions_are_there() -> None:
    assert len(prepare_code_sha256()) == 64
    assert set(prepare_versions()) == {
        "numpy",
        "opencv-python-headless",
        "pillow",
        "polars",
        "pyarrow",
        "simplejpeg",
    }
