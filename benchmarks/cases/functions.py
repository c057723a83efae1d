"""What the cases' own programs call: parse, chunk, refresh, search, answer and HTTP, on the project as it is now.

A case does `from _tool import *`; the runner gives it this module under that name. It adapts names that have moved
and nothing else: no function looks at a case.
"""

import copy
import json
import os
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml

from tasks.answer.answer import Answer, GenerationRequest, answer_question, prepare
from tasks.answer.generators.base import Generation
from tasks.corpus.document import Document
from tasks.corpus.parsing.parse import Reject, parse_items
from tasks.corpus.sources import open_source
from tasks.index.passage import Passage
from tasks.params import GenerationParams, ParsingParams, load_params
from tasks.params.sources import FilesSource, GitSource, RecordsSource
from tasks.settings import Settings, quiet_environment

__all__ = [
    "BASE",
    "Path",
    "answer",
    "chunks",
    "files",
    "git",
    "home",
    "http",
    "json",
    "os",
    "parse",
    "ranks",
    "records",
    "refresh",
    "say",
    "search",
    "sys",
    "tempfile",
    "texts",
    "visible",
    "why",
]

ROOT = Path(__file__).parents[2]
BASE: dict[str, Any] = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
BASE["index_gate"]["golden"] = None
BASE["generation"]["answerer"] = "model"
_COUNTS = ["listed", "new", "changed", "moved", "removed", "expired", "unchanged", "accepted", "quarantined", "release"]
_KINDS = {"files": FilesSource, "records": RecordsSource, "git": GitSource}

Block = dict[str, Any]


def files(url: object, name: str = "notes", **more: object) -> Block:
    """A `files` source as `params.yaml` would say it."""
    base = {"name": name, "kind": "files", "url": str(url), "knowledge_base": "kb", "access": ["everyone"]}
    return base | {"max_removed_fraction": 1.0} | more


def records(url: object, mode: str = "snapshot", name: str = "feed", **more: object) -> Block:
    """A `records` source."""
    return files(url, name) | {"kind": "records", "mode": mode} | more


def git(url: object, ref: str = "main", name: str = "repo", **more: object) -> Block:
    """A `git` source."""
    return files(url, name) | {"kind": "git", "ref": ref} | more


def parse(source: Block) -> tuple[list[Document], list[Reject]]:
    """Documents and rejects of a source, straight from the parser."""
    block = _KINDS[source["kind"]].model_validate(source)
    cache = Path(tempfile.mkdtemp())
    items = list(open_source(block, cache=cache).scan())
    parsed = parse_items(block, items, parsing=ParsingParams(**BASE["parsing"]), cache=cache)
    return parsed.documents, parsed.rejects


def texts(source: Block) -> dict[str, str]:
    """Text of each document, or why it is none."""
    documents, rejects = parse(source)
    return {entry.key: entry.text for entry in documents} | {e.key: f"REJECTED {e.code}" for e in rejects}


def home(sources: list[Block], keep: str | None = None, **changes: Any) -> Path:
    """Write params.yaml in a temporary place and point the environment at it."""
    place = Path(keep or tempfile.mkdtemp())
    (place / "home").mkdir(exist_ok=True)
    raw = _merged(BASE, {"sources": sources} | changes)
    (place / "params.yaml").write_text(yaml.safe_dump(raw, allow_unicode=True), encoding="utf-8")
    os.environ |= {"ALMANAC_HOME": str(place / "home"), "ALMANAC_PARAMS": str(place / "params.yaml")}
    return place


def refresh(**more: Any) -> dict[str, Any] | str:
    """Run the refresh; return its counts, or the error that it ended with."""
    quiet_environment()
    from flows.refresh import refresh as flow

    try:
        done = flow.fn(**more).as_json()
    except Exception as error:  # noqa: BLE001 - whatever a case provokes is its result
        return f"{type(error).__name__}: {str(error)[:160]}"
    return {name: done[name] for name in _COUNTS if done.get(name)}


