"""Prompts: files with a name and a version, filled with numbered passages and the question. Knows no model, no index.

A prompt is a Markdown file: front matter (`name`, `version`), `# System` (may be absent), `# User` with `{passages}`
and `{question}`. Ours lie in the folder `prompts`; `generation.prompt` takes a path to a file of one's own as well.
Whatever a document or an asker writes cannot close its passage or open another one, and code in it stays as it is. This
bounds what injected text can imitate, not what a model may be talked into; that is why claims are checked.
"""

import hashlib
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from pathlib import Path

import yaml

from tasks.answer.sentences import Span, sentences
from tasks.answer.words import terms, vocabulary
from tasks.errors import ConfigurationError
from tasks.index.passage import Passage

NOT_FOUND = "Not in the documents."
"""The agreed sentence of a refusal; `{not_found}` in a prompt."""
MAX_PLACE_CHARACTERS = 160
LAYOUT = 2
"""Counts up with any change of how passages are laid out: it changes what a model reads as the wording does."""

_FRONT_MATTER = re.compile(r"\A---\n(.*?)\n---\n(.*)\Z", re.DOTALL)
_PART = re.compile(r"^# (System|User)[ \t]*$\n", re.MULTILINE)
_DELIMITER = re.compile(r"<(?=\s*/?\s*passage\b)", re.IGNORECASE)
_CONTROL_TOKEN = re.compile(
    r"<(?=(?:\|[\w-]+\|?|\uff5c[^<>]{1,40}\uff5c)>|</?SYS>>|(?:start|end)_of_turn>|(?:bos|eos)>)"
    r"|\[(?=/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS)\])"
)
"""Of ChatML, Llama, Mistral, Gemma and DeepSeek. A model in this process has its own tokens broken by its generator."""

Messages = list[dict[str, str]]


@dataclass(frozen=True, slots=True)
class Prompt:
    """One way of asking.

    Attributes:
        system: the operator's message (tone, language, persona); empty: the model's own default.
        user: the user message with `{passages}` and `{question}`.
    """

    name: str
    version: int
    system: str
    user: str

    @property
    def digest(self) -> str:
        """Sixteen hex characters that change with any word of the prompt and with the layout of the passages."""
        return hashlib.sha256(f"{LAYOUT}\0{self.system}\0{self.user}".encode()).hexdigest()[:16]


def prompt_names() -> list[str]:
    """Return the prompts that come with Almanac."""
    return sorted(entry.name[:-3] for entry in files("prompts").iterdir() if entry.name.endswith(".md"))


@lru_cache(maxsize=64)
def load_prompt(name: str) -> Prompt:
    """Return the prompt of that name, or in the file of that path (`own/support.md`).

    Raises:
        ConfigurationError: there is no such prompt, or its file is none.
    """
    if name.endswith(".md"):
        path = Path(name)
        if not path.is_file():
            raise ConfigurationError(f"generation.prompt must name a file that exists, found {name!r}; write it")
        return parse_prompt(path.read_text(encoding="utf-8"), name)
    if name not in prompt_names():
        raise ConfigurationError(
            f"generation.prompt must be one of {prompt_names()} or the path of a .md file, found {name!r}"
        )
    return parse_prompt(files("prompts").joinpath(f"{name}.md").read_text(encoding="utf-8"), name)


def parse_prompt(text: str, origin: str) -> Prompt:
    """Read a prompt's file.

    Raises:
        ConfigurationError: front matter or the user part is absent, or the user part lacks a placeholder.
    """
    matter = _FRONT_MATTER.match(text.replace("\r\n", "\n"))
    head = yaml.safe_load(matter[1]) if matter else None
    if matter is None or not isinstance(head, dict) or not isinstance(head.get("version"), int) or "name" not in head:
        raise ConfigurationError(f"the prompt {origin} must begin with front matter that has name and version; add it")
    pieces = _PART.split(matter[2])
    parts = {title: body.strip() for title, body in zip(pieces[1::2], pieces[2::2], strict=True)}
    user = parts.get("User", "")
    if "{question}" not in user or "{passages}" not in user:
        raise ConfigurationError(
            f"the prompt {origin} must have a part `# User` with {{passages}} and {{question}}; add them"
        )
    filled = {name: body.replace("{not_found}", NOT_FOUND) for name, body in parts.items()}
    return Prompt(str(head["name"]), head["version"], filled.get("System", ""), filled["User"])


