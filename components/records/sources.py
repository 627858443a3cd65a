"""Where records come from: class folders, split folders, Parquet files, path manifests.

A source is listed once, in bounded pieces: `list_source` writes chunks of the listing to disk and
`read_chunk` later reads the records of one chunk, anywhere in the cluster.
"""

import difflib
import hashlib
import json
import posixpath
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.json as pa_json
import pyarrow.parquet as pq
from pyarrow import fs

from components.config import Config
from components.errors import DataError
from components.records.files import (
    as_written,
    is_uri,
    open_filesystem,
    public_path,
    storage_errors,
)
from components.records.reasons import Reason, RecordRejected
from components.records.split import SPLITS, Split

CHUNK_ROWS = 512
CHUNK_BYTES = 64 << 20
_SPLIT_NAMES: dict[str, Split] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}
_LISTING_SCHEMA = pa.schema(
    {
        "origin": pa.string(),
        "path": pa.string(),
        "label": pa.string(),
        "split": pa.string(),
        "size": pa.int64(),
        "row_group": pa.int32(),
    }
)
SourceFormat = Literal["folders", "parquet", "manifest"]


class SourceConfig(Config):
    """The raw data of a run."""

    path: str
    """Folder or file: local, relative to the working directory, or any pyarrow filesystem URI
    (s3://..., gs://...). `builtin:digits` is the handwritten digits of scikit-learn, written out
    as class folders first."""
    format: Literal["auto", "folders", "parquet", "manifest"] = "auto"
    """`folders`: one folder per class, or train/, val/ (validation/), test/ with class folders in
    each. `parquet`: one file or a folder of them, with the images' bytes in a column. `manifest`:
    a CSV or JSON Lines file of paths and labels. `auto` looks at the path."""
    image_column: str = "image"
    """Parquet: column of encoded image bytes (or a struct with a `bytes` field)."""
    path_column: str = "path"
    """Manifest: column of image paths, relative to the manifest, absolute, or URIs."""
    label_column: str = "label"
    """Parquet and manifest: column of class names."""
    split_column: str | None = None
    """Parquet and manifest: column that names the split (train, val or validation, test)."""


@dataclass(frozen=True)
class Entry:
    """One input of a listing: an image file, or one row group of a Parquet file."""

    origin: str
    path: str
    label: str | None
    split: Split | None
    size: int
    stamp: int
    num_records: int = 1
    row_group: int | None = None


@dataclass(frozen=True)
class Listing:
    """What a source holds, without its bytes.

    Attributes:
        format: The form that was found.
        root: Where the paths start, as the filesystem spells it.
        chunks: Names of the chunk files, each a piece of the listing.
        num_records: Records in the source.
        num_bytes: Bytes of the inputs as stored.
        sha256: Digest over origin, size, time, label and split of every input.
        declared_classes: Class folders found, also empty ones.
        given_splits: Splits that the source itself names.
        split_records: Records listed under each of them, where the listing tells.
    """

    format: SourceFormat
    root: str
    chunks: list[str]
    num_records: int
    num_bytes: int
    sha256: str
    declared_classes: list[str] = field(default_factory=list)
    given_splits: list[Split] = field(default_factory=list)
    split_records: dict[Split, int] = field(default_factory=dict)


@dataclass(frozen=True)
class RawRecord:
    """One record as it comes from the source, before any decoding."""

    origin: str
    label: str | None
    split: Split | None
    data: bytes | None
    problem: RecordRejected | None = None


def list_source(config: SourceConfig, folder: Path) -> Listing:
    """List a source into chunk files of at most 512 inputs or 64 MiB each.

    Only one directory's names and one chunk are in memory at a time.

    Args:
        config: The source.
        folder: Where the chunk files go; must exist.

    Raises:
        DataError: The source is missing, empty, of no known form, lacks a column or cannot be read.
        StorageError: The chunk files cannot be written.
    """
    try:
        return _list_source(config, folder)
    except UnicodeDecodeError as error:
        name = error.object.decode("utf-8", "backslashreplace")
        raise DataError(
            f"data.source.path = {as_written(config.path)}: the file name {name} is not UTF-8, "
            "and pyarrow reads no other; rename the file"
        ) from error
    except OSError as error:
        raise DataError(
            f"data.source.path = {as_written(config.path)} cannot be read "
            f"({str(error).splitlines()[0]}); check the address, its permissions and the network"
        ) from error


