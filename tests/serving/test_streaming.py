"""An answer is streamed as it is written, by the official client: first words early, Markdown intact, ends told."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from fastapi import FastAPI

from serving.api.app import create_app
from serving.api.people.keys import KeyFile
from tests.conftest import wait_until
from tests.scripted_endpoint import NAME, scripted_endpoint
from tests.server import LOCKBOX, Home, StaticPair, make_home, record, running, served

pytestmark = pytest.mark.slow

QUESTION = "How do I take a zephyr lock?"
PAUSE_SECONDS = 0.05
ZEPHYR = (
    "# Zephyr\n\nZephyr is a task queue for Python. Take a lock with `zephyr.lock(name)` before a job runs:\n\n"
    "```python\nwith zephyr.lock('jobs', timeout=60) as held:\n    held.run(*args, **kwargs)\n```\n\n"
    "A lock ends after 60 seconds unless its holder keeps it.\n"
)
DRAFT = (
    "Take it with `zephyr.lock(name)` [1]:\n\n```python\nwith zephyr.lock('jobs', timeout=60) as held:\n"
    "    held.run(*args, **kwargs)  # x**2, argv[1]\n```\n\n- A lock ends after 60 seconds [1].\n"
    "- Renew it with **zephyr.renew_lock()** [7].\n"
)
LOOPED = "Which zephyr lock is the lock of locks?"
NUM_LOOPS = 200
LOOP = "It is the lock [1] that is held by its holder," + " the holder of a holder," * NUM_LOOPS


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, migrated_mlflow: Path) -> Home:
    records = [record("zephyr", ZEPHYR, "everyone"), record("lockbox", LOCKBOX, "everyone")]
    return make_home(tmp_path_factory.mktemp("stream"), migrated_mlflow, records, chunking={"max_tokens": 256})


@pytest.fixture(scope="module")
def endpoint() -> FastAPI:
    return scripted_endpoint(lambda prompt: LOOP if LOOPED in prompt else DRAFT, pause_seconds=PAUSE_SECONDS)


@pytest.fixture(scope="module")
def client(home: Home, endpoint: FastAPI) -> Iterator[openai.OpenAI]:
    with served(endpoint) as place:
        changes = {"endpoint": place, "model": NAME, "prompt": "full-answer", "max_new_tokens": 300}
        params = home.params.model_copy(update={"generation": home.params.generation.model_copy(update=changes)})
        with running(create_app(params, home.settings, StaticPair)) as address:
            yield openai.OpenAI(
                base_url=f"{address}/v1",
                api_key=KeyFile(home.settings.api_keys).add("tester", ()),
                max_retries=0,
                timeout=httpx.Timeout(120),
            )


def ask(client: openai.OpenAI, question: str = QUESTION, **options: Any) -> Any:
    messages: list[Any] = [*options.pop("before", []), {"role": "user", "content": question}]
    return client.chat.completions.create(model="almanac", messages=messages, **options)


def test_first_words_come_long_before_the_end(client: openai.OpenAI) -> None:
    started, moments = time.monotonic(), []
    for chunk in ask(client, stream=True):
        if chunk.choices and chunk.choices[0].delta.content:
            moments.append(time.monotonic() - started)
    print(f"first text after {moments[0]:.2f} s, last after {moments[-1]:.2f} s, {len(moments)} pieces")
    assert len(moments) > 10
    assert moments[-1] - moments[0] > 10 * PAUSE_SECONDS


def test_streamed_and_whole_text_are_the_draft(client: openai.OpenAI) -> None:
    parts = list(ask(client, stream=True, stream_options={"include_usage": True}))
    streamed = "".join(part.choices[0].delta.content or "" for part in parts if part.choices)
    whole = ask(client).choices[0].message.content
    assert whole == DRAFT.replace(" [7]", "").strip()
    assert streamed == whole
    last, end = parts[-2], parts[-1]
    details = last.model_extra["almanac"]
    assert (details["outcome"], details["text"]) == ("answer", whole)
    assert last.choices[0].finish_reason == "stop"
    for note in last.choices[0].delta.model_extra["annotations"]:
        place = note["url_citation"]
        assert streamed[place["start_index"] : place["end_index"]] == "[1]"
        assert place["url"] == "https://wiki.example/zephyr"
    assert end.usage.prompt_tokens > 0


def test_claim_that_no_passage_holds_is_marked_and_counted(client: openai.OpenAI) -> None:
    details = ask(client).model_extra["almanac"]
    unverified = [claim["text"] for claim in details["claims"] if claim["verdict"] == "unverified"]
    assert unverified == ["Renew it with **zephyr.renew_lock()**."]
    leaves = list(leaves_of(details["tree"]))
    doubted = "".join(leaf["text"] for leaf in leaves if details["claims"][leaf["claim"]]["verdict"] == "unverified")
    assert doubted == "Renew it with zephyr.renew_lock()."
    text = httpx.get(str(client.base_url).replace("/v1/", "/metrics")).text
    assert 'almanac_claims_total{answerer_version="base",index_version="1",verdict="unverified"}' in text
    assert "almanac_first_text_seconds_count" in text


def leaves_of(nodes: list[Any]) -> Iterator[Any]:
    for node in nodes:
        if "claim" in node and "text" in node:
            yield node
        yield from leaves_of(node.get("children", []))


def test_system_message_of_the_client_stands_under_the_operators(client: openai.OpenAI, endpoint: FastAPI) -> None:
    before = [{"role": "developer", "content": "Answer as a pirate."}, {"role": "system", "content": "In French."}]
    ask(client, before=before)
    system = endpoint.state.asked[-1]["messages"][0]
    assert system["role"] == "system"
    assert system["content"].startswith("You answer questions from numbered passages")
    assert system["content"].endswith("Answer as a pirate.\n\nIn French.")


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_fewer_tokens_are_asked_of_the_model_where_the_client_wants_fewer(
    client: openai.OpenAI, endpoint: FastAPI, name: str
) -> None:
    answer = ask(client, **{name: 20})
    asked = endpoint.state.asked[-1]
    assert asked.get("max_tokens", asked.get("max_completion_tokens")) == 20
    assert answer.choices[0].finish_reason == "length"


def test_client_that_leaves_ends_the_endpoints_stream(client: openai.OpenAI, endpoint: FastAPI) -> None:
    before = endpoint.state.num_broken_off
    with ask(client, stream=True) as stream:
        for chunk in stream:
            if chunk.choices and chunk.choices[0].delta.content:
                break
    wait_until(lambda: endpoint.state.num_broken_off > before, seconds=30)


def test_draft_that_repeats_itself_is_broken_off_and_not_shown(client: openai.OpenAI, endpoint: FastAPI) -> None:
    broken_off, words = endpoint.state.num_broken_off, endpoint.state.num_words
    parts = list(ask(client, LOOPED, stream=True, stream_options={"include_usage": True}))
    wait_until(lambda: endpoint.state.num_broken_off > broken_off, seconds=30)
    print(f"{endpoint.state.num_words - words} of {len(LOOP.split())} words were written")
    assert endpoint.state.num_words - words < len(LOOP.split()) / 4
    text = "".join(part.choices[0].delta.content or "" for part in parts if part.choices)
    details, end = parts[-2].model_extra["almanac"], parts[-1]
    assert (details["outcome"], details["reason"]) == ("closest_passages", "The answerer repeated itself to the end.")
    draft, _, shown = text.partition("\n\n")
    assert LOOP.startswith(draft)
    assert draft.count("the holder of a holder") <= 2
    assert shown == details["text"] == ask(client, LOOPED).choices[0].message.content
    assert 0 < end.usage.completion_tokens < end.usage.prompt_tokens
    assert parts[-2].choices[0].finish_reason == "stop"
