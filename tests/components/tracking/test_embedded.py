import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from components.tracking.embedded import artifact_folder, follow_moved_folder


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """The columns of MLflow's tables that matter here, as MLflow fills them."""
    path = tmp_path / "old" / "mlflow.db"
    path.parent.mkdir()
    here = artifact_folder(path)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE experiments (artifact_location TEXT)")
        connection.execute("CREATE TABLE runs (artifact_uri TEXT)")
        places = [(f"{here}",), (f"{here}",), ("/somewhere/mlruns/1",)]
        connection.executemany("INSERT INTO experiments VALUES (?)", places)
        runs = [(f"{here}/a/artifacts",), ("/somewhere/mlruns/1/b/artifacts",), (f"{here}s/c",)]
        connection.executemany("INSERT INTO runs VALUES (?)", runs)
    return path


def read(database: Path, query: str) -> list[str]:
    with closing(sqlite3.connect(database)) as connection:
        return [value for (value,) in connection.execute(query)]


def test_database_that_stayed_is_left_alone(database: Path) -> None:
    before = database.read_bytes()
    assert follow_moved_folder(database) == 0
    assert database.read_bytes() == before


def test_moved_database_points_at_its_own_folder(database: Path, tmp_path: Path) -> None:
    old = artifact_folder(database)
    moved = Path(shutil.move(database.parent, tmp_path / "it's new")) / "mlflow.db"
    assert follow_moved_folder(moved) == 1
    here = artifact_folder(moved)
    assert read(moved, "SELECT artifact_location FROM experiments") == [
        f"{here}",
        f"{here}",
        "/somewhere/mlruns/1",
    ]
    assert read(moved, "SELECT artifact_uri FROM runs") == [
        f"{here}/a/artifacts",
        "/somewhere/mlruns/1/b/artifacts",
        f"{old}s/c",
    ]
    assert follow_moved_folder(moved) == 0
