"""WebDataset: tars whose members that share a name up to the first dot are one sample.

The form: https://github.com/webdataset/webdataset (a.jpg and a.cls, one after the other).
"""

import json
import posixpath
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from pyarrow import fs

from components.records.findings import Action, Finding
from components.records.reasons import Reason, RecordRejected
from components.records.split import Split
from components.sources.config import SourceConfig
from components.sources.directory import Item, relative, top_folder, walk
from components.sources.names import PICTURE_EXTENSIONS, is_utf8, junk, shown
from components.sources.record import (
    Entry,
    RawRecord,
    class_label,
    given_split,
    splits_of_paths,
    too_large,
)
from components.sources.tar import (
    GZIP_DAMAGE,
    TarDamage,
    TarFile,
    TarMember,
    is_compressed,
    open_tar,
    tar_members,
)

EXTENSIONS = (".tar", ".tar.gz", ".tgz")
_STILL_READ = (Reason.MISSING_LABEL, Reason.BAD_SPLIT)
_MAX_TEXT_BYTES = 1 << 20
_MAX_FINDINGS = 100


@dataclass(frozen=True)
class Shard:
    """One tar of a source.

    Attributes:
        name: Path relative to the source.
        item: Where it lies.
        split: Split that its name stands for.
    """

    name: str
    item: Item
    split: Split | None


@dataclass
class _Sample:
    """Members that share a name up to the first dot, by the rest of their names."""

    key: str
    members: dict[str, TarMember] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)

    def is_cut(self, cut: int | None) -> bool:
        return cut is not None and any(member.end > cut for member in self.members.values())


def tar_shards(filesystem: fs.FileSystem, root: str) -> list[Shard]:
    """Tars of a source, in order; splits by folder (train/000.tar) or name (train-000.tar)."""
    info = filesystem.get_file_info(root)
    if info.type == fs.FileType.File:
        items = [Item(info.base_name, info.path, False, info.size or 0, info.mtime_ns or 0)]
    else:
        found = walk(filesystem, top_folder(filesystem, root), on_hidden=lambda _: None)
        items = [i for i in found if i.name.lower().endswith(EXTENSIONS) and i.name[:2] != "._"]
    named = sorted((relative(item, root), item) for item in items)
    splits = splits_of_paths([name for name, _ in named])
    return [Shard(name, item, split) for (name, item), split in zip(named, splits, strict=True)]


def tar_entries(
    config: SourceConfig,
    filesystem: fs.FileSystem,
    shards: Sequence[Shard],
    findings: list[Finding],
) -> Iterator[Entry]:
    """Every sample of the tars, in order; headers and labels are read, pictures are not.

    Args:
        config: Names the picture's extension and the keys of label and split.
        filesystem: Where the tars lie.
        shards: From `tar_shards`.
        findings: Gets what is no sample, and where a tar is damaged.
    """
    for shard in shards:
        if shard.item.problem or not is_utf8(shard.item.path):
            reason = Reason.UNREADABLE if shard.item.problem else Reason.UNREADABLE_NAME
            yield _whole(shard, reason, shard.item.problem or "the path is not UTF-8")
        elif not shard.item.size:
            yield _whole(shard, Reason.EMPTY, "the tar has zero bytes")
        else:
            yield from _shard_entries(config, filesystem, shard, findings)


def tar_records(filesystem: fs.FileSystem, entries: Sequence[Entry]) -> Iterator[RawRecord]:
    """Read samples of one tar, in the order of their places in it."""
    waiting = list(reversed(entries))
    try:
        if any(_is_read(entry) for entry in entries):
            with open_tar(filesystem, entries[0].path) as file:
                while waiting:
                    record = _read(file, waiting[-1])
                    waiting.pop()
                    yield record
    except (OSError, *GZIP_DAMAGE) as error:
        lost = RecordRejected(Reason.UNREADABLE, " ".join(str(error).split()))
        for entry in reversed(waiting):
            yield RawRecord(entry.origin, entry.label, entry.split, None, entry.problem() or lost)
        return
    for entry in reversed(waiting):
        yield RawRecord(entry.origin, entry.label, entry.split, None, entry.problem())


def _whole(shard: Shard, reason: Reason, detail: str) -> Entry:
    """A tar of which nothing can be read, as one record."""
    item = shard.item
    path = item.path if is_utf8(item.path) else ""
    return Entry(
        shard.name, path, None, shard.split, item.size, item.stamp, offset=0, reason=reason.value,
        detail=detail,
    )  # fmt: skip


def _shard_entries(
    config: SourceConfig, filesystem: fs.FileSystem, shard: Shard, findings: list[Finding]
) -> Iterator[Entry]:
    damages: list[TarDamage] = []
    asides: list[Finding] = []
    num_asides = num_entries = 0
    with open_tar(filesystem, shard.item.path) as file:
        num_bytes = None if is_compressed(shard.item.path) else shard.item.size
        for sample in _samples(config, file, tar_members(file, num_bytes, damages.append)):
            cut = damages[-1].cut if damages else None
            for found in _sample_found(config, shard, sample, cut):
                if isinstance(found, Entry):
                    num_entries += 1
                    yield found
                else:
                    num_asides += 1
                    asides += [found] if len(asides) < _MAX_FINDINGS else []
    if num_asides > len(asides):
        rest = num_asides - len(asides)
        detail = f"{rest} more members that are no pictures"
        asides.append(_finding(shard.name, Reason.JUNK_FILE, detail, count=rest))
    findings += asides
    if damages and not num_entries:
        yield _whole(shard, damages[0].reason, damages[0].detail)
    findings += [
        Finding(shard.name, damage.reason, Action.KEPT, f"{damage.detail}; the rest was read")
        for damage in damages
        if num_entries
    ]


