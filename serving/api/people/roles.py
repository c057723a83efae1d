"""The roles, and what each may do: the one place that says so. A role comes with a key or with an OIDC claim."""

from collections.abc import Iterable, Mapping
from enum import StrEnum

from tasks.errors import ConfigurationError


class Role(StrEnum):
    """A role. Whoever has another one is a reader too."""

    READER = "reader"
    REVIEWER = "reviewer"
    PROMOTER = "promoter"
    OPERATOR = "operator"


class Right(StrEnum):
    """What a request may need beside what its groups may read."""

    ASK = "ask"
    """Ask, search, rate one's own answers, see what became of a document that one may read."""
    REVIEW = "review"
    """Accept, correct and drop drafts of training and evaluation; let documents out of quarantine."""
    PROMOTE = "promote"
    """Say which version serves: promote, reject, roll back."""
    PUSH = "push"
    """Push documents and take them back."""
    INSPECT = "inspect"
    """See the state of the whole: last and next runs, problems, releases, the names of keys."""
    READ_RUNS = "read_runs"
    """Read MLflow: releases, runs, and traces, which hold what people asked."""
    OPERATE = "operate"
    """Use Prefect; delete and change in MLflow what neither says what serves nor rates an answer."""


RIGHTS: Mapping[Role, frozenset[Right]] = {
    Role.READER: frozenset({Right.ASK}),
    Role.REVIEWER: frozenset({Right.ASK, Right.REVIEW, Right.READ_RUNS}),
    Role.PROMOTER: frozenset({Right.ASK, Right.PROMOTE, Right.READ_RUNS}),
    Role.OPERATOR: frozenset({Right.ASK, Right.PUSH, Right.INSPECT, Right.READ_RUNS, Right.OPERATE}),
}
"""An operator runs the platform and decides neither what is true nor what serves; one person may have several roles.

None of them reads a document that its groups may not read.
"""


def roles_with(right: Right) -> tuple[Role, ...]:
    """Return the roles that give a right."""
    return tuple(role for role in Role if right in RIGHTS[role])


def rights_of(roles: Iterable[Role]) -> frozenset[Right]:
    """Return what somebody with these roles may do; without any role as a reader."""
    return RIGHTS[Role.READER].union(*(RIGHTS[role] for role in roles))


def parse_roles(names: Iterable[str]) -> tuple[Role, ...]:
    """Return the roles of these names, each once, in the order of `Role`; none: reader.

    Raises:
        ConfigurationError: there is no such role.
    """
    wanted = set(names)
    unknown = sorted(wanted - set(Role))
    if unknown:
        raise ConfigurationError(f"a role must be one of {', '.join(Role)}, found {', '.join(unknown)}")
    return tuple(role for role in Role if role in wanted) or (Role.READER,)


def parse_role_mapping(text: str) -> Mapping[str, Role]:
    """Return which role a claim's value gives: for instance `kb-editors=reviewer,ml-leads=promoter`.

    Raises:
        ConfigurationError: an entry has not this form, or names no role.
    """
    entries = [entry.strip() for entry in text.split(",") if entry.strip()]
    pairs = [entry.rpartition("=") for entry in entries]
    if malformed := [entry for entry, (value, _, _) in zip(entries, pairs, strict=True) if not value.strip()]:
        raise ConfigurationError(
            "ALMANAC_OIDC_ROLES must be entries `value=role` with commas, "
            f"found {malformed[0]!r}; for instance `kb-editors=reviewer`"
        )
    return {value.strip(): parse_roles([role.strip()])[0] for value, _, role in pairs}