def _list_source(config: SourceConfig, folder: Path) -> Listing:
    filesystem, root = open_filesystem(config.path)
    info = filesystem.get_file_info(root)
    if info.type == fs.FileType.NotFound:
        raise DataError(_missing(config.path, filesystem, root))
    form = _detect_format(config, filesystem, info)
    if form == "folders" and info.type != fs.FileType.Directory:
        raise DataError(
            f"data.source.path = {as_written(config.path)} is a file; class folders need a "
            "directory, or set data.source.format to parquet or manifest"
        )
    classes, splits = _folder_names(filesystem, root) if form == "folders" else ([], [])
    entries = _entries(config, filesystem, root, form)
    listing = _write_chunks(entries, folder, form, root, classes, splits)
    if not listing.num_records:
        raise DataError(
            f"data.source.path = {as_written(config.path)} holds no records "
            f"(read as {form}); expected one folder per class with images in it"
        )
    return listing


def read_chunk(config: SourceConfig, listing_root: str, chunk: Path) -> Iterator[RawRecord]:
    """Read the records of one chunk, one at a time.

    A file that cannot be opened comes back as a record with its `problem`, never as an exception.
    """
    filesystem, _ = open_filesystem(config.path)
    table = pq.read_table(chunk)
    for row in table.to_pylist():
        entry = Entry(**row, stamp=0)
        if entry.row_group is not None:
            yield from _parquet_records(config, filesystem, entry)
        else:
            yield _file_record(filesystem, entry)


def _missing(path: str, filesystem: fs.FileSystem, root: str) -> str:
    parent = posixpath.dirname(root.rstrip("/"))
    near: list[str] = []
    if filesystem.get_file_info(parent).type == fs.FileType.Directory:
        names = [info.base_name for info in filesystem.get_file_info(fs.FileSelector(parent))]
        near = difflib.get_close_matches(posixpath.basename(root), names, n=1)
    hint = f"; did you mean {near[0]}?" if near else "; set data.source.path to your images"
    return f"data.source.path = {as_written(path)} does not exist{hint}"


def _detect_format(
    config: SourceConfig, filesystem: fs.FileSystem, info: fs.FileInfo
) -> SourceFormat:
    if config.format != "auto":
        return config.format
    if info.type == fs.FileType.File:
        if info.extension in {"parquet", "pq"}:
            return "parquet"
        if info.extension in {"csv", "tsv", "jsonl", "ndjson", "json"}:
            return "manifest"
        raise DataError(
            f"data.source.path = {as_written(config.path)}: a .{info.extension} file is no known "
            "source; use a folder, .parquet, .csv or .jsonl, or set data.source.format"
        )
    # Parquet files lie in the folder or one below it (data/train-00000.parquet).
    children = _children(filesystem, info.path)
    below = [child for child in children if child.type == fs.FileType.Directory][:1]
    children += [file for folder in below for file in _children(filesystem, folder.path)]
    parquet = any(child.extension in {"parquet", "pq"} for child in children if child.is_file)
    return "parquet" if parquet else "folders"


def _children(filesystem: fs.FileSystem, folder: str) -> list[fs.FileInfo]:
    """What lies in a folder, in order; hidden folders (.git, .ipynb_checkpoints) left out."""
    found = filesystem.get_file_info(fs.FileSelector(folder))
    seen = [i for i in found if i.is_file or not i.base_name.startswith(".")]
    return sorted(seen, key=lambda info: info.path)


def _split_folders(children: list[fs.FileInfo]) -> dict[str, Split] | None:
    """Folder name -> split, where train and another split are there; None for class folders.

    Raises:
        DataError: Other folders lie beside them: read as classes they would make "train" a label.
    """
    folders = [child for child in children if child.type == fs.FileType.Directory]
    names = [folder.base_name for folder in folders]
    splits = {name: _SPLIT_NAMES[name.lower()] for name in names if name.lower() in _SPLIT_NAMES}
    if "train" not in splits.values() or len(set(splits.values())) == 1:
        return None
    others = [name for name in names if name not in splits]
    if others:
        raise DataError(
            f"{public_path(posixpath.dirname(folders[0].path))}: {', '.join(splits)} name splits "
            f"and {', '.join(others[:3])} does not; a folder holds either splits or classes: move "
            f"{others[0]} away"
        )
    return splits


