"""The files of a table source: a CSV, JSON Lines or Parquet file, or a folder of them."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Literal
from urllib.parse import quote, urlsplit, urlunsplit

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from components.errors import DataError
from components.records.files import as_written, open_filesystem
from components.records.findings import Action, Finding
from components.records.reasons import Policy, Reason
from components.records.split import Split
from components.sources.classes import refuse_stopped
from components.sources.config import TableForm, TableSourceConfig
from components.sources.detect import missing_source
from components.sources.directory import Item, relative, top_folder, walk
from components.sources.folders import hidden_folder
from components.sources.names import extension, is_utf8, shown
from components.sources.record import splits_of_paths

Compression = Literal["gzip", "zstd", "bz2"]
_COMPRESSIONS: dict[str, Compression] = {"gz": "gzip", "zst": "zstd", "bz2": "bz2"}
_FORMS: dict[str, TableForm] = {
    **dict.fromkeys(("csv", "tsv", "tab", "psv"), "csv"),
    **dict.fromkeys(("jsonl", "ndjson", "json"), "jsonl"),
    **dict.fromkeys(("parquet", "pq"), "parquet"),
}
# Tables as files of their own; in a folder of tables a .txt is more likely a note about them.
_LONE_FORMS: dict[str, TableForm] = {**_FORMS, "txt": "csv", "dat": "csv", "data": "csv"}
_DEFAULTS: Mapping[Reason, Policy] = MappingProxyType({})


# About what a row of a CSV or JSON Lines file takes, and how far text shrinks when it is packed.
_ROW_BYTES: dict[TableForm, int] = {"csv": 64, "jsonl": 200}
_PACKED = 5


@dataclass(frozen=True)
class TableFile:
    """One file of a table source.

    Attributes:
        origin: Path relative to the source, byte for byte; of a single file its name.
        path: Local path or URI, as `open_filesystem` takes it.
        size: Bytes as stored.
        stamp: Time of the last change, in nanoseconds.
        form: What it is.
        compression: How it is packed, if it is.
        split: Split that its name stands for (train.csv and test.csv).
    """

    origin: str
    path: str
    size: int
    stamp: int
    form: TableForm
    compression: Compression | None = None
    split: Split | None = None

    def row_groups(self) -> list[int]:
        """Rows of each row group of a Parquet file; only its footer is read.

        Raises:
            DataError: It is no Parquet file.
        """
        filesystem, path = open_filesystem(self.path)
        try:
            metadata = pq.read_metadata(path, filesystem=filesystem)
        except pa.ArrowInvalid as error:
            raise DataError(
                f"{self.origin}: not a Parquet file ({error}); remove it or fetch it again"
            ) from error
        return [metadata.row_group(n).num_rows for n in range(metadata.num_row_groups)]

    def expected_records(self) -> int:
        """Records in it: of Parquet exactly, else about, from its size."""
        if self.form == "parquet":
            return sum(self.row_groups())
        return self.size * (_PACKED if self.compression else 1) // _ROW_BYTES[self.form]


@dataclass(frozen=True)
class TableListing:
    """The files of a table source, in the order of their origins.

    Attributes:
        form: What all of them are.
        root: Where the paths start, as the filesystem spells it.
        files: The files.
        num_bytes: Their bytes as stored.
        sha256: Digest over origin, size and time of every file.
        findings: What lies beside them and is not read.
    """

    form: TableForm
    root: str
    files: list[TableFile]
    num_bytes: int
    sha256: str
    findings: list[Finding] = field(default_factory=list)


def list_tables(
    config: TableSourceConfig, policy: Mapping[Reason, Policy] = _DEFAULTS
) -> TableListing:
    """List a table source: the files alone, none of their rows.

    Args:
        config: The source.
        policy: What the recipe wants done about a reason; else the reason's default.

    Raises:
        DataError: The source is missing, empty, of no known form, of several forms at once or
            cannot be read; or something was found whose policy is `stop`.
    """
    try:
        listing = _list_tables(config)
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"data.source.path = {as_written(config.path)} cannot be read "
            f"({str(error).splitlines()[0]}); check the address, its permissions and the network"
        ) from error
    refuse_stopped(listing.findings, policy)
    return listing


def table_form(name: str, *, alone: bool = False) -> tuple[TableForm | None, Compression | None]:
    """Form and compression of a file by its name (a.csv.gz); no form where it is no table.

    Args:
        name: File name.
        alone: The recipe names this very file; then .txt, .dat and .data are tables too.
    """
    compression = _COMPRESSIONS.get(extension(name))
    if compression is not None:
        name = name.rpartition(".")[0]
    form = (_LONE_FORMS if alone else _FORMS).get(extension(name))
    return form, compression


def _list_tables(config: TableSourceConfig) -> TableListing:
    filesystem, root = open_filesystem(config.path)
    info = filesystem.get_file_info(root)
    if info.type == fs.FileType.NotFound:
        raise DataError(missing_source(config.path, filesystem, root, "tables"))
    findings: list[Finding] = []
    if info.type == fs.FileType.Directory:
        top = top_folder(filesystem, root)

        def on_hidden(folder: Item) -> None:
            findings.append(hidden_folder(filesystem, folder, root))

        items = walk(filesystem, top, on_hidden=on_hidden)
        files = _folder_files(config, items, root, findings)
    elif info.type == fs.FileType.File:
        item = Item(info.base_name, info.path, False, info.size or 0, info.mtime_ns or 0)
        files = [_lone_file(config, item)]
    else:
        raise DataError(
            f"data.source.path = {as_written(config.path)} is a pipe, socket or device; save it as "
            "a file first"
        )
    if not isinstance(filesystem, fs.LocalFileSystem):
        files = [replace(file, path=_uri(config.path, root, file.path)) for file in files]
    key = json.dumps([(file.origin, file.size, file.stamp) for file in files])
    return TableListing(
        form=files[0].form,
        root=root,
        files=files,
        num_bytes=sum(file.size for file in files),
        sha256=hashlib.sha256(key.encode()).hexdigest(),
        findings=findings,
    )


def _lone_file(config: TableSourceConfig, item: Item) -> TableFile:
    form, compression = table_form(item.name, alone=True)
    if config.format != "auto":
        form = config.format
    if form is None:
        raise DataError(
            f"data.source.path = {as_written(config.path)}: a .{extension(item.name)} file is no "
            "known table; use .csv, .tsv, .jsonl or .parquet, or set data.source.format"
        )
    return TableFile(item.name, item.path, item.size, item.stamp, form, compression)


def _folder_files(
    config: TableSourceConfig, items: Iterable[Item], root: str, findings: list[Finding]
) -> list[TableFile]:
    files = []
    for item in items:
        if item.identity is not None:  # a folder that was not walked
            origin = relative(item, root)
            findings.append(Finding(origin, Reason.UNREADABLE, Action.DROPPED, item.problem))
            continue
        form, compression = table_form(item.name)
        if config.format != "auto" and form != config.format:
            form = None
        if form is None or item.name.startswith((".", "_")):
            findings.append(_beside(relative(item, root)))
            continue
        _require_readable(item, root)
        origin = relative(item, root)
        files.append(TableFile(origin, item.path, item.size, item.stamp, form, compression))
    _require_one_form(config, files)
    files.sort(key=lambda file: file.origin)
    splits = splits_of_paths([file.origin for file in files])
    return [replace(file, split=split) for file, split in zip(files, splits, strict=True)]


def _uri(source: str, root: str, path: str) -> str:
    """Address of a file in an object store, with the options of the source's address."""
    parts = urlsplit(source)
    below = quote(path[len(root.rstrip("/")) :])
    return urlunsplit(parts._replace(path=parts.path.rstrip("/") + below))


def _beside(origin: str) -> Finding:
    return Finding(origin, Reason.JUNK_FILE, Action.DROPPED, "no table of this source; not read")


def _require_readable(item: Item, root: str) -> None:
    if not is_utf8(item.path):
        raise DataError(f"{relative(item, root)}: the name is not UTF-8; rename the file")
    if item.problem:
        raise DataError(f"{shown(item.name)}: {item.problem}; mend or remove it")


def _require_one_form(config: TableSourceConfig, files: list[TableFile]) -> None:
    place = f"data.source.path = {as_written(config.path)}"
    if not files:
        wanted = "CSV, JSON Lines or Parquet" if config.format == "auto" else config.format
        raise DataError(f"{place} holds no {wanted} file; set data.source.path to your tables")
    first = {file.form: file.origin for file in reversed(files)}
    if len(first) > 1:
        named = " and ".join(f"{origin} ({form})" for form, origin in sorted(first.items()))
        raise DataError(
            f"{place} holds tables of several forms: {named}; set data.source.format to one"
        )
