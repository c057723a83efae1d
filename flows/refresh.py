"""The weekly refresh: from the sources to a release of the index.

scan ─▶ plan ─▶ parse ─▶ document gate ─▶ snapshot ─▶ chunk ─▶ embed ─▶ write ─▶ index gate ─▶ release
"""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prefect import flow

from flows.progress import report_progress, show_gates, show_metrics, show_plan
from flows.steps import step
from tasks.corpus.intake import Intake, commit_scan, gate_documents, hidden_by, plan_sources, shards_of
from tasks.corpus.parsing.parse import Reject, parser_identity
from tasks.corpus.parsing.shards import ParseShard, parse_shard, rejects_of
from tasks.corpus.plan import RefreshPlan, guard_removals, save_rates
from tasks.corpus.selection import Selection, select_changed
from tasks.errors import GateError
from tasks.index import candidate as candidates
from tasks.index.access_tables import ensure_tables, load_access, record_changes
from tasks.index.base import Base, find_base, unpromoted, unregistered
from tasks.index.build import EmbedShard, chunk_documents, keep_vectors, missing_texts, open_cache
from tasks.index.embedding.embedder import embed_shard, embedder_identity, load_embedder
from tasks.index.embedding.registered import pinned
from tasks.index.release import Fingerprint, fingerprint, load_release
from tasks.index.table import connect, other_access
from tasks.lease import Lease, hold
from tasks.params import Params, load_params
from tasks.releases.kind import INDEX
from tasks.releases.lifecycle import champion
from tasks.settings import Settings

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Run:
    """What the steps of one refresh share."""

    params: Params
    settings: Settings
    base: Base
    now: Fingerprint
    started: float = field(default_factory=time.monotonic)

    @property
    def signatures(self) -> dict[str, str]:
        return self.signatures_against(self.base.release.fingerprint if self.base.release else None)

    def signatures_against(self, base: Fingerprint | None) -> dict[str, str]:
        return {source.name: self.now.signature(source.name, base) for source in self.params.sources}


@step(retries=2)
def list_sources(run: _Run) -> RefreshPlan:
    """Scan and plan; a source that does not answer is asked again."""
    access = load_access(connect(run.settings))
    return plan_sources(run.params, run.settings, run.base.known, run.signatures, access.changes)


@step(retries=2)
def parse(shard: ParseShard, params: Params, settings: Settings) -> ParseShard:
    """Parse one shard of items, here or on a worker."""
    return parse_shard(shard, params.parsing, settings)


@step()
def gate(selection: Selection, rejects: Sequence[Reject], run: _Run) -> Intake:
    """The document gate."""
    num_known = sum(len(rows) for rows in run.base.known.values())
    return gate_documents(selection, rejects, run.params, run.settings, num_known)


@step(retries=1)
def snapshot(accepted: Path, removed: Sequence[tuple[str, str, str]], run: _Run) -> list[Path]:
    """The corpus as it will be, one delta behind the base's files."""
    return candidates.write_snapshot(run.settings, run.base, accepted, removed)


@step()
def chunk(documents: Path, run: _Run) -> Path:
    """Cut documents into chunks."""
    output = run.settings.work / "chunks" / "chunks.parquet"
    chunk_documents(documents, output, run.params, run.settings)
    return output


@step()
def embed(shard: EmbedShard, params: Params, settings: Settings) -> EmbedShard:
    """Embed one shard of texts, here or on a worker, on the cores that this process may use."""
    here = settings.model_copy(update={"num_threads": Settings().num_threads})
    embed_shard(shard.texts, shard.vectors, params.embedding, here)
    return shard


@step(retries=1)
def write(run: _Run, **parts: Any) -> candidates.Candidate:
    """Rows and indexes, as versions that nobody reads yet."""
    return candidates.write_candidate(run.settings, run.params, run.base, **parts)


@step()
def judge(candidate: candidates.Candidate, run: _Run) -> dict[str, float]:
    """The index gate."""
    return dict(candidates.judge_candidate(run.settings, run.params, run.base, candidate).metrics)


@step(retries=2)
def release(candidate: candidates.Candidate, metrics: dict[str, float], run: _Run, lease: Lease) -> int:
    """Snapshot, tag, manifest."""
    made = candidates.publish(run.settings, run.params, run.base, candidate, now=run.now, metrics=metrics, lease=lease)
    return made.number


