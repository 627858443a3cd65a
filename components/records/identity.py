"""What a record is called, and the randomness that belongs to it."""

import hashlib

import numpy as np


def record_id(data: bytes) -> str:
    """Name a record by its content: 32 hex digits (BLAKE2b, 128 bits) of the file's bytes."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


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
