"""Fingerprints: names for what a result depends on."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path

import components

# What decides the bytes in a shard. A change here, and only here, makes data sets stale.
_PREPARE_CODE = (
    "images/colours.py",
    "images/decode.py",
    "images/fit.py",
    "images/geometry.py",
    "images/inspect.py",
    "images/integrity.py",
    "images/prepare.py",
    "images/store.py",
    "records/identity.py",
    "records/sources.py",
    "records/split.py",
    "records/staging.py",
)
_PREPARE_LIBRARIES = ("opencv-python-headless", "pillow", "pyarrow")


def json_sha256(value: Mapping[str, object]) -> str:
    """SHA-256 of a JSON value in canonical form (sorted keys, no blanks)."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def prepare_code_sha256() -> str:
    """Digest over the source files that decide the content of prepared shards."""
    return _files_sha256(Path(components.__file__).parent / name for name in _PREPARE_CODE)


def prepare_versions() -> dict[str, str]:
    """Versions of the libraries that decode, encode and write."""
    return {name: version(name) for name in _PREPARE_LIBRARIES}


def _files_sha256(paths: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.read_bytes())
    return digest.hexdigest()
