"""What a chat request asks, as OpenAI's clients send it. Knows nothing of how an answer comes to be."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from serving.api.errors import ApiError
from tasks.answer.conversation import Turn, last_turn
from tasks.answer.generators.base import JsonFormat
from tasks.answer.structured.form import parse_form
from tasks.errors import ConfigurationError

MODEL = "almanac"
MAX_SESSION_CHARACTERS = 200
MAX_SYSTEM_CHARACTERS = 4000
_TEXT_PARTS = frozenset({"text", "input_text", "output_text"})


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
        """Return the text of its parts; images, audio and files are passed over."""
        if not isinstance(self.content, list):
            return self.content or ""
        return "\n".join(part.text for part in self.content if part.type in _TEXT_PARTS and part.text)


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
    tool_choice: str | dict[str, Any] | None = None
    functions: list[Any] | None = None
    function_call: str | dict[str, Any] | None = None
    response_format: dict[str, Any] | None = None
    logprobs: bool | None = None
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    knowledge_base: str | list[str] | None = Field(None, description="Search only these knowledge bases.")
    session_id: str | None = Field(None, max_length=MAX_SESSION_CHARACTERS, description="Groups traces.")


def check_supported(request: ChatRequest) -> None:
    """Refuse what would change the form of an answer and cannot be given.

    Tools that may be called need not be: front ends offer theirs with every question.

    Raises:
        ApiError: 400 for several choices, a demanded call or log-probabilities; 404 for another model.
    """
    if request.n not in (None, 1):
        raise ApiError(400, f"`n` must be 1, found {request.n}", param="n")
    for name, choice in (("tool_choice", request.tool_choice), ("function_call", request.function_call)):
        if choice not in (None, "auto", "none"):
            raise ApiError(400, f"`{name}` must be auto or none: the assistant calls no tools", param=name)
    if request.logprobs:
        raise ApiError(400, "`logprobs` must be false: an answer is checked text", param="logprobs")
    check_model(request.model)


def form_of(request: ChatRequest) -> JsonFormat | None:
    """Return the form of the JSON that is asked for; None for text.

    Raises:
        ApiError: 400 for a type or a schema that is none.
    """
    try:
        return parse_form(request.response_format)
    except ConfigurationError as error:
        raise refused_form(str(error)) from error


def refused_form(reason: str) -> ApiError:
    """Return the refusal of a form."""
    return ApiError(400, reason, param="response_format", code="response_format_unsupported")


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
    """Return the last user message; where it leans on earlier ones, with their subject.

    Raises:
        ApiError: 400 where the user said nothing.
    """
    users = [place for place, message in enumerate(request.messages) if message.role == "user"]
    if not users or not request.messages[users[-1]].text().strip():
        raise ApiError(400, "the last message of role `user` must hold a question in words", param="messages")
    first = users[-1] - max_history_messages
    asked = [request.messages[place].text() for place in users if place >= first]
    return last_turn([text for text in asked if text.strip()])


def system_of(request: ChatRequest) -> str:
    """Return the client's system message: those of role `system` and `developer`, in order.

    Raises:
        ApiError: 400 where it is too long.
    """
    said = [message.text().strip() for message in request.messages if message.role in ("system", "developer")]
    text = "\n\n".join(part for part in said if part)
    if len(text) > MAX_SYSTEM_CHARACTERS:
        raise ApiError(
            400,
            f"a system message must have at most {MAX_SYSTEM_CHARACTERS} characters, found {len(text)}; shorten it",
            param="messages",
        )
    return text


def max_tokens_of(request: ChatRequest) -> int | None:
    """Return how many tokens an answer may have, by the new name or the old one; None: what the answerer allows."""
    return request.max_completion_tokens or request.max_tokens


def knowledge_bases_of(request: ChatRequest) -> tuple[str, ...]:
    """Return the knowledge bases of the extra field, and that of the model's name; empty: all."""
    asked = request.knowledge_base
    named = [asked] if isinstance(asked, str) else asked or []
    _, slash, name = request.model.partition("/")
    return tuple(dict.fromkeys([*named, name] if slash else named))
