"""An answer as OpenAI's API gives it: a completion, or a stream of chunks.

Answers are checked against their passages before they leave, so a stream sends its text when the check is done, not
token by token.
"""

import re
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from serving.api.text import encoded
from tasks.answer.answer import Answer
from tasks.answer.assistant import Reply
from tasks.index.passage import Passage

PIECE_CHARACTERS = 24


@dataclass(frozen=True, slots=True)
class Completion:
    """One completion that is being written."""

    model: str
    id: str = field(default_factory=lambda: f"chatcmpl-{uuid.uuid4().hex}")
    created: int = field(default_factory=lambda: int(time.time()))


def completion(entry: Completion, reply: Reply) -> dict[str, Any]:
    """A whole answer, as OpenAI's API gives it."""
    message = {"role": "assistant", "content": reply.answer.text, "refusal": None, "annotations": annotations(reply)}
    return {
        "id": entry.id,
        "object": "chat.completion",
        "created": entry.created,
        "model": entry.model,
        "system_fingerprint": fingerprint(reply),
        "choices": [{"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}],
        "usage": usage(reply.answer),
        "almanac": details(reply),
    }


def first_chunk(entry: Completion) -> bytes:
    """The role, sent before anything is known."""
    return event(_chunk(entry, {"role": "assistant", "content": ""}))


def chunks(entry: Completion, reply: Reply, *, include_usage: bool) -> Iterator[bytes]:
    """The text in pieces, then annotations and details, then the end."""
    shared = {"system_fingerprint": fingerprint(reply)}
    for piece in _pieces(reply.answer.text):
        yield event(_chunk(entry, {"content": piece}) | shared)
    last = _chunk(entry, {"annotations": annotations(reply)}, finish_reason="stop")
    yield event(last | shared | {"almanac": details(reply)})
    if include_usage:
        yield event(_chunk(entry, {}) | shared | {"choices": [], "usage": usage(reply.answer)})
    yield b"data: [DONE]\n\n"


def event(content: Mapping[str, Any]) -> bytes:
    """Return a server-sent event."""
    return b"data: " + encoded(content) + b"\n\n"


def annotations(reply: Reply) -> list[dict[str, Any]]:
    """One `url_citation` for each `[n]` in the text, in order; indexes are characters of the text."""
    cited = {citation.marker: citation for citation in reply.answer.citations}
    found = []
    for match in re.finditer(r"\[(\d+)\]", reply.answer.text):
        citation = cited.get(int(match.group(1)))
        if citation is not None:
            place = {"start_index": match.start(), "end_index": match.end()}
            found.append(
                {"type": "url_citation", "url_citation": place | {"url": citation.uri, "title": citation.title}}
            )
    return found


def details(reply: Reply) -> dict[str, Any]:
    """What OpenAI's API has no place for: quotes with their offsets, versions, the trace."""
    answer = reply.answer
    return {
        "index_version": reply.index_version,
        "answerer_version": reply.answerer_version,
        "trace_id": reply.trace_id,
        "cached": reply.cached,
        "abstained": answer.abstained,
        "reason": answer.reason,
        "citations": [
            asdict(citation) | _of_document(answer.passages[citation.marker - 1]) for citation in answer.citations
        ],
        "passages": [_passage(number, passage) for number, passage in enumerate(answer.passages, start=1)],
        "seconds": reply.seconds,
    }


def fingerprint(reply: Reply) -> str:
    """Names what answered."""
    return f"index-{reply.index_version}+answerer-{reply.answerer_version}"


def usage(answer: Answer) -> dict[str, int]:
    """Tokens that the model read and wrote."""
    return {
        "prompt_tokens": answer.num_prompt_tokens,
        "completion_tokens": answer.num_completion_tokens,
        "total_tokens": answer.num_prompt_tokens + answer.num_completion_tokens,
    }


def _chunk(entry: Completion, delta: Mapping[str, Any], *, finish_reason: str | None = None) -> dict[str, Any]:
    return {
        "id": entry.id,
        "object": "chat.completion.chunk",
        "created": entry.created,
        "model": entry.model,
        "choices": [{"index": 0, "delta": dict(delta), "finish_reason": finish_reason, "logprobs": None}],
    }


def _pieces(text: str) -> Iterator[str]:
    """The text cut at blanks into pieces of about `PIECE_CHARACTERS`; joined, they are the text."""
    piece = ""
    for part in re.findall(r"\S*\s*", text):
        piece += part
        if len(piece) >= PIECE_CHARACTERS:
            yield piece
            piece = ""
    if piece:
        yield piece


def _of_document(passage: Passage) -> dict[str, Any]:
    updated_at = passage.updated_at.isoformat() if passage.updated_at else None
    return {"knowledge_base": passage.knowledge_base, "updated_at": updated_at}


def _passage(number: int, passage: Passage) -> dict[str, Any]:
    kept = ("document_id", "uri", "title", "headings", "text", "start", "end", "score")
    return {"marker": number} | {name: getattr(passage, name) for name in kept} | _of_document(passage)
