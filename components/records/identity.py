"""What a record is called, and the randomness that belongs to it."""

import binascii
import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import polars as pl

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def record_id(data: bytes) -> str:
    """Name a record by its content: 32 hex digits (BLAKE2b, 128 bits) of the file's bytes."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def repeat_id(record_id: str, repeat: int) -> str:
    """A name of its own for a further time that an epoch has a record: 32 hex digits.

    Args:
        record_id: 32 hex digits.
        repeat: Tells the times apart.
    """
    return hashlib.blake2b(f"{record_id}+{repeat}".encode(), digest_size=16).hexdigest()


def leading_words(ids: pl.Series) -> npt.NDArray[np.uint64]:
    """The first 16 hex digits of each id as a number, which sorts as they do.

    Args:
        ids: Text of at least 16 hex digits each, none missing.
    """
    if not len(ids):
        return np.empty(0, np.uint64)
    digits = ids.str.slice(0, 16).rechunk().to_arrow().buffers()[2]
    words = binascii.unhexlify(memoryview(digits)[: 16 * len(ids)])
    return np.frombuffer(words, ">u8").astype(np.uint64)


def mixed_words(words: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """The finalizer of SplitMix64 (Steele et al. 2014): each word becomes another, one to one.

    Words that differ in one bit give words that differ in about half of theirs.
    """
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))


def record_rng(seed: int, epoch: int, record_id: str) -> np.random.Generator:
    """Random numbers that depend on (seed, epoch, record id) and on nothing else.

    Philox is counter based: the record id is the key and (seed, epoch) the upper half of the
    counter, so that streams never overlap whatever the order, the process or the worker.

    Args:
        seed: The recipe's seed, 0 <= seed < 2**64.
        epoch: Epoch number, from 0.
        record_id: 32 hex digits as returned by `record_id`.
    """
    key = int(record_id, 16)
    counter = (seed << 192) | (epoch << 128)
    return np.random.Generator(np.random.Philox(key=key, counter=counter))


def record_uniforms(
    seed: int, epoch: int, record_ids: Sequence[str], count: int
) -> npt.NDArray[np.float64]:
    """Random numbers of many records at once, from (seed, epoch, record id) alone.

    SplitMix64 (Steele et al. 2014) counted up from a start that mixes all three; for draws of a
    few numbers each, where a generator of its own per record would take longer than its use.

    Args:
        seed: The recipe's seed, 0 <= seed < 2**64.
        epoch: Epoch number, from 0.
        record_ids: 32 hex digits each.
        count: Numbers per record.

    Returns:
        Uniform in [0, 1), (N, count), with 53 random bits.
    """
    words = np.frombuffer(binascii.unhexlify("".join(record_ids)), ">u8").astype(np.uint64)
    high, low = words.reshape(-1, 2).T
    place = np.array([seed % 2**64, epoch], np.uint64)
    start = mixed_words(low ^ mixed_words(place[1:] ^ mixed_words(place[:1] + _GOLDEN)))
    start = mixed_words(high ^ start)
    steps = np.arange(1, count + 1, dtype=np.uint64) * _GOLDEN
    drawn = mixed_words(start[:, None] + steps)
    return (drawn >> np.uint64(11)).astype(np.float64) * 2.0**-53
