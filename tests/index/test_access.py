"""Nobody is shown what they may not read: random groups, filters and sequences of Almanac's own operations.

The encoder alone is a stand-in (a unit vector drawn from the text's hash): LanceDB, its indexes, the selection of
changes and the search are the real ones.
"""

import datetime as dt
import json
import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, Phase
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

import cli
from tasks.corpus import intake
from tasks.corpus.document import EVERYONE, Document, Item, make_document, sha256, to_table
from tasks.corpus.parsing.shards import ParseShard
from tasks.corpus.plan import KnownDocument
from tasks.corpus.selection import select_changed
from tasks.errors import ConfigurationError, GateError
from tasks.index.access_tables import intern, load_access, record_changes
from tasks.index.chunking.chunk import CHUNK_SCHEMA
from tasks.index.embedding.cache import EmbeddingCache, text_key
from tasks.index.history import roll_back_index
from tasks.index.live import LiveIndex
from tasks.index.release import tag_version
from tasks.index.search import Index, Mode, Request
from tasks.index.table import (
    build_indexes,
    clean_up,
    connect,
    open_at,
    open_latest,
    other_access,
    rewrite,
    row_batches_of,
    update,
)
from tasks.params import IndexParams, Params, SearchParams, load_params
from tasks.releases.kind import INDEX
from tasks.releases.lifecycle import promote
from tasks.settings import Settings
from tests.chat_model import save_chat_model
from tests.conftest import BASE_PARAMS, files_source

pytestmark = pytest.mark.slow

DIM = 16
MODES: tuple[Mode, ...] = ("hybrid", "vector", "full_text")
GROUPS = ("finance", "o'brien", "') OR 1=1 --", "\\') OR true --", '"q" AND', "группа ☃", "x" * 200, "everyone ")
KEYS = ("plain", "it's", "two''", "') OR 1=1 --", "\\') OR true --", "end\\", "naïve ☃", "long" * 300)
KNOWLEDGE_BASES = ("handbook", "ledger.2026", "a" * 80)
FILLER = 270
UPDATED = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)
COUNTS: Counter[str] = Counter()
"""Steps, checks and leaks over all runs; printed at the end of the module with `-s`."""


@pytest.fixture(scope="module", autouse=True)
def figures() -> Iterator[None]:
    yield
    print("\n" + ", ".join(f"{count} {name}" for name, count in sorted(COUNTS.items())))


class HashEmbedder:
    """A unit vector for each text, equal for equal texts."""

    identity, dim, max_tokens = "hash:16", DIM, 64

    def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        draws = [np.random.default_rng(int(sha256(text)[:15], 16)).normal(size=DIM) for text in texts]
        return np.array([draw / np.linalg.norm(draw) for draw in draws], dtype=np.float32).reshape(-1, DIM)


@dataclass(frozen=True)
class Doc:
    """What a source says of one document: who may read it, and a word that no other document holds."""

    key: str
    groups: frozenset[str]
    knowledge_base: str
    word: str

    @property
    def id(self) -> str:
        return f"s:{self.key}"

    def parsed(self) -> Document:
        return make_document(
            Item("s", self.key, self.word, 1, "uri"),
            title="t",
            text=self.word,
            knowledge_base=self.knowledge_base,
            access=self.groups,
            raw_hash=self.word,
        )


