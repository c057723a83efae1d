"""The chat API's shapes: what a request asks, and an answer as a completion or as a stream of chunks.

Knows nothing of how an answer comes to be. Answers are checked against their passages before they leave, so a stream
sends its text when the check is done, not token by token.
"""

import json
import re
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from serving.api.errors import ApiError
from tasks.answer.answer import Answer
from tasks.answer.assistant import Reply
from tasks.answer.history import Turn, last_turn
from tasks.index.passage import Passage

MODEL = "almanac"
PIECE_CHARACTERS = 24
MAX_SESSION_CHARACTERS = 200


class Part(BaseModel):
    """A part of a message; only text is understood."""

    model_config = ConfigDict(extra="allow")

    type: str
    text: str | None = None


class Message(BaseModel):
    """One message of a conversation."""

    model_config = ConfigDict(extra="allow")

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[Part] | None = None

    def text(self) -> str:
        """The text of its parts.

        Raises:
            ApiError: a part is no text.
        """
        if not isinstance(self.content, list):
            return self.content or ""
        if any(part.type != "text" for part in self.content):
            raise ApiError(400, "a message must be text; images, audio and files are not understood", param="messages")
        return "\n".join(part.text or "" for part in self.content)


class StreamOptions(BaseModel):
    """Whether the stream ends with the count of tokens."""

    model_config = ConfigDict(extra="allow")

    include_usage: bool | None = None


class ChatRequest(BaseModel):
    """What OpenAI's clients send. Sampling parameters have no effect: an answer is the likeliest one, checked."""

    model_config = ConfigDict(extra="allow")

    model: str = MODEL
    messages: list[Message] = Field(min_length=1)
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: int | None = None
    tools: list[Any] | None = None
    functions: list[Any] | None = None
    response_format: dict[str, Any] | None = None
    logprobs: bool | None = None
    knowledge_base: str | list[str] | None = Field(None, description="Search only these knowledge bases.")
    session_id: str | None = Field(None, max_length=MAX_SESSION_CHARACTERS, description="Groups traces.")


@dataclass(frozen=True, slots=True)
class Completion:
    """One completion that is being written."""

    model: str
    id: str = field(default_factory=lambda: f"chatcmpl-{uuid.uuid4().hex}")
    created: int = field(default_factory=lambda: int(time.time()))


def check_supported(request: ChatRequest) -> None:
    """Refuse what would change the form of an answer and cannot be given.

    Raises:
        ApiError: 400 for several choices, tools, log-probabilities or a format; 404 for another model.
    """
    if request.n not in (None, 1):
        raise ApiError(400, f"`n` must be 1, found {request.n}", param="n")
    if request.tools or request.functions:
        raise ApiError(400, "`tools` must be absent: the assistant answers from documents only", param="tools")
    if request.logprobs:
        raise ApiError(400, "`logprobs` must be false: an answer is checked text", param="logprobs")
    if request.response_format and request.response_format.get("type", "text") != "text":
        raise ApiError(400, "`response_format` must be text", param="response_format")
    check_model(request.model)


def check_model(model: str) -> None:
    """Refuse another model than `almanac` or `almanac/<knowledge base>`.

    Raises:
        ApiError: 404.
    """
    if model.partition("/")[0] != MODEL:
        raise ApiError(
            404, f"`model` must be `{MODEL}` or `{MODEL}/<knowledge base>`", param="model", code="model_not_found"
        )


def turn_of(request: ChatRequest, *, max_history_messages: int) -> Turn:
    """The last user message; where it leans on earlier ones, with their subject.

    Raises:
        ApiError: 400 where the user said nothing.
    """
    users = [place for place, message in enumerate(request.messages) if message.role == "user"]
    if not users or not request.messages[users[-1]].text().strip():
        raise ApiError(400, "`messages` must hold a question in a message of role `user`", param="messages")
    first = users[-1] - max_history_messages
    asked = [request.messages[place].text() for place in users if place >= first]
    return last_turn([text for text in asked if text.strip()])


def knowledge_bases_of(request: ChatRequest) -> tuple[str, ...]:
    """The knowledge bases of the extra field, and that of the model's name; empty: all."""
    asked = request.knowledge_base
    named = [asked] if isinstance(asked, str) else asked or []
    _, slash, name = request.model.partition("/")
    return tuple(dict.fromkeys([*named, name] if slash else named))


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


def first_chunk(entry: Completion) -> str:
    """The role, sent before anything is known."""
    return event(_chunk(entry, {"role": "assistant", "content": ""}))


def chunks(entry: Completion, reply: Reply, *, include_usage: bool) -> Iterator[str]:
    """The text in pieces, then annotations and details, then the end."""
    shared = {"system_fingerprint": fingerprint(reply)}
    for piece in _pieces(reply.answer.text):
        yield event(_chunk(entry, {"content": piece}) | shared)
    last = _chunk(entry, {"annotations": annotations(reply)}, finish_reason="stop")
    yield event(last | shared | {"almanac": details(reply)})
    if include_usage:
        yield event(_chunk(entry, {}) | shared | {"choices": [], "usage": usage(reply.answer)})
    yield "data: [DONE]\n\n"


def event(content: Mapping[str, Any]) -> str:
    """A server-sent event."""
    return f"data: {json.dumps(content, ensure_ascii=False, default=str)}\n\n"


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
