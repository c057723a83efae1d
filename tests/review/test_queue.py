"""The review queue: what a person decides holds in training sets, evaluation and files, until it is forgotten."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from tasks.audit.audit import Audit
from tasks.audit.chain import Chain
from tasks.errors import ConfigurationError, DependencyError
from tasks.home import Home
from tasks.index.golden import load_evaluation
from tasks.index.passage import Passage
from tasks.model.examples.raft import Seed
from tasks.model.examples.review.draft import Decision, Draft, DraftPassage, draft_id
from tasks.model.examples.review.exchange import export_drafts, import_drafts
from tasks.model.examples.review.golden import forget_golden, golden_writer
from tasks.model.examples.review.queue import (
    counts,
    decide,
    drafts,
    get,
    offer,
    purge,
    remove,
    verdicts,
    verdicts_digest,
)
from tasks.model.examples.review.verdicts import Verdicts, seed_draft
from tasks.params import Params
from tests.conftest import BASE_PARAMS, files_source, merged

TEXT = "Snapshots of the ledger are kept for ninety days. The vault lies in the harbour."
PASSAGE = Passage("c1", "notes:ledger", "wiki", "", "Ledger", "", TEXT, 0, len(TEXT), 0.0, None, None)


def seed(question: str, answer: str | None = "ninety days", origin: str = "synthetic") -> Seed:
    support = (PASSAGE,) if answer else ()
    return Seed(question, answer, support, None, origin, "rule", "wiki", "ledger", "train")  # type: ignore[arg-type]


def golden(question: str, answer: str | None, *, anchor: str | None = None) -> Draft:
    return Draft(
        id=draft_id("golden", question, answer),
        kind="golden",
        origin="unanswered",
        how="trace tr-1",
        question=question,
        answer=answer,
        passages=(DraftPassage("notes:ledger", "Ledger", TEXT),),
        topic="wiki",
        anchor=anchor,
        split="test",
        question_now=question,
        answer_now=answer,
    )


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


@pytest.fixture
def params(tmp_path: Path) -> Params:
    own = {"golden": str(tmp_path / "golden.jsonl"), "reviewed_golden": str(tmp_path / "own.jsonl")}
    (tmp_path / "golden.jsonl").write_text("")
    return Params.model_validate(merged(BASE_PARAMS, {"sources": [files_source(tmp_path)], "evaluation": own}))


def applied(home: Home, seeds: list[Seed], *, required: bool = False) -> tuple[list[Seed], Counter[str]]:
    left_out: Counter[str] = Counter()
    return list(Verdicts(verdicts(home), required).applied(seeds, left_out)), left_out


def test_draft_is_offered_once_and_keeps_what_was_decided(home: Home) -> None:
    draft = seed_draft(seed("How long are snapshots kept?"))
    assert offer(home, [draft, draft]) == 1
    decide(home, draft.id, Decision("dropped"))
    assert offer(home, [draft]) == 0
    assert counts(home) == {"draft": 0, "accepted": 0, "corrected": 0, "dropped": 1}
    assert (home.review / "queue.sqlite").stat().st_mode & 0o077 == 0


def test_dropped_seed_never_enters_and_corrected_one_enters_corrected(home: Home) -> None:
    seeds = [seed("What lies in the harbour?", "The vault"), seed("How long?"), seed("How long are they kept?")]
    offer(home, map(seed_draft, seeds))
    decide(home, seed_draft(seeds[0]).id, Decision("dropped"))
    decide(home, seed_draft(seeds[1]).id, Decision("corrected", "How long are snapshots kept?", "about three months"))
    kept, left_out = applied(home, seeds)
    assert [entry.question for entry in kept] == ["How long are snapshots kept?", "How long are they kept?"]
    assert (kept[0].answer, kept[0].anchor) == ("about three months", "ninety days")
    assert left_out == {"synthetic: dropped in the review": 1}


def test_required_review_lets_only_accepted_ones_enter_and_golden_questions_always(home: Home) -> None:
    seeds = [seed("How long?"), seed("Where?", "The vault"), seed("Who?", origin="golden")]
    offer(home, map(seed_draft, seeds[:2]))
    decide(home, seed_draft(seeds[0]).id, Decision("accepted"))
    kept, left_out = applied(home, seeds, required=True)
    assert [entry.question for entry in kept] == ["How long?", "Who?"]
    assert left_out == {"synthetic: not reviewed, and examples.review requires it": 1}


def test_correction_to_no_answer_makes_an_unanswerable_seed(home: Home) -> None:
    asked = seed("How long is the harbour?")
    offer(home, [seed_draft(asked)])
    decide(home, seed_draft(asked).id, Decision("corrected", answer=""))
    (kept,), _ = applied(home, [asked])
    assert (kept.answer, kept.support) == (None, ())


def test_decision_can_be_undone_and_changes_the_digest_of_verdicts(home: Home) -> None:
    draft = seed_draft(seed("How long?"))
    offer(home, [draft])
    before = verdicts_digest(home)
    decide(home, draft.id[:6], Decision("dropped"))
    assert verdicts_digest(home) != before
    assert decide(home, draft.id, Decision("draft")).decided_at == ""
    assert verdicts_digest(home) == before
    with pytest.raises(ConfigurationError, match="found 0 for 'zz'"):
        get(home, "zz")


def test_accepted_golden_draft_is_asked_by_evaluation_until_it_is_dropped(home: Home, params: Params) -> None:
    draft = golden("How long are snapshots kept?", "ninety days", anchor="ninety days")
    offer(home, [draft])
    decide(home, draft.id, Decision("accepted"), write=golden_writer(params))
    (asked,) = load_evaluation(params.evaluation.golden, params.evaluation.reviewed_golden, "test")
    assert (asked.document, asked.anchor, asked.answer) == ("notes:ledger", "ninety days", "ninety days")
    decide(home, draft.id, Decision("dropped"), write=golden_writer(params))
    assert load_evaluation(params.evaluation.golden, params.evaluation.reviewed_golden) == []


def test_unanswered_question_becomes_unanswerable_or_gets_an_answer_that_a_passage_holds(
    home: Home, params: Params
) -> None:
    draft = golden("Where is the vault?", None)
    offer(home, [draft])
    write = golden_writer(params)
    with pytest.raises(ConfigurationError, match="words of its document that hold the answer"):
        decide(home, draft.id, Decision("corrected", answer="on the moon"), write=write)
    assert get(home, draft.id).status == "draft"
    decide(home, draft.id, Decision("corrected", answer="in the harbour"), write=write)
    (asked,) = load_evaluation(params.evaluation.golden, params.evaluation.reviewed_golden)
    assert (asked.anchor, asked.document) == ("in the harbour", "notes:ledger")
    decide(home, draft.id, Decision("accepted", answer=""), write=write)
    (asked,) = load_evaluation(params.evaluation.golden, params.evaluation.reviewed_golden)
    assert (asked.answer, asked.anchor, asked.document) == (None, None, None)


def test_file_brings_verdicts_back_and_a_bad_line_is_refused_alone(home: Home, params: Params, tmp_path: Path) -> None:
    seeds = [seed(f"How long is it kept, number {number}?") for number in range(4)]
    offer(home, map(seed_draft, seeds))
    path = tmp_path / "drafts.jsonl"
    assert export_drafts(home, path) == 4
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    lines[0]["status"], lines[1]["status"], lines[2]["status"] = "dropped", "accepted", "maybe"
    lines[1]["answer"] = "three months"
    path.write_text("\n".join([*map(json.dumps, lines), "no JSON"]))
    result = import_drafts(home, path, reviewer="ann", write=golden_writer(params))
    assert (result.decided, result.unchanged) == (2, 1)
    assert [line.split(":")[0] for line in result.refused] == ["line 3", "line 5"]
    assert counts(home) == {"draft": 2, "accepted": 0, "corrected": 1, "dropped": 1}
    assert get(home, lines[1]["id"]).answer_now == "three months"


def test_forgotten_document_leaves_queue_and_golden_file(home: Home, params: Params) -> None:
    other = replace(golden("What floats?", "A boat"), passages=(DraftPassage("notes:boat", "Boat", "A boat floats."),))
    quoting = replace(other, id="f" * 12, question="Is it true that the vault lies in the harbour?")
    own = golden("How long are snapshots kept?", "ninety days")
    offer(home, [own, other, quoting])
    for draft in (own, other):
        decide(home, draft.id, Decision("accepted"), write=golden_writer(params))
    assert purge(home, ["notes:ledger"], lambda text: "the vault lies in the harbour" in text) == 2
    assert forget_golden(params, ["notes:ledger"], lambda _: False) == 1
    assert [draft.question for draft in drafts(home)] == ["What floats?"]
    own_file = Path(str(params.evaluation.reviewed_golden)).read_text()
    assert "ninety" not in own_file and "A boat" in own_file
    assert b"ninety days" not in (home.review / "queue.sqlite").read_bytes()
    assert remove(home, []) == 0


def test_each_decision_is_in_the_audit_log_without_a_word_of_the_draft(home: Home) -> None:
    draft = golden("How long are snapshots kept?", "ninety days")
    offer(home, [draft])
    decide(home, draft.id, Decision("accepted"), actor="0" * 32)
    decide(home, draft.id, Decision("accepted", answer="ninety whole days"))
    decide(home, draft.id, Decision("dropped"))
    decide(home, draft.id, Decision("draft"))

    entries = list(Audit(home).entries(document="notes:ledger"))

    assert [(entry.what, entry.detail["verdict"]) for entry in entries] == [
        ("reviewed", "accepted"), ("reviewed", "corrected"), ("reviewed", "dropped"), ("reviewed", "draft"),
    ]  # fmt: skip
    assert entries[0].actor == "0" * 32 and entries[1].actor.startswith("os:")
    assert {entry.detail["draft"] for entry in entries} == {draft.id}
    log = (home.audit / "log.jsonl").read_bytes()
    assert b"snapshots" not in log and b"whole days" not in log


def test_decision_that_cannot_be_noted_is_not_made(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    draft = golden("How long are snapshots kept?", "ninety days")
    offer(home, [draft])

    def full(*_: object, **__: object) -> None:
        raise DependencyError("the disk is full")

    monkeypatch.setattr(Chain, "append", full)
    with pytest.raises(DependencyError):
        decide(home, draft.id, Decision("accepted"))
    assert get(home, draft.id).status == "draft"
