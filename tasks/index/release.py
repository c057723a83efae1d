"""Releases: one manifest each, the Lance tag that keeps its rows, and the pointer to what served last.

A manifest is written once, behind the tag that it names. Which release serves is MLflow's alias `champion`
(`tasks.index.registration`); the pointer on disk is what a reader falls back to when MLflow cannot be asked.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.errors import CorruptionError
from tasks.files import write_json
from tasks.index.lance_errors import lance_errors
from tasks.index.table import open_latest
from tasks.params import Params, digest
from tasks.settings import Settings

if TYPE_CHECKING:
    from lancedb.db import DBConnection


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """Code and settings are inputs too: what, beside the documents, decides the rows of an index."""

    parser: str
    sources: Mapping[str, str]
    chunking: str
    embedder: str

    def signature(self, source: str, base: "Fingerprint | None") -> str:
        """What beside the bytes decides the documents of a source, now and in the base release."""
        before = f"{base.parser}|{base.sources.get(source)}" if base else ""
        return f"{self.parser}|{self.sources[source]}|{before}"


@dataclass(frozen=True, slots=True)
class Corpus:
    """The snapshot that an index was derived from, in the data registry."""

    tag: str
    commit: str
    md5: str
    digest: str
    files: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Release:
    """The manifest of an index release.

    Attributes:
        number: counts up from 1; never used twice.
        base: the release that it was made from, None if it was built from nothing.
        lance_version: version of the table `chunks`, kept by the tag `lance_tag`.
        embedding: parameters of the embedder: questions are embedded as the chunks were.
        git_commit: of the code, where it is known.
    """

    number: int
    created_at: str
    base: int | None
    lance_tag: str
    lance_version: int
    dim: int
    fingerprint: Fingerprint
    embedding: Mapping[str, Any]
    corpus: Corpus
    params_digest: str
    git_commit: str | None
    num_documents: int
    num_chunks: int
    metrics: Mapping[str, float]


def fingerprint(params: Params, *, parser: str, embedder: str) -> Fingerprint:
    """The fingerprint of an index made now with these parameters."""
    from tasks.corpus.plan import source_digest
    from tasks.index.chunk import CHUNKING_VERSION

    sources = {source.name: source_digest(source) for source in params.sources}
    rows = f"{CHUNKING_VERSION}:{digest(params.chunking)}:{params.index.language}"
    return Fingerprint(parser, sources, rows, embedder)


def lance_tag(number: int) -> str:
    """ASCII, as Lance demands of tags."""
    return f"release-{number:04d}"


def corpus_tag(number: int) -> str:
    """The git tag of a release's snapshot in the data registry."""
    return f"corpus-{number:04d}"


def save_release(settings: Settings, release: Release) -> Path:
    """Write the manifest whole or not at all; from then on the release exists."""
    path = _folder(settings) / f"{release.number:04d}.json"
    write_json(path, asdict(release))
    return path


def load_release(settings: Settings, number: int) -> Release:
    """Read a manifest.

    Raises:
        CorruptionError: it is absent or is not what was written.
    """
    path = _folder(settings) / f"{number:04d}.json"
    try:
        return _from_json(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, json.JSONDecodeError, KeyError, TypeError) as error:
        raise CorruptionError(
            f"release {number} must have its manifest at {path}, found: {error!r}; "
            "`almanac rollback index` to another release"
        ) from error


def _from_json(raw: dict[str, Any]) -> Release:
    corpus = raw["corpus"] | {"files": tuple(raw["corpus"]["files"])}
    return Release(**raw | {"fingerprint": Fingerprint(**raw["fingerprint"]), "corpus": Corpus(**corpus)})


def release_numbers(settings: Settings) -> list[int]:
    """Numbers of all releases that can be rolled back to, ascending."""
    return sorted(int(path.stem) for path in _folder(settings).glob("[0-9]*.json"))


@lance_errors("the index")
def tag_version(db: "DBConnection", tag: str, version: int) -> None:
    """Name a version; a tag that no manifest names yet may be moved."""
    tags = open_latest(db).tags
    if tag in tags.list():
        tags.update(tag, version)
    else:
        tags.create(tag, version)


def remember_served(settings: Settings, number: int) -> None:
    """Keep on disk which release served last, for when MLflow cannot be asked."""
    write_json(settings.home.resolve() / "served.json", {"release": number})


def last_served(settings: Settings) -> int | None:
    """The release that served last, None before the first."""
    path = settings.home.resolve() / "served.json"
    if not path.exists():
        return None
    try:
        return int(json.loads(path.read_text(encoding="utf-8"))["release"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CorruptionError(
            f"{path} must name the release that served last, found: {error!r}; start MLflow, or delete the file"
        ) from error


def retire(settings: Settings, db: "DBConnection", *, keep: int, serving: int) -> list[int]:
    """Drop the tags and manifests of the oldest releases beyond `keep`; the one that serves stays."""
    numbers = release_numbers(settings)
    old = [number for number in numbers[:-keep] if number != serving]
    tags = open_latest(db).tags
    known = tags.list()
    for number in old:
        (_folder(settings) / f"{number:04d}.json").unlink(missing_ok=True)
        if lance_tag(number) in known:
            tags.delete(lance_tag(number))
    return old


def _folder(settings: Settings) -> Path:
    return settings.home.resolve() / "releases"
