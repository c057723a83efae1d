"""What the monitor found, as a page for people and as lines for an alert.

The page quotes questions and lies in MLflow, as the traces do; an alert leaves the house, so it quotes none.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from tasks.markdown_table import markdown_table
from tasks.monitor.judge import Judgement
from tasks.monitor.topics import Topic

MAX_DAYS_WITHOUT_REFRESH = 8
_REMEDIES = {
    "similarity of questions and passages": "see the topics; refresh early, add golden questions of what is asked",
    "questions outside of the golden ones": "add golden questions of what is asked now; a source may be missing",
    "unanswered questions": "see the topics; almanac refresh, or add what is missing",
    "unverified claims": "see them in MLflow; almanac rollback answerer, or almanac retrain",
    "answers rated down": "almanac advise tells missing information from form; almanac retrain",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that people should be told.

    Attributes:
        what: happened, in one line, without a question's text.
        remedy: what to do about it.
    """

    what: str
    remedy: str


@dataclass(frozen=True, slots=True)
class MonitorReport:
    """What one look found.

    Attributes:
        days_since_refresh: since sources were last looked at from here, or a release was made.
        stale_sources: days since the newest document of a source changed, for those above the limit.
        tokens: of prompts and answers in the last seven days.
        cost: of those tokens; None: `compare.prices` has no price of tokens.
    """

    at: str
    judgement: Judgement
    findings: tuple[Finding, ...]
    days_since_refresh: float | None
    stale_sources: Mapping[str, int]
    tokens: int
    cost: float | None
    currency: str

    def as_json(self) -> dict[str, Any]:
        """Return the fields of `almanac monitor --json`."""
        return asdict(self)

    def metrics(self) -> dict[str, float]:
        """Return the numbers that MLflow plots over time."""
        judged = self.judgement
        numbers = {"num_answers": float(judged.num_recent), "num_findings": float(len(self.findings))}
        numbers |= {shift.name.replace(" ", "_"): shift.now for shift in judged.shifts}
        numbers |= {"tokens": float(self.tokens)} | ({} if self.cost is None else {"cost": self.cost})
        return numbers | ({} if self.days_since_refresh is None else {"days_since_refresh": self.days_since_refresh})


def findings_of(judgement: Judgement, days_since_refresh: float | None, stale: Mapping[str, int]) -> list[Finding]:
    """Return what people should be told, the gravest first."""
    findings = []
    for shift in judgement.worse:
        what = f"{shift.name}: {shift.now:.0%}, before it {shift.before:.0%} (p = {shift.p_value:.0e})"
        findings.append(Finding(what, "almanac rollback answerer, or look at its traces in MLflow"))
    for shift in judgement.shifts:
        if shift.is_alarm:
            what = (
                f"{shift.name}: {shift.now:.2f} in the last week, {shift.before:.2f} before (p = {shift.p_value:.0e})"
            )
            findings.append(Finding(what, _REMEDIES[shift.name]))
    for topic in judgement.topics:
        what = (
            f"a topic without an answer: {topic.num_questions} questions by {topic.num_users} users in a week, "
            f"{topic.before} in the four weeks before"
        )
        findings.append(Finding(what, "add a source or a document; the page in MLflow quotes the questions"))
    if days_since_refresh is not None and days_since_refresh > MAX_DAYS_WITHOUT_REFRESH:
        findings.append(
            Finding(
                f"no refresh for {days_since_refresh:.0f} days",
                "almanac status shows the schedule, almanac doctor what is wrong; almanac refresh",
            )
        )
    for source, days in stale.items():
        findings.append(Finding(f"nothing of the source {source} changed for {days} days", "ask who keeps it"))
    return findings


def as_markdown(report: MonitorReport) -> str:
    """Return the page."""
    judged = report.judgement
    cost = "" if report.cost is None else f", {report.cost:.2f} {report.currency}"
    lines = [
        f"# Monitor, {report.at}",
        "",
        f"{judged.num_recent} answers in the last seven days, {judged.num_reference} in the four weeks before; "
        f"{report.tokens} tokens in the week{cost}.",
        "",
        *(f"- **{finding.what}**: {finding.remedy}" for finding in report.findings),
        *(["Nothing that people need be told."] if not report.findings else []),
        "",
        "## Signals",
        "",
        _signals(judged),
        "",
        "## Answerers",
        "",
        _answerers(judged),
        "",
        "## Topics without an answer",
        "",
        *(_topic(topic) for topic in judged.topics),
        "",
    ]
    return "\n".join(lines)


def _signals(judged: Judgement) -> str:
    rows = (
        (shift.name, f"{shift.before:.3f}", f"{shift.now:.3f}", f"{shift.p_value:.2g}", "yes" * shift.is_alarm)
        for shift in judged.shifts
    )
    return markdown_table(("signal", "before", "last week", "p", "alarm"), rows)


def _answerers(judged: Judgement) -> str:
    rows = (
        (row.answerer, row.num_answers, f"{row.unanswered:.1%}", _share(row.unverified), _share(row.rated_down))
        for row in judged.versions
    )
    return markdown_table(("answerer", "answers", "unanswered", "unverified claims", "rated down"), rows)


def _topic(topic: Topic) -> str:
    return f"- {topic.num_questions} questions by {topic.num_users} users: {'; '.join(topic.examples)}"


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.1%}"
