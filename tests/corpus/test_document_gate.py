"""The document gate with the real Great Expectations on a few documents."""

import dataclasses
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tasks.corpus.document import DOCUMENT_SCHEMA, Document, Item, from_table, make_document, to_table
from tasks.corpus.gate.document_gate import HELD_SCHEMA, GateReport, check_documents, gate_fingerprint
from tasks.corpus.gate.measures import COLUMNS
from tasks.corpus.gate.report import to_html, to_markdown, write_report
from tasks.errors import ConfigurationError
from tasks.params import DocumentGateParams

GOOD = "Almanac keeps the index fresh: it reads the documents that changed and leaves the others as they are."
FRENCH = "Le chat dort sur le canapé pendant que la pluie tombe doucement sur les toits de la vieille ville."
TOKEN = "ghp_" + "aB3dE5fG7hJ9kL1mN3pQ5rS7tU9vW1xY3zA5"
LONG_ENOUGH = {
    "expect": "expect_column_values_to_be_between",
    "column": "num_characters",
    "min_value": 20,
    "on_fail": "quarantine",
}


def document(key: str, text: str = GOOD, **metadata: str) -> Document:
    return make_document(
        Item("notes", key, fingerprint="1", size_bytes=len(text), uri=f"notes/{key}"),
        title=key,
        text=text,
        knowledge_base="notes",
        access=["everyone"],
        raw_hash=f"raw-{key}",
        metadata=metadata,
    )


def params(*rules: Mapping[str, object], fraction: float = 1.0, min_documents: int = 0) -> DocumentGateParams:
    return DocumentGateParams.model_validate(
        {"max_quarantined_fraction": fraction, "min_documents": min_documents, "rules": rules}
    )


class Gate:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.accepted_file = folder / "accepted.parquet"
        self.held_file = folder / "held.parquet"

    def __call__(self, documents: list[Document], params: DocumentGateParams, **options: object) -> GateReport:
        parsed = []
        for start in range(0, len(documents), 2):
            parsed.append(self.folder / f"parsed-{start}.parquet")
            pq.write_table(to_table(documents[start : start + 2]), parsed[-1])
        return check_documents(
            parsed,
            accepted=self.accepted_file,
            held=self.held_file,
            params=params,
            **{"approved": frozenset(), **options},  # type: ignore[arg-type]
        )

    @property
    def accepted(self) -> list[str]:
        return [str(name) for name in pq.read_table(self.accepted_file)["document_id"].to_pylist()]

    @property
    def held(self) -> dict[str, str]:
        rows = pq.read_table(self.held_file).to_pylist()
        return {row["document_id"]: row["reason"] for row in rows}


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    return Gate(tmp_path)


def test_document_that_fails_a_quarantine_rule_is_held_and_the_others_are_accepted(gate: Gate) -> None:
    report = gate([document("a"), document("b", "short"), document("c")], params(LONG_ENOUGH))
    assert (report.num_documents, report.num_accepted, report.num_quarantined, report.stopped) == (3, 2, 1, False)
    assert gate.accepted == ["notes:a", "notes:c"]
    assert gate.held == {
        "notes:b": "num_characters is 5 under expect_column_values_to_be_between (min_value 20)",
    }
    assert report.rules[0].failed_ids == ("notes:b",)


def test_accepted_documents_are_written_as_they_were(gate: Gate) -> None:
    documents = [document("a", language="en"), document("b")]
    gate(documents, params(LONG_ENOUGH))
    assert from_table(pq.read_table(gate.accepted_file)) == documents
    assert pq.read_schema(gate.accepted_file).equals(DOCUMENT_SCHEMA)
    assert pq.read_schema(gate.held_file).equals(HELD_SCHEMA)


def test_failed_stop_rule_stops_and_writes_nothing_that_could_be_indexed(gate: Gate) -> None:
    rule = {"expect": "expect_column_values_to_be_unique", "column": "document_id", "on_fail": "stop"}
    report = gate([document("a"), document("a")], params(rule))
    assert report.stopped
    assert "expect_column_values_to_be_unique on `document_id` must hold" in report.reasons[0]
    assert not gate.accepted_file.exists()


def test_failed_warn_rule_changes_nothing_but_the_report(gate: Gate) -> None:
    report = gate([document("a", "short")], params({**LONG_ENOUGH, "on_fail": "warn"}))
    assert not report.stopped
    assert not report.rules[0].success
    assert gate.accepted == ["notes:a"]


def test_rule_about_the_table_sees_all_documents_at_once(gate: Gate) -> None:
    rule = {"expect": "expect_column_mean_to_be_between", "column": "num_words", "min_value": 15, "on_fail": "stop"}
    report = gate([document("a", "one two three")] * 3 + [document("b", "word " * 27)], params(rule))
    assert report.reasons[0].startswith("rule expect_column_mean_to_be_between on `num_words` must hold, but found 9")


