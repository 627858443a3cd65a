"""Where things lie under a recipe's `output`."""

import os
import re
import secrets
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psutil

from components.errors import StorageError
from components.records.files import storage_errors


def datasets_folder(output: Path) -> Path:
    """Prepared data sets, shared by all runs."""
    return output / "datasets"


@dataclass(frozen=True)
class RunFolder:
    """Everything that one run writes."""

    path: Path

    @property
    def name(self) -> str:
        """The run's name: recipe, time, four random digits."""
        return self.path.name

    @property
    def state(self) -> Path:
        """What `resume=true` needs to find and check a run again."""
        return self.path / "run.json"

    @property
    def recipe(self) -> Path:
        """The resolved recipe."""
        return self.path / "recipe.yaml"

    @property
    def package(self) -> Path:
        """The model package."""
        return self.path / "package"

    @property
    def steps(self) -> Path:
        """Of a compression: a package after each step but the last."""
        return self.path / "steps"

    @property
    def comparison(self) -> Path:
        """Of a compression: the model before and after, measured."""
        return self.path / "comparison.json"

    @property
    def history(self) -> Path:
        """One row of metrics per epoch."""
        return self.path / "history.json"

    @property
    def report(self) -> Path:
        """The HTML page."""
        return self.path / "report.html"

    @property
    def logs(self) -> Path:
        """What Ray's processes logged."""
        return self.path / "logs"

    @property
    def predictions(self) -> Path:
        """One Parquet file of predictions per evaluated split; of a compression also those of the
        package before it, in `base`."""
        return self.path / "predictions"


def new_run_folder(output: Path, name: str) -> RunFolder:
    """The folder of a new run, NAME-YYYYMMDD-HHMMSS-xxxx; made when the first file goes there."""
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    return RunFolder(output / f"{name}-{stamp}-{secrets.token_hex(2)}")


def run_folders(output: Path, name: str) -> list[Path]:
    """The runs of a recipe, oldest first; not those of a recipe whose name only begins alike."""
    form = re.compile(rf"{re.escape(name)}-\d{{8}}-\d{{6}}-[0-9a-f]{{4}}")
    return sorted(path for path in output.glob(f"{name}-*") if form.fullmatch(path.name))


def shown(path: Path) -> str:
    """A path as users see it: relative to the working directory where it lies below it."""
    return os.path.relpath(path)


@contextmanager
def staging_folder(output: Path) -> Iterator[Path]:
    """A folder to prepare in, gone after the block whatever happens.

    Its name says whose it is, so that one left by a killed process can be told and removed.
    """
    parent = datasets_folder(output)
    with storage_errors(str(output)):
        try:
            parent.mkdir(parents=True, exist_ok=True)
        except FileNotFoundError as error:
            # As in /proc, where nobody can make a folder.
            raise StorageError(
                f"cannot make the folder {output}; choose another place with output=FOLDER"
            ) from error
        _remove_abandoned(parent)
        name = f".preparing-{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
        folder = parent / name
        folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _remove_abandoned(parent: Path) -> None:
    prefix = f".preparing-{socket.gethostname()}-"
    for folder in parent.glob(f"{prefix}*"):
        pid = folder.name.removeprefix(prefix).split("-")[0]
        if pid.isdigit() and int(pid) != os.getpid() and not psutil.pid_exists(int(pid)):
            shutil.rmtree(folder, ignore_errors=True)
