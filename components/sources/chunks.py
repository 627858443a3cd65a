"""Chunk files: a listing in bounded pieces, with its digest and its counts."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from components.records.files import storage_errors
from components.records.split import Split
from components.sources.record import LISTING_SCHEMA, Entry

CHUNK_ROWS = (64, 512)
"""Fewest and most inputs of a chunk. Between them a chunk is a sixteenth of what is listed before
it, so that the last ones are short work beside the whole, on any number of processes."""
CHUNK_BYTES = 64 << 20
_CHUNK_SHARE = 16


@dataclass
class Written:
    """Chunk files, and what went into them.

    Attributes:
        chunks: Their names, in order.
        num_records: Records listed.
        num_bytes: Bytes of the inputs as stored.
        by_split: Records under each split that the source names.
        labels: Records under each class name and split, as far as the listing tells.
        sha256: Digest over origin, size, time, label, split and reason of every input.
    """

    chunks: list[str] = field(default_factory=list)
    num_records: int = 0
    num_bytes: int = 0
    by_split: Counter[Split] = field(default_factory=Counter)
    labels: Counter[tuple[str, Split | None]] = field(default_factory=Counter)
    sha256: str = ""


def write_chunks(entries: Iterable[Entry], folder: Path) -> Written:
    """Write entries into chunk files of 64 to 512 inputs, at most 64 MiB each.

    Raises:
        StorageError: They cannot be written.
    """
    digest = hashlib.sha256()
    written = Written()
    for chunk in chunked(entries):
        for entry in chunk:
            written.num_records += entry.num_records
            written.num_bytes += entry.size
            if entry.split:
                written.by_split[entry.split] += entry.num_records
            if entry.label is not None and entry.reason is None:
                written.labels[entry.label, entry.split] += entry.num_records
        columns = dict(zip(Entry._fields, zip(*chunk, strict=True), strict=True))
        for name in ("origin", "size", "stamp", "label", "split", "reason"):
            digest.update(json.dumps(columns[name]).encode())
        name = f"{len(written.chunks):06d}.parquet"
        with storage_errors(str(folder)):
            pq.write_table(pa.table(columns, schema=LISTING_SCHEMA), folder / name)
        written.chunks.append(name)
    written.sha256 = digest.hexdigest()
    return written


def chunked(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    """Entries in pieces of bounded size; what is read in one stream stays together."""
    chunk: list[Entry] = []
    num_bytes = num_before = 0
    least, most = CHUNK_ROWS
    for entry in entries:
        max_rows = min(max(least, num_before // _CHUNK_SHARE), most)
        is_full = len(chunk) >= max_rows or num_bytes + entry.size > CHUNK_BYTES
        if chunk and is_full and not (entry.together and entry.path == chunk[-1].path):
            yield chunk
            num_before += len(chunk)
            chunk, num_bytes = [], 0
        chunk.append(entry)
        num_bytes += entry.size
    if chunk:
        yield chunk
