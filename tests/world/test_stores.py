"""Addresses of stores outside of the home: what they need is said before the work, in words that name the remedy."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from serving.promotion.index_probe import HANGS_SECONDS, IndexProbe
from tasks.errors import ConfigurationError
from tasks.settings import QUIET_ENVIRONMENT
from tasks.stores import lance_options, require_packages


@pytest.mark.parametrize(
    ("address", "lacking", "extra"),
    [
        ("s3://bucket/index", "boto3", "s3"),
        ("s3://bucket/index", "dvc_s3", "s3"),
        ("postgresql://host/mlflow", "psycopg2", "postgresql"),
        ("postgresql+psycopg2://host/mlflow", "psycopg2", "postgresql"),
    ],
)
def test_missing_package_is_an_error_that_names_the_extra(
    address: str, lacking: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr("tasks.stores.find_spec", lambda name: None if name == lacking else find(name))

    with pytest.raises(ConfigurationError, match=rf"no {lacking}; pip install -c constraints.txt '.\[{extra}\]'"):
        require_packages("ALMANAC_DVC_REMOTE", address)


@pytest.mark.parametrize("address", [None, "/srv/index", "var/lancedb", "s3://bucket/index", "http://mlflow:5000"])
def test_address_whose_packages_are_there_is_let_through(address: str | None) -> None:
    require_packages("ALMANAC_LANCEDB_URI", address)


def test_home_on_an_object_store_is_refused_with_the_remedy(tmp_path: Path) -> None:
    environment = os.environ | QUIET_ENVIRONMENT | {"ALMANAC_HOME": "s3://bucket/home"}
    done = subprocess.run(
        [sys.executable, "-m", "cli", "status"],
        cwd=tmp_path,
        env=environment | {"PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 2
    assert done.stderr.startswith("almanac: ALMANAC_HOME must be a folder of this machine, found s3://bucket/home")
    assert "ALMANAC_LANCEDB_URI" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_object_store_gives_up_after_seconds_and_speaks_http_where_its_endpoint_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9000")

    options = lance_options("s3://bucket/index")

    assert options is not None
    assert options["allow_http"] == "true"
    assert options["timeout"] == "20s"
    assert lance_options("/srv/index") is None


def test_index_that_hangs_is_said_to_hang_and_comes_back() -> None:
    now = [0.0]
    seen: list[str | None] = []

    def hang() -> None:
        now[0] += HANGS_SECONDS - 1
        seen.append(probe.problem)
        now[0] += 2
        seen.append(probe.problem)

    probe = IndexProbe(hang, clock=lambda: now[0])
    probe.probe()

    assert seen[0] is None
    assert seen[1] == "the index must be read within 10 seconds, found no answer for 11"
    assert probe.problem is None


def test_index_that_refuses_is_said_to_refuse() -> None:
    def refuse() -> None:
        raise OSError("connection refused")

    probe = IndexProbe(refuse)
    probe.probe()

    assert probe.problem == "the index must be readable, found: connection refused"