def render(prompt: Prompt, question: str, passages: Sequence[Passage], *, client_system: str = "") -> Messages:
    """Return the chat messages for a question over passages that are already short enough.

    Args:
        prompt: how it is asked.
        question: in plain words.
        passages: in the order of their numbers.
        client_system: the system message of whoever calls: it stands under the operator's, which comes first.
    """
    numbered = numbered_passages(passages, range(1, len(passages) + 1))
    # One pass over the template: a question or a passage that holds `{question}` stays as it is.
    values = {"{passages}": numbered, "{question}": guarded(question)}
    user = re.sub(r"\{passages\}|\{question\}", lambda match: values[match.group()], prompt.user)
    system = _system(prompt.system, client_system.strip())
    return [*([{"role": "system", "content": system}] if system else []), {"role": "user", "content": user}]


def _system(operator: str, client: str) -> str:
    if not client or not operator:
        return operator or client
    return f"{operator}\n\nFrom the application that asks (the rules above come first):\n\n{client}"


def numbered_passages(passages: Sequence[Passage], numbers: Collection[int]) -> str:
    """Return the passages of these numbers as a model reads them, in order."""
    numbered = enumerate(passages, start=1)
    return "\n".join(_passage_block(number, passage) for number, passage in numbered if number in numbers)


def _passage_block(number: int, passage: Passage) -> str:
    place = " \u203a ".join(" ".join(part.split()) for part in (passage.title, passage.headings) if part)
    return f"[{number}] {guarded(place)[:MAX_PLACE_CHARACTERS]}\n<passage>\n{guarded(passage.text.strip())}\n</passage>"


def guarded(text: str) -> str:
    """Break what imitates our delimiter (`</passage>`) or a chat model's control token (`<|im_end|>`), nothing else.

    A text that holds none is as it was, so that `LAYOUT` stays where another token is added.
    """
    return _CONTROL_TOKEN.sub("\\g<0>\u200b", _DELIMITER.sub("<\u200b", text))


def fit_passage(passage: Passage, question: str, count_tokens: Callable[[str], int], *, max_tokens: int) -> Span:
    """Return the part of a passage, in characters of its text, that fits `max_tokens` and holds most of the question.

    Grows from the sentence that shares most words with the question to the neighbour that shares more.
    """
    if count_tokens(passage.text) <= max_tokens:
        return Span(0, len(passage.text))
    spans = sentences(passage.text)
    asked = terms(question).words | terms(question).exact
    shared = [len(asked & vocabulary(passage.text[span.start : span.end])) for span in spans]
    first = last = max(range(len(spans)), key=lambda index: (shared[index], -index))

    def fits(start: int, end: int) -> bool:
        return count_tokens(passage.text[spans[start].start : spans[end].end]) <= max_tokens

    if not fits(first, last):
        return _cut(passage.text, spans[first], count_tokens, max_tokens)
    while True:
        forward = shared[last + 1] if last + 1 < len(spans) and fits(first, last + 1) else -1
        back = shared[first - 1] if first > 0 and fits(first - 1, last) else -1
        if forward < 0 and back < 0:
            return Span(spans[first].start, spans[last].end)
        first, last = (first, last + 1) if forward >= back else (first - 1, last)


def _cut(text: str, span: Span, count_tokens: Callable[[str], int], max_tokens: int) -> Span:
    """The longest beginning of one oversized sentence that fits, at a blank where there is one."""
    low, high = 0, span.end - span.start
    while low < high:
        middle = (low + high + 1) // 2
        if count_tokens(text[span.start : span.start + middle]) <= max_tokens:
            low = middle
        else:
            high = middle - 1
    blank = text.rfind(" ", span.start, span.start + low)
    return Span(span.start, blank if low < span.end - span.start and blank > span.start else span.start + low)