@step(retries=2)
def register_release(number: int, run: _Run, lease: Lease) -> str:
    """MLflow's version and its alias."""
    registered = load_release(run.settings, number)
    return candidates.register_release(run.settings, run.params, registered, lease=lease).version


@flow(name="refresh")
def refresh(
    rebuild: bool = False, allow_removal: tuple[str, ...] = (), again: bool = False, wait_seconds: float = 0
) -> dict[str, Any]:
    """Bring the index up to its sources.

    Args:
        rebuild: write every row anew, from the snapshot and not from the sources.
        allow_removal: sources that may lose more than their `max_removed_fraction` this time.
        again: release content that was rolled back before.
        wait_seconds: how long to wait for another writer.

    Returns:
        The fields of `almanac refresh --json`.
    """
    settings = Settings()
    params = load_params(settings.params, settings.profile)
    with hold(settings.home.resolve(), purpose="refresh", wait_seconds=wait_seconds) as lease:
        run = begin(params, settings, lease)
        plan = list_sources(run)
        show_plan(plan)
        guard_removals(plan, run.base.known, allowed=allow_removal)
        rebuilding = rebuild or candidates.must_rebuild(run.base, run.now)
        if plan.is_empty and not (rebuilding and run.base.release):
            commit_scan(settings, plan, None, run.signatures)
            return _result(run, plan)
        return _refresh(run, plan, lease, rebuild=rebuilding, again=again)


def from_base(params: Params, settings: Settings) -> _Run:
    """What a refresh would start from; reads only."""
    params = params.model_copy(update={"embedding": pinned(params.embedding, settings)})
    now = fingerprint(params, parser=parser_identity(), embedder=embedder_identity(params.embedding, settings))
    return _Run(params, settings, find_base(settings), now)


def begin(params: Params, settings: Settings, lease: Lease) -> _Run:
    """Find the base; first finish what a killed refresh, or one without MLflow, left to announce."""
    ensure_tables(connect(settings))
    run = from_base(params, settings)
    left = unregistered(settings, run.base.versions)
    waiting = unpromoted(run.base.versions)
    for number in left:
        logger.info("release %d was not announced: announcing it now", number)
        register_release(number, run, lease)
    if waiting is not None and not left:
        candidates.promote_release(settings, waiting)
    if left or waiting is not None:
        run.base = find_base(settings)
    return run


def _refresh(run: _Run, plan: RefreshPlan, lease: Lease, *, rebuild: bool, again: bool) -> dict[str, Any]:
    settings, workers = run.settings, run.params.execution.num_workers
    shards = shards_of(plan, run.params, settings)
    parsed = list(report_progress("parse", parse.map(shards, run.params, settings, num_workers=workers), len(shards)))
    rejects = rejects_of(parsed)
    selection = _select(run, plan, parsed, rejects)
    intake = gate(selection, rejects, run)
    show_gates(intake.report)
    if intake.reasons:
        raise GateError(f"the document gate stopped the refresh: {'; '.join(intake.reasons)}; nothing was released")
    removed = _removed(run, plan, selection)
    if not intake.num_accepted and not removed and not rebuild:
        commit_scan(settings, plan, selection, run.signatures, intake.accepted)
        return _result(run, plan, selection, intake)
    return _build(run, plan, selection, intake, removed, lease, rebuild=rebuild, again=again)


def _select(run: _Run, plan: RefreshPlan, parsed: Sequence[ParseShard], rejects: Sequence[Reject]) -> Selection:
    """The second gate; what it learns of access holds at once, for the live release too."""
    moved = {f"{part.source.name}:{item.key}": old for part in plan.sources for old, item in part.moved}
    db = connect(run.settings)
    output = run.settings.work / "gate" / "changed.parquet"
    selection = select_changed(parsed, run.base.known, moved, load_access(db).changes, output)
    selection.raw_hashes |= {(reject.source, reject.key): (reject.raw_hash, None) for reject in rejects}
    record_changes(db, selection.access | other_access(db, selection.newcomers) | hidden_by(rejects, run.base.known))
    return selection


