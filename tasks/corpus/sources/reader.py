"""What every source gives: a listing, a hash of the bytes, the bytes. Knows no kind of source."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from tasks.corpus.document import Item


@dataclass(frozen=True, slots=True)
class RawItem:
    """One item as fetched, before it is parsed.

    Attributes:
        data: the bytes.
        name: a file name whose ending names the format (`README.md`, `x.pdf`).
        overrides: `title`, `uri`, `access`, `knowledge_base`, `updated_at`, `expires_at`, `metadata` that the source
            itself carries beside the bytes, unchecked; null or absent: the source's own setting holds.
        raw_hash: what `raw_hash` gives for exactly these bytes.
    """

    data: bytes
    name: str
    overrides: Mapping[str, Any] = field(default_factory=dict)
    raw_hash: str = ""


class SourceReader(Protocol):
    """Lists and fetches the items of one source."""

    def scan(self) -> Iterator[Item]:
        """List the items with cheap fingerprints, each key once.

        Raises:
            DependencyError: the source can't be listed; an unreachable source is never an empty one.
        """

    def raw_hash(self, item: Item) -> str:
        """Content hash of the item; reads it only where the source knows none.

        Raises:
            ParseError: the item can't be read.
        """

    def fetch(self, item: Item) -> RawItem:
        """Read one item.

        Raises:
            ParseError: the item can't be read.
        """


@runtime_checkable
class BatchReader(Protocol):
    """A reader to which many items at once cost little more than one."""

    def prepare(self, items: Sequence[Item]) -> None:
        """Read items that are about to be fetched, so that each `fetch` costs nothing.

        Raises:
            DependencyError: the source does not answer.
        """
