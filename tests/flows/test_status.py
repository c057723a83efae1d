"""What `almanac status` prints for a person."""

from dataclasses import replace

import pytest

from cli.status import print_status
from flows.schedules import EndedRun, Schedule
from flows.status import Status
from tasks.index.history import IndexStatus
from tasks.lease import LeaseHolder
from tasks.releases.version import ReleaseEntry

SERVING = ReleaseEntry(
    "index",
    4,
    created_at="2026-11-01T03:00:00+00:00",
    documents=12,
    chunks=90,
    lineage={"embedder": "minilm:0f:mean:auto"},
)
INDEX = IndexStatus(SERVING, 4, "2026-11-01T03:00:00+00:00", None, "sqlite:///mlflow.db", "lancedb")
STATUS = Status(INDEX, ReleaseEntry("answerer", "excerpt"), None, "2026-11-02T08:00:00+00:00")


def printed(capsys: pytest.CaptureFixture[str], status: Status) -> list[str]:
    print_status(status)
    return [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]


def test_says_what_serves_since_when(capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(capsys, STATUS) == [
        "serves: index release 4 since 2026-11-02T08:00:00+00:00: 12 documents, 90 chunks",
        "embedder: minilm:0f:mean:auto",
        "answerer: excerpt (the default)",
        "writes: nobody",
        "schedules: not known here; set PREFECT_API_URL, or run `almanac up`",
        "stores: sqlite:///mlflow.db, lancedb",
    ]


def test_names_the_writer_the_newest_release_and_a_promoted_answerer(capsys: pytest.CaptureFixture[str]) -> None:
    writer = LeaseHolder(7, "north", "refresh", "2026-11-03T03:00:00+00:00", fence=9)
    answerer = ReleaseEntry("answerer", "3", "3", created_at="2026-10-01T00:00:00+00:00")
    index = replace(INDEX, writer=writer, newest_release=5)

    lines = printed(capsys, replace(STATUS, index=index, answerer=answerer))

    assert "newest: index release 5 of 2026-11-01T03:00:00+00:00, which does not serve" in lines
    assert "answerer: version 3 of 2026-10-01T00:00:00+00:00" in lines
    assert "writes: refresh of process 7 on north, since 2026-11-03T03:00:00+00:00" in lines


def test_says_what_answers_a_knowledge_base_and_how_its_challenger_does(capsys: pytest.CaptureFixture[str]) -> None:
    own = ReleaseEntry("answerer.notes", "1", "1", created_at="2026-10-01T00:00:00+00:00")
    trials = {"notes": "version 2: not yet: too few users"}

    lines = printed(capsys, replace(STATUS, own_answerers=(own,), own_trials=trials))

    assert "notes: version 1 of 2026-10-01T00:00:00+00:00" in lines
    assert "trial: notes: version 2: not yet: too few users" in lines


def test_says_what_runs_next_and_how_it_ended_last(capsys: pytest.CaptureFixture[str]) -> None:
    weekly = Schedule("2026-11-08T03:00:00Z", EndedRun("2026-11-01T03:00:01Z", "Completed"))

    lines = printed(capsys, replace(STATUS, schedules={"refresh/weekly": weekly, "retrain/quarterly": None}))

    assert "schedules: refresh/weekly next 2026-11-08T03:00:00Z; last 2026-11-01T03:00:01Z, Completed" in lines
    assert "schedules: retrain/quarterly is not scheduled" in lines


def test_says_what_to_do_where_nothing_serves(capsys: pytest.CaptureFixture[str]) -> None:
    index = replace(INDEX, serving=None, newest_release=None, newest_created_at=None)

    lines = printed(capsys, replace(STATUS, index=index))

    assert lines[0] == "serves: nothing yet; run `almanac refresh`"
