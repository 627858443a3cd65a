"""Image Parquet: one file or a folder of them, with the pictures' bytes in a column."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from components.errors import DataError
from components.records.reasons import Reason, RecordRejected
from components.records.split import Split
from components.sources.classes import ClassCount
from components.sources.columns import label_columns, require_columns
from components.sources.config import SourceConfig
from components.sources.directory import Item, relative, top_folder, walk
from components.sources.names import extension
from components.sources.record import Entry, RawRecord, class_label, given_split, too_large

EXTENSIONS = frozenset({"parquet", "pq"})


def parquet_files(filesystem: fs.FileSystem, root: str) -> list[tuple[str, Item]]:
    """Parquet files of a source, in order, with their paths relative to it."""
    info = filesystem.get_file_info(root)
    if info.type == fs.FileType.File:
        items = [Item(info.base_name, info.path, False, info.size or 0, info.mtime_ns or 0)]
    else:
        found = walk(filesystem, top_folder(filesystem, root), on_hidden=lambda _: None)
        # `._part.parquet` is what macOS leaves beside part.parquet.
        items = [i for i in found if extension(i.name) in EXTENSIONS and i.name[:2] != "._"]
    return sorted((relative(item, root), item) for item in items)


def parquet_entries(
    config: SourceConfig, filesystem: fs.FileSystem, files: list[tuple[str, Item]]
) -> Iterator[Entry]:
    """Every row group of the files, in order.

    Raises:
        DataError: A file is no Parquet, lacks a column, or its pictures are no bytes.
    """
    for name, item in files:
        metadata = _metadata(filesystem, name, item)
        schema = metadata.schema.to_arrow_schema()
        require_columns([config.image_column, *label_columns(config)], schema.names, name)
        _require_bytes(schema.field(config.image_column), name)
        before = 0
        for group in range(metadata.num_row_groups):
            group_metadata = metadata.row_group(group)
            yield Entry(
                origin=name,
                path=item.path,
                label=None,
                split=None,
                size=group_metadata.total_byte_size,
                stamp=item.stamp,
                num_records=group_metadata.num_rows,
                row_group=group,
                offset=before,
            )
            before += group_metadata.num_rows


def parquet_classes(
    config: SourceConfig, filesystem: fs.FileSystem, files: list[tuple[str, Item]], place: str
) -> list[ClassCount]:
    """Class names and splits of all rows, counted; no other column is read.

    Args:
        config: Names the columns.
        filesystem: Where the files lie.
        files: From `parquet_files`; they have the columns.
        place: Name of the source, for the findings.
    """
    counts: Counter[tuple[str, Split | None]] = Counter()
    for _, item in files:
        with pq.ParquetFile(item.path, filesystem=filesystem) as file:
            for group in range(file.num_row_groups):
                counts += _group_counts(config, file, group)
    column = config.label_column
    return [
        ClassCount(name, split, count, place, column)
        for (name, split), count in sorted(counts.items(), key=str)
    ]


def parquet_records(
    config: SourceConfig, filesystem: fs.FileSystem, entry: Entry
) -> Iterator[RawRecord]:
    """The rows of one row group, few at a time."""
    assert entry.row_group is not None and entry.offset is not None
    columns = [config.image_column, *label_columns(config)]
    with pq.ParquetFile(entry.path, filesystem=filesystem) as file:
        rows = _group_rows(file, entry.row_group, columns)
        for number, row in enumerate(rows, start=entry.offset + 1):
            origin = f"{entry.origin}#{number}"
            if isinstance(row, RecordRejected):
                yield RawRecord(origin, None, None, None, row)
            else:
                yield _record(config, origin, row)


def _metadata(filesystem: fs.FileSystem, name: str, item: Item) -> pq.FileMetaData:
    if item.problem:
        raise DataError(f"{name}: {item.problem}; remove it or fetch it again")
    try:
        return pq.read_metadata(item.path, filesystem=filesystem)
    except pa.ArrowInvalid as error:
        raise DataError(
            f"{name}: not a Parquet file ({error}); remove it or fetch it again"
        ) from error


def _require_bytes(field: pa.Field, place: str) -> None:
    held = field.type
    if pa.types.is_struct(held) and held.get_field_index("bytes") >= 0:
        held = held.field("bytes").type
    if not (pa.types.is_binary(held) or pa.types.is_large_binary(held)):
        raise DataError(
            f"{place}: column {field.name!r} holds {field.type}, not encoded image bytes (binary, "
            "or a struct with a field bytes); set data.source.image_column to the right one"
        )


def _group_counts(
    config: SourceConfig, file: pq.ParquetFile, group: int
) -> Counter[tuple[str, Split | None]]:
    columns = list(dict.fromkeys(label_columns(config)))
    counts: Counter[tuple[str, Split | None]] = Counter()
    try:
        table = file.read_row_group(group, columns=columns)
        groups = table.group_by(columns).aggregate([([], "count_all")])
    except (OSError, pa.ArrowInvalid, pa.ArrowNotImplementedError):
        # Damaged rows come back as unreadable when they are read; lists and structs are no names.
        return counts
    for row in groups.to_pylist():
        label = class_label(row[config.label_column])
        split, problem = given_split(row[config.split_column] if config.split_column else None)
        if label is not None and problem is None:
            counts[label, split] += row["count_all"]
    return counts


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


def _record(config: SourceConfig, origin: str, row: dict[str, Any]) -> RawRecord:
    image, label = row[config.image_column], class_label(row[config.label_column])
    data = image.get("bytes") if isinstance(image, dict) else image
    split, problem = given_split(row[config.split_column] if config.split_column else None)
    if not isinstance(data, bytes):
        problem = RecordRejected(Reason.EMPTY, "the image column has no bytes")
    elif problem is None:
        problem = too_large(len(data))
    if problem is None and label is None:
        problem = RecordRejected(Reason.MISSING_LABEL, "the label column is empty")
    return RawRecord(origin, label, split, data if isinstance(data, bytes) else None, problem)
