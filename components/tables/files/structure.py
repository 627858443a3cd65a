"""The fast path of delimited text: where records and fields end, for a whole block at once.

The structure of a block is found with numpy on its bytes. Records that have the usual number of
fields are cut by polars; the few others by `split_records`. Where quotes do not stand as they
should, the whole block goes that way. Both ways give the same cells.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from components.tables.files.logical_records import (
    ESCAPED_LINE_ENDS,
    LogicalRecord,
    Separation,
    split_records,
)

_NEWLINE, _RETURN = 10, 13
_MOSTLY_ODD = 0.3

Bytes = npt.NDArray[np.uint8]
Places = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

_NO_PLACES: Places = np.zeros(0, np.int64)


@dataclass(frozen=True)
class Block:
    """The records of a block.

    Attributes:
        regular: Columns c0, c1, ... as text, of the records with the usual number of fields.
        lines: Line of the block, from 0, on which each of those starts, int64.
        odd: All other records, blank lines among them.
        num_lines: Lines that the records take.
        taken: Characters of the text that they take.
    """

    regular: pl.DataFrame
    lines: Places
    odd: list[LogicalRecord]
    num_lines: int
    taken: int


def parse_block(
    text: str, separation: Separation, num_fields: int, comment: str, *, is_last: bool
) -> Block | None:
    """Records of a block by the fast path; None where its form needs the careful one.

    Args:
        text: Starts with a record.
        separation: What separates fields.
        num_fields: Fields of a usual record, the empty one behind a trailing delimiter included.
        comment: Lines that start with it are odd.
        is_last: Whether the file ends with this text.
    """
    if not _is_simple(text, separation, num_fields):
        return None
    encoded = text.encode()
    if is_last and not encoded.endswith((b"\n", b"\r")):
        encoded += b"\n"
    data = np.frombuffer(bytearray(encoded), np.uint8)
    bare = _bare_returns(data, is_last)
    is_end = (data == _NEWLINE) if bare is None else (data == _NEWLINE) | bare
    quotes = np.flatnonzero(data == ord(separation.quote)) if separation.quote else _NO_PLACES
    outside = _outside(data, separation.quote) if quotes.size else None
    ends = np.flatnonzero(is_end if outside is None else is_end & outside)
    if not ends.size:
        return None
    cut = int(ends[-1]) + 1
    if bare is not None:
        data[bare if outside is None else bare & outside] = _NEWLINE
    data = data[:cut]
    quotes = quotes[: np.searchsorted(quotes, cut)]
    if quotes.size and not _stand_at_edges(data, quotes, separation):
        return None
    is_delimiter = data == ord(separation.delimiter)
    delimiters = np.flatnonzero(is_delimiter if outside is None else is_delimiter & outside[:cut])
    counts = np.diff(np.searchsorted(delimiters, ends), prepend=0) + 1
    starts = np.concatenate([[0], ends[:-1] + 1])
    line_ends = np.flatnonzero(is_end[:cut])
    lines = np.searchsorted(line_ends, starts)
    is_odd = counts != num_fields
    if comment:
        is_odd |= data[starts] == ord(comment)
    if np.mean(is_odd) > _MOSTLY_ODD:
        return None
    if _may_swallow(data, starts, ends, lines, line_ends.size, is_odd, separation, num_fields):
        return None
    regular = _cut_by_polars(data, starts, ends, ~is_odd, separation, num_fields)
    if regular is None:
        return None
    odd = [
        _odd_record(
            data[starts[place] : ends[place] + 1], int(lines[place]), separation, num_fields
        )
        for place in np.flatnonzero(is_odd)
    ]
    taken = cut if len(encoded) == len(text) else len(encoded[:cut].decode())
    return Block(regular, lines[~is_odd], odd, int(line_ends.size), min(taken, len(text)))


def _is_simple(text: str, separation: Separation, num_fields: int) -> bool:
    delimiter, quote = separation.delimiter, separation.quote
    if num_fields < 2 or separation.aligned or len(delimiter) != 1 or delimiter > "\x7f":
        return False
    if "\r\r\n" in text or any(mark in text for mark in ESCAPED_LINE_ENDS):
        return False
    return not (separation.skip_blanks and quote and quote in text)


def _bare_returns(data: Bytes, is_last: bool) -> Mask | None:
    """Where a line ends with a carriage return alone; None where none does."""
    is_return = data == _RETURN
    if not is_return.any():
        return None
    followed = np.append(data[1:] == _NEWLINE, not is_last)
    bare = is_return & ~followed
    return bare if bare.any() else None


def _outside(data: Bytes, quote: str) -> Mask:
    """Where an even number of quotes lies before: outside of quoted fields."""
    outside: Mask = np.cumsum(data == ord(quote), dtype=np.uint8) & np.uint8(1) == 0
    return outside


def _stand_at_edges(data: Bytes, quotes: Places, separation: Separation) -> bool:
    """Whether quotes open and close only where fields do (or are doubled inside)."""
    opening, closing = quotes[0::2], quotes[1::2]
    before = data[opening[opening > 0] - 1]
    after = data[closing + 1]
    delimiter, quote = ord(separation.delimiter), ord(separation.quote)
    ends_line = after == _NEWLINE
    returns = after == _RETURN
    ends_line |= returns & (data[np.minimum(closing + 2, data.size - 1)] == _NEWLINE)
    return bool(
        np.isin(before, (delimiter, quote, _NEWLINE)).all()
        and (ends_line | (after == delimiter) | (after == quote)).all()
    )


def _may_swallow(
    data: Bytes,
    starts: Places,
    ends: Places,
    lines: Places,
    num_lines: int,
    is_odd: Mask,
    separation: Separation,
    num_fields: int,
) -> bool:
    """Whether a record of several lines may be several records that a broken quote joins."""
    if num_lines == starts.size:
        return False
    spans = np.diff(lines, append=num_lines)
    if (is_odd & (spans > 1)).any():
        return True
    delimiter = separation.delimiter.encode()
    for place in np.flatnonzero(spans >= 4):
        record = data[starts[place] : ends[place]].tobytes()
        if record.count(delimiter) == spans[place] * (num_fields - 1):
            return True
    return False


def _cut_by_polars(
    data: Bytes,
    starts: Places,
    ends: Places,
    is_regular: Mask,
    separation: Separation,
    num_fields: int,
) -> pl.DataFrame | None:
    if not is_regular.all():
        data = data[np.repeat(is_regular, ends + 1 - starts)]
    schema = {f"c{column}": pl.String for column in range(num_fields)}
    if not data.size:
        return pl.DataFrame(schema=schema)
    frame = pl.read_csv(
        data.tobytes(),
        has_header=False,
        schema=schema,
        separator=separation.delimiter,
        quote_char=separation.quote or None,
    )
    if frame.height != int(is_regular.sum()):
        return None
    if separation.skip_blanks:
        frame = frame.with_columns(pl.all().str.strip_chars_start(" "))
    return frame


def _odd_record(data: Bytes, line: int, separation: Separation, num_fields: int) -> LogicalRecord:
    (record, *_), _ = split_records(data.tobytes().decode(), separation, num_fields, is_last=True)
    return record._replace(line=line)
