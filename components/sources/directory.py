"""Directories, of this machine or of an object store, listed one at a time and in order."""

import os
import posixpath
import stat
from collections.abc import Callable, Iterator
from operator import attrgetter
from typing import NamedTuple

from pyarrow import fs

from components.sources.names import is_hidden_folder, shown

Identity = tuple[int, int]


class Item(NamedTuple):
    """What a directory holds.

    Attributes:
        name: Its name; bytes that are not UTF-8 stand as surrogates (`os.fsdecode`).
        path: How the filesystem opens it.
        is_folder: Whether it can be looked into.
        size: Bytes.
        stamp: Time of the last change, in nanoseconds.
        problem: Why it must not be opened; empty for files and folders that can be.
        identity: Device and inode of a local folder; what a loop of links is told by.
    """

    name: str
    path: str
    is_folder: bool = False
    size: int = 0
    stamp: int = 0
    problem: str = ""
    identity: Identity | None = None


def list_folder(filesystem: fs.FileSystem, folder: str) -> Iterator[Item]:
    """What lies in one directory, sorted by name; only the names are in memory.

    Local directories are read by `os.scandir`: it also takes names that are not UTF-8, and it
    tells pipes, sockets and broken links, which would block or fail when opened.

    Raises:
        OSError: The directory cannot be read.
    """
    if isinstance(filesystem, fs.LocalFileSystem):
        with os.scandir(folder) as found:
            entries = sorted(found, key=attrgetter("name"))
        return map(_local, entries)
    infos = filesystem.get_file_info(fs.FileSelector(folder))
    return map(_remote, sorted(infos, key=attrgetter("base_name")))


def top_folder(filesystem: fs.FileSystem, root: str) -> Item:
    """A directory as an item, to start a walk from."""
    identity = None
    if isinstance(filesystem, fs.LocalFileSystem):
        status = os.stat(root)
        identity = (status.st_dev, status.st_ino)
    return Item(posixpath.basename(root), root, is_folder=True, identity=identity)


def walk(
    filesystem: fs.FileSystem,
    folder: Item,
    *,
    above: tuple[Item, ...] = (),
    on_hidden: Callable[[Item], None] | None = None,
) -> Iterator[Item]:
    """Files below a folder, in order, one directory's names in memory at a time.

    Links to folders are followed, but never back into a folder that they lie in. A folder that may
    not be read comes back as one item with its `problem`.

    Args:
        filesystem: Where it lies.
        folder: Where to start.
        above: Folders that it lies in.
        on_hidden: Called for each hidden folder, which is then left out; None walks those too.
    """
    pending = [(folder, above)]
    while pending:
        current, outer = pending.pop()
        if current.identity and any(current.identity == item.identity for item in outer):
            yield current._replace(is_folder=False, problem="a link back into a folder around it")
            continue
        try:
            items = list_folder(filesystem, current.path)
        except PermissionError as error:
            problem = f"the folder may not be read ({error.strerror})"
            yield current._replace(is_folder=False, problem=problem)
            continue
        inner = (*outer, current)
        folders = []
        for item in items:
            if not item.is_folder:
                yield item
            elif on_hidden is not None and is_hidden_folder(item.name):
                on_hidden(item)
            else:
                folders.append((item, inner))
        pending += reversed(folders)


def relative(item: Item, root: str) -> str:
    """Path of an item below the source, as it is shown: byte-exact, always UTF-8."""
    if item.path == root:
        return shown(item.name)
    return shown(item.path[len(root.rstrip("/")) + 1 :])


def _local(entry: os.DirEntry[str]) -> Item:
    try:
        status = entry.stat()
    except OSError as error:
        what = "a link to nothing" if entry.is_symlink() else "cannot be looked at"
        return Item(entry.name, entry.path, problem=f"{what} ({error.strerror})")
    mode, stamp = status.st_mode, status.st_mtime_ns
    if stat.S_ISREG(mode):
        return Item(entry.name, entry.path, False, status.st_size, stamp)
    if stat.S_ISDIR(mode):
        identity = (status.st_dev, status.st_ino)
        return Item(entry.name, entry.path, True, 0, stamp, "", identity)
    return Item(entry.name, entry.path, False, 0, stamp, _special(mode))


def _special(mode: int) -> str:
    kinds = {stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket"}
    return f"{kinds.get(stat.S_IFMT(mode), 'a device')}, no file"


def _remote(info: fs.FileInfo) -> Item:
    if info.type == fs.FileType.Directory:
        return Item(info.base_name, info.path, is_folder=True)
    problem = "" if info.type == fs.FileType.File else "no file"
    return Item(info.base_name, info.path, False, info.size or 0, info.mtime_ns or 0, problem)
