"""The report of a gate on documents or examples as one HTML file and a Markdown table: readable offline, without text.

Great Expectations' own pages load their style from a network, so they are not used.
"""

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

import pyarrow.parquet as pq

from tasks.corpus.gate.document_gate import GateReport, RuleResult
from tasks.files import whole_file

MAX_LISTED = 1000
"""The report lists at most so many quarantined documents; the quarantine holds them all."""

DOCUMENTS = "documents"
EXAMPLES = "examples"

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem;color:#1c2430;background:#fff}
table{border-collapse:collapse;width:100%;margin:1rem 0}
th,td{text-align:left;padding:.4rem .7rem;border-bottom:1px solid #d8dee6;vertical-align:top;overflow-wrap:anywhere}
.passed{color:#146c2e}.warned{color:#8a5a00}.failed{color:#b3261e}
@media(prefers-color-scheme:dark){body{color:#e4e8ee;background:#14181e}th,td{border-color:#39424e}
.passed{color:#7bd88f}.warned{color:#e8b95a}.failed{color:#ff8a80}}
"""


def to_markdown(report: GateReport, noun: str = DOCUMENTS) -> str:
    """Return the decision and a table of the rules, for the terminal and for artifacts of Prefect and MLflow."""
    lines = [f"**{_headline(report, noun)}**", "", *(f"- {_cell(reason)}" for reason in report.reasons)]
    if report.reasons:
        lines.append("")
    lines += ["| Rule | On fail | Result | Observed |", "|---|---|---|---|"]
    lines += [
        f"| {_cell(_name(rule))} | {rule.on_fail} | {_outcome(rule)} | {_cell(_observed(rule))} |"
        for rule in report.rules
    ]
    return "\n".join(lines) + "\n"


def to_html(report: GateReport, quarantined: Sequence[tuple[str, str, str]], noun: str = DOCUMENTS) -> str:
    """Return one self-contained page.

    Args:
        report: what the gate decided.
        quarantined: (id, rule, reason) of what to list.
        noun: `DOCUMENTS` or `EXAMPLES`.
    """
    rules = [(_name(rule), rule.on_fail, _outcome(rule), _observed(rule)) for rule in report.rules]
    verdict = "failed" if report.stopped else "passed"
    name = noun.removesuffix("s").capitalize()
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en"><head><meta charset="utf-8"><title>' + f"{name} gate</title>",
            "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">",
            f"<style>{_STYLE}</style></head><body><h1>{name} gate</h1>",
            f'<p class="{verdict}"><strong>{escape(_headline(report, noun))}</strong></p>',
            *(f"<p>{escape(reason)}</p>" for reason in report.reasons),
            "<h2>Rules</h2>",
            _table(("Rule", "On fail", "Result", "Observed"), rules),
            f"<h2>Quarantined {noun}</h2>",
            _table((name, "Rule", "Reason"), quarantined[:MAX_LISTED]),
            _remainder(report.num_quarantined - len(quarantined[:MAX_LISTED]), noun),
            "</body></html>\n",
        ]
    )


def write_report(report: GateReport, held: Path, *, html: Path, markdown: Path) -> None:
    """Write both forms, each whole or not at all; the documents listed come from the gate's `held` file."""
    with whole_file(html) as beside:
        beside.write_text(to_html(report, _listed(held)), encoding="utf-8")
    with whole_file(markdown) as beside:
        beside.write_text(to_markdown(report), encoding="utf-8")


def _listed(held: Path) -> list[tuple[str, str, str]]:
    with pq.ParquetFile(held) as file:
        batches = file.iter_batches(batch_size=MAX_LISTED, columns=["document_id", "rule", "reason"])
        rows = next(iter(batches), None)
    return [(row["document_id"], row["rule"], row["reason"]) for row in rows.to_pylist()] if rows else []


def _headline(report: GateReport, noun: str) -> str:
    verdict = "Stopped" if report.stopped else "Passed"
    judged = "changed documents" if noun == DOCUMENTS else noun
    return (
        f"{verdict}: {report.num_documents} {judged}, {report.num_accepted} accepted,"
        f" {report.num_quarantined} quarantined"
    )


def _name(rule: RuleResult) -> str:
    return f"{rule.expect} ({rule.column})" if rule.column else rule.expect


def _outcome(rule: RuleResult) -> str:
    if rule.success:
        return "passed"
    return "warned" if rule.on_fail == "warn" else "failed"


def _observed(rule: RuleResult) -> str:
    return f"{rule.observed}: {rule.error}" if rule.error else rule.observed


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in header)
    body = "\n".join("<tr>" + "".join(_data(value) for value in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table>"


def _data(value: str) -> str:
    kind = f' class="{value}"' if value in {"passed", "warned", "failed"} else ""
    return f"<td{kind}>{escape(value)}</td>"


def _remainder(num_more: int, noun: str) -> str:
    where = "almanac quarantine" if noun == DOCUMENTS else "quarantine.jsonl"
    return f"<p>And {num_more} more, in <code>{where}</code>.</p>" if num_more > 0 else ""


def _cell(value: str) -> str:
    """One line of text that Markdown and HTML leave as it is."""
    return escape(" ".join(value.split()), quote=False).replace("\\", "\\\\").replace("|", "\\|").replace("[", "\\[")
