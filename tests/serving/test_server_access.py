"""Nobody is shown over HTTP what they may not read: random askers, filters and questions, with caches warm.

The search itself is tested with random sequences of refreshes in `tests/index/test_access.py`; here
it is the way in and out.
"""

import json
import logging
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from serving.api.app import create_app
from serving.api.people.keys import KeyFile
from tasks.answer.trace import flush_traces
from tasks.corpus.document import EVERYONE
from tasks.index.access_tables import record_changes
from tasks.index.table import connect
from tasks.releases.model_registry import mlflow_client
from tests.server import Home, StaticPair, make_home, record, running

pytestmark = pytest.mark.slow

GROUPS = ("finance", "hr", "legal", "ops", "sales")
ODD_GROUPS = ("o'brien", "') OR true --", "группа ☃", "Finance", "everyone ")
"""No document names them: who has them reads what everyone may."""
KNOWLEDGE_BASES = ("wiki", "ledger")
DRAW = random.Random(7)
READERS = {f"doc{number}": frozenset(DRAW.sample((*GROUPS, EVERYONE), DRAW.randint(0, 3))) for number in range(24)} | {
    "nobody": frozenset[str](),
    "public": frozenset({EVERYONE}),
}
WORDS = {key: f"canary{place}x" for place, key in enumerate(READERS)}
ASKERS = [frozenset(groups) for groups in ((), *((group,) for group in GROUPS), GROUPS[:2], ODD_GROUPS, GROUPS)]


def text(key: str) -> str:
    return f"The vault of {key} is opened by the word {WORDS[key]}. Nobody else knows {WORDS[key]}."


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, migrated_mlflow: Path) -> Home:
    records = [
        record(key, text(key), *readers, knowledge_base=DRAW.choice(KNOWLEDGE_BASES))
        for key, readers in READERS.items()
    ]
    return make_home(tmp_path_factory.mktemp("access"), migrated_mlflow, records, search={"top_k": 20})


@pytest.fixture(scope="module")
def keys(home: Home) -> dict[frozenset[str], str]:
    file = KeyFile(home.settings.api_keys)
    return {groups: file.add(f"user{place}", tuple(sorted(groups))) for place, groups in enumerate(ASKERS)}


@pytest.fixture(scope="module")
def server(home: Home) -> Iterator[str]:
    with running(create_app(home.params, home.settings, StaticPair)) as address:
        yield address


def request(server: str, key: str, way: str, question: str, kb: list[str]) -> httpx.Response:
    """Ask in one of the ways in; all of what comes back is the response's text and headers."""
    with httpx.Client(base_url=server, headers={"Authorization": f"Bearer {key}"}, timeout=60) as client:
        if way == "search":
            return client.get("/v1/search", params={"query": question, "kb": kb, "top_k": 20})
        messages = [{"role": "user", "content": question}]
        if way == "follow-up":
            messages.append({"role": "user", "content": "And what is its word?"})
        body = {"messages": messages, "knowledge_base": kb, "stream": way == "stream"}
        return client.post("/v1/chat/completions", json=body)


def shown(response: httpx.Response, *, asked: str) -> set[str]:
    """Documents whose word is in the response though it was not in the question."""
    whole = json.dumps(dict(response.headers)) + response.text
    return {key for key, word in WORDS.items() if word in whole and word not in asked}


def test_no_asker_is_shown_what_its_groups_may_not_read(
    server: str, keys: dict[frozenset[str], str], home: Home
) -> None:
    found: Counter[str] = Counter()

    @settings(max_examples=60, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(
        key=st.sampled_from(sorted(READERS)),
        way=st.sampled_from(["search", "answer", "stream", "follow-up"]),
        kb=st.lists(st.sampled_from(KNOWLEDGE_BASES), unique=True),
        groups=st.sampled_from(ASKERS),
        by_word=st.booleans(),
    )
    def check(key: str, way: str, kb: list[str], groups: frozenset[str], by_word: bool) -> None:
        question = f"Who knows {WORDS[key]}?" if by_word else f"What opens the vault of {key}?"
        # The asker who may read all comes first, so that whatever is cached is warm with everything.
        for asker in (frozenset(GROUPS), groups):
            response = request(server, keys[asker], way, question, kb)
            assert response.status_code == 200
            seen = shown(response, asked=question)
            found.update(seen)
            assert not {name for name in seen if not READERS[name] & (asker | {EVERYONE})}

    check()
    assert len(found) > len(READERS) / 2


def test_each_asker_finds_all_that_its_groups_may_read(server: str, keys: dict[frozenset[str], str]) -> None:
    for groups in ASKERS[:-1]:
        seen = shown(request(server, keys[groups], "search", "What opens the vault?", []), asked="")
        assert seen == {key for key, readers in READERS.items() if readers & (groups | {EVERYONE})}


def test_restriction_holds_from_the_next_request_on(server: str, keys: dict[frozenset[str], str], home: Home) -> None:
    key = keys[frozenset()]
    question = "What opens the vault of public?"
    assert "public" in shown(request(server, key, "answer", question, []), asked=question)
    record_changes(connect(home.settings), {"wiki:public": []})
    for way in ("search", "answer", "stream", "follow-up"):
        assert "public" not in shown(request(server, key, way, question, []), asked=question)
    record_changes(connect(home.settings), {"wiki:public": [EVERYONE]})


def test_restricted_words_are_in_no_error_log_metric_or_trace_of_others(
    server: str, keys: dict[frozenset[str], str], home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    key = keys[frozenset()]
    headers = {"Authorization": f"Bearer {key}"}
    outputs = [httpx.get(f"{server}{path}").text for path in ("/metrics", "/readyz", "/healthz", "/openapi.json")]
    question = "What opens the vault of nobody?"
    answers = [request(server, key, way, question, []) for way in ("search", "answer", "stream")]
    bad: list[dict[str, Any]] = [{"query": question, "top_k": 10**6}, {"query": question, "kb": ["'"]}, {"query": 3}]
    answers += [httpx.post(f"{server}/v1/search", json=body, headers=headers) for body in bad]
    trace = answers[1].json()["almanac"]["trace_id"]
    rating = {"trace_id": trace, "rating": "up", "comment": "nice"}
    answers.append(httpx.post(f"{server}/v1/feedback", json=rating, headers=headers))
    flush_traces()
    with mlflow_client(home.settings) as client:
        outputs.append(json.dumps(client.get_trace(trace, display=False).to_dict(), default=str))
    outputs += [answer.text for answer in answers] + [caplog.text]
    hidden = [WORDS[name] for name, readers in READERS.items() if EVERYONE not in readers]
    assert not [word for word in hidden if any(word in output for output in outputs)]


def test_answer_to_one_asker_is_not_kept_for_another(server: str, keys: dict[frozenset[str], str]) -> None:
    own = {key for key, readers in READERS.items() if "finance" in readers and EVERYONE not in readers}
    question = f"What opens the vault of {min(own)}?"
    for way in ("search", "answer"):
        asked = [request(server, keys[groups], way, question, []) for groups in (frozenset({"finance"}), frozenset())]
        assert shown(asked[0], asked=question) & own
        assert not shown(asked[1], asked=question) & own
        assert {answer.headers["cache-control"] for answer in asked} == {"no-store"}
