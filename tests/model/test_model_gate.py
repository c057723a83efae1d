from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from tasks.errors import ConfigurationError
from tasks.model.evaluation.evaluate import Evaluation
from tasks.model.evaluation.metrics import EvaluationRow
from tasks.model.evaluation.model_gate import ENOUGH_QUESTIONS, FEWEST_QUESTIONS, by_topic, decide
from tasks.model.evaluation.probes import Observation
from tasks.params import ModelGateParams
from tests.model.test_metrics import row

GUARDED = {"citation_precision": 0.02, "answered_share": 0.05, "perplexity_general": 0.03}


def params(**guarded: float) -> ModelGateParams:
    return ModelGateParams(headline="answer_f1", confidence=0.95, num_resamples=500, guarded=guarded or GUARDED)


def rows(f1: float, *, num_questions: int = 60, refused: int = 0, wrong_citations: int = 0) -> list[EvaluationRow]:
    """Questions whose F1 swings around a mean, some refused, some cited wrongly."""
    return [
        row(
            question_id=f"q{n}",
            topic=f"topic-{n % 2}",
            f1=0.0 if n < refused else f1 + (0.1 if n % 2 else -0.1),
            abstained=n < refused,
            cited=() if n < refused else (1,) if n < refused + wrong_citations else (2,),
        )
        for n in range(num_questions)
    ]


def evaluation(
    answerer: str,
    found: Sequence[EvaluationRow],
    *,
    log_perplexity: float = 3.0,
    probes: Mapping[str, Any] | None = None,
) -> Evaluation:
    texts = tuple(Observation(f"t{n}", 70 * log_perplexity, 70.0) for n in range(12))
    return Evaluation(
        answerer, f"weights-{answerer}", "4", tuple(found), {"perplexity_general": texts} | (probes or {})
    )


BASE = evaluation("base", rows(0.3))


def test_candidate_that_is_better_than_base_and_champion_passes() -> None:
    decision = decide(evaluation("candidate", rows(0.6)), BASE, evaluation("3", rows(0.5)), params())
    assert (decision.passed, decision.reasons) == (True, ())
    assert {entry.against for entry in decision.comparisons if entry.tolerance is None} == {"base", "3"}


def test_better_than_base_is_not_enough_where_a_champion_serves() -> None:
    decision = decide(evaluation("candidate", rows(0.4)), BASE, evaluation("3", rows(0.5)), params())
    assert not decision.passed
    assert any("answerer 3" in reason and "answer_f1" in reason for reason in decision.reasons)
    assert not any("answerer base" in reason for reason in decision.reasons)


def test_candidate_that_is_surely_worse_is_refused_by_its_headline_and_what_was_not_asked_is_said() -> None:
    worse = Evaluation("candidate", "weights-candidate", "4", tuple(rows(0.3)), {})
    decision = decide(worse, BASE, evaluation("3", rows(0.5)), params())
    assert any(reason.startswith("not better with confidence: answer_f1") for reason in decision.reasons)
    assert not any("perplexity_general" in reason for reason in decision.reasons)
    assert any("perplexity_general were not measured" in note for note in decision.notes)


def test_all_is_asked_of_a_worse_candidate_where_the_gate_says_so() -> None:
    worse = Evaluation("candidate", "weights-candidate", "4", tuple(rows(0.3)), {})
    whole = params().model_copy(update={"stop_early": False})
    decision = decide(worse, BASE, evaluation("3", rows(0.5)), whole)
    assert any("perplexity_general must be measured" in reason for reason in decision.reasons)


def test_candidate_that_may_be_better_has_to_be_asked_everything() -> None:
    unmeasured = Evaluation("candidate", "weights-candidate", "4", tuple(rows(0.5)), {})
    decision = decide(unmeasured, BASE, evaluation("3", rows(0.5)), params())
    assert any("perplexity_general must be measured" in reason for reason in decision.reasons)


