"""The embedded tracking database: one SQLite file with its artifacts in a folder beside it."""

import sqlite3
from contextlib import closing
from pathlib import Path

ARTIFACTS = "mlartifacts"
"""Folder of the artifacts, beside the database file."""


def artifact_folder(database: Path) -> Path:
    """Return the folder that keeps the artifacts of a database."""
    return database.parent / ARTIFACTS


def follow_moved_folder(database: Path) -> int:
    """Point a database that was moved or copied with its artifacts at where they lie now.

    MLflow makes every artifact location absolute, so that the pages of a renamed project folder
    would show no artifacts and new ones would be written to the old place. Only locations named
    `mlartifacts` are touched: those that Headrace made.

    Args:
        database: An existing MLflow SQLite file.

    Returns:
        Number of experiments that pointed elsewhere.
    """
    here = artifact_folder(database).as_posix()
    select = "SELECT DISTINCT artifact_location FROM experiments WHERE artifact_location LIKE ?"
    with closing(sqlite3.connect(database, timeout=20)) as connection, connection:
        rows = connection.execute(select, (f"%/{ARTIFACTS}",)).fetchall()
        moved = [old for (old,) in rows if old != here]
        for old in moved:
            connection.execute(
                "UPDATE experiments SET artifact_location = ? WHERE artifact_location = ?",
                (here, old),
            )
            connection.execute(
                "UPDATE runs SET artifact_uri = ? || substr(artifact_uri, ?) "
                "WHERE substr(artifact_uri, 1, ?) = ?",
                (here, len(old) + 1, len(old) + 1, f"{old}/"),
            )
    return len(moved)
