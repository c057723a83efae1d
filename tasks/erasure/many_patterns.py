"""Which of many byte strings stand in data, in one pass over it: a source that is taken back may leave 10,000 of them.

`bytes.find` reads the data once for each. Here the first bytes of each place are hashed, all places at once, and only
where the hash is that of a pattern the bytes are compared (Rabin and Karp, 1987).
"""

import mmap
from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np
import numpy.typing as npt

FEW = 64
"""Up to so many patterns `bytes.find` is as fast."""
_WORD = 8
_LONG = 3 * _WORD
_BLOCK = 1 << 22
_TABLE_BITS = 20
_FACTORS = (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9)
"""Odd numbers without a pattern in their bits."""

Data = bytes | mmap.mmap
Hashes = npt.NDArray[np.uint64]


class ManyPatterns:
    """Byte strings to be sought together."""

    def __init__(self, patterns: Sequence[bytes]) -> None:
        """Group the patterns by how many of their first bytes are hashed."""
        self._few = patterns if len(patterns) <= FEW else [each for each in patterns if len(each) < _WORD]
        many = [each for each in patterns if len(each) >= _WORD] if len(patterns) > FEW else []
        groups = (
            _Group([each for each in many if (len(each) >= _LONG) == is_long], 3 if is_long else 1)
            for is_long in (True, False)
        )
        self._groups = [group for group in groups if group.by_hash]

    def any_in(self, data: Data) -> bool:
        """Say whether one of them stands in the data."""
        return any(True for _ in islice(self.all_in(data), 1))

    def all_in(self, data: Data) -> Iterator[bytes]:
        """Yield those that stand in the data, one that stands there several times perhaps as often."""
        yield from (pattern for pattern in self._few if data.find(pattern) >= 0)
        for begin in range(0, len(data), _BLOCK) if self._groups else ():
            block = data[begin : begin + _BLOCK + _LONG + _WORD]
            for group in self._groups:
                yield from group.all_in(block, data, begin)


class _Group:
    """Patterns of which the same number of words is hashed."""

    def __init__(self, patterns: Sequence[bytes], num_words: int) -> None:
        self._num_words = num_words
        self.by_hash: dict[int, list[bytes]] = {}
        for pattern in patterns:
            self.by_hash.setdefault(int(self._hashes(pattern[: num_words * _WORD])[0]), []).append(pattern)
        self._sorted = np.array(sorted(self.by_hash), np.uint64)
        self._table = np.zeros(1 << _TABLE_BITS, np.bool_)
        self._table[_table_place(self._sorted)] = True

    def _hashes(self, data: bytes, offset: int = 0) -> Hashes:
        """Return the hash of every eighth place, from `offset` on."""
        num_words = (len(data) - offset) // _WORD
        words = np.frombuffer(data, "<u8", num_words, offset)
        last = num_words - self._num_words + 1
        hashes = np.zeros(max(0, last), np.uint64)
        for place, factor in zip(range(self._num_words), _FACTORS, strict=False):
            hashes += words[place : place + last] * np.uint64(factor)
        return hashes

    def all_in(self, block: bytes, data: Data, begin: int) -> Iterator[bytes]:
        for offset in range(min(_WORD, len(block))):
            hashes = self._hashes(block, offset)
            likely = np.flatnonzero(self._table[_table_place(hashes)])
            for number in likely[np.isin(hashes[likely], self._sorted)].tolist():
                place = begin + offset + number * _WORD
                for pattern in self.by_hash[int(hashes[number])]:
                    if data[place : place + len(pattern)] == pattern:
                        yield pattern


def _table_place(hashes: Hashes) -> Hashes:
    places: Hashes = hashes >> np.uint64(64 - _TABLE_BITS)
    return places