def _folder_names(filesystem: fs.FileSystem, root: str) -> tuple[list[str], list[Split]]:
    children = _children(filesystem, root)
    splits = _split_folders(children)
    bases = [posixpath.join(root, name) for name in splits] if splits else [root]
    classes = {
        child.base_name
        for base in bases
        for child in _children(filesystem, base)
        if child.type == fs.FileType.Directory
    }
    given = set(splits.values()) if splits else set()
    return sorted(classes), [split for split in SPLITS if split in given]


def _entries(
    config: SourceConfig, filesystem: fs.FileSystem, root: str, form: SourceFormat
) -> Iterator[Entry]:
    if form == "folders":
        return _folder_entries(filesystem, root)
    if form == "parquet":
        return _parquet_entries(config, filesystem, root)
    return _manifest_entries(config, filesystem, root)


def _folder_entries(filesystem: fs.FileSystem, root: str) -> Iterator[Entry]:
    children = _children(filesystem, root)
    splits = _split_folders(children)
    if splits is None:
        yield from _class_entries(filesystem, root, root, None)
        return
    for child in children:
        if child.type == fs.FileType.Directory:
            yield from _class_entries(filesystem, root, child.path, splits[child.base_name])
        else:
            yield _file_entry(child, root, None, None)


def _class_entries(
    filesystem: fs.FileSystem, root: str, base: str, split: Split | None
) -> Iterator[Entry]:
    """Files below `base`; the first folder below it is the class, deeper folders do not matter."""
    for child in _children(filesystem, base):
        if child.type != fs.FileType.Directory:
            yield _file_entry(child, root, None, split)
            continue
        pending = [child.path]
        while pending:
            for info in _children(filesystem, pending.pop()):
                if info.type == fs.FileType.Directory:
                    pending.append(info.path)
                else:
                    yield _file_entry(info, root, child.base_name, split)


def _file_entry(info: fs.FileInfo, root: str, label: str | None, split: Split | None) -> Entry:
    origin = posixpath.relpath(info.path, root)
    return Entry(origin, info.path, label, split, info.size or 0, info.mtime_ns or 0)


def _parquet_files(filesystem: fs.FileSystem, root: str) -> list[fs.FileInfo]:
    info = filesystem.get_file_info(root)
    if info.type == fs.FileType.File:
        return [info]
    found = filesystem.get_file_info(fs.FileSelector(root, recursive=True))
    return sorted((f for f in found if f.extension in {"parquet", "pq"}), key=lambda f: f.path)


def _parquet_entries(config: SourceConfig, filesystem: fs.FileSystem, root: str) -> Iterator[Entry]:
    columns = [config.image_column, config.label_column]
    columns += [config.split_column] if config.split_column else []
    for info in _parquet_files(filesystem, root):
        name = posixpath.relpath(info.path, root) if info.path != root else info.base_name
        try:
            metadata = pq.read_metadata(info.path, filesystem=filesystem)
        except pa.ArrowInvalid as error:
            raise DataError(
                f"{name}: not a Parquet file ({error}); remove it or fetch it again"
            ) from error
        schema = metadata.schema.to_arrow_schema()
        _require_columns(columns, schema.names, name)
        _require_bytes(schema.field(config.image_column), name)
        for group in range(metadata.num_row_groups):
            group_metadata = metadata.row_group(group)
            yield Entry(
                origin=f"{name}#{group}",
                path=info.path,
                label=None,
                split=None,
                size=group_metadata.total_byte_size,
                stamp=info.mtime_ns or 0,
                num_records=group_metadata.num_rows,
                row_group=group,
            )


def _require_columns(wanted: list[str], present: list[str], place: str) -> None:
    for column in wanted:
        if column not in present:
            near = difflib.get_close_matches(column, present, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]}? " if near else ""
            raise DataError(
                f"{place}: no column {column!r}; {hint}it has {', '.join(present)}; set "
                "data.source.image_column, path_column, label_column or split_column"
            )


