"""The candidate: written from the base release, judged, and made a release step by step.

The steps of `publish` are in this order, and each may be done twice: the snapshot with its pointer and tag; the Lance
tag; the manifest; the MLflow version; the alias. Killed after any of them, what serves is unchanged until the last,
and the next refresh completes the rest.
"""

import datetime as dt
import logging
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow.parquet as pq

from tasks.corpus.document import DOCUMENT_SCHEMA
from tasks.corpus.snapshot import compact, corpus_digest, fold_state, read_documents, write_delta
from tasks.errors import CorruptionError, GateError, UnavailableError
from tasks.files import write_json
from tasks.index.access_tables import intern, load_access
from tasks.index.build import access_sets, document_ids, open_cache, write_documents
from tasks.index.embedding.embedder import load_embedder
from tasks.index.embedding.files import embedder_identity, vector_space
from tasks.index.gate import IndexGateReport, check_integrity, compare_retrieval
from tasks.index.golden import load_golden, locate
from tasks.index.lance_errors import num_rows_of
from tasks.index.live import open_index as open_release
from tasks.index.live import require_readable
from tasks.index.registration import register_index
from tasks.index.release import (
    MANIFEST,
    Calibrated,
    Corpus,
    Fingerprint,
    Release,
    corpus_tag,
    lance_tag,
    load_release,
    manifest_bytes,
    release_numbers,
    reserve_number,
    retire,
    save_release,
    tag_version,
)
from tasks.index.search import Index
from tasks.index.search.rerank import build_reranker
from tasks.index.snapshots import snapshot_files, texts_of
from tasks.index.table import build_indexes, clean_up, connect, open_latest, rewrite, row_batches_of, update
from tasks.lease import Lease
from tasks.params import IndexGateParams, Params, digest
from tasks.registry.shared import open_registry, share_registry
from tasks.releases.approval import POLICY
from tasks.releases.kind import INDEX
from tasks.releases.last_served import remember_served
from tasks.releases.lifecycle import challenge, champion, promote
from tasks.releases.version import ReleaseVersion
from tasks.settings import Settings

if TYPE_CHECKING:
    from lancedb.db import DBConnection

    from tasks.index.base import Base

logger = logging.getLogger(__name__)

MAX_DELTAS = 60
"""More deltas than this are compacted into one file: a year of weeks."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A written version of the table that serves nobody yet.

    Attributes:
        snapshot: files of the corpus that it holds, oldest first; the last may lie in the work folder.
        rebuilt: written from nothing, not from the base release.
        num_changed: chunks that came, went or took the place of others, which count once; all of them where rebuilt.
    """

    version: int
    dim: int
    snapshot: tuple[Path, ...]
    rebuilt: bool
    num_chunks: int
    num_changed: int


def must_rebuild(base: "Base", now: Fingerprint) -> bool:
    """Say whether every row changes: the chunking or the embedder is another, or there is no base."""
    if base.release is None:
        return True
    before = base.release.fingerprint
    return (before.chunking, before.embedder) != (now.chunking, now.embedder)


def write_snapshot(
    settings: Settings, base: "Base", accepted: Path, removed: Sequence[tuple[str, str, str]]
) -> list[Path]:
    """Write the corpus of the candidate: the base's files and one delta in the work folder."""
    number = next_number(settings, base)
    delta = settings.work / "snapshot" / f"{number:06d}.parquet"
    write_delta([accepted], removed, delta)
    files = [*snapshot_files(settings, base.release), delta]
    if len(files) <= MAX_DELTAS:
        return files
    whole = settings.work / "snapshot" / f"{number:06d}-whole.parquet"
    compact(files, whole)
    return [whole]


def all_documents(snapshot: Sequence[Path], output: Path) -> Path:
    """Write every live document of a snapshot to one file, for a rebuild that reads no source."""
    write_documents(read_documents(snapshot), DOCUMENT_SCHEMA, output)
    return output


