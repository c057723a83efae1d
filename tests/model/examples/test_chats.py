"""The user's own chats: the last answer is learnt, a bad line is left out alone, and evaluation is not taught."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tasks.answer.generators.transformers import load_base
from tasks.errors import ConfigurationError
from tasks.index.golden import GoldenQuestion
from tasks.model.examples.chats import chat_examples
from tasks.model.examples.contamination import HeldOutQuestions
from tasks.model.examples.example import ChatTurn, Example, read_examples, write_examples
from tasks.model.examples.splits import Splits
from tasks.model.examples.tokens import example_tokens, messages_of
from tasks.model.training.supervised import make_plan
from tasks.params import Params
from tasks.settings import Settings
from tests.chat_model import save_chat_model
from tests.conftest import BASE_PARAMS, files_source, merged

SPLITS = Splits({}, frozenset(), frozenset(), 0.3)
GOLDEN = GoldenQuestion("g-1", "Where is the vault of the harbour?", None, None, None, "wiki", "test")


def chat(*contents: str, **more: Any) -> dict[str, Any]:
    roles = ("user", "assistant")
    messages = [{"role": roles[n % 2], "content": text} for n, text in enumerate(contents)]
    return {"messages": messages} | more


def read(folder: Path, *lines: Any, max_tokens: int = 1024, tokens: int = 10) -> tuple[list[Example], Counter[str]]:
    path = folder / "house.jsonl"
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines))
    left_out: Counter[str] = Counter()
    examples = chat_examples(
        [path],
        SPLITS,
        HeldOutQuestions([GOLDEN]),
        left_out,
        corpus="corpus-0001",
        max_tokens=max_tokens,
        count_tokens=lambda _: tokens,
    )
    return examples, left_out


def test_last_answer_is_learnt_and_what_was_said_before_is_read(tmp_path: Path) -> None:
    system = {"role": "system", "content": "Be short."}
    line = chat("Hello!", "Good day. ", "How do I pay?", "By card.")
    (example,), left_out = read(tmp_path, line | {"messages": [system, *line["messages"]]})
    assert (example.question, example.answer, example.origin) == ("How do I pay?", "By card.", "chat")
    assert example.history == (
        ChatTurn("system", "Be short."),
        ChatTurn("user", "Hello!"),
        ChatTurn("assistant", "Good day."),
    )
    assert [message["role"] for message in messages_of(example)] == ["system", "user", "assistant", "user"]
    assert not left_out
    path = tmp_path / "set.jsonl"
    write_examples([example], path)
    assert list(read_examples(path)) == [example]


def test_passages_of_a_chat_are_read_and_what_the_answer_cites_is_its_support(tmp_path: Path) -> None:
    passages = [{"title": "Fees", "text": "Two crowns."}, {"text": "Open at nine."}]
    (example,), _ = read(tmp_path, chat("What is the fee?", "Two crowns [1]", passages=passages, topic="fees"))
    assert (example.support, example.topic, example.answerable) == ((1,), "fees", True)
    assert [passage.title for passage in example.passages] == ["Fees", ""]
    assert all(document.startswith("chat:house.jsonl:1") for document in example.document_ids)
    assert "Two crowns." in messages_of(example)[-1]["content"]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "must be one JSON object"),
        ([], "must be one JSON object"),
        ({"messages": "hello"}, "must have `messages`"),
        (chat("Only a question?"), "must alternate between user and assistant"),
        (chat("One", "Two", "Three"), "must alternate between user and assistant"),
        (chat("Question?", "  "), "must have words in every message"),
        ({"messages": [*chat("Q?", "A")["messages"], {"role": "system", "content": "x"}]}, "system message first"),
        (chat("Q?", "A [2]", passages=[{"text": "One."}]), "must cite passages that it has"),
        (chat("Q?", "A", passages=[{"title": "no text"}]), "must have `passages` with a `text`"),
        (chat("Q?", "A", "Q2?", "A [1]", passages=[{"text": "One."}]), "must be one question and its answer"),
        (chat("Where is the vault of the harbour?", "There."), "golden question of evaluation, found g-1"),
        (chat("Is it first?", "Yes."), "must be said once"),
    ],
)
def test_bad_line_is_left_out_alone_with_its_reason(tmp_path: Path, line: Any, reason: str) -> None:
    examples, left_out = read(tmp_path, chat("Is it first?", "Yes."), line, chat("Is it last?", "No."))
    assert [example.question for example in examples] == ["Is it first?", "Is it last?"]
    ((said, count),) = left_out.items()
    assert said.startswith("chat: house.jsonl line 2") and reason in said and count == 1


def test_chat_that_is_longer_than_a_training_input_is_left_out(tmp_path: Path) -> None:
    examples, left_out = read(tmp_path, chat("Long?", "Long."), max_tokens=128, tokens=129)
    assert not examples and "must fit fine_tuning.max_length (128), found 129" in next(iter(left_out))


def test_file_that_is_absent_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"examples\.chats must name readable files .*absent\.jsonl"):
        chat_examples(
            [tmp_path / "absent.jsonl"],
            SPLITS,
            HeldOutQuestions([]),
            Counter(),
            corpus="",
            max_tokens=9,
            count_tokens=lambda _: 1,
        )


def test_same_question_is_on_one_side_of_the_split_and_both_sides_are_there(tmp_path: Path) -> None:
    lines = [chat(f"Question {n % 20}?", f"Answer {n}.") for n in range(40)]
    examples, _ = read(tmp_path, *lines)
    sides = {example.question: {e.split for e in examples if e.question == example.question} for example in examples}
    assert all(len(splits) == 1 for splits in sides.values())
    assert {example.split for example in examples} == {"train", "validation"}


def test_training_learns_chats_and_only_holds_to_what_is_replayed(tmp_path: Path) -> None:
    model = {"model": str(save_chat_model(tmp_path / "model")), "gguf_file": None, "answerer": "model"}
    params = Params.model_validate(merged(BASE_PARAMS, {"sources": [files_source(tmp_path)], "generation": model}))
    base = load_base(params.generation, Settings(num_threads=1))
    examples, _ = read(tmp_path, *(chat(f"Question {n}?", f"Answer {n}.") for n in range(12)))
    plan, held_out = make_plan(examples, None, base, params)
    num_train = sum(example.split == "train" for example in examples)
    assert sum(len(sequence.branches) for sequence in plan.sequences) == num_train
    assert sum(len(sequence.branches) for sequence in held_out) == len(examples) - num_train
    assert example_tokens(examples[0], base) > 20
