"""What this software is made of, and what is known against it: `make audit`.

A bill of materials (CycloneDX) of the environment, and pip-audit over the versions of `constraints.txt`. What is found
fails, unless `infra/vulnerabilities.yaml` says why it may stay, and until when.

    bill of materials ─▶ does a database answer? ─▶ vulnerabilities ─▶ policy ─▶ verdict

A mirror that knows packages but no advisories lets pip-audit say "no known vulnerabilities": so a version is asked for
first that has had one since 2018. Where that is not found, nothing was audited, and this is said, and is no failure.
"""

import datetime as dt
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tasks.errors import ConfigurationError, DependencyError

BILL = Path("build/sbom.cdx.json")
POLICY = Path("infra/vulnerabilities.yaml")
VERSIONS = Path("constraints.txt")
SERVICES = ("pypi", "osv")
SENTINEL = "requests==2.19.0\n"
"""CVE-2018-18074: every database of advisories knows it."""

Run = Callable[[Sequence[str]], subprocess.CompletedProcess[str]]


@dataclass(frozen=True, slots=True)
class Vulnerability:
    """A known weakness of a version that is used."""

    package: str
    version: str
    id: str
    fixed_in: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()

    def __str__(self) -> str:
        fixed = f"fixed in {', '.join(self.fixed_in)}" if self.fixed_in else "not fixed yet"
        return f"{self.package} {self.version}: {self.id} ({fixed})"


class Accepted(BaseModel):
    """A vulnerability that may stay for a while."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    package: str
    reason: str = Field(min_length=10)
    until: dt.date


class Policy(BaseModel):
    """What of all that is found may stay."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    accepted: tuple[Accepted, ...] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is to be done about what was found.

    Attributes:
        open: nobody accepted them, or no longer.
        accepted: the policy has them.
        stale: entries of the policy that nothing is found for.
    """

    open: tuple[Vulnerability, ...]
    accepted: tuple[Vulnerability, ...]
    stale: tuple[Accepted, ...]


def read_policy(path: Path = POLICY) -> Policy:
    """Return the policy.

    Raises:
        ConfigurationError: an entry lacks its reason or its end.
    """
    try:
        return Policy.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")) or {})
    except (OSError, yaml.YAMLError, ValidationError) as error:
        raise ConfigurationError(f"{path} must list accepted vulnerabilities, found: {error}") from error


def judge(listed: Sequence[Vulnerability], policy: Policy, today: dt.date) -> Verdict:
    """Return what is open; an entry of the policy holds up to and with its last day."""

    def fits(entry: Accepted, one: Vulnerability) -> bool:
        return entry.package == one.package and entry.id in (one.id, *one.aliases)

    holds = [entry for entry in policy.accepted if entry.until >= today]
    accepted = tuple(one for one in listed if any(fits(entry, one) for entry in holds))
    stale = tuple(entry for entry in policy.accepted if not any(fits(entry, one) for one in listed))
    return Verdict(tuple(one for one in listed if one not in accepted), accepted, stale)


def working_service(run: Run) -> str | None:
    """Return a database that knows what everybody knows; None where there is none."""
    with tempfile.TemporaryDirectory() as folder:
        sentinel = Path(folder) / "sentinel.txt"
        sentinel.write_text(SENTINEL, encoding="utf-8")
        for service in SERVICES:
            try:
                if vulnerabilities(sentinel, service, run):
                    return service
            except DependencyError:
                continue
    return None


def vulnerabilities(versions: Path, service: str, run: Run) -> list[Vulnerability]:
    """Return what a database knows of the pinned versions.

    Raises:
        DependencyError: it does not answer.
    """
    command = ["-m", "pip_audit", "--requirement", str(versions), "--no-deps", "--disable-pip"]
    done = run([*command, "--vulnerability-service", service, "--format", "json", "--progress-spinner", "off"])
    try:
        packages = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError) as error:
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise DependencyError(f"the database of advisories `{service}` must answer, found: {last[:200]}") from error
    return [
        Vulnerability(
            package["name"], package["version"], one["id"], tuple(one["fix_versions"]), tuple(one.get("aliases", ()))
        )
        for package in packages
        for one in package.get("vulns", ())
    ]


def write_bill(path: Path, run: Run) -> int:
    """Write the bill of materials of this environment; return how many components it names.

    Raises:
        DependencyError: it could not be made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    options = ["--output-format", "JSON", "--pyproject", "pyproject.toml", "--output-file", str(path)]
    done = run(["-m", "cyclonedx_py", "environment", *options, sys.executable])
    if done.returncode:
        raise DependencyError(f"the bill of materials must be made, found: {done.stderr.strip()[-300:]}")
    return len(json.loads(path.read_text(encoding="utf-8"))["components"])


def _run(arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], text=True, capture_output=True, check=False)


def audit(run: Run = _run, say: Callable[[str], object] = print) -> bool:
    """Write the bill, look for what is known, and say it; return whether nothing is open."""
    policy = read_policy()
    say(f"{BILL}: {write_bill(BILL, run)} components")
    service = working_service(run)
    if service is None:
        say(f"NOT AUDITED: no database of advisories can be reached from here (tried: {', '.join(SERVICES)})")
        return True
    verdict = judge(vulnerabilities(VERSIONS, service, run), policy, dt.datetime.now(dt.UTC).date())
    for one in verdict.accepted:
        say(f"accepted: {one}")
    for entry in verdict.stale:
        say(f"not found any more, remove it from {POLICY}: {entry.package} {entry.id}")
    for one in verdict.open:
        say(f"OPEN: {one}")
    say(f"audited by {service}: {len(verdict.open)} open, {len(verdict.accepted)} accepted")
    return not verdict.open


if __name__ == "__main__":
    sys.exit(0 if audit() else 1)