def write_candidate(
    settings: Settings,
    params: Params,
    base: "Base",
    *,
    chunks: Sequence[Path],
    accepted: Path,
    removed: Sequence[str],
    snapshot: Sequence[Path],
    rebuild: bool,
) -> Candidate:
    """Write rows and indexes as new versions that nobody reads yet."""
    db = connect(settings)
    space = vector_space(params.embedding, settings)
    intern(db, access_sets(chunks))
    rows = row_batches_of(chunks, open_cache(space, settings), space.identity, language=params.index.language)
    if rebuild or base.release is None:
        rewrite(db, rows, space.dim)
    else:
        gone = sorted({*document_ids(accepted), *removed})
        update(db, base.release.lance_tag, gone=gone, rows=rows, dim=space.dim)
    version = build_indexes(db, params.index)
    num_chunks, num_written = num_rows_of(open_latest(db), "the index"), sum(map(num_rows, chunks))
    num_before = 0 if rebuild or base.release is None else base.release.num_chunks
    num_changed = max(num_written, num_before + num_written - num_chunks)
    return Candidate(version, space.dim, tuple(snapshot), rebuild, num_chunks, num_changed)


def judge_candidate(
    settings: Settings, params: Params, base: "Base", candidate: Candidate, open_index: Callable[[], Index]
) -> IndexGateReport:
    """Integrity, then the golden questions beside the live release; without any, no embedder is loaded.

    Args:
        settings: where the index is.
        params: of this refresh.
        base: with the release that serves, to compare with.
        candidate: what was written.
        open_index: opens the candidate for search.

    Raises:
        GateError: the candidate is not whole, or finds less than the live release; it names what was lost.
    """
    db = connect(settings)
    table = open_latest(db)
    table.checkout(candidate.version)
    identity = embedder_identity(params.embedding, settings)
    state = fold_state(candidate.snapshot)
    problems = check_integrity(table, documents=state.column("document_id").to_pylist(), embedder=identity)
    if problems:
        raise GateError(f"the index gate refused the candidate: {'; '.join(problems)}; the live release is unchanged")
    champion = _readable(db, settings, base, rebuilt=candidate.rebuilt)
    report = IndexGateReport(True, (), {}, (), (), ())
    if params.index_gate.golden is not None:
        live = open_release(db, champion, params, settings) if champion else None
        report = _compare(params.index_gate, open_index(), live, db, candidate.snapshot)
    write_json(settings.work / "report" / "index.json", _as_json(report))
    if not report.passed:
        raise GateError(
            f"the index gate refused the candidate: {'; '.join(report.reasons)}; the live release is unchanged"
            f"{_of_another_embedder(identity, champion)}"
        )
    return report


def _of_another_embedder(identity: str, live: Release | None) -> str:
    """Say how refreshes go on where a new embedder is the reason: each would be refused like this one."""
    if live is None or live.fingerprint.embedder == identity:
        return ""
    return (
        f". It has another embedder, {identity}: to go on with {live.fingerprint.embedder}, take the alias `champion` "
        "from it in the MLflow UI, or the change of embedding.model back"
    )


def open_candidate(settings: Settings, params: Params, candidate: Candidate) -> Index:
    """Open a candidate for search, as it will be searched once it is a release."""
    table = open_latest(connect(settings))
    table.checkout(candidate.version)
    embedder = load_embedder(params.embedding, settings)
    reranker = build_reranker(params.search, embedder, settings)
    return Index(table, embedder, params.search, params.index, release="candidate", reranker=reranker)


def _readable(db: "DBConnection", settings: Settings, base: "Base", *, rebuilt: bool) -> Release | None:
    """Return the live release, to compare with; a rebuild is the remedy for one that cannot be read."""
    if base.champion is None:
        return None
    try:
        require_readable(db, base.champion, settings)
        return base.champion
    except (CorruptionError, UnavailableError) as error:
        if not rebuilt:
            raise
        logger.warning("the rebuilt index is judged alone: %s", error)
        return None


def _compare(
    gate: IndexGateParams, candidate: Index, live: Index | None, db: "DBConnection", snapshot: Sequence[Path]
) -> IndexGateReport:
    questions = load_golden(Path(str(gate.golden)), gate.split)
    wanted = {question.document for question in questions if question.document is not None}
    located, missing = locate(questions, texts_of(snapshot, wanted))
    return compare_retrieval(candidate, live, located, missing, load_access(db), gate)


def _as_json(report: IndexGateReport) -> dict[str, object]:
    return {
        "passed": report.passed,
        "reasons": list(report.reasons),
        "metrics": dict(report.metrics),
        "lost": list(report.lost),
        "gained": list(report.gained),
        "missing": [{"question": name, "reason": reason} for name, reason in report.missing],
    }


