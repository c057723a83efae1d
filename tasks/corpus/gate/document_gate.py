"""The document gate: rules of `params.yaml` on changed documents, with Great Expectations on pandas, failing closed.

Knows neither sources nor the index. Great Expectations is imported inside (it costs some four CPU seconds), and only
when a document changed. No result holds text of a document: rules judge measures, and of a failure the place is kept.
"""

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import version
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.corpus.document import DOCUMENT_SCHEMA
from tasks.corpus.gate.measures import Measures, batches
from tasks.corpus.gate.rules import Rule, Tally, resolve, validate
from tasks.corpus.gate.sensitive import Finding, find_personal_data, find_secrets
from tasks.files import whole_file
from tasks.params import DocumentGateParams, digest

if TYPE_CHECKING:
    import pandas as pd

HELD_SCHEMA = pa.schema([*DOCUMENT_SCHEMA, pa.field("rule", pa.string()), pa.field("reason", pa.string())])
"""A quarantined document, the first rule that it failed, and all reasons in a sentence."""

MAX_FAILED_IDS = 1000
"""A rule's result names at most so many documents; the quarantined ones are all in the `held` file."""

_CODE = (
    "document_gate.py",
    "expectations.py",
    "measures.py",
    "near_duplicates.py",
    "rules.py",
    "sensitive.py",
    "signals.py",
)


@dataclass(frozen=True, slots=True)
class RuleResult:
    """What one rule found; it never holds text of a document.

    Attributes:
        expect: name of the expectation, snake case.
        column: the column that it judges; None for rules about the table or several columns.
        on_fail: `stop`, `quarantine` or `warn`.
        success: whether it held, `mostly` considered, and did not raise.
        num_failed: rows that failed, nulls included; 0 for rules without rows.
        failed_ids: the first `MAX_FAILED_IDS` of them.
        observed: the numbers in a sentence.
        error: the kind of exception, if the rule raised.
    """

    expect: str
    column: str | None
    on_fail: str
    success: bool
    num_failed: int
    failed_ids: tuple[str, ...]
    observed: str
    error: str | None


@dataclass(frozen=True, slots=True)
class GateReport:
    """What the gate decided; `stopped` has its `reasons`, and then no accepted file was written."""

    num_documents: int
    num_accepted: int
    num_quarantined: int
    stopped: bool
    reasons: tuple[str, ...]
    rules: tuple[RuleResult, ...]


@dataclass(frozen=True, slots=True)
class _Judged:
    """The documents in order, their measures, and what the rules found."""

    ids: list[str]
    measures: "pd.DataFrame | None"
    approved_rows: frozenset[int]
    findings: list[tuple[Rule, Tally]]


def check_documents(
    parsed: Sequence[Path],
    *,
    accepted: Path,
    held: Path,
    params: DocumentGateParams,
    approved: AbstractSet[str],
    num_rejected: int = 0,
    num_known: int = 0,
) -> GateReport:
    """Judge the changed documents; write those that passed to `accepted` and the quarantined to `held`.

    A null fails every rule on rows but those about nulls themselves. A row that fails a `quarantine` rule is set aside
    even where `mostly` lets the rule hold. A `stop` or `quarantine` rule that raises stops the run.

    The quarantined share is measured against the larger of the changed and the known documents: a week that changes one
    document, and breaks it, is no catastrophe, while a first run or a re-parse of everything is judged by what it sees.

    When the gate stops, `held` is written, so that a person sees why, and `accepted` is not.

    Args:
        parsed: Parquet files of `DOCUMENT_SCHEMA`: the changed documents of this refresh, each document once.
        accepted: Parquet of `DOCUMENT_SCHEMA`.
        held: Parquet of `HELD_SCHEMA`.
        params: the rules and limits.
        approved: `raw_hash`es that a person released; `quarantine` rules are not applied to them, others are.
        num_rejected: items that parsing rejected; they count as quarantined.
        num_known: documents that are in the index already.

    Raises:
        ConfigurationError: a rule names an unknown expectation, argument or column.
        DependencyError: the disk refused.
    """
    num_documents = sum(pq.read_metadata(path).num_rows for path in parsed)
    judged = _judge(parsed, resolve(params.rules) if num_documents else [], approved)
    failed = _quarantined(judged)
    results = tuple(_result(rule, tally, judged) for rule, tally in judged.findings)
    reasons = (
        *broken_rules(results, block="document_gate", what="documents"),
        *_passed_limits(params, num_documents, len(failed), num_rejected=num_rejected, num_known=num_known),
    )
    _write(held, HELD_SCHEMA, _held(parsed, judged, failed))
    if not reasons:
        _write(accepted, DOCUMENT_SCHEMA, _accepted(parsed, failed))
    return GateReport(num_documents, num_documents - len(failed), len(failed), bool(reasons), reasons, results)


