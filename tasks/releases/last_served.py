"""What served last, of each kind: one record on disk for command line and server, for when MLflow cannot be asked."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from tasks.errors import CorruptionError
from tasks.files import write_json
from tasks.releases.folder import FORMAT, check_format, known_fields
from tasks.releases.kind import ANSWERER, ReleaseKind
from tasks.releases.tags import Tag
from tasks.releases.version import ReleaseVersion
from tasks.settings import Settings


@dataclass(frozen=True, slots=True)
class _Record:
    """A version that served: MLflow's number of it, or the kind's default; `release` is the number of an index."""

    version: str
    run_id: str = ""
    release: int | None = None
    format: int = FORMAT


def remember_served(settings: Settings, kind: ReleaseKind, version: ReleaseVersion | None) -> None:
    """Keep what serves; None: the kind's default.

    Raises:
        DependencyError: the disk refused.
    """
    record = _Record(version.version, version.run_id, version.number) if version else _Record(str(kind.default))
    write_json(_path(settings, kind), asdict(record))


def last_served(settings: Settings, kind: ReleaseKind) -> ReleaseVersion | None:
    """Return what served last on this home, with no tag but its release; None: the kind's default, or nothing yet.

    Raises:
        CorruptionError: the record is not what was written.
    """
    path = _path(settings, kind)
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        check_format(raw, str(path))
        record = known_fields(_Record, raw, str(path))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise CorruptionError(
            f"{path} must name the {kind.name} that served last, found: {error!r}; delete it and start MLflow"
        ) from error
    tags = {} if record.release is None else {str(Tag.RELEASE): str(record.release)}
    return None if record.version == kind.default else ReleaseVersion(kind, record.version, record.run_id, tags)


def own_that_served(settings: Settings) -> list[str]:
    """Return the knowledge bases of which an answerer of their own ever served on this home, by name."""
    return sorted(path.name.removesuffix(".json") for path in (settings.layout.served / ANSWERER.name).glob("*.json"))


def _path(settings: Settings, kind: ReleaseKind) -> Path:
    served, own = settings.layout.served, kind.knowledge_base
    return served / f"{kind.name}.json" if own is None else served / ANSWERER.name / f"{own}.json"
