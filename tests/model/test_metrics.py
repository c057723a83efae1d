import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.model.evaluation.metrics import (
    METRICS,
    EvaluationRow,
    Ratio,
    contains,
    difference_of,
    exact_match,
    holds,
    interval_of,
    metric_parts,
    normalized,
    ratio,
    split_name,
    token_f1,
    token_recall,
)

ROW = EvaluationRow(
    question_id="q1",
    topic="stones",
    document="notes:agate",
    mode="retrieval",
    question="What colour is agate?",
    reference="crimson",
    answerable=True,
    draft="It is crimson [2].",
    answer="It is crimson [2].",
    abstained=False,
    outcome="answer",
    reason=None,
    holds_anchor=True,
    num_claims=1,
    num_unverified_claims=0,
    judged=None,
    read=("a", "b", "c"),
    holding=(2,),
    cited=(2,),
    f1=0.5,
    exact_match=0.0,
    contains=1.0,
    token_recall=1.0,
    draft_f1=0.5,
    draft_contains=1.0,
    groundedness=1.0,
    num_prompt_tokens=300,
    num_completion_tokens=6,
    machine_seconds=1.0,
)


def row(**changes: object) -> EvaluationRow:
    return EvaluationRow(**{name: getattr(ROW, name) for name in EvaluationRow.__slots__} | changes)


def value(name: str, *rows: EvaluationRow) -> float | None:
    return ratio(metric_parts(rows, name).values())


def parts(*values: float) -> dict[str, Ratio]:
    return {str(number): Ratio(entry, 1.0) for number, entry in enumerate(values)}


def test_articles_case_punctuation_and_markers_do_not_count() -> None:
    assert normalized("The Fox's den, a [2] [1, 3] BIG one.") == ["foxs", "den", "big", "one"]


@pytest.mark.parametrize(
    ("answer", "reference", "wanted"),
    [
        ("the Rhine", "Rhine", 1.0),
        ("It is the Rhine river", "Rhine", 0.4),
        ("the Rhine [1].", "the river Rhine", 2 / 3),
        ("the Elbe", "Rhine", 0.0),
        ("", "Rhine", 0.0),
        ("red red red", "red", 0.5),
    ],
)
def test_token_f1_is_that_of_squad(answer: str, reference: str, wanted: float) -> None:
    assert token_f1(answer, reference) == pytest.approx(wanted)


def test_length_is_punished_by_f1_and_exact_match_but_not_by_contains_and_recall() -> None:
    long = "As the passage says, the answer is clearly Rhine, which flows north."
    assert (contains(long, "the Rhine"), token_recall(long, "Rhine")) == (1.0, 1.0)
    assert (exact_match(long, "Rhine"), token_f1(long, "Rhine") < 0.3) == (0.0, True)


def test_contains_wants_whole_words_side_by_side() -> None:
    assert contains("in 1918 and 19 days", "1918") == 1.0
    assert contains("in 19180", "1918") == 0.0
    assert contains("north of the wide sea", "North Sea") == 0.0
    assert contains("anything", "") == 0.0


@given(st.text(max_size=40), st.text(max_size=40))
def test_f1_is_symmetric_and_in_range(first: str, second: str) -> None:
    assert 0 <= token_f1(first, second) <= 1
    assert token_f1(first, second) == pytest.approx(token_f1(second, first))


def test_answer_f1_pays_for_abstaining_where_there_is_no_answer_and_only_there() -> None:
    refused = row(question_id="q2", abstained=True, f1=0.0)
    rightly = row(question_id="q3", answerable=False, abstained=True, f1=0.0)
    invented = row(question_id="q4", answerable=False, abstained=False, f1=0.0)
    assert value("answer_f1", ROW, refused, rightly, invented) == pytest.approx((0.5 + 0 + 1 + 0) / 4)


def test_refusals_are_counted_on_answerable_and_unanswerable_questions_apart() -> None:
    refused = row(question_id="q2", abstained=True)
    rightly = row(question_id="q3", answerable=False, abstained=True)
    rows = (ROW, refused, rightly)
    assert value("false_refusals", *rows) == value("answered_share", *rows) == 0.5
    assert value("abstention_recall", *rows) == 1.0
    assert value("abstention_precision", *rows) == 0.5


def test_citation_precision_counts_cited_passages_and_wrong_answers_to_unanswerable_questions() -> None:
    both = row(question_id="q2", cited=(1, 2))
    invented = row(question_id="q3", answerable=False, holding=(), cited=(1,))
    silent = row(question_id="q4", abstained=True, cited=())
    assert value("citation_precision", ROW, both, invented, silent) == pytest.approx((1 + 0.5 + 0) / 3)
    assert value("traceability", ROW, both, invented, silent) == pytest.approx(2 / 3)


