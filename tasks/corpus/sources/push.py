"""Pushed documents: what programs sent to `POST /v1/documents`, read from the inbox of the home."""

from collections.abc import Iterator

from tasks.corpus import inbox
from tasks.corpus.document import Item
from tasks.corpus.parsing.details import read_time
from tasks.corpus.sources.reader import RawItem
from tasks.errors import ParseError
from tasks.home import Home
from tasks.params.sources import PushSource


class PushReader:
    """Lists and fetches the documents of one source of the inbox; the hash of the body is fingerprint and content."""

    def __init__(self, source: PushSource, home: Home) -> None:
        self._source, self._home = source, home

    def scan(self) -> Iterator[Item]:
        """List the documents in the order of their ids.

        Raises:
            DependencyError: the inbox can't be read.
        """
        name = self._source.name
        for pushed, size in inbox.listed(self._home, name):
            yield Item(name, pushed.id, pushed.hash, size, "", read_time("received_at", pushed.received_at))

    def raw_hash(self, item: Item) -> str:
        """Hash of the body, known from the listing."""
        return item.fingerprint

    def fetch(self, item: Item) -> RawItem:
        """Return the text of a document, and what its pusher says beside it.

        Raises:
            ParseError: `damaged`: it was taken back meanwhile.
        """
        pushed = inbox.get(self._home, self._source.name, item.key)
        if pushed is None:
            raise ParseError("damaged", "the document must stay in the inbox while it is read, found it gone")
        said = {name: value for name, value in pushed.body.items() if name not in {"text", "format"}}
        data = str(pushed.body["text"]).encode("utf-8", "replace")
        return RawItem(data, f"document.{pushed.body['format']}", said, pushed.hash)
