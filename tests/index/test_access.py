"""Nobody is shown what they may not read: random groups, filters and sequences of Almanac's own operations.

The encoder alone is a stand-in (a unit vector drawn from the text's hash): LanceDB, its indexes, the selection of
changes and the search are the real ones.
"""

import datetime as dt
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tasks.corpus.document import EVERYONE
from tasks.index.access_tables import load_access
from tasks.index.search import Mode, Request
from tasks.index.table import (
    clean_up,
)
from tasks.params import Params
from tests.index.access_world import COUNTS, GROUPS, UPDATED, Doc, World, params_of

pytestmark = pytest.mark.slow
MODES: tuple[Mode, ...] = ("hybrid", "vector", "full_text")
KEYS = ("plain", "it's", "two''", "') OR 1=1 --", "\\') OR true --", "end\\", "naïve ☃", "long" * 300)
KNOWLEDGE_BASES = ("handbook", "ledger.2026", "a" * 80)
FILLER = 270


@pytest.fixture(scope="module", autouse=True)
def figures() -> Iterator[None]:
    yield
    print("\n" + ", ".join(f"{count} {name}" for name, count in sorted(COUNTS.items())))


def target(world: World, number: int, draw: random.Random) -> Doc:
    """A document of a release: rather one whose access is another by now, or one with a hostile key."""
    rows = sorted(world.releases[number].values(), key=lambda doc: doc.id)
    outdated = [doc for doc in rows if world.known_access[doc.id] != doc.groups]
    hostile = [doc for doc in rows if "filler" not in doc.key]
    return draw.choice(draw.choice([outdated or rows, outdated or rows, hostile or rows, rows]))


Filters = tuple[dict[str, Any], bool | str]
"""Fields of a request, and whether they keep every document, none, or the one of this id."""

FILTERS: tuple[Callable[[Doc], Filters], ...] = (
    lambda _: ({}, True),
    lambda _: ({"sources": ("s",), "since": UPDATED, "metadata": (("odd", "') OR 1=1 --"), ("odd", "plain"))}, True),
    lambda doc: ({"metadata": (("word", doc.word),)}, doc.id),
    lambda _: ({"metadata": (("odd", "') OR 1=1"),)}, False),
    lambda _: ({"metadata": (("odd", "x') OR true --"),)}, False),
    lambda _: ({"sources": ("other",)}, False),
    lambda _: ({"since": UPDATED + dt.timedelta(microseconds=1)}, False),
    lambda _: ({"until": UPDATED}, False),
)


def check(world: World, number: int, draw: random.Random) -> None:
    """A random asker, filter and mode: nothing forbidden comes back, and a permitted unique word is found."""
    index, access, rows = world.handles[number], load_access(world.db), world.releases[number]
    for _ in range(3):
        wanted = target(world, number, draw)
        once = sorted(wanted.groups) if draw.random() < 0.6 else []
        members = frozenset([*once, *draw.sample(GROUPS, draw.randint(0, 3))])
        asker = members | {EVERYONE}
        bases = tuple({wanted.knowledge_base, *draw.sample(KNOWLEDGE_BASES, 1)}) if draw.random() < 0.4 else ()
        mode = draw.choice(MODES)
        question = draw.choice([wanted.word, wanted.word, f"shared sentence payroll {wanted.word}"])
        filters, keeps = draw.choice(FILTERS)(wanted)
        found = index.search(Request(question, members, bases, mode=mode, **filters), access)
        COUNTS["searches"] += 1
        COUNTS["passages"] += len(found)
        for passage in found:
            row = rows[passage.document_id]
            permitted = world.may_read(row.id, number, asker) and (not bases or row.knowledge_base in bases)
            permitted = permitted and (keeps is True or (keeps is not False and row.id == keeps))
            current = passage.text.rstrip("x").endswith(row.word)
            COUNTS["leaks"] += not (permitted and current)
            assert permitted, (row, world.known_access[row.id], sorted(asker), bases, mode)
            assert current, f"{passage.text!r} is a row of another version of {row}"
        exact = mode != "vector" or world.index.exact_below_rows > 0
        asks_for_it = question == wanted.word and keeps is not False
        if asks_for_it and world.may_read(wanted.id, number, asker) and exact:
            COUNTS["found"] += 1
            assert wanted.id in [passage.document_id for passage in found], (wanted, mode, sorted(asker))