def test_rows_that_mostly_forgives_are_held_all_the_same(gate: Gate) -> None:
    report = gate([document(str(i)) for i in range(4)] + [document("b", "no")], params({**LONG_ENOUGH, "mostly": 0.5}))
    assert report.rules[0].success
    assert list(gate.held) == ["notes:b"]


def test_null_fails_a_rule_that_great_expectations_would_pass_over(gate: Gate) -> None:
    rule = {
        "expect": "expect_column_values_to_be_between",
        "column": "expires_at",
        "min_value": datetime(2020, 1, 1, tzinfo=UTC),
        "on_fail": "quarantine",
    }
    report = gate([document("a")], params(rule))
    assert report.num_quarantined == 1


def test_rule_that_raises_stops_and_shows_no_text(gate: Gate) -> None:
    rule = {"expect": "expect_column_values_to_be_between", "column": "text", "min_value": 1, "on_fail": "quarantine"}
    report = gate([document("a", f"canary {GOOD}")], params(rule))
    assert report.stopped
    assert report.rules[0].error
    assert "raised" in report.reasons[0]
    assert "canary" not in json.dumps(dataclasses.asdict(report))


def test_warn_rule_that_raises_is_reported_and_does_not_stop(gate: Gate) -> None:
    rule = {"expect": "expect_column_values_to_be_between", "column": "text", "min_value": 1, "on_fail": "warn"}
    report = gate([document("a")], params(rule))
    assert not report.stopped
    assert report.rules[0].error


def test_rule_on_texts_counts_rows_over_all_batches(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.corpus.gate.measures.MAX_BATCH_DOCUMENTS", 2)
    rule = {"expect": "expect_column_values_to_not_match_regex", "column": "text", "regex": "lorem ipsum"}
    texts = [GOOD, GOOD, GOOD, "lorem ipsum dolor", GOOD, "and lorem ipsum"]
    report = gate([document(str(i), text) for i, text in enumerate(texts)], params({**rule, "on_fail": "quarantine"}))
    assert report.rules[0].failed_ids == ("notes:3", "notes:5")
    assert gate.accepted == ["notes:0", "notes:1", "notes:2", "notes:4"]


def test_near_duplicates_are_found_over_batches_and_the_first_copy_is_kept(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.corpus.gate.measures.MAX_BATCH_DOCUMENTS", 2)
    rule = {"expect": "expect_column_values_to_have_no_near_duplicate", "on_fail": "quarantine"}
    documents = [document("a"), document("b", FRENCH), document("c", GOOD), document("d", GOOD.upper())]
    gate(documents, params(rule))
    assert gate.accepted == ["notes:a", "notes:b"]
    assert gate.held["notes:c"] == "resembles the document notes:a"


@pytest.mark.parametrize(
    ("rule", "text", "reason"),
    [
        ("expect_column_values_to_have_no_secrets", f"{GOOD}\n\n{TOKEN}", "likely secret: github-token on line 3"),
        ("expect_column_values_to_have_no_personal_data", f"{GOOD} ann@corp.org", "personal data: email on line 1"),
        ("expect_column_values_to_have_no_encoding_damage", "caf\u00c3\u00a9 au lait", "encoding_damage is"),
        ("expect_column_values_to_have_no_hidden_text", '<p style="display:none">obey</p>', "hidden_characters is 4"),
        (
            "expect_column_values_to_have_little_boilerplate",
            "Skip to content\nPrivacy policy",
            "boilerplate_share is 1",
        ),
    ],
)
def test_expectation_of_our_own_holds_the_bad_and_passes_the_good(
    gate: Gate, rule: str, text: str, reason: str
) -> None:
    gate([document("good"), document("bad", text)], params({"expect": rule, "on_fail": "quarantine"}))
    assert gate.accepted == ["notes:good"]
    assert gate.held["notes:bad"].startswith(reason)
    assert TOKEN not in gate.held["notes:bad"]


def test_document_in_another_language_is_held_and_one_too_short_to_tell_is_not(gate: Gate) -> None:
    rule = {"expect": "expect_column_values_to_be_in_language", "languages": ["en"], "on_fail": "quarantine"}
    gate([document("a"), document("b", FRENCH), document("c", "Zinc 3As")], params(rule))
    assert gate.accepted == ["notes:a", "notes:c"]


def test_hidden_characters_that_cleaning_took_out_count(gate: Gate) -> None:
    rule = {"expect": "expect_column_values_to_have_no_hidden_text", "max_value": 20, "on_fail": "quarantine"}
    gate([document("a", hidden_characters="20"), document("b", hidden_characters="21")], params(rule))
    assert gate.accepted == ["notes:a"]


def test_released_content_passes_quarantine_rules(gate: Gate) -> None:
    documents = [document("a", "short"), document("b", "short")]
    report = gate(documents, params(LONG_ENOUGH), approved={"raw-a"})
    assert gate.accepted == ["notes:a"]
    assert report.rules[0].failed_ids == ("notes:b",)


def test_released_content_does_not_pass_stop_rules(gate: Gate) -> None:
    report = gate([document("a", "short")], params({**LONG_ENOUGH, "on_fail": "stop"}), approved={"raw-a"})
    assert report.stopped


def test_too_large_a_quarantined_share_stops(gate: Gate) -> None:
    report = gate([document("a", "short"), document("b")], params(LONG_ENOUGH, fraction=0.4))
    assert report.stopped
    assert report.reasons[0].startswith("at most 40.0% may be quarantined, found 1 of 2 (50.0%)")
    assert list(gate.held) == ["notes:a"]


def test_one_bad_document_in_a_small_week_does_not_stop(gate: Gate) -> None:
    report = gate([document("a", "short")], params(LONG_ENOUGH, fraction=0.2), num_known=1000)
    assert not report.stopped
    assert report.num_quarantined == 1


def test_items_that_parsing_rejected_count_in_the_share(gate: Gate) -> None:
    assert gate([document("a")], params(fraction=0.4), num_rejected=1).stopped
    assert not gate([document("a")], params(fraction=0.5), num_rejected=1).stopped


def test_no_changed_document_is_fine_when_the_index_has_documents(gate: Gate) -> None:
    report = gate([], params(LONG_ENOUGH, min_documents=1), num_known=1)
    assert not report.stopped
    assert gate.accepted == []


def test_empty_index_stops(gate: Gate) -> None:
    report = gate([], params(LONG_ENOUGH, min_documents=1))
    assert report.reasons[0].startswith("the index must hold at least 1 documents, it would hold 0")


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({**LONG_ENOUGH, "maximum": 3}, "extra fields not permitted"),
        ({**LONG_ENOUGH, "column": "num_letters"}, "known column, found 'num_letters'"),
        ({**LONG_ENOUGH, "row_condition": "num_words > 3"}, "must not set `row_condition`"),
        (
            {"expect": "expect_table_row_count_to_be_between", "min_value": 1, "on_fail": "quarantine"},
            "must be stop or warn",
        ),
        (
            {"expect": "expect_column_value_lengths_to_be_between", "column": "text", "on_fail": "warn"},
            "wrong argument",
        ),
        (
            {"expect": "expect_column_unique_value_count_to_be_between", "column": "text", "on_fail": "warn"},
            "one text at a time",
        ),
        ({"expect": "expect_column_values_to_be_unique", "column": "text", "on_fail": "warn"}, "one text at a time"),
    ],
)
def test_wrong_rule_is_refused_by_its_name(gate: Gate, rule: Mapping[str, object], message: str) -> None:
    with pytest.raises(ConfigurationError, match=r"document_gate\.rules\[0\]: `expect_") as caught:
        gate([document("a")], params(rule))
    assert message in str(caught.value)


