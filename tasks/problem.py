"""What is wrong with an installation, as `almanac doctor` names it."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is not as it should be, where it stands, and what to do about it."""

    what: str
    where: str
    remedy: str


def problem_of(error: Exception, where: Path | str) -> Problem:
    """Return the problem that an error names: its last clause is the remedy."""
    what, _, remedy = str(error).rpartition("; ")
    return Problem(what or remedy, str(where), remedy)
