"""Releases as a person sees them: the list, what serves, and the way back."""

import json
from typing import Any

from tasks.errors import ConfigurationError, CorruptionError
from tasks.index import registration
from tasks.index.registration import Version
from tasks.index.release import Release, load_release, release_numbers, remember_served
from tasks.releases.model_registry import CHAMPION
from tasks.settings import Settings


def list_releases(settings: Settings) -> list[dict[str, Any]]:
    """One entry a release, newest first: `kind version aliases created_at metrics lineage` and sizes."""
    versions = {entry.release: entry for entry in registration.versions(settings)}
    return [
        _entry(load_release(settings, number), versions.get(number)) for number in reversed(release_numbers(settings))
    ]


def _entry(release: Release, version: Version | None) -> dict[str, Any]:
    state = [] if version is None else list(version.aliases)
    return {
        "kind": "index",
        "version": release.number,
        "mlflow_version": version.version if version else None,
        "aliases": state,
        "rolled_back": bool(version and version.rolled_back),
        "created_at": release.created_at,
        "documents": release.num_documents,
        "chunks": release.num_chunks,
        "metrics": dict(release.metrics),
        "lineage": {
            "base": release.base,
            "corpus": release.corpus.tag,
            "corpus_commit": release.corpus.commit,
            "corpus_md5": release.corpus.md5,
            "params_digest": release.params_digest,
            "embedder": release.fingerprint.embedder,
            "git_commit": release.git_commit,
        },
    }


def roll_back_index(settings: Settings, number: int | None) -> dict[str, Any]:
    """Move the alias back to a release, by default to the newest one that served before.

    Raises:
        ConfigurationError: there is no such release, or none before.
    """
    versions = registration.versions(settings)
    current = next((entry for entry in versions if CHAMPION in entry.aliases), None)
    if current is None:
        raise ConfigurationError("an index release must serve before it can be rolled back, found none")
    kept = set(release_numbers(settings))
    target = _target(versions, current, kept, number)
    load_release(settings, target.release)
    registration.roll_back(settings, abandoned=current.version, to=target.version)
    remember_served(settings, target.release)
    return {"release": target.release, "version": target.version, "abandoned": current.release}


def _target(versions: list[Version], current: Version, kept: set[int], number: int | None) -> Version:
    if number is None:
        before = [v for v in versions if v.release < current.release and v.served and not v.rolled_back]
        candidates = [entry for entry in before if entry.release in kept]
        if not candidates:
            raise ConfigurationError(f"a release must have served before release {current.release}, found none")
        return candidates[-1]
    for entry in versions:
        if entry.release == number and number in kept and entry.version != current.version:
            return entry
    others = sorted(kept - {current.release})
    raise ConfigurationError(
        f"rollback needs a kept release other than the serving one, found {number}; kept: {others}"
    )


def status(settings: Settings) -> dict[str, Any]:
    """What serves since when, the last refresh, who holds the lease."""
    champion = registration.champion(settings)
    numbers = release_numbers(settings)
    newest = load_release(settings, numbers[-1]) if numbers else None
    return {
        "serving": _entry(load_release(settings, champion.release), champion) if champion else None,
        "newest_release": newest.number if newest else None,
        "newest_created_at": newest.created_at if newest else None,
        "writer": _writer(settings),
        "mlflow": settings.tracking_uri,
        "index": settings.index_uri,
    }


def _writer(settings: Settings) -> dict[str, Any] | None:
    path = settings.home.resolve() / "locks" / "writer.json"
    try:
        holder: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except json.JSONDecodeError as error:
        raise CorruptionError(f"{path} must name the writer, found: {error}; delete it if nothing writes") from error
    return holder