def gate_fingerprint(params: DocumentGateParams) -> str:
    """Sixteen hex characters that change when a rule, this gate's code or Great Expectations changes.

    Limits are left out: they decide whether a run stops, not which document is held.
    """
    rules = digest(params.model_copy(update={"max_quarantined_fraction": 0.0, "min_documents": 0}))
    code = b"".join((Path(__file__).parent / name).read_bytes() for name in _CODE)
    return sha256(f"{rules} {version('great_expectations')} ".encode() + code).hexdigest()[:16]


def _judge(parsed: Sequence[Path], rules: Sequence[Rule], approved: AbstractSet[str]) -> _Judged:
    """Rules on `text` see batch after batch; of all else only the measures are kept, and judged as a whole."""
    findings = [(rule, Tally()) for rule in rules]
    on_text = [finding for finding in findings if finding[0].sees_text]
    measures = Measures({column for rule in rules for column in rule.columns})
    ids: list[str] = []
    approved_rows: set[int] = set()
    frames = []
    for documents in batches(parsed):
        offset = len(ids)
        if on_text:
            validate(documents.select(["text"]).to_pandas(), on_text, offset=offset)
        frames.append(measures.frame(documents))
        ids += documents["document_id"].to_pylist()
        hashes = documents["raw_hash"].to_pylist()
        approved_rows.update(offset + row for row, raw_hash in enumerate(hashes) if raw_hash in approved)
    whole = _joined(frames)
    if whole is not None:
        validate(whole, [finding for finding in findings if not finding[0].sees_text], offset=0)
    return _Judged(ids, whole, frozenset(approved_rows), findings)


def _joined(frames: Sequence["pd.DataFrame"]) -> "pd.DataFrame | None":
    if not frames:
        return None
    import pandas as pd

    return pd.concat(frames, ignore_index=True)


def _failed_rows(rule: Rule, tally: Tally, judged: _Judged) -> list[int]:
    if rule.given.on_fail != "quarantine":
        return tally.rows
    return [row for row in tally.rows if row not in judged.approved_rows]


def _quarantined(judged: _Judged) -> dict[int, list[Rule]]:
    """Row number to the rules that it failed, in the order of the parameters."""
    failed: dict[int, list[Rule]] = {}
    for rule, tally in judged.findings:
        if rule.given.on_fail == "quarantine":
            for row in _failed_rows(rule, tally, judged):
                failed.setdefault(row, []).append(rule)
    return failed


def _result(rule: Rule, tally: Tally, judged: _Judged) -> RuleResult:
    rows = _failed_rows(rule, tally, judged)
    all_released = bool(tally.rows) and not rows and tally.error is None
    return RuleResult(
        expect=rule.given.expect,
        column=rule.column,
        on_fail=rule.given.on_fail,
        success=tally.success or all_released,
        num_failed=len(rows),
        failed_ids=tuple(judged.ids[row] for row in rows[:MAX_FAILED_IDS]),
        observed=_observed(rule, tally, len(rows), len(judged.ids)),
        error=tally.error,
    )


def _observed(rule: Rule, tally: Tally, num_failed: int, num_documents: int) -> str:
    if tally.error:
        return "the rule raised"
    if rule.of_rows:
        return f"{num_failed} of {num_documents} documents fail"
    return "no number to show" if tally.value is None else f"{tally.value:.6g}"


# --- the decision ---