def _samples(
    config: SourceConfig, file: TarFile, members: Iterator[TarMember]
) -> Iterator[_Sample]:
    sample = _Sample("")
    for member in members:
        folder, base = posixpath.split(member.name)
        stem, _, ending = base.partition(".")
        key, ending = posixpath.join(folder, stem), ending.lower()
        if not stem or not ending:
            yield _Sample("", {"": member})
            continue
        if key != sample.key or ending in sample.members:
            yield sample
            sample = _Sample(key)
        sample.members[ending] = member
        if ending in (config.label_column, "cls", "json", "txt") and member.is_file:
            sample.texts[ending] = _text(file, member)
    yield sample


def _text(file: TarFile, member: TarMember) -> str:
    try:
        file.seek(member.offset)
        return file.read(min(member.size, _MAX_TEXT_BYTES)).decode("utf-8-sig").strip()
    except (UnicodeDecodeError, *GZIP_DAMAGE):
        return ""  # no label; a damaged tar is told of by whoever reads its headers


def _sample_found(
    config: SourceConfig, shard: Shard, sample: _Sample, cut: int | None
) -> Iterator[Entry | Finding]:
    """A sample as an entry; what else lies in it, or is no sample at all, as findings."""
    wanted = PICTURE_EXTENSIONS if config.image_column == "image" else {config.image_column}
    pictures = [member for ending, member in sample.members.items() if ending in wanted]
    for member in pictures[1:]:
        detail = "a further picture of its sample; the first is taken"
        yield _finding(_origin(shard, member), Reason.UNSUPPORTED, detail)
    if pictures:
        yield _entry(shard, pictures[0], sample, cut, *_label_and_split(config, shard, sample))
    elif sample.is_cut(cut):
        last = list(sample.members.values())[-1]
        yield _entry(shard, last, sample, cut, None, shard.split, None)
    elif sample.members:
        yield _no_picture(shard, sample)


def _entry(
    shard: Shard,
    picture: TarMember,
    sample: _Sample,
    cut: int | None,
    label: str | None,
    split: Split | None,
    bad: RecordRejected | None,
) -> Entry:
    problem = bad
    if sample.is_cut(cut):
        problem = RecordRejected(Reason.TRUNCATED, "the tar ends within the sample")
    elif not is_utf8(picture.name):
        problem = RecordRejected(Reason.UNREADABLE_NAME, "the member's name is not UTF-8")
    elif not picture.is_file:
        problem = RecordRejected(Reason.UNREADABLE, "a link or device in the tar, no file")
    else:
        problem = too_large(picture.size) or problem
    return Entry(
        origin=_origin(shard, picture),
        path=shard.item.path,
        label=label,
        split=split,
        size=picture.size,
        stamp=shard.item.stamp,
        offset=picture.offset,
        reason=problem.reason.value if problem else None,
        detail=problem.detail if problem else "",
        together=is_compressed(shard.item.path),
    )


def _label_and_split(
    config: SourceConfig, shard: Shard, sample: _Sample
) -> tuple[str | None, Split | None, RecordRejected | None]:
    values = _json_object(sample.texts.get("json"))
    split, problem = shard.split, None
    if config.split_column:
        split, problem = given_split(values.get(config.split_column))
    keys = (config.label_column, "cls", "class")
    choices = [
        *(sample.texts.get(ending) for ending in (config.label_column, "cls")),
        *(values.get(key) for key in keys),
        sample.texts.get("txt"),
    ]
    labels = [class_label(value) for value in choices if isinstance(value, str | int | float)]
    label = next((label for label in labels if label), None)
    if label is None and problem is None:
        detail = f"no label among the members beside it ({', '.join(sample.members)})"
        problem = RecordRejected(Reason.MISSING_LABEL, detail)
    return label, split, problem


def _json_object(text: str | None) -> dict[str, object]:
    try:
        value = json.loads(text) if text else {}
    except json.JSONDecodeError:
        return {}  # as if it were not there: the sample lacks its label
    return value if isinstance(value, dict) else {}


def _no_picture(shard: Shard, sample: _Sample) -> Finding:
    members = list(sample.members.values())
    origin = _origin(shard, members[0])
    kinds = [junk(posixpath.basename(member.name)) for member in members]
    if kinds[0] is not None and all(kinds):
        return _finding(origin, Reason.JUNK_FILE, kinds[0], count=len(members))
    detail = f"no picture in the sample ({', '.join(sample.members)})"
    return _finding(origin, Reason.UNSUPPORTED, detail, count=len(members))


def _finding(origin: str, reason: Reason, detail: str, count: int = 1) -> Finding:
    return Finding(origin, reason, Action.DROPPED, detail, count=count)


def _origin(shard: Shard, member: TarMember) -> str:
    return f"{shard.name}#{shown(member.name)}"


def _is_read(entry: Entry) -> bool:
    return entry.reason is None or Reason(entry.reason) in _STILL_READ


def _read(file: TarFile, entry: Entry) -> RawRecord:
    data, problem = None, entry.problem()
    if _is_read(entry):
        assert entry.offset is not None
        file.seek(entry.offset)
        data = file.read(entry.size)
        if len(data) < entry.size:
            problem = RecordRejected(Reason.TRUNCATED, "the tar became shorter since it was listed")
    return RawRecord(entry.origin, entry.label, entry.split, data, problem)
