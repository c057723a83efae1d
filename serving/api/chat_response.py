"""An answer as OpenAI's API gives it: a completion, or a stream of chunks, the text as it is written.

What the check finds (citations, claims, the outcome) stands beside the text: it never holds it back.
"""

import re
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from serving.api.text import encoded
from serving.api.tree import answer_tree
from tasks.answer.answer import Answer
from tasks.answer.assistant import Reply
from tasks.answer.citations import Citation
from tasks.answer.draft import markers
from tasks.index.passage import Passage

PIECE_CHARACTERS = 24


@dataclass(frozen=True, slots=True)
class Completion:
    """One completion that is being written.

    Attributes:
        is_json: whether its text is a JSON value: where the documents hold none, a refusal stands in its place.
    """

    model: str
    is_json: bool = False
    id: str = field(default_factory=lambda: f"chatcmpl-{uuid.uuid4().hex}")
    created: int = field(default_factory=lambda: int(time.time()))


def completion(entry: Completion, reply: Reply) -> dict[str, Any]:
    """Return a whole answer, as OpenAI's API gives it."""
    refusal = _refusal(entry, reply.answer)
    text = None if refusal else reply.answer.text
    notes = _notes(entry, reply.answer, text or "")
    message = {"role": "assistant", "content": text, "refusal": refusal, "annotations": notes}
    return {
        "id": entry.id,
        "object": "chat.completion",
        "created": entry.created,
        "model": entry.model,
        "system_fingerprint": fingerprint(reply),
        "choices": [{"index": 0, "message": message, "finish_reason": _finish_reason(reply), "logprobs": None}],
        "usage": usage(reply.answer),
        "almanac": details(reply),
    }


def first_chunk(entry: Completion) -> bytes:
    """Return the role, sent before anything is known."""
    return event(_chunk(entry, {"role": "assistant", "content": ""}))


class TextStream:
    """What of a text was sent. Blanks at its two ends are held back: the whole answer has none there."""

    def __init__(self) -> None:
        self.sent = ""
        self._held = ""

    def add(self, piece: str) -> str:
        """Take what was written next and return what is to be sent now."""
        text = self._held + piece if self.sent else (self._held + piece).lstrip()
        ready = text.rstrip()
        self._held = text[len(ready) :]
        self.sent += ready
        return ready

    def rest(self, answer: Answer) -> str:
        """Return what is yet to be sent of the whole answer; nothing where it goes on otherwise than what was sent.

        What takes the place of a draft stands in a paragraph of its own: whoever reads the text alone has no other.
        """
        if answer.text.startswith(self.sent):
            rest = answer.text[len(self.sent) :]
        else:
            rest = f"\n\n{answer.text}" if answer.abstained else ""
        self.sent += rest
        return rest


def text_chunk(entry: Completion, text: str) -> bytes:
    """Return a piece of the text."""
    return event(_chunk(entry, {"content": text}))


def last_chunks(entry: Completion, reply: Reply, stream: TextStream, *, include_usage: bool) -> Iterator[bytes]:
    """Yield the rest of the text in pieces, then annotations and details, then the end."""
    shared = {"system_fingerprint": fingerprint(reply)}
    refusal = _refusal(entry, reply.answer)
    name, rest = ("refusal", refusal) if refusal else ("content", stream.rest(reply.answer))
    for piece in _pieces(rest):
        yield event(_chunk(entry, {name: piece}) | shared)
    notes = _notes(entry, reply.answer, stream.sent)
    last = _chunk(entry, {"annotations": notes}, finish_reason=_finish_reason(reply))
    yield event(last | shared | {"almanac": details(reply)})
    if include_usage:
        yield event(_chunk(entry, {}) | shared | {"choices": [], "usage": usage(reply.answer)})
    yield b"data: [DONE]\n\n"


def event(content: Mapping[str, Any]) -> bytes:
    """Return a server-sent event."""
    return b"data: " + encoded(content) + b"\n\n"


def _refusal(entry: Completion, answer: Answer) -> str | None:
    """Why there is no JSON value, in OpenAI's own field for it; a text says so itself."""
    return answer.reason or answer.text if entry.is_json and answer.abstained else None


def _notes(entry: Completion, answer: Answer, text: str) -> list[dict[str, Any]]:
    """Citations of a text at its markers; of a JSON value, which has none, at the values that a passage holds."""
    if not entry.is_json:
        return annotations(answer, text)
    cited = {citation.marker: citation for citation in answer.citations}
    claims = [(claim, cited[number]) for claim in answer.claims for number in claim.markers if number in cited]
    return [_url_citation(claim.start, claim.end, citation) for claim, citation in claims]


def annotations(answer: Answer, text: str) -> list[dict[str, Any]]:
    """Return one `url_citation` for each passage that a marker of the text names, in order; indexes are characters."""
    cited = {citation.marker: citation for citation in answer.citations}
    places = [(marker, cited[number]) for marker in markers(text) for number in marker.numbers if number in cited]
    return [_url_citation(marker.start, marker.end, citation) for marker, citation in places]


def _url_citation(start: int, end: int, citation: Citation) -> dict[str, Any]:
    place = {"start_index": start, "end_index": end, "url": citation.uri, "title": citation.title}
    return {"type": "url_citation", "url_citation": place}


def details(reply: Reply) -> dict[str, Any]:
    """Return what OpenAI's API has no place for: outcome, claims, quotes, versions, the trace, a tree.

    `text` is the answer as it holds; a stream may have sent a marker that the check took out.
    """
    answer = reply.answer
    return {
        "index_version": reply.index_version,
        "answerer_version": reply.answerer_version,
        "trace_id": reply.trace_id,
        "cached": reply.cached,
        "question": reply.question,
        "text": answer.text,
        "outcome": answer.outcome,
        "abstained": answer.abstained,
        "reason": answer.reason,
        "claims": [asdict(claim) for claim in answer.claims],
        "citations": [
            asdict(citation) | _of_document(answer.passages[citation.marker - 1]) for citation in answer.citations
        ],
        "passages": [_passage(number, passage) for number, passage in enumerate(answer.passages, start=1)],
        "tree": answer_tree(answer),
        "seconds": reply.seconds,
    }


def fingerprint(reply: Reply) -> str:
    """Return names what answered."""
    return f"index-{reply.index_version}+answerer-{reply.answerer_version}"


def _finish_reason(reply: Reply) -> str:
    return "length" if reply.is_cut else "stop"


def usage(answer: Answer) -> dict[str, int]:
    """Return tokens that the model read and wrote."""
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