def broken_rules(results: Sequence[RuleResult], *, block: str, what: str) -> Iterator[str]:
    """Yield why rules stop a gate.

    Args:
        results: of all rules.
        block: of `params.yaml`, where the rules stand.
        what: a person corrects in place of a rule.
    """
    for result in results:
        where = f"{result.expect} on `{result.column}`" if result.column else result.expect
        if result.error and result.on_fail != "warn":
            yield f"rule {where} must run, but it raised {result.error}; correct its arguments in {block}.rules"
        elif not result.success and result.on_fail == "stop":
            named = f" ({', '.join(result.failed_ids[:3])})" if result.failed_ids else ""
            yield f"rule {where} must hold, but found {result.observed}{named}; correct the {what} or the rule"


def _passed_limits(
    params: DocumentGateParams, num_documents: int, num_held: int, *, num_rejected: int, num_known: int
) -> Iterator[str]:
    num_set_aside = num_held + num_rejected
    base = max(num_documents + num_rejected, num_known, 1)
    if num_set_aside / base > params.max_quarantined_fraction:
        yield (
            f"at most {params.max_quarantined_fraction:.1%} may be quarantined, found {num_set_aside} of {base}"
            f" ({num_set_aside / base:.1%}); look at them with `almanac quarantine`, then correct the source, the"
            " rules or document_gate.max_quarantined_fraction"
        )
    num_indexed = num_known + num_documents - num_held
    if num_indexed < params.min_documents:
        yield (
            f"the index must hold at least {params.min_documents} documents, it would hold {num_indexed}; check the"
            " sources or lower document_gate.min_documents"
        )


# --- what is written ---


def _write(path: Path, schema: pa.Schema, tables: Iterator[pa.Table]) -> None:
    with whole_file(path) as beside, pq.ParquetWriter(beside, schema, compression="zstd") as writer:
        for table in tables:
            writer.write_table(table.cast(schema))


def _numbered(parsed: Sequence[Path]) -> Iterator[tuple[int, pa.Table]]:
    offset = 0
    for documents in batches(parsed):
        yield offset, documents
        offset += documents.num_rows


def _accepted(parsed: Sequence[Path], failed: Mapping[int, object]) -> Iterator[pa.Table]:
    for offset, documents in _numbered(parsed):
        yield documents.filter(pa.array([offset + row not in failed for row in range(documents.num_rows)]))


def _held(parsed: Sequence[Path], judged: _Judged, failed: Mapping[int, Sequence[Rule]]) -> Iterator[pa.Table]:
    for offset, documents in _numbered(parsed) if failed else ():
        rows = [row for row in range(documents.num_rows) if offset + row in failed]
        table = documents.take(pa.array(rows, pa.int64()))
        texts = table["text"].to_pylist()
        rules = [failed[offset + row] for row in rows]
        reasons = [
            "; ".join(_reason(rule, judged, offset + row, text) for rule in broken)
            for broken, row, text in zip(rules, rows, texts, strict=True)
        ]
        names = [broken[0].given.expect for broken in rules]
        yield table.append_column("rule", pa.array(names, pa.string())).append_column(
            "reason", pa.array(reasons, pa.string())
        )


def _reason(rule: Rule, judged: _Judged, row: int, text: str) -> str:
    """Why a document is held, with places and numbers, never with text of it."""
    value = _measure(judged, rule.column, row)
    match rule.column:
        case "num_secrets":
            return f"likely secret: {_places(find_secrets(text), text)}"
        case "num_personal_data":
            return f"personal data: {_places(find_personal_data(text), text)}"
        case "near_duplicate_similarity" | "near_duplicate_of":
            other = _measure(judged, "near_duplicate_of", row)
            return f"resembles the document {other}"
        case _:
            shown = f" is {float(value):.6g}" if isinstance(value, Real) else " fails"
            limits = ", ".join(f"{name} {limit}" for name, limit in rule.given.arguments.items() if name != "column")
            subject = rule.column or ", ".join(rule.columns)
            return f"{subject}{shown} under {rule.given.expect}" + (f" ({limits})" if limits else "")


def _measure(judged: _Judged, column: str | None, row: int) -> Any:
    if judged.measures is None or column not in judged.measures:
        return None
    return judged.measures[column].iloc[row]


def _places(findings: Sequence[Finding], text: str) -> str:
    """Kinds and lines of the first three findings."""
    shown = ", ".join(f"{finding.kind} on line {text.count(chr(10), 0, finding.start) + 1}" for finding in findings[:3])
    return shown + (f" and {len(findings) - 3} more" if len(findings) > 3 else "")
