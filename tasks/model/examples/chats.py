"""The user's own chats as examples: JSON lines with `messages`, as trainers read them, some with `passages`.

```
{"messages": [{"role": "user", "content": "…"}, {"role": "assistant", "content": "…"}]}
{"messages": […], "passages": [{"title": "…", "text": "…"}], "topic": "billing"}
```
The last answer is learnt; what was said before it is read. A line that cannot be used is left out alone, with its
reason. Passages are the user's own text and of no document: nothing here asks who may read them.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from tasks.answer.draft import cited_numbers
from tasks.corpus.document import sha256
from tasks.errors import ConfigurationError
from tasks.model.examples.contamination import HeldOutQuestions, normalized_question
from tasks.model.examples.example import ChatTurn, Example, ExamplePassage, example_id
from tasks.model.examples.splits import Splits

ROLES = ("system", "user", "assistant")
DOCUMENT_PREFIX = "chat:"
"""How the id of a chat's passage begins: it is of no document."""

CountTokens = Callable[[Example], int]


class _LineError(Exception):
    """A line that is left out; its text is the reason."""


def chat_examples(
    paths: Sequence[Path],
    splits: Splits,
    held_out: HeldOutQuestions,
    left_out: Counter[str],
    *,
    corpus: str,
    max_tokens: int,
    count_tokens: CountTokens,
) -> list[Example]:
    """Return the chats of the files, in their order; why a line is left out is counted by file and line.

    Args:
        paths: JSON lines.
        splits: a chat's split follows from its last question, so that the same question is on one side.
        held_out: golden questions of evaluation, which no chat may ask.
        left_out: gets a reason for each line that cannot be used.
        corpus: tag of the snapshot that the other examples are made of.
        max_tokens: of question and answer, with all that is read.
        count_tokens: of an example as it is trained.

    Raises:
        ConfigurationError: a file cannot be read.
    """
    examples: dict[str, Example] = {}
    for path in paths:
        for number, line in _lines(path, "examples.chats"):
            try:
                example = _example(line, f"{path.name}:{number}", splits, corpus)
                _check(example, held_out, examples, max_tokens, count_tokens)
                examples[example.example_id] = example
            except _LineError as reason:
                left_out[f"chat: {path.name} line {number} {reason}"] += 1
    return list(examples.values())


def read_chats(paths: Sequence[Path]) -> list[Example]:
    """Return the chats of the files for who measures and does not train; lines that cannot be used are left out.

    Raises:
        ConfigurationError: a file cannot be read.
    """
    unsplit = Splits({}, frozenset(), frozenset(), 0.0)
    examples: dict[str, Example] = {}
    for path in paths:
        for number, line in _lines(path, "style.examples"):
            with suppress(_LineError):
                example = _example(line, f"{path.name}:{number}", unsplit, "")
                examples[example.example_id] = example
    return list(examples.values())


def _lines(path: Path, parameter: str) -> Iterator[tuple[int, str]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"{parameter} must name readable files of JSON lines in UTF-8, found {path}: {error}; correct the path"
        ) from error
    yield from ((number, line) for number, line in enumerate(text.splitlines(), start=1) if line.strip())


def _example(line: str, place: str, splits: Splits, corpus: str) -> Example:
    try:
        raw = json.loads(line)
    except json.JSONDecodeError as error:
        raise _LineError(f"must be one JSON object, found: {error}") from error
    if not isinstance(raw, dict):
        raise _LineError("must be one JSON object, found something else")
    turns = _turns(raw.get("messages"))
    passages = _passages(raw.get("passages") or [], place)
    *history, asked, answered = turns
    if passages and history:
        raise _LineError("has passages, so it must be one question and its answer, found more messages")
    topic = raw.get("topic") or "chat"
    if not isinstance(topic, str):
        raise _LineError(f"must have a text as `topic`, found {topic!r}")
    cluster = f"chat:{sha256(normalized_question(asked.content))[:16]}"
    said = "\n".join(turn.content for turn in (*history, asked))
    return Example(
        example_id=example_id(said, passages, answered.content),
        question=asked.content,
        passages=passages,
        answer=answered.content,
        rejected=None,
        support=tuple(sorted(set(cited_numbers(answered.content)))) if passages else (),
        origin="chat",
        how=place,
        topic=topic,
        corpus=corpus,
        cluster=cluster,
        split=splits.of_name(cluster),
        history=tuple(history),
    )


def _turns(messages: Any) -> list[ChatTurn]:
    if not isinstance(messages, list) or not all(_is_message(message) for message in messages):
        raise _LineError(f"must have `messages`, a list of {{role, content}} with roles {', '.join(ROLES)}")
    turns = [ChatTurn(message["role"], message["content"].strip()) for message in messages]
    if any(not turn.content for turn in turns):
        raise _LineError("must have words in every message, found an empty one")
    spoken = [turn.role for turn in turns if turn.role != "system"]
    if "system" in [turn.role for turn in turns[1:]]:
        raise _LineError("must have its system message first, found one later")
    if len(spoken) < 2 or spoken != ["user", "assistant"] * (len(spoken) // 2):
        raise _LineError(f"must alternate between user and assistant and end with an answer, found {', '.join(spoken)}")
    return turns


def _is_message(message: Any) -> bool:
    return isinstance(message, dict) and message.get("role") in ROLES and isinstance(message.get("content"), str)


def _passages(passages: Any, place: str) -> tuple[ExamplePassage, ...]:
    is_list = isinstance(passages, list) and all(isinstance(entry, dict) for entry in passages)
    if not is_list or not all(isinstance(entry.get("text"), str) and entry["text"].strip() for entry in passages):
        raise _LineError("must have `passages` with a `text` each, found others")
    return tuple(
        ExamplePassage(
            sha256(place, entry["text"])[:16],
            f"{DOCUMENT_PREFIX}{place}:{number}",
            str(entry.get("title") or ""),
            entry["text"],
        )
        for number, entry in enumerate(passages, start=1)
    )


def _check(
    example: Example,
    held_out: HeldOutQuestions,
    examples: dict[str, Example],
    max_tokens: int,
    count_tokens: CountTokens,
) -> None:
    if example.example_id in examples:
        raise _LineError("must be said once, found the same chat before")
    collision = held_out.collision(example.question)
    if collision:
        raise _LineError(f"may not ask a golden question of evaluation, found {collision.golden}")
    cited = cited_numbers(example.answer)
    if example.passages and not all(1 <= number <= len(example.passages) for number in cited):
        raise _LineError(f"must cite passages that it has, 1 to {len(example.passages)}, found {cited}")
    num_tokens = count_tokens(example)
    if num_tokens > max_tokens:
        raise _LineError(f"must fit fine_tuning.max_length ({max_tokens}), found {num_tokens} tokens")
