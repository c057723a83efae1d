"""One look at a real home: answers read from their traces, the page in MLflow, people told what they should know."""

import datetime as dt
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

import flows.monitor as module
from flows.monitor import monitor
from tasks.answer.assistant import Assistant
from tasks.answer.trace import flush_traces
from tasks.monitor.judge import Judgement
from tasks.monitor.look import EXPERIMENT, look
from tasks.monitor.observation import read_observations
from tasks.monitor.report import MonitorReport, as_markdown, findings_of
from tasks.monitor.signals import Shift
from tasks.monitor.topics import Topic
from tasks.releases.model_registry import mlflow_client
from tests.server import ZEPHYR, Home, make_home, record


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, migrated_mlflow: Path) -> Iterator[Home]:
    folder = tmp_path_factory.mktemp("monitored")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", "")
        patch.delenv("MLFLOW_TRACKING_URI")
        home = make_home(folder, migrated_mlflow, [record("zephyr", ZEPHYR, "everyone")])
        assistant = Assistant(home.params, home.settings)
        for question in ("Which Python does Zephyr need?", "Who won the cup in 1974?"):
            assistant.ask(question)
        flush_traces()
        yield home


@pytest.mark.slow
def test_answers_are_read_from_their_traces(home: Home) -> None:
    answered, unanswered = read_observations(home.settings, since=dt.datetime.now(dt.UTC) - dt.timedelta(hours=1))

    assert (answered.question, answered.unanswered) == ("Which Python does Zephyr need?", False)
    assert unanswered.unanswered
    assert answered.similarity is not None and unanswered.similarity is not None
    assert answered.similarity > unanswered.similarity
    assert (answered.answerer, answered.index) == ("excerpt", "1")


@pytest.mark.slow
def test_look_goes_to_mlflow_and_people_are_told_of_a_refresh_that_never_came(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = dt.datetime.now(dt.UTC)
    told: list[str] = []
    monkeypatch.setattr(module, "tell_people", lambda _, title, body: told.append(f"{title}\n{body}"))
    monkeypatch.setenv("ALMANAC_HOME", str(home.settings.home))
    monkeypatch.setenv("ALMANAC_PARAMS", str(home.settings.params))

    clean = monitor.fn()
    late = look(home.params, home.settings, now=now + dt.timedelta(days=20))
    monkeypatch.setattr(module, "look", lambda *_, **__: late)
    monitor.fn()

    assert (clean.findings, clean.judgement.num_recent) == ((), 0)  # today is not over
    assert [finding.what for finding in late.findings] == ["no refresh for 20 days"]
    assert len(told) == 1
    assert "no refresh for 20 days: almanac status" in told[0]
    with mlflow_client(home.settings) as client:
        experiment = client.get_experiment_by_name(EXPERIMENT)
        runs = client.search_runs([experiment.experiment_id])
        page = Path(client.download_artifacts(runs[0].info.run_id, "monitor.md")).read_text(encoding="utf-8")
    assert [run.data.metrics["num_findings"] for run in runs] == [1, 0]
    assert "no refresh for 20 days" in page


def test_page_quotes_questions_and_an_alert_does_not() -> None:
    topic = Topic(("how do I reset my badge?",), 6, 5, 0, 1e-5)
    drift = Shift("unanswered questions", 0.08, 0.21, 1e-7, is_alarm=True)
    worse = Shift("unverified claims of answerer 4", 0.05, 0.20, 1e-9, is_alarm=True)
    judgement = Judgement(700, 2800, (drift,), (), (worse,), (topic,))

    findings = findings_of(judgement, 9.4, {"wiki": 300})
    report = MonitorReport("2026-11-27", judgement, tuple(findings), 9.4, {"wiki": 300}, 1000, 1.5, "USD")

    said = [finding.what for finding in findings]
    assert [text.split(":")[0].split(" for")[0] for text in said] == [
        "unverified claims of answerer 4",
        "unanswered questions",
        "a topic without an answer",
        "no refresh",
        "nothing of the source wiki changed",
    ]
    assert "badge" not in json.dumps(said)
    assert "badge" in as_markdown(report)
    assert "| unanswered questions | 0.080 | 0.210 | 1e-07 | yes |" in as_markdown(report)