def next_number(settings: Settings, base: "Base") -> int:
    """Return the number of the next release: never one that was used."""
    used = [*release_numbers(settings), *(entry.release for entry in base.versions)]
    return max(used, default=0) + 1


def refuse_what_was_taken_back(settings: Settings, base: "Base", snapshot: Sequence[Path], now: Fingerprint) -> None:
    """Refuse to release again what a person rolled back, as long as the sources still hold it.

    Raises:
        GateError: naming the release.
    """
    taken_back = [entry.release for entry in base.versions if entry.rolled_back]
    if not taken_back:
        return
    content = corpus_digest(fold_state(snapshot))
    for number in sorted(set(taken_back) & set(release_numbers(settings))):
        release = load_release(settings, number)
        if (release.corpus.digest, release.fingerprint) == (content, now):
            raise GateError(
                f"the sources must hold something else than release {number}, which was rolled back, found the same "
                "documents; correct the sources, or `almanac refresh --again` to release it all the same"
            )


def publish(
    settings: Settings,
    params: Params,
    base: "Base",
    candidate: Candidate,
    *,
    now: Fingerprint,
    metrics: Mapping[str, float],
    calibrated: Calibrated,
    lease: Lease,
) -> Release:
    """Make the candidate a release: snapshot, tag, manifest; what serves is not touched yet."""
    lease.check()
    number = reserve_number(settings, lease, first=next_number(settings, base))
    registry = open_registry(settings)
    registry.ensure()
    lease.check()
    state = fold_state(candidate.snapshot)
    revision = registry.publish(candidate.snapshot, corpus_tag(number), f"Corpus of index release {number}")
    share_registry(settings, lease.shared)
    db = connect(settings)
    lease.check()
    tag_version(db, lance_tag(number), candidate.version)
    release = Release(
        number=number,
        created_at=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        base=None if candidate.rebuilt or base.release is None else base.release.number,
        lance_tag=lance_tag(number),
        lance_version=candidate.version,
        dim=candidate.dim,
        fingerprint=now,
        embedding=params.embedding.model_dump(mode="json"),
        corpus=Corpus(
            revision.tag,
            revision.commit,
            revision.md5,
            corpus_digest(state),
            tuple(path.name for path in candidate.snapshot),
        ),
        params_digest=digest(params),
        git_commit=git_commit(),
        num_documents=len(state),
        num_chunks=candidate.num_chunks,
        metrics=dict(metrics),
        calibrated=calibrated,
    )
    lease.check()
    save_release(settings, release)
    return release


def git_commit() -> str | None:
    """Return the commit of the code in the working folder; None where it is no git checkout."""
    try:
        done = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False, timeout=10)
    except FileNotFoundError:
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None


def register_release(settings: Settings, params: Params, release: Release, *, lease: Lease) -> ReleaseVersion:
    """Register a release in MLflow and, by policy `auto`, let it serve.

    Raises:
        DependencyError: MLflow does not answer; the next refresh registers the release.
    """
    folder = settings.work / "announce"
    shutil.rmtree(folder, ignore_errors=True)
    (settings.work / "report").mkdir(parents=True, exist_ok=True)
    shutil.copytree(settings.work / "report", folder)
    (folder / MANIFEST).write_bytes(manifest_bytes(release))
    lease.check()
    automatic = params.release.policy == "auto"
    version = register_index(settings, release, artifacts=folder, automatic=automatic)
    if automatic:
        promote_release(settings, version)
    else:
        challenge(settings, version)
    return version


def promote_release(settings: Settings, version: ReleaseVersion) -> None:
    """Let a release serve, and keep on this home that it does.

    Raises:
        DependencyError: MLflow does not answer.
    """
    promote(settings, INDEX, version.version, POLICY)
    remember_served(settings, INDEX, version)


def prune(settings: Settings, params: Params, *, newest: int) -> None:
    """Retire the oldest releases but the one that serves; remove their versions and the results of unfinished steps."""
    db = connect(settings)
    serving = champion(settings, INDEX)
    retire(settings, db, keep=params.release.keep, serving=serving.release if serving else newest)
    clean_up(db)
    shutil.rmtree(settings.work, ignore_errors=True)


def num_rows(path: Path) -> int:
    """Return the number of rows of a Parquet file."""
    return int(pq.read_metadata(path).num_rows)
