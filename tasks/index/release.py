"""Index releases: one manifest each, and the Lance tag that keeps its rows.

A manifest is written once, behind the tag that it names: in the shared store where there is one, else in the home.
Which release serves is MLflow's alias `champion`
(`tasks.releases.lifecycle`).
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from tasks.errors import BusyError, CorruptionError, UnavailableError
from tasks.files import whole_folder, write_json
from tasks.index.lance_errors import lance_errors
from tasks.index.table import open_latest
from tasks.lease import Lease
from tasks.params import EmbeddingParams, Params, digest
from tasks.releases.folder import FORMAT, check_format, fetch_file, known_fields
from tasks.releases.kind import INDEX
from tasks.releases.lifecycle import version_with_key
from tasks.settings import Settings
from tasks.shared_store import open_shared_store

if TYPE_CHECKING:
    from lancedb.db import DBConnection

MANIFEST = "manifest.json"
"""Its name in the MLflow run."""
_RELEASES = "releases/"


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """Code and settings are inputs too: what, beside the documents, decides the rows of an index."""

    parser: str
    sources: Mapping[str, str]
    chunking: str
    embedder: str

    def signature(self, source: str, base: "Fingerprint | None") -> str:
        """Return what beside the bytes decides the documents of a source, now and in the base release."""
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
class Calibrated:
    """Where the thresholds among a release's metrics were measured.

    Attributes:
        release: the number of the release whose index was asked; None: the one that bears them.
        inputs: digest of what, beside the chunks, decides them.
        num_changed: chunks that were written or taken out since.
    """

    release: int | None
    inputs: str
    num_changed: int


@dataclass(frozen=True, slots=True)
class Release:
    """The manifest of an index release.

    Attributes:
        number: counts up from 1; never used twice.
        base: the release that it was made from, None if it was built from nothing.
        lance_version: version of the table `chunks`, kept by the tag `lance_tag`.
        embedding: parameters of the embedder: questions are embedded as the chunks were.
        git_commit: of the code, where it is known.
        calibrated: None of a release of older software, which measured at each refresh.
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
    calibrated: Calibrated | None = None
    format: int = FORMAT

    def without_chunks(self, lance_version: int, num_chunks: int) -> "Release":
        """Return the manifest of this release once an erasure took chunks out of it: `num_chunks` are left."""
        calibrated = self.calibrated
        if calibrated is not None:
            num_changed = calibrated.num_changed + self.num_chunks - num_chunks
            calibrated = replace(calibrated, num_changed=num_changed)
        return replace(self, lance_version=lance_version, num_chunks=num_chunks, calibrated=calibrated)


def fingerprint(params: Params, *, parser: str, embedder: str) -> Fingerprint:
    """Return the fingerprint of an index made now with these parameters."""
    from tasks.corpus.plan import source_digest
    from tasks.index.chunking.chunk import CHUNKING_VERSION
    from tasks.index.search.terms import TERMS_VERSION

    sources = {source.name: source_digest(source) for source in params.sources}
    rows = f"{CHUNKING_VERSION}.{TERMS_VERSION}:{digest(params.chunking)}:{params.index.language}"
    return Fingerprint(parser, sources, rows, embedder)


def lance_tag(number: int) -> str:
    """Return the Lance tag of a release; ASCII, as Lance demands."""
    return f"release-{number:04d}"


def corpus_tag(number: int) -> str:
    """Return the git tag of a release's snapshot in the data registry."""
    return f"corpus-{number:04d}"


def save_release(settings: Settings, release: Release) -> None:
    """Write the manifest whole or not at all; from then on the release exists.

    Raises:
        BusyError: another machine has released under this number.
        DependencyError: the disk or the shared store refused.
    """
    store = open_shared_store(settings.shared_state)
    if store is None:
        write_json(manifest_path(settings, release.number), asdict(release))
        return
    content = manifest_bytes(release)
    if not store.create(_name(release.number), content) and store.read(_name(release.number)) != content:
        raise BusyError(
            f"release {release.number} must be made by one machine, found it in {store.address} already; nothing was "
            "overwritten, run the command again"
        )


def renew_release(settings: Settings, release: Release) -> None:
    """Write the manifest of a release in place of the one that stands: an erasure took documents out of it.

    Raises:
        DependencyError: the disk or the shared store refused.
    """
    store = open_shared_store(settings.shared_state)
    if store is None:
        save_release(settings, release)
    else:
        store.write(_name(release.number), manifest_bytes(release))