@dataclass
class World:
    """Sources, releases and what was learned of access, as a person would keep them in mind."""

    home: Path
    index: IndexParams
    source: dict[str, Doc] = field(default_factory=dict)
    moved: dict[str, str] = field(default_factory=dict)
    """Old document id by new one, since the last refresh."""
    releases: list[dict[str, Doc]] = field(default_factory=list)
    handles: list[Index] = field(default_factory=list)
    serving: int = 0
    known_access: dict[str, frozenset[str]] = field(default_factory=dict)
    words: int = 0

    def __post_init__(self) -> None:
        self.db = connect(Settings(home=self.home))
        self.cache = EmbeddingCache(self.home, HashEmbedder.identity, DIM)

    def word(self) -> str:
        self.words += 1
        return f"word{self.words}"

    def learn(self) -> list[Document]:
        """The second gate, as the flow calls it; return the documents to write."""
        base = self.releases[self.serving] if self.releases else {}
        documents = [doc.parsed() for doc in self.source.values()]
        path = self.home / "parsed.parquet"
        pq.write_table(to_table(documents), path)
        known = {
            "s": {
                doc.key: KnownDocument(doc.id, doc.word, doc.parsed().record_hash, None, tuple(sorted(doc.groups)))
                for doc in base.values()
            }
        }
        shard = ParseShard(Params.model_validate(params_of("files")).sources[0], path, path, path)
        learned = load_access(self.db).changes
        selection = select_changed([shard], known, self.moved, learned, self.home / "changed.parquet")
        record_changes(self.db, selection.access | other_access(self.db, selection.newcomers))
        self.known_access |= {doc.id: doc.groups for doc in self.source.values()}
        self.known_access |= {old: self.source[new].groups for new, old in self.moved.items() if new in self.source}
        changed = set(pq.read_table(selection.documents, columns=["document_id"]).column(0).to_pylist())
        return [document for document in documents if document.document_id in changed]

    def refresh(self) -> None:
        changed = self.learn()
        base = self.releases[self.serving] if self.releases else None
        gone = [*(document.document_id for document in changed), *((base or {}).keys() - self.source.keys())]
        intern(self.db, {frozenset(document.access) for document in changed})
        rows = row_batches_of([self._chunk_file(changed)], self.cache, HashEmbedder.identity, language="English")
        if base is None:
            rewrite(self.db, rows, DIM)
        else:
            update(self.db, self.tag(self.serving), gone=sorted(gone), rows=rows, dim=DIM)
        version = build_indexes(self.db, self.index)
        vectors = open_latest(self.db).index_stats("vector_idx")
        COUNTS["releases with vector segments beside"] += bool(vectors and (vectors.num_indices or 1) > 1)
        self.serving = len(self.releases)
        tag_version(self.db, self.tag(self.serving), version)
        self.releases.append(dict(self.source))
        self.moved.clear()
        self.handles.append(self.open(self.serving))

    def open(self, number: int) -> Index:
        search = SearchParams(**BASE_PARAMS["search"])
        return Index(open_at(self.db, self.tag(number)), HashEmbedder(), search, self.index, release=str(number))

    def tag(self, number: int) -> str:
        return f"release-{number:04d}"

    def _chunk_file(self, documents: Sequence[Document]) -> Path:
        rows = [chunk for document in documents for chunk in chunks_of(document)]
        self.cache.put([row["text_key"] for row in rows], HashEmbedder().embed([row["search_text"] for row in rows]))
        path = self.home / "chunks.parquet"
        pq.write_table(pa.Table.from_pylist(rows, schema=CHUNK_SCHEMA), path)
        return path

    def may_read(self, document: str, number: int, asker: frozenset[str]) -> bool:
        row = self.releases[number].get(document)
        return row is not None and bool(row.groups & asker) and bool(self.known_access[document] & asker)


def chunks_of(document: Document) -> Iterator[dict[str, Any]]:
    """Two chunks a document: its unique word alone, and a sentence that all documents share.

    The first ends inside code, so that every hit draws in its neighbour.
    """
    start = 0
    for ordinal, text in enumerate((document.text, f"the shared sentence about payroll, {document.text}x")):
        yield {
            "chunk_id": sha256(document.document_id, text)[:32],
            "document_id": document.document_id,
            "source": document.source,
            "knowledge_base": document.knowledge_base,
            "access": list(document.access),
            "ordinal": ordinal,
            "start": start,
            "end": start + len(text),
            "title": "t",
            "uri": "uri",
            "headings": "",
            "text": text,
            "search_text": text,
            "num_content_characters": 100,
            "gap": "" if ordinal else "\n\n",
            "starts_in_code": ordinal == 1,
            "ends_in_code": ordinal == 0,
            "text_key": text_key(text),
            "content_hash": document.content_hash,
            "updated_at": UPDATED,
            "expires_at": None,
            "metadata": json.dumps({"word": document.text, "odd": ["') OR 1=1 --", "plain"]}),
        }
        start += len(text) + 2


