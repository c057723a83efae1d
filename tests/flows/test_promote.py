"""What happened to a version stands in Prefect; where there is none, nobody waits for it."""

import logging
import time
from dataclasses import asdict
from typing import Any

import httpx
import pytest

from flows.promote import markdown, promote
from serving.promotion.record import Promotion, record_promotion
from tests.conftest import wait_until

REFUSED = Promotion(
    "refused",
    "almanac-answerer",
    "7",
    before="5",
    seconds=1.25,
    why="answerer 7 must run on base a | b",
    alias="the alias was put back to version 5",
)


def test_refusal_says_why_and_what_serves_on() -> None:
    text = markdown(asdict(REFUSED))

    assert text.startswith("# almanac-answerer 7 was refused")
    assert "| why | answerer 7 must run on base a \\| b |" in text
    assert "| alias | the alias was put back to version 5 |" in text
    assert "| before | 5 |" in text


def test_flow_is_a_plain_function_without_prefect() -> None:
    assert promote.fn(asdict(REFUSED)) == markdown(asdict(REFUSED))


def test_prefect_that_does_not_answer_makes_nobody_wait(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    started = time.monotonic()

    with caplog.at_level(logging.WARNING):
        record_promotion(REFUSED)

    assert time.monotonic() - started < 1
    assert "almanac-answerer 7 was refused" in caplog.text


@pytest.mark.slow
def test_lost_report_is_logged(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    with caplog.at_level(logging.WARNING):
        record_promotion(REFUSED)
        wait_until(lambda: "Prefect was not told" in caplog.text, seconds=150)


@pytest.mark.slow
def test_promotion_is_a_flow_run_with_an_artifact(prefect_server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_URL", prefect_server)

    record_promotion(REFUSED)

    def found(what: str) -> list[dict[str, Any]]:
        answer = httpx.post(f"{prefect_server}/{what}/filter", json={}, timeout=20)
        rows: list[dict[str, Any]] = answer.json()
        return rows

    wait_until(lambda: any(run["state_type"] == "COMPLETED" for run in found("flow_runs")), seconds=180)
    assert [run["name"] for run in found("flow_runs")] == ["almanac-answerer 7 was refused"]
    artifact = next(entry for entry in found("artifacts") if entry["key"] == "promotion-almanac-answerer")
    assert artifact["data"] == markdown(asdict(REFUSED))