def manifest_bytes(release: Release) -> bytes:
    """Return the manifest as it is written."""
    return (json.dumps(asdict(release), indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()


def reserve_number(settings: Settings, lease: Lease, *, first: int) -> int:
    """Return a number from `first` on that is this lease's alone; a number once given is never given to another.

    Raises:
        DependencyError: the shared store does not answer.
    """
    store = open_shared_store(settings.shared_state)
    if store is None or lease.shared is None:
        return first
    number, owner = first, str(lease.shared.fence).encode()
    while not store.create(f"numbers/{number:04d}", owner) and store.read(f"numbers/{number:04d}") != owner:
        number += 1
    return number


def share_releases(settings: Settings) -> None:
    """Bring manifests that lie in the home, from before there was a shared store, to where all machines see them."""
    store = open_shared_store(settings.shared_state)
    if store is None or not (left := sorted(_folder(settings).glob("[0-9]*.json"))):
        return
    for path in left:
        store.create(f"{_RELEASES}{path.name}", path.read_bytes())
        path.rename(path.with_suffix(".shared"))


def manifest_path(settings: Settings, number: int) -> Path:
    """Return where this home keeps the manifest of a release that no other machine sees."""
    return _folder(settings) / f"{number:04d}.json"


def load_release(settings: Settings, number: int) -> Release:
    """Read a manifest: of the shared store, of the home, or of MLflow where another home wrote it.

    Raises:
        CorruptionError: it is not what was written.
        UnavailableError: it is in none of them, or it has a newer format than this software reads.
        DependencyError: it is not here, and MLflow does not answer.
    """
    path = manifest_path(settings, number)
    store = open_shared_store(settings.shared_state)
    shared = store.read(_name(number)) if store else None
    if shared is None and not path.exists():
        path = _fetched_manifest(settings, number)
    try:
        raw = json.loads(path.read_bytes() if shared is None else shared)
        check_format(raw, f"the manifest of release {number}")
        return _from_json(raw, f"the manifest of release {number}")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CorruptionError(
            f"release {number} must have its manifest at {path}, found: {error!r}; "
            "delete it, and it is fetched from MLflow"
        ) from error


def _fetched_manifest(settings: Settings, number: int) -> Path:
    """Fetch it beside the releases that this home keeps: it may be retired here some day, or be retired already."""
    folder = settings.layout.cache / "releases" / f"{number:04d}"
    if not folder.exists():
        version = version_with_key(settings, INDEX, str(number))
        if version is None:
            raise UnavailableError(
                f"release {number} must have its manifest at {manifest_path(settings, number)}, found none, and MLflow "
                "knows no such release; copy it from the home that made it"
            )
        with whole_folder(folder) as beside:
            fetch_file(settings, version, MANIFEST, beside)
    return folder / MANIFEST


def _from_json(raw: dict[str, Any], what: str) -> Release:
    corpus = raw["corpus"] | {"files": tuple(raw["corpus"]["files"])}
    nested = {
        "fingerprint": known_fields(Fingerprint, raw["fingerprint"], what),
        "corpus": known_fields(Corpus, corpus, what),
        "calibrated": known_fields(Calibrated, raw["calibrated"], what) if raw.get("calibrated") else None,
    }
    return known_fields(Release, raw | nested, what)


def embedding_params(release: Release) -> EmbeddingParams:
    """Return the parameters of the release's embedder; those that this software does not know are ignored.

    Raises:
        UnavailableError: one that this software needs is not among them.
    """
    names = EmbeddingParams.model_fields
    try:
        return EmbeddingParams(**{name: value for name, value in release.embedding.items() if name in names})
    except ValidationError as error:
        lacking = ", ".join(str(problem["loc"][0]) for problem in error.errors())
        raise UnavailableError(
            f"release {release.number} must say how its embedder works, found no valid {lacking}: other software made "
            "it; `almanac refresh --rebuild`"
        ) from error


def release_numbers(settings: Settings) -> list[int]:
    """Return the numbers of all releases that can be rolled back to, ascending.

    Raises:
        DependencyError: the shared store does not answer.
    """
    if store := open_shared_store(settings.shared_state):
        return sorted(int(name.removeprefix(_RELEASES).removesuffix(".json")) for name in store.names(_RELEASES))
    return sorted(int(path.stem) for path in _folder(settings).glob("[0-9]*.json"))


@lance_errors("the index")
def tag_version(db: "DBConnection", tag: str, version: int) -> None:
    """Name a version; a tag that no manifest names yet may be moved."""
    tags = open_latest(db).tags
    if tag in tags.list():
        tags.update(tag, version)
    else:
        tags.create(tag, version)


@lance_errors("the index")
def tagged_version(db: "DBConnection", tag: str) -> int:
    """Return the version that a tag names now: an erasure moves it to one without the documents.

    Raises:
        CorruptionError: there is no such tag.
    """
    return int(open_latest(db).tags.get_version(tag))


def retire(settings: Settings, db: "DBConnection", *, keep: int, serving: int) -> list[int]:
    """Drop the tags and manifests of the oldest releases beyond `keep`; the one that serves stays."""
    numbers = release_numbers(settings)
    old = [number for number in numbers[:-keep] if number != serving]
    tags = open_latest(db).tags
    tagged = tags.list()
    store = open_shared_store(settings.shared_state)
    for number in old:
        if store is not None:
            store.delete(_name(number))
        manifest_path(settings, number).unlink(missing_ok=True)
        if lance_tag(number) in tagged:
            tags.delete(lance_tag(number))
    return old


def _name(number: int) -> str:
    return f"{_RELEASES}{number:04d}.json"


def _folder(settings: Settings) -> Path:
    return settings.layout.releases
