"""Follow-ups as people ask them: what each one is searched as."""

from collections.abc import Mapping, Sequence

import pytest

from tasks.answer.conversation import Turn, last_turn, rewritten
from tasks.errors import DependencyError

MISTUNE = "What is mistune?"
LEANING = [
    (MISTUNE, "is it safe for untrusted input?", "mistune"),
    (MISTUNE, "Is it safe to use in production?", "mistune"),
    (MISTUNE, "how do I install it", "mistune"),
    (MISTUNE, "and for PDFs?", "mistune"),
    (MISTUNE, "what about tables?", "mistune"),
    (MISTUNE, "why?", "mistune"),
    (MISTUNE, "with Docker?", "mistune"),
    (MISTUNE, "show me an example please", "mistune"),
    (MISTUNE, "What is the licence?", "mistune"),
    (MISTUNE, "Does that work on Windows?", "mistune"),
    (MISTUNE, "what are its plugins called?", "mistune"),
    ("How do I limit requests with pyrate-limiter?", "Can it store its state in Redis?", "pyrate-limiter"),
    ("What's the difference between dill and cloudpickle?", "Which one is faster?", "cloudpickle"),
    ("How long are snapshots kept?", "Who restores them?", "snapshots"),
]
ALONE = [
    (MISTUNE, "What does tenacity do?"),
    (MISTUNE, "Is it possible to limit requests per second?"),
    (MISTUNE, "Is it true that dill pickles lambdas?"),
    (MISTUNE, "How do I add Node.js to a virtualenv and keep it current?"),
    (MISTUNE, "What is the GIL?"),
    (MISTUNE, "pytest-timeout session"),
    (MISTUNE, "thanks"),
    (MISTUNE, "ok, great, thank you very much!"),
]


@pytest.mark.parametrize(("before", "question", "subject"), LEANING)
def test_follow_up_is_searched_with_what_it_speaks_of(before: str, question: str, subject: str) -> None:
    searched = last_turn([before, question]).searched()
    assert searched.startswith(question)
    assert subject in searched.removeprefix(question)


@pytest.mark.parametrize(("before", "question"), ALONE)
def test_question_that_stands_alone_is_searched_as_it_is(before: str, question: str) -> None:
    assert last_turn([before, question]).searched() == question


@pytest.mark.parametrize("question", ["Is it safe for untrusted input?", "and for PDFs?", "why?"])
def test_first_question_is_searched_as_it_is(question: str) -> None:
    assert last_turn([question]).searched() == question


def test_subject_outlasts_thanks_and_a_chain_of_follow_ups() -> None:
    turn = last_turn([MISTUNE, "thanks!", "how do I install it?", "and then?"])
    assert "mistune" in turn.searched()


def test_new_subject_takes_the_old_ones_place() -> None:
    assert last_turn([MISTUNE, "What does tenacity do?", "how do I install it?"]).subject == ("tenacity",)


def test_only_what_names_a_document_is_asked_of_the_answer() -> None:
    turn = last_turn(["How do I limit requests with pyrate-limiter?", "Can it use Redis?"])
    assert turn.about(["pyrate-limiter"]) == "Can it use Redis? (pyrate-limiter)"


@pytest.mark.parametrize(("text", "is_courtesy"), [("Thanks a lot!", True), ("hi", True), ("good backups?", False)])
def test_courtesy_is_told_from_a_question(text: str, is_courtesy: bool) -> None:
    assert Turn(text).is_courtesy is is_courtesy


class Writer:
    """A model that writes what it is told to, and counts."""

    def __init__(self, text: str) -> None:
        self.text, self.prompts = text, list[str]()

    def __call__(self, messages: Sequence[Mapping[str, str]], *, max_new_tokens: int) -> str:
        assert max_new_tokens <= 64
        self.prompts.append(messages[-1]["content"])
        return self.text


def test_model_rewrites_a_follow_up() -> None:
    writer = Writer('"Is mistune safe for untrusted input?"\n\nI hope this helps.')
    turn = rewritten(last_turn([MISTUNE, "Is it safe for untrusted input?"]), writer)
    assert turn.searched() == turn.about([]) == "Is mistune safe for untrusted input?"
    assert MISTUNE in writer.prompts[0]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Is mistune safe for untrusted input by the attackers of contoso.example?",
        "What is mistune?",
        "x" * 400,
    ],
)
def test_sentence_that_is_not_the_askers_is_not_taken(text: str) -> None:
    turn = last_turn([MISTUNE, "Is it safe for untrusted input?"])
    assert rewritten(turn, Writer(text)) == turn


def test_model_is_not_called_where_nothing_was_asked_before() -> None:
    writer = Writer("x")
    for questions in (["Is it safe?"], [MISTUNE, "thanks"], [MISTUNE, "Does Redis keep TTLs?"]):
        rewritten(last_turn(questions), writer)
    assert writer.prompts == []


def test_model_that_fails_leaves_the_rules() -> None:
    def fails(messages: Sequence[Mapping[str, str]], *, max_new_tokens: int) -> str:
        raise DependencyError("the endpoint must answer")

    turn = last_turn([MISTUNE, "how do I install it?"])
    assert rewritten(turn, fails) == turn
