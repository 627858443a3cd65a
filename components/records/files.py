"""One opener for local paths and every filesystem URI that pyarrow knows; atomic local writes."""

import errno
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

import pyarrow as pa
from polars.exceptions import PolarsError
from pyarrow import fs

from components.errors import DataError, StorageError


def is_uri(path: str) -> bool:
    """Tell a URI (s3://bucket/key) from a local path."""
    return "://" in path


def open_filesystem(path: str) -> tuple[fs.FileSystem, str]:
    """Filesystem of a path and the path as that filesystem spells it.

    Args:
        path: Local path (relative to the working directory, `~` allowed) or a URI that
            `pyarrow.fs.FileSystem.from_uri` knows (file, s3, gs, abfs, hdfs).

    Raises:
        DataError: The URI's scheme or form is not known.
    """
    if not is_uri(path):
        return fs.LocalFileSystem(), os.path.abspath(os.path.expanduser(path))
    try:
        filesystem, inner = fs.FileSystem.from_uri(path)
    except (pa.ArrowInvalid, ValueError) as error:
        shown = public_path(path)
        # pyarrow repeats the address, with any credentials in it.
        reason = str(error).replace(path, shown)
        raise DataError(
            f"{shown}: this is no filesystem address that pyarrow knows ({reason}); "
            "use a local path, s3://bucket/folder or gs://bucket/folder"
        ) from error
    return filesystem, inner


def public_path(path: str) -> str:
    """A path that may be shown and kept: no credentials, relative to the working directory."""
    if is_uri(path):
        parts = urlsplit(path)
        if parts.scheme == "file":
            return os.path.relpath(unquote(parts.path))
        return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
    expanded = os.path.expanduser(path)
    return os.path.relpath(expanded) if os.path.isabs(expanded) else path


def as_written(path: str) -> str:
    """A path as the user wrote it, for a message to the user: only credentials are left out."""
    return public_path(path) if is_uri(path) else path


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Name to write to; it takes the place of `path` only if the block ends without an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.partial")
    try:
        yield partial
        os.replace(partial, path)
    finally:
        if partial.is_dir():
            shutil.rmtree(partial)
        else:
            partial.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically, UTF-8."""
    with atomic_path(path) as partial:
        partial.write_text(text, encoding="utf-8")


@contextmanager
def storage_errors(place: str) -> Iterator[None]:
    """Turn a full disk, a missing permission or a read-only mount into one clear line.

    Raises:
        StorageError: For the `OSError` of a write that the storage refused.
    """
    refused = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG}
    refused |= {errno.ENOTDIR, errno.EEXIST}  # a file where a folder should be
    try:
        yield
    except (OSError, PolarsError) as error:
        number = error.errno if isinstance(error, OSError) else _number_in(error)
        if number not in refused and "No space left" not in str(error):
            raise
        what = os.strerror(number) if number else "No space left on device"
        raise StorageError(
            f"cannot write to {place}: {what}; free some space or choose another place with "
            "output=FOLDER"
        ) from error


def _number_in(error: PolarsError) -> int | None:
    """The system's number of an error that Polars tells in words."""
    found = re.search(r"\(os error (\d+)\)", str(error))
    return int(found[1]) if found else None
