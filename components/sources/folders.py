"""Class folders: train/cat/1.png or cat/1.png, however deep below the class."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice

from pyarrow import fs

from components.errors import DataError
from components.records.files import is_uri, open_filesystem, public_path
from components.records.findings import Action, Finding
from components.records.reasons import Reason, RecordRejected
from components.records.split import SPLITS, Split
from components.sources.classes import ClassCount
from components.sources.directory import Item, list_folder, relative, top_folder, walk
from components.sources.names import (
    MAGIC_BYTES,
    is_hidden_folder,
    is_utf8,
    junk,
    looks_like_picture,
    never_a_picture,
    shown,
)
from components.sources.record import Entry, RawRecord, split_named, too_large

_NEVER_OPENED = (Reason.UNREADABLE, Reason.UNREADABLE_NAME, Reason.UNSUPPORTED, Reason.TRUNCATED)
_NAMED_FILES = 20


@dataclass
class FolderWalk:
    """One walk through class folders, and what it learns beside the entries.

    Attributes:
        filesystem: Where the source lies.
        root: Its folder.
        findings: Hidden folders that were left out.
        classes: Class folders walked so far, also empty ones.
        splits: Splits whose folders were met.
    """

    filesystem: fs.FileSystem
    root: str
    findings: list[Finding] = field(default_factory=list)
    classes: list[ClassCount] = field(default_factory=list)
    splits: list[Split] = field(default_factory=list)

    def entries(self) -> Iterator[Entry]:
        """Every file of the source, in order.

        Raises:
            DataError: Folders named after splits lie beside others.
            OSError: The source's folder cannot be read.
        """
        top = top_folder(self.filesystem, self.root)
        items = self._visible(list_folder(self.filesystem, self.root))
        folders = split_folders(items, self.root)
        if folders is None:
            yield from self._split_entries(items, (top,), None)
            return
        self.splits += [split for split in SPLITS if split in folders.values()]
        for item in items:
            if not item.is_folder:
                yield self._entry(item, None, None)
                continue
            split = folders[item.name]
            try:
                below = self._visible(list_folder(self.filesystem, item.path))
            except PermissionError as error:
                problem = f"the folder may not be read ({error.strerror})"
                yield self._entry(item._replace(problem=problem), None, split)
                continue
            yield from self._split_entries(below, (top, item), split)

    def _split_entries(
        self, items: list[Item], above: tuple[Item, ...], split: Split | None
    ) -> Iterator[Entry]:
        """The first folder is the class; deeper folders do not matter."""
        for item in items:
            if not item.is_folder:
                yield self._entry(item, None, split)
            elif is_utf8(item.name):
                yield from self._class_entries(item, above, split)
            else:
                for file in walk(self.filesystem, item, above=above, on_hidden=self._hidden):
                    yield self._entry(file, None, split)

    def _class_entries(
        self, folder: Item, above: tuple[Item, ...], split: Split | None
    ) -> Iterator[Entry]:
        num_records = 0
        for file in walk(self.filesystem, folder, above=above, on_hidden=self._hidden):
            entry = self._entry(file, folder.name, split)
            num_records += entry.reason is None
            yield entry
        origin = relative(folder, self.root)
        self.classes.append(ClassCount(folder.name, split, num_records, origin))

    def _entry(self, item: Item, label: str | None, split: Split | None) -> Entry:
        origin = relative(item, self.root)
        problem = _problem(item, label)
        if problem is None:
            return Entry(origin, item.path, label, split, item.size, item.stamp)
        reason, detail = problem
        path = item.path if is_utf8(item.path) else ""
        return Entry(
            origin, path, label, split, item.size, item.stamp, reason=reason.value, detail=detail
        )

    def _visible(self, items: Iterable[Item]) -> list[Item]:
        visible = []
        for item in items:
            if item.is_folder and is_hidden_folder(item.name):
                self._hidden(item)
            else:
                visible.append(item)
        return visible

    def _hidden(self, folder: Item) -> None:
        self.findings.append(hidden_folder(self.filesystem, folder, self.root))


def hidden_folder(filesystem: fs.FileSystem, folder: Item, root: str) -> Finding:
    """The finding about a hidden folder that is left out, with its first 20 files."""
    files = walk(filesystem, folder)
    named = tuple(relative(file, root) for file in islice(files, _NAMED_FILES))
    count = len(named) + sum(1 for _ in files)
    return Finding(
        relative(folder, root),
        Reason.JUNK_FILE,
        Action.DROPPED,
        f"a hidden folder; its {count} files are not read",
        named,
        count=count,
    )


def split_folders(items: list[Item], root: str) -> dict[str, Split] | None:
    """Folder name -> split, where train and another split are there; None for class folders.

    Raises:
        DataError: Other folders lie beside them: read as classes they would make "train" a label.
    """
    names = [item.name for item in items if item.is_folder]
    splits = {name: split for name in names if (split := split_named(name)) is not None}
    if "train" not in splits.values() or len(set(splits.values())) == 1:
        return None
    others = [shown(name) for name in names if name not in splits]
    if others:
        raise DataError(
            f"{public_path(root)}: {', '.join(splits)} name splits "
            f"and {', '.join(others[:3])} does not; a folder holds either splits or classes: move "
            f"{others[0]} away"
        )
    return splits


def _problem(item: Item, label: str | None) -> tuple[Reason, str] | None:
    if not is_utf8(item.path):
        return Reason.UNREADABLE_NAME, "the path is not UTF-8"
    if item.problem:
        return Reason.UNREADABLE, item.problem
    kind = junk(item.name)
    if kind is not None:
        return Reason.JUNK_FILE, kind
    large = too_large(item.size)
    if large is not None:
        return large.reason, large.detail
    return None if label is not None else (Reason.OUTSIDE_CLASS, "not in a class folder")


def file_record(filesystem: fs.FileSystem, entry: Entry) -> RawRecord:
    """Read one file; what cannot be had comes back as the record's `problem`."""
    problem = entry.problem()
    if problem is not None and problem.reason in _NEVER_OPENED:
        return RawRecord(entry.origin, entry.label, entry.split, None, problem)
    data: bytes | None = None
    try:
        place, path = open_filesystem(entry.path) if is_uri(entry.path) else (None, entry.path)
        if problem is not None and problem.reason is Reason.JUNK_FILE:
            data = _picture_in_disguise(place or filesystem, path)
            problem = problem if data is None else _outside(entry)
        else:
            data = _read_all(place or filesystem, path)
    except (OSError, DataError) as error:
        problem = RecordRejected(Reason.UNREADABLE, " ".join(str(error).split()))
    return RawRecord(entry.origin, entry.label, entry.split, data, problem)


def _picture_in_disguise(filesystem: fs.FileSystem, path: str) -> bytes | None:
    """The bytes of a file whose name says that it is none, where they are a picture's after all."""
    if never_a_picture(path.rpartition("/")[2]):
        return None
    with filesystem.open_input_stream(path, compression=None) as stream:
        head = bytes(stream.read(MAGIC_BYTES))
        return head + bytes(stream.read()) if looks_like_picture(head) else None


def _outside(entry: Entry) -> RecordRejected | None:
    if entry.label is not None:
        return None
    return RecordRejected(Reason.OUTSIDE_CLASS, "not in a class folder")


def _read_all(filesystem: fs.FileSystem, path: str) -> bytes:
    # As it is stored: by its default pyarrow would unpack a file that ends in .gz.
    with filesystem.open_input_stream(path, compression=None) as stream:
        return bytes(stream.read())
