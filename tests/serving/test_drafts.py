"""What a strong model writes reaches the client: every draft byte for byte but for markers, whole and streamed.

The drafts lie outside of the project, since they quote others' texts: `ALMANAC_ANSWERS_DIR`, or `shared/answers` beside
the checkout. Without them this file is skipped; `test_streaming.py` has drafts of its own.
"""

import json
import os
import re
from collections.abc import Iterator
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from serving.api.app import create_app
from serving.api.people.keys import KeyFile
from tests.scripted_endpoint import NAME, scripted_endpoint
from tests.server import Home, StaticPair, make_home, record, running, served

PROJECT = Path(__file__).parents[2]
PLACES = [
    Path(os.environ.get("ALMANAC_ANSWERS_DIR", "/nowhere")),
    *(PROJECT.parents[n] / "shared/answers" for n in (0, 1)),
]
FILE = next((place / "drafts.jsonl" for place in PLACES if (place / "drafts.jsonl").is_file()), None)
# Each test skips, not the file: a process without any test counts as failed.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(FILE is None, reason="drafts.jsonl is not here: set ALMANAC_ANSWERS_DIR to its folder"),
]
ENTRIES = [json.loads(line) for line in FILE.read_text(encoding="utf-8").splitlines()] if FILE else []
DRAFTS = [entry for entry in ENTRIES if entry["complete"] and entry["draft_natural"]]
MARKER = re.compile(r" ?\[\d{1,2}(?:, ?\d{1,2})*\]")
NUMBER = re.compile(r"\[(\d{1,2})\](?!\()")
PASSAGE = re.compile(r"^\[(\d+)\] .*?\n<passage>\n(.*?)\n</passage>", re.MULTILINE | re.DOTALL)
IN_CODE = re.compile(r"(```.*?```|`[^`]*`)", re.DOTALL)
CODE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


def write(prompt: str) -> str:
    """The draft whose question stands in the prompt; nothing for a question that is to be rewritten."""
    if "Write the last question once more" in prompt:
        return ""
    return next((cited_here(entry, prompt) for entry in DRAFTS if entry["question"] in prompt), "Not in the documents.")


def cited_here(entry: dict[str, Any], prompt: str) -> str:
    """The draft with each marker at the passage of this prompt that holds most of what its author read under it.

    Search orders and joins passages in another way than when the drafts were written: a marker that kept its old number
    would cite another text, and the check would be right to doubt it.
    """
    here = {number: lines_of(text) for number, text in PASSAGE.findall(prompt)}
    numbers = {}
    for passage in entry["passages"]:
        wanted = lines_of(passage["text"])
        best = max(here, key=lambda number: len(here[number] & wanted))
        if here[best] & wanted:
            numbers[str(passage["number"])] = best
    parts = IN_CODE.split(entry["draft_natural"])
    outside = (NUMBER.sub(lambda match: f"[{numbers.get(match[1], match[1])}]", part) for part in parts[::2])
    return "".join(chain.from_iterable(zip_longest(outside, parts[1::2], fillvalue="")))


def lines_of(text: str) -> set[str]:
    return {line.strip() for line in text.splitlines() if len(line.strip()) > 3}


def records() -> list[dict[str, Any]]:
    """Each document of the passages, as far as they hold it."""
    texts: dict[str, dict[str, None]] = {}
    for entry in ENTRIES:
        for passage in entry["passages"]:
            texts.setdefault(passage["document"], {})[passage["text"]] = None
    return [record(name, f"# {name}\n\n" + "\n\n".join(parts), "everyone") for name, parts in texts.items()]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, migrated_mlflow: Path) -> Home:
    changes: dict[str, Any] = {
        "serving": {"max_queue": 64},
        "chunking": {"max_tokens": 256},
        "search": {"top_k": 8},
    }
    return make_home(tmp_path_factory.mktemp("drafts"), migrated_mlflow, records(), **changes)


@pytest.fixture(scope="module")
def client(home: Home) -> Iterator[openai.OpenAI]:
    with served(scripted_endpoint(write)) as endpoint:
        changes = {
            "endpoint": endpoint,
            "model": NAME,
            "prompt": "full-answer",
            "num_passages": 8,
            "max_passage_tokens": 600,
            "max_new_tokens": 1024,
        }
        params = home.params.model_copy(update={"generation": home.params.generation.model_copy(update=changes)})
        with running(create_app(params, home.settings, StaticPair)) as address:
            yield openai.OpenAI(
                base_url=f"{address}/v1",
                api_key=KeyFile(home.settings.api_keys).add("tester", ()),
                max_retries=0,
                timeout=httpx.Timeout(120),
            )


def messages(entry: dict[str, Any]) -> list[Any]:
    return [{"role": "user", "content": text} for text in (*entry["history"], entry["question"])]


def without_markers(text: str) -> str:
    return MARKER.sub("", text).strip()


@pytest.mark.parametrize("entry", DRAFTS, ids=lambda entry: entry["id"])
def test_draft_arrives_as_it_was_written(client: openai.OpenAI, entry: dict[str, Any]) -> None:
    whole = client.chat.completions.create(model="almanac", messages=messages(entry))
    stream = client.chat.completions.create(model="almanac", messages=messages(entry), stream=True)
    streamed = "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)
    for text in (whole.choices[0].message.content or "", streamed):
        assert without_markers(text) == without_markers(entry["draft_natural"])
        assert CODE.findall(text) == CODE.findall(entry["draft_natural"])


def test_share_of_drafts_without_an_unverified_claim(client: openai.OpenAI) -> None:
    answers = [client.chat.completions.create(model="almanac", messages=messages(entry)) for entry in DRAFTS]
    doubted = {
        entry["id"]: [
            claim["text"] for claim in answer.model_extra["almanac"]["claims"] if claim["verdict"] != "supported"
        ]
        for entry, answer in zip(DRAFTS, answers, strict=True)
    }
    share = sum(not claims for claims in doubted.values()) / len(doubted)
    print(f"{share:.0%} of {len(doubted)} drafts without an unverified claim; doubted: {doubted}")
    assert share >= 0.8