def test_every_column_can_be_named_by_a_rule(gate: Gate) -> None:
    rules = [
        {"expect": "expect_column_values_to_not_be_null", "column": column, "on_fail": "warn"}
        for column in sorted(COLUMNS)
    ]
    report = gate([document("a"), document("b", GOOD)], params(*rules))
    failed = {rule.column for rule in report.rules if not rule.success}
    assert failed == {"expires_at", "updated_at", "near_duplicate_of"}
    assert not any(rule.error for rule in report.rules)


def test_fingerprint_follows_the_rules_and_not_the_limits() -> None:
    assert gate_fingerprint(params(LONG_ENOUGH)) == gate_fingerprint(params(LONG_ENOUGH, fraction=0.1))
    assert gate_fingerprint(params(LONG_ENOUGH)) != gate_fingerprint(params({**LONG_ENOUGH, "min_value": 21}))


def test_report_is_readable_offline_and_holds_no_text(gate: Gate, tmp_path: Path) -> None:
    report = gate(
        [document("a|<b>", f"canary {TOKEN} {GOOD}"), document("c")],
        params({"expect": "expect_column_values_to_have_no_secrets", "on_fail": "quarantine"}),
    )
    write_report(report, gate.held_file, html=tmp_path / "gate.html", markdown=tmp_path / "gate.md")
    html = (tmp_path / "gate.html").read_text()
    assert "notes:a|&lt;b&gt;" in html
    assert "github-token on line 1" in html
    assert "http" not in html.replace("http-equiv", "")
    assert "canary" not in html + (tmp_path / "gate.md").read_text()
    assert TOKEN not in html


def test_markdown_report_keeps_its_table_whole() -> None:
    report = GateReport(1, 0, 1, True, ("a | b\n<script>",), ())
    assert "a \\| b &lt;script&gt;" in to_markdown(report)


def test_report_says_how_many_it_does_not_list() -> None:
    report = GateReport(3000, 0, 2000, True, (), ())
    assert "And 1000 more" in to_html(report, [("notes:a", "rule", "reason")] * 2000)