def test_worse_candidate_that_was_asked_is_refused_by_the_name_of_each_guard() -> None:
    decision = decide(
        evaluation("candidate", rows(0.3), log_perplexity=3.2), BASE, evaluation("3", rows(0.5)), params()
    )
    assert any("perplexity_general" in reason for reason in decision.reasons)


def test_gain_within_noise_is_no_gain() -> None:
    noisy = [row(question_id=f"q{n}", f1=float(n % 2)) for n in range(60)]
    shifted = [row(question_id=f"q{n}", f1=float(n % 2) if n else 1.0) for n in range(60)]
    decision = decide(evaluation("candidate", shifted), evaluation("base", noisy), None, params())
    (reason,) = decision.reasons
    assert reason.startswith("not better with confidence: answer_f1")
    assert "[" in reason


def test_equal_answerers_are_not_better() -> None:
    assert not decide(evaluation("candidate", rows(0.3)), BASE, None, params()).passed


def test_worse_citations_refuse_a_better_answerer_and_are_named_with_numbers() -> None:
    decision = decide(evaluation("candidate", rows(0.6, wrong_citations=30)), BASE, None, params())
    (reason,) = decision.reasons
    assert reason.startswith("worse by more than 0.02: citation_precision 0.500 against 1.000")


def test_loss_within_tolerance_passes() -> None:
    assert decide(evaluation("candidate", rows(0.6, wrong_citations=1)), BASE, None, params()).passed


def test_answerer_that_refuses_too_much_is_refused() -> None:
    decision = decide(evaluation("candidate", rows(0.8, refused=12)), BASE, None, params())
    assert any("answered_share" in reason for reason in decision.reasons)


def test_perplexity_is_judged_by_its_growth_and_against_the_base() -> None:
    candidate = evaluation("candidate", rows(0.6), log_perplexity=3.05)
    drifted = evaluation("3", rows(0.5), log_perplexity=3.04)
    decision = decide(candidate, BASE, drifted, params())
    (reason,) = decision.reasons
    assert reason.startswith("worse by more than 0.03: perplexity_general")
    assert "answerer base: +0.051" in reason


def test_lower_perplexity_is_no_loss() -> None:
    assert decide(evaluation("candidate", rows(0.6), log_perplexity=2.5), BASE, None, params()).passed


def test_guarded_metric_that_was_not_measured_refuses() -> None:
    decision = decide(evaluation("candidate", rows(0.6)), BASE, None, params(abstention_recall=0.05))
    assert "abstention_recall must be measured" in decision.reasons[0]


def test_misspelt_metric_is_named() -> None:
    with pytest.raises(ConfigurationError, match="citation_precisoin"):
        decide(evaluation("candidate", rows(0.6)), BASE, None, params(citation_precisoin=0.1))


def test_too_few_questions_refuse_and_say_so() -> None:
    few = FEWEST_QUESTIONS - 1
    decision = decide(
        evaluation("candidate", rows(0.9, num_questions=few)),
        evaluation("base", rows(0.1, num_questions=few)),
        None,
        params(),
    )
    assert decision.reasons == (
        f"at least {FEWEST_QUESTIONS} held-out questions are needed, found {few}; add golden questions",
    )


def test_small_set_is_noted_even_where_the_gate_passes() -> None:
    decision = decide(evaluation("candidate", rows(0.6)), BASE, None, params())
    assert decision.passed
    assert str(ENOUGH_QUESTIONS) in decision.notes[0]


def test_other_questions_are_no_comparison() -> None:
    with pytest.raises(ConfigurationError, match="same questions"):
        decide(evaluation("candidate", rows(0.6, num_questions=59)), BASE, None, params())


def test_gained_and_lost_questions_are_named_by_topic() -> None:
    before = [row(question_id="a", topic="x", holds_anchor=False, contains=0.0), row(question_id="b", topic="x")]
    after = [row(question_id="a", topic="x"), row(question_id="b", topic="x", holds_anchor=False, contains=0.0)]
    (change,) = by_topic(evaluation("candidate", after), evaluation("base", before))
    assert (change.topic, change.num_questions, change.gained, change.lost) == ("x", 2, ("a",), ("b",))
