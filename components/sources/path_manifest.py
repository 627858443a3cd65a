"""Path manifests: a CSV, TSV or JSON Lines file of image paths and labels."""

import posixpath
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.json as pa_json
from pyarrow import fs

from components.errors import DataError
from components.records.files import as_written, is_uri, open_filesystem
from components.records.reasons import Reason, RecordRejected
from components.sources.columns import label_columns, require_columns
from components.sources.config import SourceConfig
from components.sources.record import Entry, class_label, given_split, too_large


def manifest_entries(config: SourceConfig, filesystem: fs.FileSystem, root: str) -> Iterator[Entry]:
    """Every row of a manifest, in order.

    Raises:
        DataError: It lacks a column or cannot be read.
    """
    base = posixpath.dirname(root)
    for batch in _batches(config, filesystem, root):
        rows = batch.to_pylist()
        paths = [_path(row[config.path_column], base) for row in rows]
        for row, path, info in zip(rows, paths, _infos(filesystem, paths), strict=True):
            yield _entry(config, row, path, info)


def _path(written: object, base: str) -> str:
    path = str(written or "")
    return path if not path or is_uri(path) else posixpath.join(base, path)


def _entry(config: SourceConfig, row: dict[str, Any], path: str, info: fs.FileInfo | None) -> Entry:
    split, bad_split = given_split(row[config.split_column] if config.split_column else None)
    label = class_label(row[config.label_column])
    problem = _unreadable(path, info) or bad_split
    if problem is None and label is None:
        problem = RecordRejected(Reason.MISSING_LABEL, "the label column is empty")
    return Entry(
        origin=_origin(str(row[config.path_column] or "")),
        path=path,
        label=label,
        split=split,
        size=(info.size or 0) if info else 0,
        stamp=(info.mtime_ns or 0) if info else 0,
        reason=problem.reason.value if problem else None,
        detail=problem.detail if problem else "",
    )


def _origin(written: str) -> str:
    """The path as written; of a URI with credentials in it, without them."""
    has_secret = is_uri(written) and "@" in urlsplit(written).netloc
    return as_written(written) if has_secret else written


def _unreadable(path: str, info: fs.FileInfo | None) -> RecordRejected | None:
    if not path:
        return RecordRejected(Reason.UNREADABLE, "the row has no path")
    if info is None:
        return None if is_uri(path) else RecordRejected(Reason.UNREADABLE, "no path of a file")
    # A pipe or a socket would block whoever opens it.
    if info.type != fs.FileType.File:
        what = {fs.FileType.NotFound: "does not exist", fs.FileType.Directory: "is a folder"}
        return RecordRejected(Reason.UNREADABLE, what.get(info.type, "is no regular file"))
    return too_large(info.size or 0)


def _infos(filesystem: fs.FileSystem, paths: list[str]) -> list[fs.FileInfo | None]:
    """What the paths of one batch are; an object store is asked about all of them at once."""
    own = sorted({path for path in paths if path and not is_uri(path)})
    try:
        found = dict(zip(own, filesystem.get_file_info(own), strict=True))
    except (OSError, ValueError):  # one of them is no path at all: too long, a zero byte in it
        found = {path: _info(filesystem, path) for path in own}
    return [found[path] if path in found else _info_of_uri(path) for path in paths]


def _info(filesystem: fs.FileSystem, path: str) -> fs.FileInfo | None:
    try:
        return filesystem.get_file_info(path)
    except (OSError, ValueError):
        return None  # one record: it is set aside


def _info_of_uri(path: str) -> fs.FileInfo | None:
    if not path:
        return None
    try:
        other, inner = open_filesystem(path)
        return other.get_file_info(inner)
    except (DataError, OSError):
        return None  # one record: it is set aside when it is read, and the reason kept then


def _batches(
    config: SourceConfig, filesystem: fs.FileSystem, root: str
) -> Iterator[pa.RecordBatch]:
    wanted = [config.path_column, *label_columns(config)]
    name = posixpath.basename(root)
    try:
        if root.lower().endswith((".csv", ".tsv")):
            yield from _csv_rows(filesystem, root, wanted)
        else:
            with filesystem.open_input_stream(root) as stream:
                yield from _json_lines(stream, wanted, name)
    except pa.ArrowInvalid as error:
        reason = " ".join(str(error).split())
        raise DataError(
            f"{name}: cannot be read as a manifest ({reason}); mend the file"
        ) from error


def _csv_rows(filesystem: fs.FileSystem, root: str, wanted: list[str]) -> Iterator[pa.RecordBatch]:
    delimiter = "\t" if root.lower().endswith(".tsv") else ","
    parse = pa_csv.ParseOptions(delimiter=delimiter, newlines_in_values=True)
    with filesystem.open_input_stream(root) as stream:
        present = pa_csv.open_csv(stream, parse_options=parse).schema.names
    require_columns(wanted, present, posixpath.basename(root))
    # As text, so that 007 stays a name; of other columns, whose types may change on the way,
    # nothing is read.
    convert = pa_csv.ConvertOptions(
        include_columns=wanted, column_types=dict.fromkeys(wanted, pa.string())
    )
    with filesystem.open_input_stream(root) as stream:
        yield from pa_csv.open_csv(stream, parse_options=parse, convert_options=convert)


def _json_lines(stream: pa.NativeFile, wanted: list[str], name: str) -> Iterator[pa.RecordBatch]:
    reader = pa_json.open_json(stream)
    require_columns(wanted, reader.schema.names, name)
    for batch in reader:
        yield batch.select(wanted)
