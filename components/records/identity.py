"""What a record is called, and the randomness that belongs to it."""

import binascii
import hashlib

import numpy as np
import numpy.typing as npt
import polars as pl


def record_id(data: bytes) -> str:
    """Name a record by its content: 32 hex digits (BLAKE2b, 128 bits) of the file's bytes."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


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
