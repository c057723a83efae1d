"""What is wrong with an installation, where, and what to do about it."""

from collections.abc import Callable, Iterator
from typing import Any

import pyarrow.parquet as pq

from tasks.audit.audit import open_audit, problems_of
from tasks.corpus.plan import load_scan
from tasks.corpus.snapshot import fold_state
from tasks.errors import AlmanacError, ConfigurationError
from tasks.index.access_tables import load_access
from tasks.index.embedding.embedder import embedder_identity
from tasks.index.gate import check_integrity
from tasks.index.live import open_index, serving
from tasks.index.registration import index_versions
from tasks.index.release import Release, embedding_params, lance_tag, load_release, release_numbers
from tasks.index.search import Request
from tasks.index.snapshots import snapshot_files
from tasks.index.table import CHUNKS, connect, open_at, open_latest, table_names
from tasks.lease import is_held, lease_holder
from tasks.params import Params
from tasks.problem import Problem, problem_of
from tasks.releases.kind import INDEX
from tasks.releases.version import ReleaseVersion
from tasks.settings import Settings
from tasks.shared_lease import holder_of
from tasks.shared_store import open_shared_store
from tasks.tenant_claim import check_home, check_store


def examine(params: Params, settings: Settings, *, deep: bool) -> list[Problem]:
    """Return every problem.

    Args:
        params: of the next refresh.
        settings: the home to look at.
        deep: read every row of the release that serves, and the bytes of its snapshot.
    """
    checks: list[Callable[[Params, Settings], Iterator[Problem]]] = [
        _tenant,
        _mlflow,
        _manifests,
        _scans,
        _writer,
        _embedder,
        _search,
        _audit,
    ]
    if deep:
        checks.append(_rows)
    return [problem for check in checks for problem in _guarded(check, params, settings)]


def _guarded(
    check: Callable[[Params, Settings], Iterator[Problem]], params: Params, settings: Settings
) -> Iterator[Problem]:
    try:
        yield from check(params, settings)
    except AlmanacError as error:
        yield problem_of(error, settings.home.resolve())


def _problem(what: str, where: Any, remedy: str) -> Problem:
    return Problem(what, str(where), remedy)


def _tenant(_: Params, settings: Settings) -> Iterator[Problem]:
    check_home(settings)
    check_store(settings)
    yield from ()


def _mlflow(_: Params, settings: Settings) -> Iterator[Problem]:
    versions = index_versions(settings)
    numbers = set(release_numbers(settings))
    champion = next((entry for entry in versions if entry.is_champion), None)
    if not versions and not numbers:
        yield _problem("nothing was released yet", settings.home.resolve(), "almanac refresh")
    elif champion is None:
        yield _problem(
            f"no version of {INDEX.model} has the alias `champion`",
            settings.tracking_uri,
            "set the alias in the MLflow UI, or almanac refresh",
        )
    else:
        load_release(settings, champion.release)
    yield from _unannounced(versions, numbers, settings)


def _unannounced(versions: list[ReleaseVersion], numbers: set[int], settings: Settings) -> Iterator[Problem]:
    for number in sorted(numbers - {entry.release for entry in versions}):
        yield _problem(f"release {number} is not registered in MLflow", settings.tracking_uri, "almanac refresh")


def _manifests(_: Params, settings: Settings) -> Iterator[Problem]:
    db = connect(settings)
    tags = open_latest(db).tags.list() if CHUNKS in table_names(db) else {}
    for number in release_numbers(settings):
        release = load_release(settings, number)
        if release.lance_tag not in tags:
            yield _problem(
                f"release {number} has lost its rows: tag {release.lance_tag} is gone",
                settings.index_uri,
                "almanac rollback index to another release, or almanac refresh --rebuild",
            )
    kept = {lance_tag(number) for number in release_numbers(settings)}
    for tag in sorted(set(tags) - kept):
        yield _problem(f"tag {tag} belongs to no release", settings.index_uri, "almanac refresh")


def _scans(params: Params, settings: Settings) -> Iterator[Problem]:
    for source in params.sources:
        load_scan(settings, source.name)
    yield from ()


def _writer(_: Params, settings: Settings) -> Iterator[Problem]:
    """What a killed writer left; the kernel's lock tells, also in a container that has another name by now."""
    store = open_shared_store(settings.shared_state)
    shared = holder_of(store) if store else None
    if store and shared and shared.is_silent:
        what = f"{shared} shows no life for {shared.silent_seconds:.0f} seconds"
        yield _problem(what, store.address, "almanac refresh, which takes over")
    holder = lease_holder(settings.layout.root)
    if holder and not is_held(settings.layout.root):
        yield _problem(
            f"a writer, process {holder.pid}, was killed in the middle", settings.layout.locks, "almanac refresh"
        )


def _embedder(params: Params, settings: Settings) -> Iterator[Problem]:
    try:
        release = serving(settings).release
    except ConfigurationError:
        return
    embedder = embedder_identity(embedding_params(release), settings)
    if embedder != release.fingerprint.embedder:
        yield _problem(
            f"release {release.number} was embedded with {release.fingerprint.embedder}, found {embedder}",
            params.embedding.model,
            "restore the model's files, or almanac refresh --rebuild",
        )


def _audit(_: Params, settings: Settings) -> Iterator[Problem]:
    log = open_audit(settings.layout)
    for what in problems_of(settings.layout):
        yield _problem(f"the audit log: {what}", log.path, "ask who wrote there; compare: almanac audit --verify COPY")


def _search(params: Params, settings: Settings) -> Iterator[Problem]:
    """Ask the release that serves one question in both legs: it opens the indexes, the rows and the access tables."""
    try:
        release = serving(settings).release
    except ConfigurationError:
        return
    db = connect(settings)
    access = load_access(db)
    everyone = frozenset[str]().union(*access.sets.values())
    if release.num_chunks and everyone:
        index = open_index(db, release, params, settings)
        index.search(Request("what does the index hold", groups=everyone, mode="hybrid"), access)
    yield from ()


def _rows(params: Params, settings: Settings) -> Iterator[Problem]:
    """Read all rows and compare each text with the slice of its document in the snapshot."""
    try:
        release = serving(settings).release
    except ConfigurationError:
        return
    table = open_at(connect(settings), release.lance_tag)
    files = snapshot_files(settings, release)
    for path in files:
        pq.read_table(path)
    documents = fold_state(files).column("document_id").to_pylist()
    for what in check_integrity(table, documents=documents, embedder=release.fingerprint.embedder):
        yield _problem(what, settings.index_uri, "almanac refresh --rebuild")
    yield from _texts(release, table, files, settings, params)


def _texts(release: Release, table: Any, files: list[Any], settings: Settings, _: Params) -> Iterator[Problem]:
    from tasks.index.snapshots import texts_of

    texts = texts_of(files, set(fold_state(files).column("document_id").to_pylist()))
    bad = 0
    for batch in table.to_lance().to_batches(columns=["document_id", "start", "end", "text"], batch_size=8192):
        for row in batch.to_pylist():
            bad += texts.get(row["document_id"], "")[row["start"] : row["end"]] != row["text"]
    if bad:
        what = f"{bad} chunks of release {release.number} are not the slices of their documents"
        yield _problem(what, settings.index_uri, "almanac refresh --rebuild")