def _removed(run: _Run, plan: RefreshPlan, selection: Selection) -> list[tuple[str, str, str]]:
    """Tombstones: what left its source, moved, or is over."""
    by_id = {
        row.document_id: (row.document_id, source, key)
        for source, rows in run.base.known.items()
        for key, row in rows.items()
    }
    gone = [
        row.document_id
        for part in plan.sources
        for key in part.removed
        if (row := run.base.known[part.source.name].get(key))
    ]
    gone += [old for part in plan.sources for old, _ in part.moved]
    gone += [document_id for part in plan.sources for document_id in part.expired] + selection.expired_ids
    gone += [run.base.known[name][key].document_id for name, keys in plan.unlisted.items() for key in keys]
    return [by_id[document_id] for document_id in dict.fromkeys(gone)]


def _build(
    run: _Run,
    plan: RefreshPlan,
    selection: Selection,
    intake: Intake,
    removed: list[tuple[str, str, str]],
    lease: Lease,
    *,
    rebuild: bool,
    again: bool,
) -> dict[str, Any]:
    settings = run.settings
    files = snapshot(intake.accepted, removed, run)
    if not again:
        candidates.refuse_what_was_taken_back(settings, run.base, files, run.now)
    from_snapshot = rebuild and run.base.release is not None
    documents = (
        candidates.all_documents(files, settings.work / "gate" / "all.parquet") if from_snapshot else intake.accepted
    )
    chunks = chunk(documents, run)
    embedded, embed_seconds = _embed(run, chunks)
    candidate = write(
        run,
        chunks=[chunks],
        accepted=intake.accepted,
        removed=[document_id for document_id, _, _ in removed],
        snapshot=files,
        rebuild=rebuild,
    )
    metrics = judge(candidate, run)
    show_metrics(metrics)
    number = release(candidate, metrics, run, lease)
    register_release(number, run, lease)
    num_chunks = candidates.num_rows(chunks)
    if embedded:
        sizes = sum(item.size_bytes for part in plan.sources for item in part.to_read)
        save_rates(settings, bytes_per_chunk=max(sizes, 1) / num_chunks, chunks_per_second=embedded / embed_seconds)
    commit_scan(settings, plan, selection, run.signatures_against(run.now), intake.accepted)
    serving = champion(settings, INDEX)
    candidates.prune(settings, run.params, serving.release if serving else number)
    return _result(run, plan, selection, intake, embedded=embedded, number=number, metrics=metrics)


def _embed(run: _Run, chunks: Path) -> tuple[int, float]:
    """Embed what was never embedded; return how many texts and the seconds."""
    started = time.monotonic()
    cache = open_cache(load_embedder(run.params.embedding, run.settings), run.settings)
    folder = run.settings.work / "embed"
    shards = list(missing_texts([chunks], cache, folder, chunks_per_shard=run.params.execution.chunks_per_shard))
    embedded = 0
    done = embed.map(shards, run.params, run.settings, num_workers=1)
    for shard in report_progress("embed", done, len(shards)):
        embedded += keep_vectors(shard, cache)
    return embedded, max(time.monotonic() - started, 1e-3)


def _result(
    run: _Run,
    plan: RefreshPlan,
    selection: Selection | None = None,
    intake: Intake | None = None,
    *,
    embedded: int = 0,
    number: int | None = None,
    metrics: dict[str, float] | None = None,
) -> dict[str, Any]:
    made = load_release(run.settings, number) if number is not None else None
    base = made or run.base.release
    counts = plan.counts()
    counts["unchanged"] += selection.unchanged if selection else 0
    counts["expired"] += selection.expired if selection else 0
    result = counts | {
        "accepted": intake.num_accepted if intake else 0,
        "quarantined": (intake.quarantined if intake else 0) + int(counts["held"]),
        "embedded": embedded,
        "chunks": base.num_chunks if base else 0,
        "documents": base.num_documents if base else 0,
        "release": number,
        "released": number is not None and run.params.release.policy == "auto",
        "gate": "passed" if number is not None else "not needed",
        "metrics": metrics or {},
        "seconds": round(time.monotonic() - run.started, 2),
    }
    _check_nothing_vanished(result)
    return result


def _check_nothing_vanished(result: dict[str, Any]) -> None:
    """All that was listed is accepted, quarantined, unchanged, removed or expired."""
    parts = ("accepted", "quarantined", "unchanged", "removed", "expired")
    total = sum(result[name] for name in parts)
    if total != result["listed"]:
        found = ", ".join(f"{name} {result[name]}" for name in parts)
        raise GateError(f"every listed item must be accounted for, found {result['listed']} listed but {found}")
