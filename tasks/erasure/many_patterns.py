"""Which of many byte strings stand in data, in one pass over it: a source that is taken back may leave 10,000 of them.

By Aho and Corasick's automaton: `bytes.find` reads the data once for each of them.
"""

import mmap
from collections.abc import Sequence

from ahocorasick_rs import BytesAhoCorasick

Data = bytes | mmap.mmap


class ManyPatterns:
    """Byte strings to be sought together; none is empty."""

    def __init__(self, patterns: Sequence[bytes]) -> None:
        """Build the automaton."""
        self._patterns = patterns
        self._automaton = BytesAhoCorasick(patterns)

    def any_in(self, data: Data) -> bool:
        """Say whether one of them stands in the data."""
        return bool(self._automaton.find_matches_as_indexes(data))

    def all_in(self, data: Data) -> set[bytes]:
        """Return those that stand in the data."""
        matches = self._automaton.find_matches_as_indexes(data, overlapping=True)
        return {self._patterns[number] for number, _, _ in matches}