def test_always_citing_the_first_passage_is_shown_beside_citation_accuracy() -> None:
    rows = [
        row(question_id=str(n), mode="oracle", holding=(place,), cited=(place,)) for n, place in enumerate((1, 2, 3))
    ]
    assert value("citation_accuracy", *rows) == 1.0
    assert value("always_first_accuracy", *rows) == pytest.approx(1 / 3)


def test_metric_name_may_name_a_mode() -> None:
    closed = row(mode="closed_book", f1=0.1)
    assert value("f1", ROW, closed) == 0.5
    assert value("closed_book_f1", ROW, closed) == pytest.approx(0.1)
    assert split_name("oracle_citation_precision") == (("oracle",), "citation_precision")
    with pytest.raises(KeyError):
        split_name("oracle_wisdom")


def test_metric_that_no_question_bears_on_has_no_value() -> None:
    assert value("abstention_recall", ROW) is None
    assert interval_of([Ratio(0.0, 0.0)], confidence=0.95, num_resamples=100) is None


def test_every_metric_lies_between_zero_and_one_or_counts() -> None:
    counts = {"prompt_tokens", "completion_tokens", "machine_seconds", "words_to_read"}
    for name in METRICS.keys() - counts:
        found = value(name, ROW, row(mode="oracle"), row(mode="removed", answerable=False))
        assert found is None or 0 <= found <= 1, name


def test_interval_holds_the_value_and_shrinks_with_more_questions() -> None:
    few = interval_of([Ratio(float(n % 2), 1.0) for n in range(20)], confidence=0.95, num_resamples=400)
    many = interval_of([Ratio(float(n % 2), 1.0) for n in range(800)], confidence=0.95, num_resamples=400)
    assert few is not None
    assert many is not None
    assert few.low < 0.5 < few.high
    assert many.high - many.low < (few.high - few.low) / 3


def test_difference_is_taken_on_common_questions_only() -> None:
    change = difference_of(parts(1.0, 1.0, 1.0), parts(0.0, 0.0), confidence=0.95, num_resamples=100)
    assert change is not None
    assert (change.mean, change.low, change.high) == (1.0, 1.0, 1.0)


def test_pairing_takes_out_what_is_hard_for_both() -> None:
    hard = [n % 10 / 10 for n in range(100)]
    change = difference_of(parts(*(entry + 0.05 for entry in hard)), parts(*hard), confidence=0.95, num_resamples=200)
    assert change is not None
    assert change.low == pytest.approx(0.05)


def test_conditional_metric_of_two_systems_is_compared_by_its_ratio() -> None:
    ours = {"a": Ratio(1.0, 1.0), "b": Ratio(0.0, 0.0), "c": Ratio(1.0, 1.0)}
    theirs = {"a": Ratio(0.0, 1.0), "b": Ratio(1.0, 1.0), "c": Ratio(0.0, 0.0)}
    change = difference_of(ours, theirs, confidence=0.9, num_resamples=200)
    assert change is not None
    assert change.mean == pytest.approx(0.5)
    assert change.low <= change.mean <= change.high


def test_anchor_is_held_whatever_the_markdown_case_and_line_breaks() -> None:
    assert holds("Then **call**\n`stop()` once.", "Call stop()")
    assert not holds("Then call start().", "stop()")
    assert not holds("Then call start().", " ")


def test_closest_passages_that_hold_the_anchor_are_useful_and_no_answer() -> None:
    shown = row(abstained=True, outcome="closest_passages", holds_anchor=True, f1=0.0, contains=0.0)
    empty = row(question_id="q2", abstained=True, outcome="nothing_found", holds_anchor=False, f1=0.0, contains=0.0)
    assert value("useful_share", shown, empty) == pytest.approx(0.5)
    assert value("answered_share", shown, empty) == 0


def test_pretended_answer_is_not_useful_where_there_is_none() -> None:
    pretended = row(answerable=False, abstained=False, holds_anchor=False)
    refused = row(question_id="q2", answerable=False, abstained=True, holds_anchor=False)
    assert value("useful_share", pretended, refused) == pytest.approx(0.5)


def test_claim_support_counts_claims_and_not_answers() -> None:
    one = row(num_claims=1, num_unverified_claims=1)
    three = row(question_id="q2", num_claims=3, num_unverified_claims=0)
    assert value("claim_support", one, three) == pytest.approx(0.75)