groups_drawn = st.one_of(
    st.just(frozenset[str]()),
    st.just(frozenset({EVERYONE})),
    st.frozensets(st.sampled_from([*GROUPS, EVERYONE]), min_size=1, max_size=3),
)
picks = st.integers(0, 10**6)


class AccessMachine(RuleBasedStateMachine):
    """Sources change, refreshes learn and release, people roll back; askers ask after every step."""

    @initialize(seed=picks, exact=st.sampled_from([0, 3000]))
    def start(self, seed: int, exact: int) -> None:
        self.draw = random.Random(seed)
        raw = params_of("files", vector_index_min_rows=256, max_delta_indexes=2, exact_below_rows=exact)
        self.world = World(Path(tempfile.mkdtemp(prefix="almanac-access-")), Params.model_validate(raw).index)
        for number in range(FILLER):
            self._put(f"filler{number}", frozenset({self.draw.choice([*GROUPS, EVERYONE])}))
        for key in KEYS:
            self._put(key, frozenset({"finance"}))
        self.world.refresh()

    def _put(self, key: str, groups: frozenset[str]) -> None:
        world = self.world
        doc = Doc(key, groups, self.draw.choice(KNOWLEDGE_BASES), world.word())
        world.source[doc.id] = doc

    def _pick(self, pick: int) -> Doc:
        """One of the documents with hostile keys more often than one of the others."""
        docs = sorted(self.world.source.values(), key=lambda doc: ("filler" in doc.key, doc.id))
        return docs[pick % (len(docs) if pick % 2 else min(len(docs), len(KEYS)))]

    @rule(key=st.sampled_from(KEYS), groups=groups_drawn)
    def add(self, key: str, groups: frozenset[str]) -> None:
        self._put(key, groups)

    @rule(pick=picks)
    def edit(self, pick: int) -> None:
        doc = self._pick(pick)
        self.world.source[doc.id] = replace(doc, word=self.world.word())

    @rule(pick=picks, groups=groups_drawn)
    def change_access(self, pick: int, groups: frozenset[str]) -> None:
        doc = self._pick(pick)
        self.world.source[doc.id] = replace(doc, groups=groups)

    @rule(pick=picks)
    def remove(self, pick: int) -> None:
        self.world.source.pop(self._pick(pick).id)

    @rule(pick=picks, groups=st.one_of(st.none(), groups_drawn))
    def move(self, pick: int, groups: frozenset[str] | None) -> None:
        world, doc = self.world, self._pick(pick)
        if doc.id in world.moved or doc.id not in world.releases[world.serving]:
            return
        to = replace(doc, key=f"{doc.key}'", groups=doc.groups if groups is None else groups)
        if to.id not in world.source:
            world.source.pop(doc.id)
            world.source[to.id] = to
            world.moved[to.id] = doc.id

    @rule()
    def refresh(self) -> None:
        self.world.refresh()

    @rule(pick=picks, groups=groups_drawn)
    def leave_and_come_back(self, pick: int, groups: frozenset[str]) -> None:
        """New to the base of the next refresh, known to older releases."""
        doc = self._pick(pick)
        self.world.source.pop(doc.id)
        self.world.refresh()
        self.world.source[doc.id] = replace(doc, groups=groups)
        self.world.refresh()

    @rule()
    def refresh_that_is_killed_after_it_learned(self) -> None:
        self.world.learn()

    @rule(pick=picks)
    def roll_back(self, pick: int) -> None:
        self.world.serving = pick % len(self.world.releases)
        self.world.moved.clear()

    @rule()
    def clean_up(self) -> None:
        clean_up(self.world.db, older_than=dt.timedelta(0))

    @invariant()
    def nobody_is_shown_what_they_may_not_read(self) -> None:
        COUNTS["steps"] += 1
        check(self.world, self.world.serving, self.draw)
        check(self.world, self.draw.randrange(len(self.world.releases)), self.draw)

    def teardown(self) -> None:
        if hasattr(self, "world"):
            COUNTS["releases"] += len(self.world.releases)
            shutil.rmtree(self.world.home)


AccessMachine.TestCase.settings = hypothesis_settings(
    max_examples=8,
    stateful_step_count=30,
    deadline=None,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
TestNobodyIsShownWhatTheyMayNotRead = AccessMachine.TestCase
