"""The six scenarios of the guide for choosing between retrieval and fine-tuning get the guide's recommendations."""

from pathlib import Path

import pytest

from benchmarks.advise import SCENARIOS, page
from tasks.advise.advice import Advice
from tasks.advise.advise import advise, open_questions
from tasks.advise.home_facts import Reading
from tasks.advise.needs import read_needs, stated
from tasks.advise.scorecard import Fact
from tasks.advise.strategy import Strategy
from tasks.errors import ConfigurationError
from tasks.params.needs import NeedsParams

DOCS = Path(__file__).parent.parent.parent / "docs" / "advise.md"
EXPECTED = {
    "support_bot": Strategy.RAG,
    "insurance": Strategy.BOTH,
    "legal": Strategy.RAG,
    "legal_drafting": Strategy.BOTH,
    "it_helpdesk": Strategy.RAG,
    "ecommerce": Strategy.BOTH,
    "ecommerce_catalogue": Strategy.RAG,
    "branding": Strategy.FINE_TUNING,
}


def advice_on(name: str, **changes: object) -> Advice:
    needs = NeedsParams.model_validate(read_needs(SCENARIOS / f"{name}.yaml").model_dump() | changes)
    return advise(Reading(), stated(needs, name), needs, questions_per_month=1000)


def test_every_scenario_has_an_expected_recommendation() -> None:
    assert {path.stem for path in SCENARIOS.glob("*.yaml")} == set(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
def test_scenario_gets_the_recommendation_of_the_guide(name: str) -> None:
    advice = advice_on(name)
    assert advice.strategy is EXPECTED[name] and not advice.conflict
    assert advice.reasons and all(reason.source and reason.points > 0 for reason in advice.reasons)


def test_helpdesk_trains_on_its_tickets_in_the_next_phase() -> None:
    first, second = advice_on("it_helpdesk").phases
    assert first.strategy is Strategy.RAG and second.strategy is Strategy.BOTH
    text = "\n".join(second.when)
    assert "9,000 past answers that nobody reviewed" in text and "Reviewed examples: 200 to 999 (now: 0)" in text


def test_legal_research_stays_with_sources() -> None:
    advice = advice_on("legal")
    assert {phase.strategy for phase in advice.phases} == {Strategy.RAG}
    assert Strategy.FINE_TUNING in advice.ruled_out and Strategy.NEITHER in advice.ruled_out


def test_what_would_change_it_is_true_when_it_is_tried() -> None:
    advice = advice_on("legal")
    assert any(turn.criterion == "form" and turn.strategy is Strategy.BOTH for turn in advice.turns)
    assert advice_on("legal", form="must").strategy is Strategy.BOTH


def test_unknown_that_would_change_it_makes_it_preliminary() -> None:
    advice = advice_on("legal", form=None)
    assert not advice.settled
    assert any(entry.criterion == "form" and Strategy.BOTH in entry.would_change.values() for entry in advice.unknown)


def test_only_what_can_change_the_recommendation_is_asked() -> None:
    facts = {name: Fact(value, "") for name, value in {"knowledge": "most", "documents": 500}.items()}
    asked = open_questions(Reading(), facts)
    assert "written" in asked and "offline" not in asked and "knowledge" not in asked and "tuning_gain" not in asked


def test_docs_show_what_is_recommended_today() -> None:
    text = DOCS.read_text(encoding="utf-8")
    stale = [name for name in EXPECTED if page(SCENARIOS / f"{name}.yaml") not in text]
    assert stale == [], "python -m benchmarks.advise prints them as they are now"


def test_misspelt_need_is_named(tmp_path: Path) -> None:
    (tmp_path / "case.yaml").write_text("fomr: must\n")
    with pytest.raises(ConfigurationError, match="fomr"):
        read_needs(tmp_path / "case.yaml")
