"""Answers given before, for who asks the same and may read the same: right by construction.

The key holds all that an answer hangs on: the question and what it leans on, the index release, the answerer with its
weights, prompt and parameters, the filters, and what the asker may read at this moment. A new release, a promotion, a
changed prompt or a lost permission asks by another key. What ends by itself, a document's expiry, ends the entry.
"""

import datetime as dt
import hashlib
import json
import threading
from collections import OrderedDict
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass

from tasks.answer.answer import Answer
from tasks.answer.answerer import Answerer
from tasks.answer.prompt import load_prompt
from tasks.index.access import AccessMap, asker_groups
from tasks.index.search import Request


@dataclass(frozen=True, slots=True)
class CacheKey:
    """All that an answer hangs on.

    Attributes:
        request: digest of the question, what it leans on and every filter.
        index: version of the release that is searched.
        answerer: version and identity of what answers, with its prompt and parameters.
        access: digest of what the asker may read.
    """

    request: str
    index: str
    answerer: str
    access: str


@dataclass(frozen=True, slots=True)
class _Entry:
    answer: Answer
    size_bytes: int
    valid_until: dt.datetime | None


def cache_key(
    request: Request, context: Sequence[str], answerer: Answerer, access: AccessMap, *, index_version: str
) -> CacheKey:
    """Return the key of a question at this moment.

    Args:
        request: the question as it was asked, who asks, and the filters.
        context: what else the answer is made from: earlier questions, a client's system message.
        answerer: what would answer.
        access: who may read what, as of now.
        index_version: the release that would be searched.
    """
    asked = asdict(request) | {"question": " ".join(request.question.split()), "groups": None}
    return CacheKey(
        request=_digest({name: _ordered(value) for name, value in asked.items()}, [*context]),
        index=index_version,
        answerer=_digest(
            answerer.version,
            answerer.identity,
            load_prompt(answerer.params.limited_to(request.knowledge_bases).prompt).digest,
            answerer.params.model_dump_json(),
        ),
        access=access_digest(access, request.groups),
    )


def access_digest(access: AccessMap, groups: Collection[str]) -> str:
    """Return a digest of what groups may read: the interned sets, and which documents were opened or closed since."""
    asker = asker_groups(groups)
    learned = sorted((document, bool(members & asker)) for document, members in access.changes.items())
    return _digest(access.readable_ids(groups), learned)


class AnswerCache:
    """The answers that were used last, bounded by number and bytes. Safe for use by several threads."""

    def __init__(self, *, max_entries: int, max_bytes: int) -> None:
        """Hold up to `max_entries` answers in `max_bytes`; 0 entries: none."""
        self._max_entries, self._max_bytes = max_entries, max_bytes
        self._entries: OrderedDict[CacheKey, _Entry] = OrderedDict()
        self._size_bytes = 0
        self._lock = threading.Lock()

    def get(self, key: CacheKey) -> Answer | None:
        """Return the answer of a key, None where there is none that still holds."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                return None
            if entry.valid_until is not None and entry.valid_until <= dt.datetime.now(dt.UTC):
                self._drop(key)
                return None
            self._entries.move_to_end(key)
            return entry.answer

    def put(self, key: CacheKey, answer: Answer, *, valid_until: dt.datetime | None) -> None:
        """Keep an answer; those that were used longest ago give way.

        Args:
            key: from before the search, so that what changed meanwhile is asked by another.
            answer: whole, as it was shown.
            valid_until: when the next document of its release expires.
        """
        size_bytes = len(repr(answer))
        with self._lock:
            self._drop(key)
            if size_bytes > self._max_bytes or self._max_entries == 0:
                return
            self._entries[key] = _Entry(answer, size_bytes, valid_until)
            self._size_bytes += size_bytes
            while len(self._entries) > self._max_entries or self._size_bytes > self._max_bytes:
                self._drop(next(iter(self._entries)))

    @property
    def num_entries(self) -> int:
        """How many answers are held."""
        return len(self._entries)

    @property
    def size_bytes(self) -> int:
        """About how many bytes they take."""
        return self._size_bytes

    def _drop(self, key: CacheKey) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._size_bytes -= entry.size_bytes


def _ordered(value: object) -> object:
    """A set of names in one order; anything else as it is."""
    return sorted(value) if isinstance(value, list | tuple | set | frozenset) else value


def _digest(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts, default=str, sort_keys=True).encode()).hexdigest()[:32]