def params_of(folder: str, **index: Any) -> dict[str, Any]:
    return BASE_PARAMS | {"sources": [files_source(Path(folder))], "index": BASE_PARAMS["index"] | index}


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


CANARY = "zebrafish heliotrope quorum"
LEDGER = f"The secret of the ledger is {CANARY}. It is kept by the treasurer in the vault."
PUBLIC = "The pager rotates every Tuesday at noon among the platform engineers of the company."
OTHERS_ASK = [
    ["search", "secret of the ledger", "--json"],
    ["search", "secret of the ledger", "--as", "hr", "--mode", "full_text", "--json"],
    ["search", "secret of the ledger", "--as", "') OR 1=1 --", "--mode", "vector"],
    ["search", "secret of the ledger", "--kb", "nowhere"],
    ["search", "secret of the ledger", "--top-k", "0"],
    ["ask", "What is the secret of the ledger?", "--json"],
    ["ask", "Who keeps the secret of the ledger?", "--as", "hr"],
    ["plan"],
    ["refresh", "--json"],
    ["releases", "--json"],
    ["quarantine", "list"],
    ["quarantine", "list", "--json"],
    ["status"],
    ["doctor", "--deep", "--json"],
]


def record(key: str, text: str, access: list[str]) -> dict[str, Any]:
    return {"id": key, "title": key.title(), "text": text, "uri": f"https://wiki/{key}", "access": access}


class Feed:
    """A records feed of a few documents, and the assistant's own commands on it."""

    def __init__(self, path: Path, refresh: Callable[..., dict[str, Any]]) -> None:
        self.path, self._refresh = path, refresh
        self.records = {"pager": record("pager", PUBLIC, ["everyone"]), "menu": record("menu", PUBLIC[::-1], ["hr"])}

    def put(self, key: str, text: str, access: list[str]) -> None:
        self.records[key] = record(key, text, access)

    def refresh(self, **options: Any) -> dict[str, Any]:
        self.path.write_text("".join(json.dumps(entry) + "\n" for entry in self.records.values()), encoding="utf-8")
        return self._refresh(**options)

    def source(self) -> dict[str, Any]:
        return {
            "name": "wiki",
            "kind": "records",
            "mode": "snapshot",
            "url": str(self.path),
            "knowledge_base": "wiki",
            "access": ["everyone"],
            "max_removed_fraction": 0.9,
        }


@pytest.fixture
def feed(tmp_path: Path, refresh: Callable[..., dict[str, Any]]) -> Feed:
    return Feed(tmp_path / "wiki.jsonl", refresh)


@pytest.fixture
def finds(feed: Feed, write_params: Callable[..., Params], settings: Settings) -> Callable[..., bool]:
    """Whether an asker is shown the ledger, which all modes must agree on."""
    params = write_params([feed.source()])

    def ask(*groups: str) -> bool:
        live = LiveIndex(params, settings)
        shown = {
            mode: CANARY in json.dumps([passage.text for passage in live.search(Request(CANARY, groups, mode=mode))])
            for mode in MODES
        }
        assert len(set(shown.values())) == 1, shown
        return shown["hybrid"]

    return ask


def test_restriction_outlives_rollback_and_the_refresh_after_it(
    feed: Feed, finds: Callable[..., bool], settings: Settings
) -> None:
    feed.put("ledger", LEDGER, ["finance"])
    feed.refresh()
    assert finds("finance")
    assert not finds()
    feed.put("ledger", LEDGER, [])
    feed.refresh()
    assert not finds("finance")

    roll_back_index(settings, None)
    assert not finds("finance")
    assert not finds()

    with pytest.raises(GateError, match="rolled back"):
        feed.refresh()
    assert not finds("finance")
    feed.put("ledger", LEDGER, ["hr"])
    feed.refresh()
    assert finds("hr")
    assert not finds("finance")


