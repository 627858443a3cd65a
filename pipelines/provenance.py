"""Where results come from: the commit of the code and the versions of what it stands on."""

import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

_LIBRARIES = ("ray", "torch", "pyarrow", "albumentations", "mlflow", "numpy", "transformers")


def versions() -> dict[str, str]:
    """Versions of Headrace, Python and the libraries that decide results."""
    libraries = {name: version(name) for name in _LIBRARIES}
    return {"headrace": version("headrace"), "python": platform.python_version()} | libraries


def git_commit() -> str:
    """Commit of the code, `-dirty` if files differ from it; empty outside a repository."""
    folder = Path(__file__).parent
    commit = _git(folder, "rev-parse", "HEAD")
    changed = _git(folder, "status", "--porcelain", "--untracked-files=no") if commit else ""
    return f"{commit}-dirty" if changed else commit


def _git(folder: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=folder, capture_output=True, text=True, timeout=10, check=True
        )
    except (FileNotFoundError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()
