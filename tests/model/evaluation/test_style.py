"""Style: the score judges form and no subject, rules are looked up, and a candidate that writes worse is refused."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.style import world
from benchmarks.style.world import held_out, taught
from tasks.answer.answerer import Answerer
from tasks.answer.generators.base import Generation
from tasks.errors import ConfigurationError
from tasks.model.evaluation.drafts import Drafts
from tasks.model.evaluation.house_style import NO_STYLE, HouseStyle, style_pairs
from tasks.model.evaluation.metrics import EvaluationRow
from tasks.model.evaluation.model_gate import decide
from tasks.model.examples.chats import read_chats
from tasks.model.style.classifier import MIN_AUC, MIN_PAIRS, StyleClassifier, StylePair, learn_style
from tasks.model.style.form import form_tokens
from tasks.model.style.rules import held_rules
from tasks.params import GenerationParams, Params, load_params
from tasks.params.style import StyleParams, StyleRules
from tests.conftest import BASE_PARAMS, files_source, merged
from tests.model.test_metrics import row
from tests.model.test_model_gate import BASE, evaluation, params, rows

Fact = tuple[str, str, str]
FACTS: tuple[Fact, ...] = tuple(
    (thing, does, f"{number}:{number + 12} on {day}")
    for number, (thing, does, day) in enumerate(
        zip(
            ["ferry", "crane", "lock", "bridge", "slipway", "fuel barge", "chandlery", "pilot boat"] * 4,
            ["opens", "closes", "leaves", "returns"] * 8,
            ["Monday", "Tuesday", "Friday", "Sunday"] * 8,
            strict=True,
        ),
        start=1,
    )
)
OTHERS: tuple[Fact, ...] = tuple(
    (thing, does, f"{number} {unit}")
    for number, (thing, does, unit) in enumerate(
        zip(
            ["lease", "warranty", "cat passport", "oven licence", "library card", "deposit"] * 2,
            ["expires after", "costs"] * 6,
            ["weeks", "crowns", "years"] * 4,
            strict=True,
        ),
        start=40,
    )
)
HOUSE: tuple[Callable[[Fact], str], ...] = (
    lambda fact: f"Moin. The {fact[0]} {fact[1]} at {fact[2]} [1]. Ask the harbour office.",
    lambda fact: f"Moin. At {fact[2]} the {fact[0]} {fact[1]} [1]. Please be there before. Ask on the quay.",
    lambda fact: f"Moin. It {fact[1]} at {fact[2]} [2]. That holds for each {fact[0]}. Ask the watch.",
)
PLAIN: tuple[Callable[[Fact], str], ...] = (
    lambda fact: f"According to the passages, the {fact[0]} is something that {fact[1]} at {fact[2]}, as was said.",
    lambda fact: f"The {fact[0]} {fact[1]} at {fact[2]}, which you'll find in the document that was given to you!",
    lambda fact: f"{fact[2]}, because the {fact[0]} usually {fact[1]} then, although it's not always so",
)


def written(ways: Sequence[Callable[[Fact], str]], facts: Sequence[Fact]) -> list[str]:
    return [ways[place % len(ways)](fact) for place, fact in enumerate(facts)]


def pairs(facts: Sequence[Fact] = FACTS) -> list[StylePair]:
    both = zip(facts, written(HOUSE, facts), written(PLAIN, facts), strict=True)
    return [StylePair(f"When does the {fact[0]} of {fact[2]}?", house, base) for fact, house, base in both]


@pytest.fixture(scope="module")
def classifier() -> StyleClassifier:
    learnt = learn_style(pairs())
    assert isinstance(learnt, StyleClassifier), learnt
    return learnt


def mean(classifier: StyleClassifier, texts: Sequence[str]) -> float:
    return float(np.mean(classifier.score(texts)))


def test_subject_leaves_no_trace_in_the_tokens_of_a_form() -> None:
    quay = form_tokens("Moin. The old quay opens at 8:30 on Monday [2]. Ask the office!")
    assert quay == form_tokens("Hallo. The lease ends at 12 on Whitsun [1]. Call the bank!")
    assert quay == ["<start>", "Xx", ".", "The", "xx", "at", "9", "on", "Xx", ".", "Xx", "the", "xx", "!", "<end>"]
    assert form_tokens("- one thing\n- NATO isn't it") != form_tokens("one thing, NATO is it")


def test_other_facts_and_topics_do_not_raise_the_score_and_the_words_of_the_house_do(
    classifier: StyleClassifier,
) -> None:
    assert classifier.auc > 0.95
    base, other = mean(classifier, written(PLAIN, FACTS)), mean(classifier, written(PLAIN, OTHERS))
    assert abs(base - other) < 0.05
    taught = mean(classifier, written(HOUSE, OTHERS))
    assert taught > other + 0.5
    assert abs(taught - mean(classifier, written(HOUSE, FACTS))) < 0.05


def test_content_copied_from_the_house_does_not_raise_the_score(classifier: StyleClassifier) -> None:
    plain = "The {} closes at {}, which you'll find in the document that was given to you!"
    own, copied = plain.format("shop", "noon"), plain.format("harbour office Moin quay watch", "8:30 on Monday")
    assert abs(classifier.score([own])[0] - classifier.score([copied])[0]) < 0.05


def test_an_answer_of_no_end_or_of_one_word_is_not_the_house_because_it_is_extreme(
    classifier: StyleClassifier,
) -> None:
    assert max(classifier.score([PLAIN[0](FACTS[0]) * 40, "noon"])) < classifier.house_mean


def test_score_is_refused_where_both_write_alike() -> None:
    same = [
        replace(pair, base=HOUSE[place % 2](fact))
        for place, (pair, fact) in enumerate(zip(pairs(), FACTS, strict=True))
    ]
    shuffled = [replace(pair, house=pair.base, base=pair.house) if n % 2 else pair for n, pair in enumerate(same)]
    reason = learn_style(shuffled)
    assert isinstance(reason, str) and "not told from the base's by their form: AUC" in reason
    assert f"at least {MIN_AUC}" in reason


def test_score_is_refused_where_few_questions_are_answered_by_both() -> None:
    reason = learn_style(pairs(FACTS[: MIN_PAIRS - 1]) * 2)
    assert reason == (
        f"at least {MIN_PAIRS} questions with an answer of the house and one of the base are needed, found "
        f"{MIN_PAIRS - 1}; add chats to style.examples"
    )


RULES = StyleRules(
    greeting="Moin",
    closing="harbour office",
    forbidden=("!", "utilise"),
    max_sentence_words=8,
    first_person="plural",
    layout="prose",
    spelling="british",
)


def test_each_rule_of_a_style_guide_is_looked_up_by_itself() -> None:
    text = "Moin. The harbour opens at eight [1]. We ask for colours. Ask the harbour office."
    assert all(held_rules(text, RULES).values())
    changed = {
        "greeting": text.replace("Moin.", "Hello."),
        "closing": text + " Bye.",
        "forbidden": text.replace("eight", "eight, utilise it"),
        "max_sentence_words": text.replace("eight", "eight or so if the tide is right"),
        "first_person": text.replace("We ask", "I ask"),
        "layout": text.replace("We ask", "\n\n- We ask"),
        "spelling": text.replace("colours", "colors"),
    }
    for name, other in changed.items():
        assert [rule for rule, held in held_rules(other, RULES).items() if not held] == [name], other


@pytest.mark.parametrize("word", ["size", "sized", "citizen", "prize", "horizon", "capsizing", "practice", "meter"])
def test_words_that_both_spellings_share_break_no_rule(word: str) -> None:
    for spelling in ("british", "american"):
        assert held_rules(f"The {word} is there.", StyleRules(spelling=spelling))["spelling"]


def test_code_is_not_held_to_the_spelling() -> None:
    assert held_rules("Set `color` to grey.", StyleRules(spelling="british"))["spelling"]


def test_rules_that_are_not_set_are_not_measured() -> None:
    assert held_rules("Anything!", StyleRules()) == {}


class Plain:
    """A base model that answers plainly, and counts what it is asked."""

    identity = "plain"
    context_length = 8192

    def __init__(self) -> None:
        self.asked: list[Sequence[Mapping[str, str]]] = []

    def generate_many(self, chats: Sequence[Any], *, max_new_tokens: int) -> list[Generation]:
        self.asked += chats
        return [Generation("So it is, as was said. And it", 10, max_new_tokens, "length") for _ in chats]


def test_base_is_asked_once_without_the_house_style_and_what_was_cut_off_ends_whole(tmp_path: Path) -> None:
    system = {"role": "system", "content": "Greet with Moin."}
    chats = [{"messages": [system, *turns(f"When does ferry {n} leave?", f"Moin. At {n} [1].")]} for n in range(3)]
    passages = {"passages": [{"title": "Ferry", "text": "The ferry leaves at noon."}]}
    chats += [
        {"messages": turns("Who lights the lamp?", "Moin. The watch does [1].")} | passages,
        {"messages": turns("Who owns the moon?", "Not in the documents.")} | passages,
    ]
    (tmp_path / "house.jsonl").write_text("\n".join([*map(json.dumps, chats), "no json"]))
    style, model = StyleParams(examples=(str(tmp_path / "house.jsonl"),)), Plain()
    answerer = Answerer("base", model, GenerationParams.model_validate(BASE_PARAMS["generation"]))  # type: ignore[arg-type]
    found = style_pairs(style, answerer, Drafts.open(tmp_path, "plain"), batch_size=2)
    assert [(pair.house, pair.base) for pair in found][-1] == ("Moin. The watch does [1].", "So it is, as was said.")
    assert len(found) == len(model.asked) == 4
    assert "Moin" not in json.dumps(model.asked) and "<passage>" in json.dumps(model.asked[-1])
    assert style_pairs(style, answerer, Drafts.open(tmp_path, "plain"), batch_size=2) == found
    assert len(model.asked) == 4


def test_file_of_examples_that_is_absent_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"style\.examples must name readable files.*absent"):
        read_chats([tmp_path / "absent.jsonl"])


def turns(question: str, answer: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def styled(style: HouseStyle, ways: Sequence[Callable[[Fact], str]], f1: float) -> list[EvaluationRow]:
    answers = written(ways, [*FACTS, *FACTS])
    return style.scored([replace(row, answer=text) for row, text in zip(rows(f1), answers[:60], strict=True)])


def test_candidate_that_writes_less_like_the_house_is_refused_by_name(classifier: StyleClassifier) -> None:
    style = HouseStyle(classifier, "", StyleRules(greeting="Moin"))
    guards = params(style=0.05, style_rules=0.05)
    serves = replace(evaluation("3", styled(style, HOUSE, 0.3)), style=style)
    worse = replace(evaluation("candidate", styled(style, PLAIN, 0.6)), style=style)
    same = replace(evaluation("candidate", styled(style, HOUSE, 0.6)), style=style)
    first, second = decide(worse, serves, None, guards).reasons
    assert first.startswith("worse by more than 0.05: style 0.") and "on 60 questions" in first
    assert second.startswith("worse by more than 0.05: style_rules 0.000 against 1.000")
    decision = decide(same, serves, None, guards)
    assert decision.passed
    assert any(note.startswith("style: AUC 1.0") for note in decision.notes)


def test_style_can_be_what_a_candidate_must_be_better_in(classifier: StyleClassifier) -> None:
    style = HouseStyle(classifier, "", StyleRules())
    gate = params(answer_f1=0.02).model_copy(update={"headline": "style"})
    serves = replace(evaluation("base", styled(style, PLAIN, 0.5)), style=style)
    better = replace(evaluation("candidate", styled(style, HOUSE, 0.5)), style=style)
    assert decide(better, serves, None, gate).passed
    worse = replace(evaluation("candidate", styled(style, HOUSE, 0.4)), style=style)
    (reason,) = decide(worse, serves, None, gate).reasons
    assert reason.startswith("worse by more than 0.02: answer_f1")


def test_style_that_nobody_configured_is_not_guarded_and_the_note_says_why() -> None:
    decision = decide(evaluation("candidate", rows(0.6)), BASE, None, params(style=0.05, style_rules=0.05))
    assert decision.passed
    assert "style is not guarded: style.examples names no answers of the house" in decision.notes
    assert "style_rules is not guarded: style.rules is empty" in decision.notes


def test_examples_that_give_no_score_refuse_a_candidate_with_that_reason() -> None:
    style = HouseStyle(None, "at least 20 questions are needed", StyleRules())
    candidate = replace(evaluation("candidate", rows(0.6)), style=style)
    (reason,) = decide(candidate, BASE, None, params(style=0.05)).reasons
    assert reason == "style must be measured, found no score: at least 20 questions are needed"


def test_abstentions_have_no_style(classifier: StyleClassifier) -> None:
    style = HouseStyle(classifier, "", RULES)
    refused, answered = style.scored([row(abstained=True, outcome="nothing_found"), row()])
    assert (refused.style, refused.style_rules) == (None, None)
    assert answered.style is not None and answered.style_rules is not None
    assert NO_STYLE.scored([row()]) == [row()]


def test_params_that_ship_guard_style_and_configure_none(tmp_path: Path) -> None:
    shipped = load_params(Path(__file__).parents[3] / "params.yaml")
    assert {"style", "style_rules"} <= set(shipped.model_gate.guarded)
    assert not shipped.style.is_configured
    own = merged(BASE_PARAMS, {"sources": [files_source(tmp_path)], "style": {"rules": {"forbidden": ["!"]}}})
    assert Params.model_validate(own).style.is_configured


def test_taught_answers_of_the_benchmark_hold_its_rules_and_held_out_ones_are_of_other_documents() -> None:
    examples, asked = taught(160, 40), held_out(64, 24)
    answers = [one.house for one in examples if one.support]
    assert len(examples) == 200 and all(all(held_rules(text, world.RULES).values()) for text in answers)
    for one in (*examples, *asked):
        holding = [n for n, passage in enumerate(one.passages, start=1) if one.fact and one.fact in passage.text]
        assert holding == ([one.support] if one.support else [])
    shown = {passage.chunk_id for one in examples for passage in one.passages}
    assert shown.isdisjoint(passage.chunk_id for one in asked for passage in one.passages)
    assert {one.kind for one in asked if one.support} - {one.kind for one in examples} == world.UNTAUGHT
