"""What a source holds: listed once, in bounded pieces; read piece by piece, anywhere.

`list_source` writes chunks of the listing to disk and `read_chunk` later reads the records of one
chunk, anywhere in the cluster.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from types import MappingProxyType

import pyarrow.parquet as pq
from pyarrow import fs

from components.errors import DataError
from components.records.files import as_written, open_filesystem, storage_errors
from components.records.findings import Finding
from components.records.reasons import Policy, Reason
from components.records.split import SPLITS, Split
from components.sources.chunks import Written, write_chunks
from components.sources.classes import ClassCount, class_findings, refuse_stopped
from components.sources.config import SourceConfig, SourceFormat
from components.sources.detect import detect_format, missing_source
from components.sources.folders import FolderWalk, file_record
from components.sources.parquet import (
    parquet_classes,
    parquet_entries,
    parquet_files,
    parquet_records,
)
from components.sources.path_manifest import manifest_entries
from components.sources.record import Entry, RawRecord
from components.sources.webdataset import tar_entries, tar_records, tar_shards

CLASS_NAMES = "class_names.json"
"""Beside the chunks: variants of class names and the name that each goes by."""
_DEFAULTS: Mapping[Reason, Policy] = MappingProxyType({})


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
        declared_classes: Class folders with records, variants of a name brought to one.
        given_splits: Splits that the source itself names.
        split_records: Records listed under each of them, where the listing tells.
        findings: What concerns folders, names and classes rather than one record.
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
    findings: list[Finding] = field(default_factory=list)


@dataclass(frozen=True)
class _Found:
    """A source as it is being listed.

    Attributes:
        entries: What it holds, as a stream.
        findings: Filled while the entries are read.
        classes: Class folders, filled likewise, or counts of a label column; empty where the
            labels are in the entries.
        splits: Splits that have a folder, filled likewise.
        place: What the findings about classes speak of, where there are no class folders.
        column: Label column, where there is one.
    """

    entries: Iterable[Entry]
    findings: list[Finding] = field(default_factory=list)
    classes: list[ClassCount] = field(default_factory=list)
    splits: list[Split] = field(default_factory=list)
    place: str = "."
    column: str | None = None


def list_source(
    config: SourceConfig, folder: Path, policy: Mapping[Reason, Policy] = _DEFAULTS
) -> Listing:
    """List a source into chunk files of 64 to 512 inputs, at most 64 MiB each.

    One directory's names, one chunk and a count per class are in memory at a time.

    Args:
        config: The source.
        folder: Where the chunk files go; must exist.
        policy: What the recipe wants done about a reason; else the reason's default.

    Raises:
        DataError: The source is missing, empty, of no known form, lacks a column or cannot be
            read; or something was found whose policy is `stop`.
        StorageError: The chunk files cannot be written.
    """
    try:
        return _list_source(config, folder, policy)
    except UnicodeDecodeError as error:
        name = error.object.decode("utf-8", "backslashreplace")
        raise DataError(
            f"data.source.path = {as_written(config.path)}: the file name {name} is not UTF-8, "
            "and object stores are read by no other; rename the file"
        ) from error
    except OSError as error:
        raise DataError(
            f"data.source.path = {as_written(config.path)} cannot be read "
            f"({str(error).splitlines()[0]}); check the address, its permissions and the network"
        ) from error


def read_chunk(config: SourceConfig, listing_root: str, chunk: Path) -> Iterator[RawRecord]:
    """Read the records of one chunk, one at a time.

    A file that cannot be opened comes back as a record with its `problem`, never as an exception.

    Args:
        config: The source.
        listing_root: `Listing.root`.
        chunk: A chunk file, in the folder that `list_source` wrote.
    """
    filesystem, _ = open_filesystem(config.path)
    names: dict[str, str] = json.loads((chunk.parent / CLASS_NAMES).read_text())
    entries = [Entry(**row) for row in pq.read_table(chunk).to_pylist()]
    for record in _records(config, filesystem, entries):
        kept = names.get(record.label) if record.label is not None else None
        yield record if kept is None else replace(record, label=kept)


def _list_source(config: SourceConfig, folder: Path, policy: Mapping[Reason, Policy]) -> Listing:
    filesystem, root = open_filesystem(config.path)
    info = filesystem.get_file_info(root)
    if info.type == fs.FileType.NotFound:
        raise DataError(missing_source(config.path, filesystem, root))
    form = detect_format(config, filesystem, info)
    if form == "folders" and info.type != fs.FileType.Directory:
        raise DataError(
            f"data.source.path = {as_written(config.path)} is a file; class folders need a "
            "directory, or set data.source.format to parquet, manifest or webdataset"
        )
    found = _found(config, filesystem, info, form)
    written = write_chunks(found.entries, folder)
    if not written.num_records:
        raise DataError(
            f"data.source.path = {as_written(config.path)} holds no records "
            f"(read as {form}); expected one folder per class with images in it"
        )
    counts = found.classes or _label_counts(found, written)
    names, about_classes = class_findings(counts, policy)
    findings = [*found.findings, *about_classes]
    refuse_stopped(findings, policy)
    with storage_errors(str(folder)):
        (folder / CLASS_NAMES).write_text(json.dumps(names))
    # Only folders declare a class before its records are seen.
    filled = {count.name for count in counts if count.num_records} if form == "folders" else set()
    return Listing(
        format=form,
        root=root,
        chunks=written.chunks,
        num_records=written.num_records,
        num_bytes=written.num_bytes,
        sha256=written.sha256,
        declared_classes=sorted({names.get(name, name) for name in filled}),
        given_splits=[s for s in SPLITS if s in found.splits or s in written.by_split],
        split_records=dict(written.by_split),
        findings=findings,
    )


def _label_counts(found: _Found, written: Written) -> list[ClassCount]:
    counts = sorted(written.labels.items(), key=lambda item: (item[0][0], str(item[0][1])))
    return [
        ClassCount(name, split, count, found.place, found.column) for (name, split), count in counts
    ]


def _found(
    config: SourceConfig, filesystem: fs.FileSystem, info: fs.FileInfo, form: SourceFormat
) -> _Found:
    root = info.path
    place = info.base_name if info.type == fs.FileType.File else "."
    if form == "folders":
        walked = FolderWalk(filesystem, root)
        return _Found(walked.entries(), walked.findings, walked.classes, walked.splits)
    if form == "parquet":
        files = parquet_files(filesystem, root)
        entries = list(parquet_entries(config, filesystem, files))
        return _Found(entries, classes=parquet_classes(config, filesystem, files, place))
    if form == "webdataset":
        findings: list[Finding] = []
        entries_of_tars = tar_entries(config, filesystem, tar_shards(filesystem, root), findings)
        return _Found(entries_of_tars, findings, place=place)
    rows = manifest_entries(config, filesystem, root)
    return _Found(rows, place=place, column=config.label_column)


def _records(
    config: SourceConfig, filesystem: fs.FileSystem, entries: list[Entry]
) -> Iterator[RawRecord]:
    for _, group in groupby(entries, key=attrgetter("path")):
        same = list(group)
        if same[0].row_group is not None:
            for entry in same:
                yield from parquet_records(config, filesystem, entry)
        elif same[0].offset is not None:
            yield from tar_records(filesystem, same)
        else:
            for entry in same:
                yield file_record(filesystem, entry)
