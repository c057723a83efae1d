"""Nobody is shown what they may not read: random groups, documents and operations, asked in every way that shows any.

A decision is one document that one request of one asker shows or hides: each document of the release that a search is
asked of, each of the topic that an answer or the completion of a name is about, one for a page, a rating, a refusal or
a text of figures. The home, its refreshes and rollbacks, the embedder and the server are the real ones.
`ALMANAC_ACCESS_DECISIONS` sets how many decisions are made, `ALMANAC_ACCESS_SEED` which.
"""

import os
import random
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from serving.api.app import create_app
from tasks.index.release import release_numbers
from tests.conftest import wait_until
from tests.faults.access_wiki import KNOWLEDGE_BASES, NUM_DOCUMENTS, PER_TOPIC, Asker, Wiki, first_source, records_of
from tests.server import StaticPair, make_home

NUM_DECISIONS = int(os.environ.get("ALMANAC_ACCESS_DECISIONS", "5000"))
pytestmark = [pytest.mark.slow, pytest.mark.timeout(max(1200, NUM_DECISIONS // 200))]

SEED = int(os.environ.get("ALMANAC_ACCESS_SEED", "20261128"))
ROUND = min(10_000, NUM_DECISIONS // 6)
"""Decisions between two operations."""
WAYS = {"search": 50, "chat": 20, "names": 12, "page": 8, "refusal": 4, "feedback": 4, "figures": 2}
"""How often each way is gone, of a hundred requests."""
FIGURES = ("/metrics", "/readyz", "/healthz", "/v1/models", "/v1/me", "/openapi.json")
_CANARY = re.compile(r"canary\d+x")
_KEY = re.compile(r"\bdoc\d+y\b")


@pytest.fixture
def pairs() -> list[StaticPair]:
    return []


@pytest.fixture
def wiki(tmp_path: Path, migrated_mlflow: Path, monkeypatch: pytest.MonkeyPatch, pairs: list[StaticPair]) -> Wiki:
    def reopen() -> None:
        pairs[0].start()

    draw = random.Random(SEED)
    source = first_source(draw)
    monkeypatch.setenv("ALMANAC_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("ALMANAC_PARAMS", str(tmp_path / "params.yaml"))
    home = make_home(
        tmp_path,
        migrated_mlflow,
        list(records_of(source)),
        search={"candidates": NUM_DOCUMENTS, "top_k": PER_TOPIC},
        generation={"num_passages": PER_TOPIC},
        serving={"cache_entries": 64, "cache_mb": 4, "anonymous_groups": ["everyone"]},
    )
    return Wiki(home, draw, reopen, source)


@pytest.fixture
def client(wiki: Wiki, pairs: list[StaticPair]) -> Iterator[TestClient]:
    def opened(*arguments: object) -> StaticPair:
        pairs.append(StaticPair(*arguments))  # type: ignore[arg-type]
        return pairs[-1]

    with TestClient(create_app(wiki.home.params, wiki.home.settings, opened), base_url="http://127.0.0.1") as client:
        wait_until(lambda: client.get("/readyz").status_code != 503, seconds=120)
        wiki.add_askers(client)
        yield client


@dataclass
class Judge:
    """Asks in each way, and counts what was decided; the first wrong decision fails."""

    wiki: Wiki
    decided: Counter[str] = field(default_factory=Counter)
    num_shown: int = 0

    def search(self, asker: Asker, topic: str) -> None:
        """Every document of the release answers: all that may be read are shown, however many are hidden."""
        draw = self.wiki.draw
        bases = draw.sample(KNOWLEDGE_BASES, draw.choice([0, 0, 1]))
        mode = draw.choice(["hybrid", "full_text", "vector"])
        body = {"query": question(topic), "kb": bases, "top_k": NUM_DOCUMENTS, "mode": mode}
        release = self.wiki.serving
        if draw.random() < 0.3:
            release = body["as_of"] = draw.choice(release_numbers(self.wiki.home.settings))
        if draw.random() < 0.2:
            response = asker.request("GET", "/v1/search", params=body)
        else:
            response = asker.request("POST", "/v1/search", json=body)
        if asker.knowledge_bases and bases and bases[0] not in asker.knowledge_bases:
            assert response.status_code == 403
            self.judge_nothing("search of another knowledge base", response.text)
            return
        assert response.status_code == 200, response.text
        rows = self.wiki.releases[release].values()
        asked = {doc.key for doc in rows if not bases or doc.knowledge_base in bases}
        way = f"search {mode}" + (" of another release" if release != self.wiki.serving else "")
        shown = self.judge(way, response.text, asker, asked, release)
        assert len(response.json()["results"]) == len(shown)

    def chat(self, asker: Asker, topic: str) -> None:
        """An answer on a topic; now and then who may read all asks the same first."""
        way = self.wiki.draw.choice(["chat", "chat", "chat streamed", "chat follow-up"])
        for each in [self.wiki.askers[0], asker] if self.wiki.draw.random() < 0.5 else [asker]:
            self.answer(way, each, topic)

    def answer(self, way: str, asker: Asker, topic: str) -> None:
        """Judge an answer, its excerpts and citations."""
        messages = [{"role": "user", "content": question(topic)}]
        if way == "chat follow-up":
            messages.append({"role": "user", "content": "And what lies beside it?"})
        body = {"messages": messages, "stream": way == "chat streamed"}
        response = asker.request("POST", "/v1/chat/completions", json=body)
        assert response.status_code == 200, response.text
        cached = " from the cache" if '"cached":true' in response.text.replace(" ", "") else ""
        self.judge(way + cached, response.text, asker, self.of_topic(topic), complete=False)

    def operate(self) -> None:
        """Let something change between a question and the same question: what was kept of it counts no more."""
        askers = [*self.wiki.askers[:1] * 4, *self.wiki.draw.sample(self.wiki.askers, 2)]
        asked = list(zip(askers, self.wiki.draw.sample(self.wiki.topics, len(askers)), strict=True))
        for asker, topic in asked:
            self.answer("chat", asker, topic)
        self.wiki.operate()
        for asker, topic in asked:
            self.answer("chat", asker, topic)

    def names(self, asker: Asker, topic: str) -> None:
        response = asker.request("GET", "/v1/inspection/names", params={"wanted": topic})
        self.judge("completion of a name", response.text, asker, self.of_topic(topic))

    def page(self, asker: Asker, topic: str) -> None:
        """The page of a document that may not be read is that of none."""
        key = self.wiki.draw.choice(sorted(self.wiki.latest))
        response = asker.request("GET", "/v1/inspection", params={"document": f"wiki:{key}"})
        if not self.wiki.may_read(key, self.wiki.serving, asker):
            nobodys = asker.request("GET", "/v1/inspection", params={"document": "wiki:doc"})
            assert (response.status_code, response.text) == (404, nobodys.text)
        else:
            assert response.status_code == 200
        self.judge("page of a document", response.text, asker, {key} & self.wiki.releases[self.wiki.serving].keys())

    def refusal(self, asker: Asker, topic: str) -> None:
        """Requests that are refused: nothing of any document is in the refusal."""
        wrong = [{"top_k": 10**6}, {"kb": ["'"]}, {"mode": "all"}, {"as_of": 10**6}, {"tag": ["x"]}]
        response = asker.request("POST", "/v1/search", json={"query": question(topic)} | self.wiki.draw.choice(wrong))
        assert 400 <= response.status_code < 500, response.text
        self.judge_nothing("refusal", response.text)

    def feedback(self, asker: Asker, topic: str) -> None:
        """Who did not ask may not rate, and is not told what the answer was."""
        other = self.wiki.draw.choice(self.wiki.askers)
        body = {"messages": [{"role": "user", "content": question(topic)}]}
        answer = other.request("POST", "/v1/chat/completions", json=body).json()["almanac"]
        rating = {"trace_id": answer["trace_id"], "rating": "up", "comment": topic}
        response = asker.request("POST", "/v1/feedback", json=rating)
        assert response.status_code == (202 if asker is other else 404), response.text
        self.judge_nothing("feedback", response.text)

    def figures(self, asker: Asker, topic: str) -> None:
        """What counts the requests of all counts no documents."""
        response = asker.request("GET", self.wiki.draw.choice(FIGURES))
        assert response.status_code == 200
        self.judge_nothing("figures", response.text)

    def of_topic(self, topic: str) -> set[str]:
        rows = self.wiki.releases[self.wiki.serving].values()
        return {doc.key for doc in rows if doc.topic == topic}

    def judge_nothing(self, way: str, text: str) -> None:
        assert not _CANARY.search(text) and not _KEY.search(text), (way, text)
        self.decided[way] += 1

    def judge(
        self,
        way: str,
        text: str,
        asker: Asker,
        asked: set[str],
        release: int | None = None,
        *,
        complete: bool = True,
    ) -> set[str]:
        """Count what an answer decided and fail for what is wrong; return the documents that it shows.

        Args:
            way: how it was asked.
            text: all that came back.
            asker: who asked.
            asked: the documents that it is about.
            release: that was asked; None: that serves.
            complete: whether it shows all of them that the asker may read, and no others.
        """
        number = release or self.wiki.serving
        rows = self.wiki.releases[number]
        canaries = set(_CANARY.findall(text))
        assert canaries <= {doc.canary for doc in rows.values()}, (way, "a version of another release")
        shown = {self.wiki.owners[canary] for canary in canaries} | set(_KEY.findall(text))
        readable = {key for key in rows if self.wiki.may_read(key, number, asker)}
        assert shown <= readable, (way, asker.groups, [rows.get(key, key) for key in shown - readable])
        assert not complete or shown == readable & asked, (way, asker.groups, shown ^ (readable & asked))
        decided = asked if complete else (asked - readable) | shown
        self.decided[way] += len(decided)
        self.num_shown += len(shown)
        return shown


def question(topic: str) -> str:
    return f"What opens the vault of {topic}?"


def test_no_decision_on_access_is_wrong(wiki: Wiki, client: TestClient) -> None:
    judge, until_next = Judge(wiki), ROUND
    while (num_decided := judge.decided.total()) < NUM_DECISIONS:
        if num_decided >= until_next:
            judge.operate()
            until_next += ROUND
            print(f"{num_decided:,} decisions", flush=True)
        way = wiki.draw.choices(list(WAYS), list(WAYS.values()))[0]
        getattr(judge, way)(wiki.draw.choice(wiki.askers), wiki.draw.choice(wiki.topics))
    assert NUM_DECISIONS / 10 < judge.num_shown < NUM_DECISIONS * 0.9  # both ways are decided
    print(f"\n{num_decided:,} decisions, {judge.num_shown:,} shown; {len(wiki.releases)} releases, {wiki.operations}")
    print("\n".join(f"{count:>9,} {way}" for way, count in judge.decided.most_common()))
