"""Fingerprints: names for what a result depends on."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path

import components

_ROOT = Path(components.__file__).parent
# What decides the bytes in a shard. A change here, and only here, makes data sets stale.
_PREPARE_CODE = (
    "images/[!_]*.py",
    "records/[!_]*.py",
    "sources/[!_]*.py",
    "tables/**/[!_]*.py",
)
_OTHER_CODE = frozenset(
    {
        "images/augment.py",
        "images/device.py",
        "images/policies.py",
        "images/transforms.py",
        "records/epoch_plan.py",
        "records/fingerprint.py",
        "records/row_order.py",
        "records/sampling.py",
        "records/shuffle.py",
        "records/weighted_order.py",
    }
)
_PREPARE_LIBRARIES = (
    "numpy",
    "opencv-python-headless",
    "pillow",
    "polars",
    "pyarrow",
    "simplejpeg",
)


def json_sha256(value: Mapping[str, object]) -> str:
    """SHA-256 of a JSON value in canonical form."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def canonical_json(value: Mapping[str, object]) -> str:
    """A JSON value as text in canonical form: sorted keys, no blanks, ASCII."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def prepare_code_sha256() -> str:
    """Digest over the source files that decide the content of prepared shards."""
    return _files_sha256(_ROOT / name for name in prepare_code_files())


def prepare_code_files() -> list[str]:
    """Source files that decide the content of prepared shards, relative to `components`."""
    found = (path for pattern in _PREPARE_CODE for path in _ROOT.glob(pattern))
    names = (path.relative_to(_ROOT).as_posix() for path in found)
    return sorted(name for name in names if name not in _OTHER_CODE)


def prepare_versions() -> dict[str, str]:
    """Versions of the libraries that decode, encode and write."""
    return {name: version(name) for name in _PREPARE_LIBRARIES}


def _files_sha256(paths: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.read_bytes())
    return digest.hexdigest()