def _require_bytes(field: pa.Field, place: str) -> None:
    held = field.type
    if pa.types.is_struct(held) and held.get_field_index("bytes") >= 0:
        held = held.field("bytes").type
    if not (pa.types.is_binary(held) or pa.types.is_large_binary(held)):
        raise DataError(
            f"{place}: column {field.name!r} holds {field.type}, not encoded image bytes (binary, "
            "or a struct with a field bytes); set data.source.image_column to the right one"
        )


def _manifest_entries(
    config: SourceConfig, filesystem: fs.FileSystem, root: str
) -> Iterator[Entry]:
    base = posixpath.dirname(root)
    number = 0
    for batch in _manifest_batches(config, filesystem, root):
        for row in batch.to_pylist():
            number += 1
            path = str(row[config.path_column] or "")
            split = row[config.split_column] if config.split_column else None
            full = path if is_uri(path) else posixpath.join(base, path)
            info = _info(filesystem, full) if path else None
            label = row[config.label_column]
            yield Entry(
                origin=f"{path}@{number}",
                path=full if path else "",
                label=None if label is None or label == "" else str(label),
                split=_split_name(split, f"{posixpath.basename(root)} row {number}"),
                size=(info.size or 0) if info else 0,
                stamp=(info.mtime_ns or 0) if info else 0,
            )


def _info(filesystem: fs.FileSystem, path: str) -> fs.FileInfo | None:
    if not is_uri(path):
        return filesystem.get_file_info(path)
    try:
        other, inner = open_filesystem(path)
        return other.get_file_info(inner)
    except (DataError, OSError):
        return None  # one record: it is set aside when it is read, and the reason kept then


def _manifest_batches(
    config: SourceConfig, filesystem: fs.FileSystem, root: str
) -> Iterator[pa.RecordBatch]:
    wanted = [config.path_column, config.label_column]
    wanted += [config.split_column] if config.split_column else []
    name = posixpath.basename(root)
    try:
        if root.endswith((".csv", ".tsv")):
            yield from _csv_rows(filesystem, root, wanted)
        else:
            with filesystem.open_input_stream(root) as stream:
                yield from _json_lines(stream, wanted, name)
    except pa.ArrowInvalid as error:
        raise DataError(f"{name}: cannot be read as a manifest ({error}); mend the file") from error


def _csv_rows(filesystem: fs.FileSystem, root: str, wanted: list[str]) -> Iterator[pa.RecordBatch]:
    parse = pa_csv.ParseOptions(delimiter="\t" if root.endswith(".tsv") else ",")
    with filesystem.open_input_stream(root) as stream:
        present = pa_csv.open_csv(stream, parse_options=parse).schema.names
    _require_columns(wanted, present, posixpath.basename(root))
    # As text, so that 007 stays a name; of other columns, whose types may change on the way,
    # nothing is read.
    convert = pa_csv.ConvertOptions(
        include_columns=wanted, column_types=dict.fromkeys(wanted, pa.string())
    )
    with filesystem.open_input_stream(root) as stream:
        yield from pa_csv.open_csv(stream, parse_options=parse, convert_options=convert)


def _json_lines(stream: pa.NativeFile, wanted: list[str], name: str) -> Iterator[pa.RecordBatch]:
    reader = pa_json.open_json(stream)
    _require_columns(wanted, reader.schema.names, name)
    for batch in reader:
        yield batch.select(wanted)


def _split_name(value: object, place: str) -> Split | None:
    if value is None or value == "":
        return None
    split = _SPLIT_NAMES.get(str(value).strip().lower())
    if split is None:
        raise DataError(f"{place}: split {value!r} is none of train, val, test; mend the column")
    return split


