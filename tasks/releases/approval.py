"""Who let a version serve: a signed record on the version, since MLflow keeps nothing of who moved an alias.

The record is a tag of the version, and whoever may write tags in MLflow may write any: so it is signed with the secret
of the installation, for this version of this model and this moment. An old record that is written again, after another
version was promoted behind it, is told by its moment.
"""

import datetime as dt
import hmac
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tasks.audit.audit import process_owner
from tasks.errors import ConfigurationError
from tasks.files import write_json
from tasks.pseudonym_key import signature
from tasks.releases.kind import ANSWERER, ReleaseKind
from tasks.releases.tags import Tag
from tasks.releases.version import ReleaseVersion
from tasks.settings import Settings

Act = Literal["serve", "leave"]
"""What was approved: that a version serves, or that it leaves for the kind's default."""

_TAGS: dict[Act, Tag] = {"serve": Tag.PROMOTED_BY, "leave": Tag.ROLLED_BACK_BY}
_PURPOSE = "promotion"


@dataclass(frozen=True, slots=True)
class Approver:
    """Who decides what serves.

    Attributes:
        name: as people know them; it stands on the version.
        user: the pseudonym, for the audit log; None: who runs this process.
    """

    name: str
    user: str | None = None


POLICY = Approver("policy auto of params.yaml")
"""The operator said once that what passes its gate serves."""


def approver(settings: Settings, by: Approver | None) -> Approver:
    """Return who decides what serves; None: whoever runs this process, where that is enough.

    Raises:
        ConfigurationError: a promoter is wanted, and none given.
    """
    if by is None and settings.require_promoter:
        raise ConfigurationError(
            "a promoter must decide what serves (ALMANAC_REQUIRE_PROMOTER), found none; set ALMANAC_API_KEY to a key "
            "of `almanac keys add NAME --role promoter`"
        )
    return by or Approver(process_owner())


def approval_tag(settings: Settings, version: ReleaseVersion, by: Approver, act: Act = "serve") -> dict[Tag, str]:
    """Return the record, as a tag of the version."""
    at = dt.datetime.now(dt.UTC).isoformat()
    # A name of many words must not break the record into other parts.
    name = " ".join(by.name.replace("|", " ").split())[:100]
    return {_TAGS[act]: f"{name} | {at} | {_signature(settings, version, act, name, at)}"}


def require_approval(settings: Settings, version: ReleaseVersion, act: Act = "serve") -> None:
    """Refuse a version that nobody who may promote let serve, where the setting says so.

    Raises:
        ConfigurationError: there is no record, it was not signed here, or it is older than one that was followed.
    """
    if not settings.require_promoter:
        return
    record = version.tags.get(_TAGS[act], "")
    name, at, signed = _parts(record)
    if not hmac.compare_digest(signed, _signature(settings, version, act, name, at)):
        found = "none" if not record else "one that this installation did not sign"
        raise ConfigurationError(
            f"whoever lets a version {'serve' if act == 'serve' else 'leave'} must be a promoter, found {found} on "
            f"{version}; use `almanac promote` or `almanac rollback` with a promoter's key, or POST /v1/releases"
        )
    if at <= _followed(settings, version.kind):
        raise ConfigurationError(
            f"the record of {name} on {version} must be newer than that of the last promotion, found {at}; "
            "promote it again"
        )


def follow_approval(settings: Settings, version: ReleaseVersion, act: Act = "serve") -> None:
    """Keep that a record was followed: none before it counts any more on this home.

    Raises:
        DependencyError: the disk refused.
    """
    _, at, _ = _parts(version.tags.get(_TAGS[act], ""))
    if settings.require_promoter and at > _followed(settings, version.kind):
        write_json(_path(settings, version.kind), {"approved_at": at})


def _parts(record: str) -> tuple[str, str, str]:
    parts = record.split(" | ")
    return (parts[0], parts[1], parts[2]) if len(parts) == 3 else ("", "", "")


def _signature(settings: Settings, version: ReleaseVersion, act: Act, name: str, at: str) -> str:
    return signature(settings, _PURPOSE, act, *version.id, name, at)


def _followed(settings: Settings, kind: ReleaseKind) -> str:
    try:
        return str(json.loads(_path(settings, kind).read_text(encoding="utf-8"))["approved_at"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _path(settings: Settings, kind: ReleaseKind) -> Path:
    served, own = settings.layout.served, kind.knowledge_base
    # A folder: a knowledge base may be called `handbook-approved`.
    return (
        served / f"{kind.name}-approved.json" if own is None else served / f"{ANSWERER.name}-approved" / f"{own}.json"
    )
