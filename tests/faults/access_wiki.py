"""A wiki whose documents, groups, askers and releases change at random, and who may read what by the latest word."""

import json
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import httpx
from fastapi.testclient import TestClient

from flows.refresh import refresh
from serving.api.people.keys import KeyFile
from tasks.corpus.document import EVERYONE
from tasks.index.access_tables import record_changes
from tasks.index.history import roll_back_index
from tasks.index.release import release_numbers
from tasks.index.table import connect
from tests.server import Home, record

GROUPS = ("finance", "hr", "legal", "ops", "sales", "team.a", "x_1-y")
NOBODYS = ("everyone ", "o'brien", "группа ☃", "Finance", "') OR true --")
"""Groups of askers that no document names."""
KNOWLEDGE_BASES = ("wiki", "ledger")
PER_TOPIC = 10
"""As many as one answer shows passages, so that each document of a topic is shown or hidden by each of its answers."""
NUM_TOPICS = 30
NUM_DOCUMENTS = NUM_TOPICS * PER_TOPIC
NUM_ASKERS = 20
_LETTERS = "bcdfgklmnprstv"


@dataclass(frozen=True)
class Doc:
    """What the feed says of a document; `canary` stands in no other version of any document."""

    key: str
    topic: str
    groups: frozenset[str]
    knowledge_base: str
    canary: str
    filler: tuple[str, str]

    def text(self) -> str:
        one, two = self.filler
        return f"{one}: the vault of {self.topic}, {two}, is opened by the word {self.canary}."


@dataclass
class Asker:
    """Who asks by a key of their own; without a name and a key: whoever comes."""

    name: str
    groups: frozenset[str]
    key: str
    client: TestClient
    knowledge_bases: tuple[str, ...] = ()

    def request(self, method: str, path: str, *, key: str | None = None, **content: object) -> httpx.Response:
        credential = self.key if key is None else key
        headers = {"Authorization": f"Bearer {credential}"} if credential else {}
        response: httpx.Response = self.client.request(method, path, headers=headers, **content)  # type: ignore[arg-type]
        return response