def _write_chunks(
    entries: Iterator[Entry],
    folder: Path,
    form: SourceFormat,
    root: str,
    classes: list[str],
    splits: list[Split],
) -> Listing:
    digest = hashlib.sha256()
    chunks: list[str] = []
    num_records = num_bytes = 0
    by_split: Counter[Split] = Counter()
    for chunk in _chunked(entries):
        for entry in chunk:
            key = [entry.origin, entry.size, entry.stamp, entry.label, entry.split]
            digest.update(json.dumps(key).encode())
            num_records += entry.num_records
            num_bytes += entry.size
            if entry.split:
                by_split[entry.split] += entry.num_records
        name = f"{len(chunks):06d}.parquet"
        rows = [{name: getattr(entry, name) for name in _LISTING_SCHEMA.names} for entry in chunk]
        with storage_errors(str(folder)):
            pq.write_table(pa.Table.from_pylist(rows, schema=_LISTING_SCHEMA), folder / name)
        chunks.append(name)
    return Listing(
        format=form,
        root=root,
        chunks=chunks,
        num_records=num_records,
        num_bytes=num_bytes,
        sha256=digest.hexdigest(),
        declared_classes=classes,
        given_splits=[split for split in SPLITS if split in splits or split in by_split],
        split_records=dict(by_split),
    )


def _chunked(entries: Iterator[Entry]) -> Iterator[list[Entry]]:
    chunk: list[Entry] = []
    num_bytes = 0
    for entry in entries:
        if chunk and (len(chunk) >= CHUNK_ROWS or num_bytes + entry.size > CHUNK_BYTES):
            yield chunk
            chunk, num_bytes = [], 0
        chunk.append(entry)
        num_bytes += entry.size
    if chunk:
        yield chunk


def _file_record(filesystem: fs.FileSystem, entry: Entry) -> RawRecord:
    problem: RecordRejected | None = None
    data: bytes | None = None
    try:
        if is_uri(entry.path):
            other, inner = open_filesystem(entry.path)
            data = _read_all(other, inner)
        elif entry.path:
            data = _read_all(filesystem, entry.path)
        else:
            problem = RecordRejected(Reason.UNREADABLE, "the row has no path")
    except (OSError, DataError) as error:
        problem = RecordRejected(Reason.UNREADABLE, str(error))
    if problem is None and entry.label is None:
        problem = RecordRejected(
            Reason.MISSING_LABEL, "no class: outside any class folder or empty"
        )
    return RawRecord(entry.origin, entry.label, entry.split, data, problem)


def _read_all(filesystem: fs.FileSystem, path: str) -> bytes:
    with filesystem.open_input_stream(path) as stream:
        return bytes(stream.read())


def _parquet_records(
    config: SourceConfig, filesystem: fs.FileSystem, entry: Entry
) -> Iterator[RawRecord]:
    assert entry.row_group is not None
    columns = [config.image_column, config.label_column]
    columns += [config.split_column] if config.split_column else []
    with pq.ParquetFile(entry.path, filesystem=filesystem) as file:
        for number, row in enumerate(_group_rows(file, entry.row_group, columns)):
            origin = f"{entry.origin}@{number}"
            if isinstance(row, RecordRejected):
                yield RawRecord(origin, None, None, None, row)
            else:
                yield _parquet_record(config, origin, row)


def _group_rows(
    file: pq.ParquetFile, group: int, columns: list[str]
) -> Iterator[dict[str, Any] | RecordRejected]:
    """Rows of a row group; where its bytes are damaged, a refusal for each row that is left."""
    left = file.metadata.row_group(group).num_rows
    try:
        for batch in file.iter_batches(batch_size=64, row_groups=[group], columns=columns):
            left -= batch.num_rows
            yield from batch.to_pylist()
    except (OSError, pa.ArrowInvalid) as error:
        detail = " ".join(str(error).split())
        yield from [RecordRejected(Reason.UNREADABLE, f"row group {group}: {detail}")] * left


def _parquet_record(config: SourceConfig, origin: str, row: dict[str, Any]) -> RawRecord:
    image, label = row[config.image_column], row[config.label_column]
    data = image.get("bytes") if isinstance(image, dict) else image
    split = row[config.split_column] if config.split_column else None
    problem = None
    if not isinstance(data, bytes):
        problem = RecordRejected(Reason.EMPTY, "the image column has no bytes")
    elif label is None or label == "":
        problem = RecordRejected(Reason.MISSING_LABEL, "the label column is empty")
    return RawRecord(
        origin,
        None if label is None else str(label),
        _split_name(split, origin),
        data if isinstance(data, bytes) else None,
        problem,
    )
