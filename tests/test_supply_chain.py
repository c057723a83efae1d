"""`make audit`: what is open fails, what is accepted does not for a while; and an install that passes by no mirror."""

import datetime as dt
import json
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from experiments.supply_chain import (
    SENTINEL,
    Policy,
    Vulnerability,
    audit,
    judge,
    read_policy,
    vulnerabilities,
    working_service,
)
from infra.install import uv_settings
from tasks.errors import ConfigurationError, DependencyError

TODAY = dt.date(2026, 11, 27)
OLD = Vulnerability("requests", "2.19.0", "PYSEC-2018-28", ("2.20.0",), ("CVE-2018-18074",))


def policy(until: str = "2026-12-31", **changes: str) -> Policy:
    entry = {"package": "requests", "id": "CVE-2018-18074", "reason": "no redirects here", "until": until} | changes
    return Policy.model_validate({"accepted": [entry]})


def reply(*packages: dict[str, object], code: int = 0) -> subprocess.CompletedProcess[str]:
    return subprocess.CompletedProcess([], code, json.dumps({"dependencies": list(packages)}), "")


VULNERABLE = {
    "name": "requests",
    "version": "2.19.0",
    "vulns": [{"id": "PYSEC-2018-28", "fix_versions": ["2.20.0"], "aliases": ["CVE-2018-18074"]}],
}
SKIPPED = {"name": "requests", "skip_reason": "Dependency not found on PyPI and could not be audited"}
CLEAN = {"name": "httpx", "version": "0.28.1", "vulns": []}


def test_what_nobody_accepted_is_open() -> None:
    assert judge([OLD], Policy(), TODAY).open == (OLD,)
    assert judge([OLD], policy(package="urllib3"), TODAY).open == (OLD,)


def test_accepted_one_may_stay_until_its_day_by_its_id_or_an_alias() -> None:
    assert judge([OLD], policy(), TODAY).accepted == (OLD,)
    assert judge([OLD], policy(id="PYSEC-2018-28", until="2026-11-27"), TODAY).open == ()
    assert judge([OLD], policy(until="2026-11-26"), TODAY).open == (OLD,)
    assert len(judge([], policy(), TODAY).stale) == 1


@pytest.mark.parametrize("text", ["accepted: [{package: x, id: y, until: 2027-01-01}]", "open: []", "accepted: 3"])
def test_policy_without_reasons_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(text)
    with pytest.raises(ConfigurationError):
        read_policy(path)


def test_our_own_policy_is_one() -> None:
    read_policy()


def test_mirror_without_advisories_is_no_database() -> None:
    """pip-audit itself says "No known vulnerabilities found" of it, and ends with 0."""
    assert working_service(lambda _: reply(SKIPPED)) is None
    assert working_service(lambda _: reply(CLEAN)) is None


def test_second_database_is_asked_where_the_first_is_silent() -> None:
    def run(arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
        if "osv" in arguments:
            return reply(VULNERABLE, code=1)
        return subprocess.CompletedProcess([], 1, "", "ConnectionError: no route")

    assert working_service(run) == "osv"
    with pytest.raises(DependencyError, match="no route"):
        vulnerabilities(Path("x"), "pypi", run)


@pytest.mark.parametrize(("database", "is_well"), [(True, False), (False, True)])
def test_audit_fails_for_what_is_open_and_says_where_it_could_not_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, database: bool, is_well: bool
) -> None:
    monkeypatch.setattr("experiments.supply_chain.BILL", tmp_path / "bill.json")

    def run(arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
        if "cyclonedx_py" in arguments:
            (tmp_path / "bill.json").write_text('{"components": [{}, {}]}')
            return subprocess.CompletedProcess([], 0, "", "")
        return reply(VULNERABLE if database else SKIPPED, code=int(database))

    said: list[str] = []
    assert audit(run, said.append) is is_well
    assert "2 components" in said[0]
    assert ("OPEN: requests 2.19.0: PYSEC-2018-28" in said[1]) is database
    assert ("NOT AUDITED" in said[1]) is not database
    assert SENTINEL.startswith("requests==")


PIP_SAYS = """\
:env:.find-links='/wheels /more'
:env:.timeout='180'
global.cert='/etc/ssl/ca.crt'
global.extra-index-url='https://two.example/simple\\nhttps://three.example/simple'
global.find-links='/other'
global.index-url='https://mirror.example/simple'
install.index-url='https://nearer.example/simple'
"""


def test_settings_of_pip_are_read_for_uv() -> None:
    assert uv_settings(PIP_SAYS) == {
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "UV_DEFAULT_INDEX": "https://nearer.example/simple",
        "UV_INDEX": "https://two.example/simple https://three.example/simple",
        "UV_FIND_LINKS": "/wheels,/more",
        "SSL_CERT_FILE": "/etc/ssl/ca.crt",
    }


def test_without_settings_uv_asks_as_pip_does() -> None:
    assert uv_settings("") == {"UV_INDEX_STRATEGY": "unsafe-best-match"}
