"""What a row of a table is called: a digest of its values, for all rows at once.

Polars and Arrow hash faster, but promise the same numbers neither over versions nor over
processors, and record ids decide splits.
"""

import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

Words = npt.NDArray[np.uint64]
Flags = npt.NDArray[np.bool_]

_LANES = (0x9E3779B97F4A7C15, 0xD1B54A32D192ED03)
_NULL = np.uint64(0x8EBC6AF09C88C6E3)
_BLOCK_ROWS = 16_384


def row_digests(frame: pl.DataFrame, columns: Sequence[str]) -> pl.Series:
    """Name each row by its values in some columns: 32 hex digits (128 bits).

    Rows are equal where all values are, nulls and NaN included; 0.0 equals -0.0. The digest
    depends on the values, their types and the order of the columns, and on nothing else. It is no
    cryptographic one: collisions are improbable by chance (about 2**-128 a pair), not by intent.

    Args:
        frame: Columns of integers, floats, booleans, dates, datetimes or text.
        columns: Those that count.
    """
    readers = [_column(frame[name]) for name in columns]
    digests = np.empty((len(frame), len(_LANES)), np.uint64)
    # In blocks that stay in the processor's cache.
    for start in range(0, len(frame), _BLOCK_ROWS):
        block = slice(start, min(start + _BLOCK_ROWS, len(frame)))
        for lane in range(len(_LANES)):
            digest = np.full(block.stop - start, _LANES[lane], np.uint64)
            for number, reader in enumerate(readers):
                words = reader.words(block, lane) + np.uint64(number)
                digest = _mixed(digest * np.uint64(0x2545F4914F6CDD1D) + words)
            digests[block, lane] = digest
    return _hexadecimal(digests)


@dataclass(frozen=True)
class _Numbers:
    """A column of numbers, as 64 bits each."""

    bits: Words
    missing: Flags | None

    def words(self, block: slice, lane: int) -> Words:
        """One 64-bit word for each value."""
        words = _mixed(self.bits[block] ^ np.uint64(_LANES[lane]))
        return words if self.missing is None else np.where(self.missing[block], _NULL, words)


@dataclass(frozen=True)
class _Texts:
    """A column of texts, as a word in each lane; `codes` where a text has its words only once."""

    lanes: Sequence[Words]
    codes: npt.NDArray[np.int32] | None
    missing: Flags | None

    def words(self, block: slice, lane: int) -> Words:
        """One 64-bit word for each value."""
        lanes = self.lanes[lane]
        words = lanes[block] if self.codes is None else lanes[self.codes[block]]
        return words if self.missing is None else np.where(self.missing[block], _NULL, words)


def _column(values: pl.Series) -> _Numbers | _Texts:
    missing = values.is_null().to_numpy() if values.null_count() else None
    if values.dtype == pl.String:
        return _texts(values.fill_null(""), missing)
    if values.dtype.is_float():
        # Adding zero makes 0.0 of -0.0; all NaN become one.
        numbers = values.cast(pl.Float64).fill_null(0.0).to_numpy() + 0.0
        numbers = np.where(np.isnan(numbers), np.nan, numbers)
        return _Numbers(numbers.view(np.uint64), missing)
    integers = values.to_physical().cast(pl.Int64).fill_null(0).to_numpy()
    return _Numbers(integers.view(np.uint64), missing)


def _texts(texts: pl.Series, missing: Flags | None) -> _Texts:
    """Digest of each text; of one that occurs often it is made once."""
    coded = texts.rechunk().to_arrow().dictionary_encode()
    if len(coded.dictionary) > len(texts) // 2:
        return _Texts([_digested(texts, lane) for lane in range(len(_LANES))], None, missing)
    distinct = pl.Series(coded.dictionary)
    lanes = [_digested(distinct, lane) for lane in range(len(_LANES))]
    return _Texts(lanes, coded.indices.to_numpy(), missing)


def _digested(texts: pl.Series, lane: int) -> Words:
    # In blocks that stay in the processor's cache.
    blocks = [
        _block_words(texts[start : start + _BLOCK_ROWS], lane)
        for start in range(0, len(texts), _BLOCK_ROWS)
    ]
    return np.concatenate(blocks) if blocks else np.empty(0, np.uint64)


def _block_words(texts: pl.Series, lane: int) -> Words:
    """Polynomial digest of each text's bytes, mod 2**64, from running sums over all of them."""
    array = texts.to_arrow().cast(pa.large_string())
    offsets = np.frombuffer(array.buffers()[1], np.int64)[array.offset :][: len(array) + 1]
    first, last = int(offsets[0]), int(offsets[-1])
    data = array.buffers()[2]
    content = np.frombuffer(data, np.uint8)[first:last] if data is not None else np.empty(0, "u1")
    size = 1 << (last - first).bit_length()  # a power of two, so that few tables are made
    base, inverse = _bases(lane)
    sums = np.zeros(len(content) + 1, np.uint64)
    np.cumsum(_substitution(lane)[content] * _powers(base, size)[: len(content)], out=sums[1:])
    starts, ends = offsets[:-1] - first, offsets[1:] - first
    # The digest must not depend on where in the buffer the text lies.
    words = (sums[ends] - sums[starts]) * _powers(inverse, size)[starts]
    return _mixed(words + (ends - starts).astype(np.uint64) * np.uint64(_LANES[lane]))


@lru_cache(maxsize=2)
def _substitution(lane: int) -> Words:
    """A fixed random word for each byte value."""
    return _mixed(np.arange(1, 257, dtype=np.uint64) * np.uint64(_LANES[lane]))


def _bases(lane: int) -> tuple[int, int]:
    base = _LANES[lane] | 1  # odd numbers have an inverse mod 2**64
    return base, pow(base, -1, 1 << 64)


@lru_cache(maxsize=16)
def _powers(base: int, count: int) -> Words:
    """The first `count` powers of a base, at least one."""
    powers = np.full(count, base, np.uint64)
    powers[0] = 1
    return np.cumprod(powers, dtype=np.uint64)


def _mixed(values: Words) -> Words:
    """The finalizer of SplitMix64 (Steele et al. 2014)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _hexadecimal(digests: Words) -> pl.Series:
    digits = binascii.hexlify(digests.astype("<u8").tobytes())
    offsets = np.arange(len(digests) + 1, dtype=np.int64) * (2 * digests.itemsize * len(_LANES))
    buffers = (pa.py_buffer(offsets), pa.py_buffer(digits))
    series = pl.from_arrow(pa.LargeStringArray.from_buffers(len(digests), *buffers))
    assert isinstance(series, pl.Series)
    return series