def test_document_that_left_and_came_back_restricted_stays_restricted_in_older_releases(
    feed: Feed, finds: Callable[..., bool], settings: Settings
) -> None:
    feed.put("ledger", LEDGER, ["everyone"])
    feed.refresh()
    assert finds()
    kept = feed.records.pop("ledger")
    feed.refresh()
    feed.records["ledger"] = kept | {"access": ["finance"]}
    feed.refresh()

    roll_back_index(settings, 1)

    assert not finds()
    assert finds("finance")


def test_document_that_was_hidden_left_and_came_back_is_found_again(feed: Feed, finds: Callable[..., bool]) -> None:
    feed.put("ledger", LEDGER, ["finance"])
    feed.refresh()
    feed.put("ledger", LEDGER, [])
    feed.refresh()
    del feed.records["ledger"]
    feed.refresh()
    feed.put("ledger", LEDGER, ["everyone"])

    feed.refresh()

    assert finds()


def test_restriction_holds_though_the_restricted_text_cannot_be_parsed(feed: Feed, finds: Callable[..., bool]) -> None:
    feed.put("ledger", LEDGER, ["everyone"])
    feed.refresh()
    assert finds()

    feed.put("ledger", "", ["finance"])
    feed.refresh()

    assert not finds()
    assert finds("finance")


def test_names_are_never_read_as_filters(finds: Callable[..., bool], feed: Feed, settings: Settings) -> None:
    feed.put("ledger", LEDGER, ["finance"])
    feed.refresh()
    assert finds("finance")
    for group in (*GROUPS[1:], "finance ", "Finance", "FINANCE", "finance\n", "finance') OR true --", "*", "%"):
        assert not finds(group), group
    live = LiveIndex(load_params(settings.params), settings)
    for name in ("wiki') OR 1=1 --", "wiki\n", "'", "", "☃", "k" * 81, "wiki OR true", "\\"):
        with pytest.raises(ConfigurationError, match="knowledge base"):
            live.search(Request(CANARY, ("finance",), (name,)))
    with pytest.raises(ConfigurationError, match="1 to 200 characters"):
        live.search(Request(CANARY, ("g" * 201,)))


def test_restricted_text_is_in_no_output_for_others(
    feed: Feed,
    finds: Callable[..., bool],
    home: Path,
    write_params: Callable[..., Params],
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    model = save_chat_model(tmp_path / "model")
    rules = [{"expect": "expect_column_values_to_have_no_secrets", "on_fail": "quarantine"}]
    write_params(
        [feed.source()],
        generation={"model": str(model), "gguf_file": None},
        document_gate={"rules": rules},
        release={"policy": "manual"},
    )
    caplog.set_level("INFO")
    feed.put("ledger", LEDGER, ["finance"])
    feed.put("leaked", f"{LEDGER} The key is AKIAIOSFODNN7EXAMPL3 and AKIAQ3EGZ5RTHV5MWX2C.", ["finance"])
    feed.put("broken", LEDGER, ["no such/group"])
    feed.refresh()
    write_params([feed.source()], generation={"model": str(model), "gguf_file": None}, document_gate={"rules": rules})
    promote(Settings(), INDEX, "1")
    assert finds("finance")
    feed.put("extra", f"{LEDGER} Again.", ["finance"])
    gates: list[str] = []
    write_report = intake.write_report

    def keep_report(*arguments: Any, **paths: Path) -> None:
        write_report(*arguments, **paths)
        gates.extend(path.read_text(encoding="utf-8") for path in paths.values())

    monkeypatch.setattr(intake, "write_report", keep_report)
    feed.refresh()
    outputs = [*gates, json.dumps(feed.refresh())]
    for arguments in OTHERS_ASK:
        monkeypatch.setattr(sys, "argv", ["almanac", *arguments])
        with pytest.raises(SystemExit):
            cli.main()
            sys.exit(0)
        outputs.extend(capfd.readouterr())
    outputs.append(caplog.text)
    assert gates
    for word in ("zebrafish", "heliotrope", "treasurer"):
        assert not [text for text in outputs if word in text]
