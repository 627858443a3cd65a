"""Which form a source has, told by its path; and the message where there is nothing."""

import difflib
import posixpath

from pyarrow import fs

from components.errors import DataError
from components.records.files import as_written
from components.sources.config import SourceConfig, SourceFormat
from components.sources.directory import Item, list_folder
from components.sources.names import extension, is_hidden_folder, is_utf8, junk
from components.sources.parquet import EXTENSIONS as PARQUET_EXTENSIONS
from components.sources.webdataset import EXTENSIONS as TAR_EXTENSIONS


def detect_format(
    config: SourceConfig, filesystem: fs.FileSystem, info: fs.FileInfo
) -> SourceFormat:
    """The form of a source: what the recipe says, else what the path looks like.

    Raises:
        DataError: It is a file of no known form.
    """
    if config.format != "auto":
        return config.format
    if info.type == fs.FileType.File:
        return _file_format(config, info)
    # Parquet files and tars lie in the folder or one below it (data/train-00000.parquet).
    items = list(list_folder(filesystem, info.path))
    folders = [i for i in items if i.is_folder and not is_hidden_folder(i.name)]
    files = [item for item in items if not item.is_folder]
    below = (
        [i for i in list_folder(filesystem, folders[0].path) if not i.is_folder] if folders else []
    )
    if any(extension(item.name) in PARQUET_EXTENSIONS for item in [*files, *below]):
        return "parquet"
    return "webdataset" if _only_tars(below if folders else files) else "folders"


def _file_format(config: SourceConfig, info: fs.FileInfo) -> SourceFormat:
    if info.base_name.lower().endswith(TAR_EXTENSIONS):
        return "webdataset"
    ending = extension(info.base_name)
    if ending in PARQUET_EXTENSIONS:
        return "parquet"
    if ending in {"csv", "tsv", "jsonl", "ndjson", "json"}:
        return "manifest"
    raise DataError(
        f"data.source.path = {as_written(config.path)}: a .{ending} file is no known "
        "source; use a folder, .parquet, .csv, .jsonl or .tar, or set data.source.format"
    )


def _only_tars(items: list[Item]) -> bool:
    """Whether the files of a folder are tars, junk aside: a tar among pictures is no source."""
    data = [item.name.lower() for item in items if junk(item.name) is None]
    return bool(data) and all(name.endswith(TAR_EXTENSIONS) for name in data)


def missing_source(path: str, filesystem: fs.FileSystem, root: str, what: str = "images") -> str:
    """The message about a source that is not there, with the nearest name that is."""
    parent = posixpath.dirname(root.rstrip("/"))
    near: list[str] = []
    if filesystem.get_file_info(parent).type == fs.FileType.Directory:
        names = [item.name for item in list_folder(filesystem, parent) if is_utf8(item.name)]
        near = difflib.get_close_matches(posixpath.basename(root), names, n=1)
    hint = f"; did you mean {near[0]}?" if near else f"; set data.source.path to your {what}"
    return f"data.source.path = {as_written(path)} does not exist{hint}"
