"""A random permutation as a function: no list of it is ever made."""

import numpy as np
import numpy.typing as npt

from components.records.identity import mixed_words

_ROUNDS = 6


class Shuffle:
    """A pseudo-random permutation of 0 .. size - 1, drawn by a key.

    A balanced Feistel network (Luby and Rackoff 1988) permutes the next power of 4, with the
    finalizer of SplitMix64 as its round function; numbers beyond the size are sent through again
    until they fall below it (cycle walking, Black and Rogaway 2002), under 4 times on average.
    """

    def __init__(self, size: int, key: int) -> None:
        """Make the permutation.

        Args:
            size: Numbers that are permuted, below 2**62.
            key: 0 <= key < 2**63.
        """
        self.size = size
        self._half_bits = np.uint64(max(1, ((size - 1).bit_length() + 1) // 2))
        self._mask = (np.uint64(1) << self._half_bits) - np.uint64(1)
        keys = np.arange(1, _ROUNDS + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        self._keys = mixed_words(keys ^ np.uint64(key))

    def of(self, numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Where each number goes, (n,) -> (n,), one to one."""
        found = self._permuted(numbers.astype(np.uint64))
        while (outside := found >= np.uint64(self.size)).any():
            found[outside] = self._permuted(found[outside])
        return found.astype(np.int64)

    def _permuted(self, numbers: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
        left, right = numbers >> self._half_bits, numbers & self._mask
        for key in self._keys:
            left, right = right, left ^ (mixed_words(right ^ key) & self._mask)
        return (left << self._half_bits) | right