@dataclass
class Wiki:
    """The feed, the releases made of it, who asks, and the access that was learned last."""

    home: Home
    draw: random.Random
    reopen: Callable[[], None]
    source: dict[str, Doc]
    releases: dict[int, dict[str, Doc]] = field(default_factory=dict)
    latest: dict[str, frozenset[str]] = field(default_factory=dict)
    askers: list[Asker] = field(default_factory=list)
    serving: int = 1
    operations: Counter[str] = field(default_factory=Counter)
    next_operations: list[Callable[[], None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.owners = {doc.canary: doc.key for doc in self.source.values()}
        self.topics = sorted({doc.topic for doc in self.source.values()})
        self._learn()
        self.releases[1] = dict(self.source)

    def may_read(self, key: str, release: int, asker: Asker) -> bool:
        row = self.releases[release].get(key)
        if row is None or (asker.knowledge_bases and row.knowledge_base not in asker.knowledge_bases):
            return False
        return bool(row.groups & asker.groups) and bool(self.latest[key] & asker.groups)

    def operate(self) -> None:
        """Do one thing that changes who may read what, or which release answers: each once before any twice."""
        if not self.next_operations:
            all_of_them = [self._refresh, self._change_at_once, self._roll_back, self._regroup, self._refresh]
            self.next_operations = self.draw.sample(all_of_them, 5) if self.operations else all_of_them
        operation = self.next_operations.pop(0)
        operation()
        self.operations[operation.__name__.strip("_")] += 1

    def add_askers(self, client: TestClient) -> None:
        """Make keys: the first for who may read all, some limited to a knowledge base; the last asker has none."""
        sets = [frozenset(GROUPS), frozenset[str](), frozenset(NOBODYS), *(frozenset({group}) for group in GROUPS)]
        sets += [groups_of(self.draw) - {EVERYONE} for _ in range(NUM_ASKERS - len(sets) - 1)]
        for number, groups in enumerate(sets):
            limit = () if number % 4 else (KNOWLEDGE_BASES[number // 4 % 2],)
            self.askers.append(Asker(f"user{number}", frozenset(), "", client, limit if number else ()))
            self._give_key(self.askers[-1], groups)
        self.askers.append(Asker("", frozenset({EVERYONE}), "", client))

    def _give_key(self, asker: Asker, groups: frozenset[str]) -> None:
        asker.groups = groups | {EVERYONE}
        keys, names = KeyFile(self.home.settings.api_keys), tuple(sorted(groups))
        asker.key = keys.add(asker.name, names, knowledge_bases=asker.knowledge_bases)

    def _refresh(self) -> None:
        for doc in self._some(self.source.values(), 24):
            change = self.draw.choice(["groups", "groups", "text", "remove"])
            if change == "remove":
                del self.source[doc.key]
            elif change == "groups":
                self.source[doc.key] = replace(doc, groups=groups_of(self.draw))
            else:
                self.source[doc.key] = replace(doc, canary=self._canary(doc.key))
        gone = sorted(self.latest.keys() - self.source.keys())
        for key in self.draw.sample(gone, min(len(gone), 4)):  # back, for others than before
            before = next(rows[key] for rows in reversed(self.releases.values()) if key in rows)
            self.source[key] = replace(before, groups=groups_of(self.draw))
        write_feed(self.home, self.source)
        release = refresh.fn().release
        self._learn()
        if release is not None:
            self.releases[release] = dict(self.source)
            self._serve(release)

    def _roll_back(self) -> None:
        kept = [number for number in release_numbers(self.home.settings) if number != self.serving]
        if kept:
            number = self.draw.choice(kept)
            roll_back_index(self.home.settings, number)
            self._serve(number)

    def _change_at_once(self) -> None:
        """As a refresh that is killed behind its second step: the next one says the same again."""
        changed = {doc.key: groups_of(self.draw) for doc in self._some(self.source.values(), 10)}
        self.source |= {key: replace(self.source[key], groups=groups) for key, groups in changed.items()}
        write_feed(self.home, self.source)
        record_changes(connect(self.home.settings), {f"wiki:{key}": sorted(each) for key, each in changed.items()})
        self.latest |= changed

    def _regroup(self) -> None:
        """Somebody has other groups from now on, and a new key; the old one opens nothing."""
        asker = self.draw.choice(self.askers[1:-1])
        KeyFile(self.home.settings.api_keys).remove(asker.name)
        old = asker.key
        self._give_key(asker, groups_of(self.draw) - {EVERYONE})
        assert asker.request("GET", "/v1/search", key=old, params={"query": "vault"}).status_code == 401

    def _learn(self) -> None:
        self.latest |= {doc.key: doc.groups for doc in self.source.values()}

    def _serve(self, number: int) -> None:
        self.serving = number
        self.reopen()

    def _some(self, docs: Iterable[Doc], number: int) -> list[Doc]:
        return self.draw.sample(sorted(docs, key=lambda each: each.key), number)

    def _canary(self, key: str) -> str:
        canary = f"canary{len(self.owners)}x"
        self.owners[canary] = key
        return canary


def groups_of(draw: random.Random) -> frozenset[str]:
    return frozenset(draw.sample([*GROUPS, EVERYONE], draw.choice([0, 1, 1, 2, 2, 3])))


def records_of(source: dict[str, Doc]) -> Iterator[dict[str, Any]]:
    for doc in source.values():
        written = record(doc.key, doc.text(), *sorted(doc.groups), knowledge_base=doc.knowledge_base)
        yield written | {"title": doc.topic}


def write_feed(home: Home, source: dict[str, Doc]) -> None:
    feed = home.settings.params.parent / "wiki.jsonl"
    feed.write_text("".join(json.dumps(entry) + "\n" for entry in records_of(source)), encoding="utf-8")


def first_source(draw: random.Random) -> dict[str, Doc]:
    topics: list[str] = []
    while len(topics) < NUM_TOPICS:
        topics = sorted({*topics, _word(draw)})
    docs = {}
    for number in range(NUM_DOCUMENTS):
        one, two = (" ".join(_word(draw) for _ in range(5)) for _ in range(2))
        topic, base = topics[number % NUM_TOPICS], draw.choice(KNOWLEDGE_BASES)
        doc = Doc(f"doc{number}y", topic, groups_of(draw), base, f"canary{number}x", (one, two))
        docs[doc.key] = doc
    return docs


def _word(draw: random.Random) -> str:
    return "".join(draw.choice(_LETTERS) + draw.choice("aeiou") for _ in range(3))