def search(question: str, mode: Any = "hybrid", top_k: int = 5, groups: Sequence[str] = ()) -> list[str]:
    """Ids of the documents found, best first."""
    from tasks.index.live import LiveIndex
    from tasks.index.search import Request

    settings = Settings()
    index = LiveIndex(load_params(settings.params), settings)
    return [entry.document_id for entry in index.search(Request(question, groups=groups, mode=mode, top_k=top_k))]


def ranks(pairs: Iterable[tuple[str, str]], modes: Sequence[str] = ("full_text", "hybrid")) -> dict[str, Any]:
    """{question: {mode: rank, 0 for not in the first five}} of (question, document) pairs."""
    return {question: {mode: _rank(search(question, mode), want) for mode in modes} for question, want in pairs}


def _rank(ids: Sequence[str], want: str) -> int:
    return ids.index(want) + 1 if want in ids else 0


def visible(groups: Sequence[str] = ()) -> list[str]:
    """Ids of all documents that an asker finds."""
    return sorted({name for query in ("valve", "desk", "pump") for name in search(query, "vector", 100, groups)})


def chunks(source: Block) -> list[dict[str, object]]:
    """The chunks of a source."""
    from tasks.index.chunking.chunk import chunk_rows
    from tasks.index.embedding.embedder import load_embedder

    home([source])
    settings = Settings()
    params = load_params(settings.params)
    documents, _ = parse(source)
    return list(chunk_rows(documents, load_embedder(params.embedding, settings).tokenizer, params.chunking))


class _Echo:
    """A generator that writes what it was told, so that only the checks around it are judged."""

    identity, context_length = "echo", 8192

    def __init__(self, text: str) -> None:
        self._text = text

    def generate(self, messages: Any, *, max_new_tokens: int) -> Generation:  # noqa: ARG002 (the interface)
        return Generation(self._text, 1, 1)

    def count_tokens(self, text: str) -> int:
        return len(text.split())

    def count_prompt_tokens(self, messages: Any) -> int:  # noqa: ARG002 (the interface)
        return 10


def _passage(text: str, title: str) -> Passage:
    return Passage("c", "d", "kb", "u", title, "", text, 0, len(text), 1.0, 0.9, None)


def answer(question: str, draft: str, text: str, title: str = "T") -> str:
    """What the asker reads when the passage is `text` and the model writes `draft`; doubt is named."""
    generation = GenerationParams(**BASE["generation"])
    found: Answer = answer_question(question, [_passage(text, title)], _Echo(draft), generation)  # type: ignore[arg-type]
    doubt = any(claim.verdict == "unverified" for claim in found.claims)
    return f"ABSTAINED: {found.reason}" if found.abstained else f"{'UNVERIFIED: ' * doubt}{found.text}"


def why(question: str, text: str, title: str = "T") -> str | None:
    """The reason to abstain before the model is asked, None: it is asked."""
    generation = GenerationParams(**BASE["generation"])
    asked = prepare(question, [_passage(text, title)], _Echo(""), generation)  # type: ignore[arg-type]
    return None if isinstance(asked, GenerationRequest) else asked.reason


def http(method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> tuple[int, str]:
    """(status, body) of the server of `ALMANAC_URL`."""
    data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    kind = {"Content-Type": "application/json"} if data else {}
    request = urllib.request.Request(
        os.environ["ALMANAC_URL"] + path, data=data, method=method, headers=kind | (headers or {})
    )
    try:
        with urllib.request.urlopen(request, timeout=120) as reply:
            return reply.status, reply.read().decode("utf-8", "replace")
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode("utf-8", "replace")


def say(value: Any) -> None:
    """Print a result for the runner."""
    print("GOT " + json.dumps(value, ensure_ascii=False, default=str))


def _merged(base: Block, changes: Block) -> Block:
    result = copy.deepcopy(base)
    for name, value in changes.items():
        nested = isinstance(value, dict) and isinstance(result.get(name), dict)
        result[name] = _merged(result[name], value) if nested else value
    return result
