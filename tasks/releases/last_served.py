"""What served last, of each kind: one record on disk for command line and server, for when MLflow cannot be asked."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from tasks.errors import CorruptionError
from tasks.files import write_json
from tasks.releases.folder import FORMAT, check_format, known_fields
from tasks.releases.kind import ReleaseKind
from tasks.releases.tags import Tag
from tasks.releases.version import ReleaseVersion
from tasks.settings import Settings


@dataclass(frozen=True, slots=True)
class LastServed:
    """A version that served.

    Attributes:
        version: MLflow's, or the kind's default.
        release: number of an index release.
    """

    version: str
    run_id: str = ""
    release: int | None = None
    format: int = FORMAT

    def as_version(self, kind: ReleaseKind) -> ReleaseVersion | None:
        """Return the version, with no tag but its release; None for the kind's default."""
        if self.version == kind.default:
            return None
        tags = {} if self.release is None else {str(Tag.RELEASE): str(self.release)}
        return ReleaseVersion(kind, self.version, self.run_id, tags)


def remember_served(settings: Settings, kind: ReleaseKind, version: ReleaseVersion | None) -> None:
    """Keep what serves; None: the kind's default.

    Raises:
        DependencyError: the disk refused.
    """
    if version is None:
        record = LastServed(str(kind.default))
    else:
        record = LastServed(version.version, version.run_id, version.number)
    write_json(_path(settings, kind), asdict(record))


def last_served(settings: Settings, kind: ReleaseKind) -> LastServed | None:
    """Return what served last on this home; None before the first.

    Raises:
        CorruptionError: the record is not what was written.
    """
    path = _path(settings, kind)
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        check_format(raw, str(path))
        return known_fields(LastServed, raw, str(path))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise CorruptionError(
            f"{path} must name the {kind.name} that served last, found: {error!r}; delete it and start MLflow"
        ) from error


def _path(settings: Settings, kind: ReleaseKind) -> Path:
    return settings.home.resolve() / "served" / f"{kind.name}.json"
