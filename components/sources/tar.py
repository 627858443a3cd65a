"""Members of a tar file: found in one pass over its headers, read by their place in it."""

import gzip
import io
import tarfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

from pyarrow import fs

from components.records.reasons import Reason

# What a damaged gzip stream raises; other errors of reading are the network's or the disk's.
GZIP_DAMAGE = (EOFError, zlib.error, gzip.BadGzipFile)
_BUFFER_BYTES = 64 << 10
TarFile = io.BufferedReader | gzip.GzipFile


class _Headers(tarfile.TarFile):
    members: list[tarfile.TarInfo]


class TarMember(NamedTuple):
    """A member of a tar.

    Attributes:
        name: Its path in the tar; bytes that are not UTF-8 stand as surrogates.
        offset: Byte at which its data start, in the unpacked tar.
        size: Bytes of its data.
        is_file: Whether it is a file (no link, device or sparse file).
    """

    name: str
    offset: int
    size: int
    is_file: bool

    @property
    def end(self) -> int:
        """Byte after its data."""
        return self.offset + self.size


@dataclass(frozen=True)
class TarDamage:
    """Where a tar cannot be read.

    Attributes:
        reason: `truncated` or `corrupt`.
        detail: In words.
        cut: Byte beyond which no data are to be trusted; None where later members can be read.
    """

    reason: Reason
    detail: str
    cut: int | None = None


def is_compressed(path: str) -> bool:
    """Whether a tar is packed, so that it can be read only from its start."""
    return path.lower().endswith((".tar.gz", ".tgz"))


@contextmanager
def open_tar(filesystem: fs.FileSystem, path: str) -> Iterator[TarFile]:
    """A tar's unpacked bytes, with `seek`.

    Raises:
        OSError: It cannot be opened.
    """
    with filesystem.open_input_file(path) as file:
        if is_compressed(path):
            with gzip.GzipFile(fileobj=file, mode="rb") as unpacked:
                yield unpacked
        else:
            # An object store answers each read with a request: headers that lie close share one.
            with io.BufferedReader(file, _BUFFER_BYTES) as buffered:
                yield buffered


def tar_members(
    file: TarFile, num_bytes: int | None, on_damage: Callable[[TarDamage], None]
) -> Iterator[TarMember]:
    """Members in order, without their data and without keeping them.

    A header that is damaged is skipped and the next one looked for, so that members behind it are
    found. Directories are left out.

    Args:
        file: From `open_tar`.
        num_bytes: Size of the tar; None where it is packed.
        on_damage: Called for each place that cannot be read.
    """
    member: TarMember | None = None
    expected = 0
    try:
        # Zero blocks in the middle are what tars laid end to end have.
        with _Headers.open(fileobj=file, mode="r:", ignore_zeros=True) as tar:
            while (info := tar.next()) is not None:
                if info.offset > expected:
                    _report_gap(file, expected, info.offset, on_damage)
                expected = tar.offset
                tar.members.clear()
                if not info.isdir():
                    is_file = info.isreg() and not info.issparse()
                    member = TarMember(info.name, info.offset_data, info.size, is_file)
                    yield member
            _report_end(file, expected, num_bytes, on_damage)
    except (tarfile.TarError, *GZIP_DAMAGE) as error:
        cut = num_bytes if num_bytes is not None else member.offset if member else 0
        if member is None:
            on_damage(TarDamage(Reason.CORRUPT, f"not a tar ({error})", cut))
        else:
            on_damage(TarDamage(Reason.TRUNCATED, f"the tar ends early ({error})", cut))


def _report_gap(
    file: TarFile, start: int, end: int, on_damage: Callable[[TarDamage], None]
) -> None:
    if not _is_header(_block(file, start)):
        detail = f"bytes {start} to {end} are no tar; what they held is lost"
        on_damage(TarDamage(Reason.CORRUPT, detail))


def _report_end(
    file: TarFile, start: int, num_bytes: int | None, on_damage: Callable[[TarDamage], None]
) -> None:
    block = _block(file, start)
    if _is_header(block):
        return
    if len(block) < tarfile.BLOCKSIZE:
        on_damage(TarDamage(Reason.TRUNCATED, "the tar ends in the middle of a header", num_bytes))
    else:
        detail = f"from byte {start} on it is no tar; what follows is lost"
        on_damage(TarDamage(Reason.CORRUPT, detail, None if start else 0))


def _block(file: TarFile, start: int) -> bytes:
    file.seek(start)
    return file.read(tarfile.BLOCKSIZE)


def _is_header(block: bytes) -> bool:
    """Whether a block is a header, or the zeros that end a tar, or nothing at all."""
    if not block.strip(b"\0"):
        return True
    try:
        tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return False
    return True
