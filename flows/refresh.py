"""The weekly refresh: from the sources to a release of the index.

scan ─▶ plan ─▶ parse ─▶ document gate ─▶ snapshot ─▶ chunk ─▶ embed ─▶ write ─▶ index gate ─▶ release
"""

import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

from prefect import flow

from flows.progress import report_progress, show_gates, show_metrics, show_plan
from flows.steps import cluster, step
from tasks.answer.calibration import calibrate_candidate
from tasks.answer.prompt_registry import register_prompts
from tasks.corpus.intake import Intake, commit_scan, plan_sources, shards_of
from tasks.corpus.parsing.shards import ParseShard, parse_shard
from tasks.corpus.plan import RefreshPlan, guard_removals
from tasks.corpus.selection import Selection, tombstones
from tasks.corpus.tombstones import erasure_is_unfinished
from tasks.index import candidate as candidates
from tasks.index.access_tables import ensure_tables, load_access
from tasks.index.base import corrected_versions, unpromoted, unregistered
from tasks.index.build import EmbedShard, chunk_documents, keep_vectors, missing_texts, open_cache
from tasks.index.candidate import Candidate
from tasks.index.embedding.files import vector_space
from tasks.index.embedding.shards import embed_shard
from tasks.index.refresh.inputs import RefreshInputs, check_gate, gate_selection, read_inputs, select_documents
from tasks.index.refresh.result import RefreshResult, keep_rates, result_of
from tasks.index.release import Calibrated, Release, load_release, share_releases
from tasks.index.table import connect
from tasks.lease import Lease, hold_stores
from tasks.params import Params, load_params
from tasks.settings import Settings
from tasks.telemetry import in_trace

logger = logging.getLogger(__name__)


@step(retries=2)
def list_sources(inputs: RefreshInputs) -> RefreshPlan:
    """Scan and plan; a source that does not answer is asked again."""
    access = load_access(connect(inputs.settings))
    return plan_sources(inputs.params, inputs.settings, inputs.base.indexed, inputs.signatures, access.changes)


@step(retries=2)
def parse(shard: ParseShard, params: Params, settings: Settings) -> ParseShard:
    """Parse one shard of items, here or on a worker."""
    return parse_shard(shard, params.parsing, settings)


@step()
def gate(selection: Selection, parsed: Sequence[ParseShard], inputs: RefreshInputs) -> Intake:
    """Judge the documents."""
    return gate_selection(selection, parsed, inputs)


@step(retries=1)
def snapshot(accepted: Path, removed: Sequence[tuple[str, str, str]], inputs: RefreshInputs) -> list[Path]:
    """Write the corpus as it will be: one delta behind the base's files."""
    return candidates.write_snapshot(inputs.settings, inputs.base, accepted, removed)


@step()
def chunk(documents: Path, params: Params, settings: Settings) -> Path:
    """Cut documents into chunks."""
    output = settings.work / "chunks" / "chunks.parquet"
    chunk_documents(documents, output, params, settings)
    return output


@step()
def embed(shard: EmbedShard, params: Params, settings: Settings) -> EmbedShard:
    """Embed one shard of texts, here or on a worker, on the cores that this process may use."""
    here = settings.model_copy(update={"num_threads": Settings().num_threads})
    embed_shard(shard.texts, shard.vectors, params.embedding, here)
    return shard


@step(retries=1)
def write(
    chunks: Path,
    accepted: Path,
    removed: Sequence[str],
    snapshot: Sequence[Path],
    inputs: RefreshInputs,
    *,
    rebuild: bool,
) -> Candidate:
    """Write rows and indexes, as versions that nobody reads yet."""
    return candidates.write_candidate(
        inputs.settings,
        inputs.params,
        inputs.base,
        chunks=[chunks],
        accepted=accepted,
        removed=removed,
        snapshot=snapshot,
        rebuild=rebuild,
    )


@step()
def judge(candidate: Candidate, inputs: RefreshInputs) -> tuple[dict[str, float], Calibrated]:
    """Judge the index beside the live one; know from which score on an excerpt of it is an answer."""
    params, settings = inputs.params, inputs.settings
    open_index = cache(lambda: candidates.open_candidate(settings, params, candidate))
    report = candidates.judge_candidate(settings, params, inputs.base, candidate, open_index)
    thresholds, calibrated = calibrate_candidate(
        open_index,
        load_access(connect(settings)),
        params,
        inputs.base.release,
        num_chunks=candidate.num_chunks,
        num_changed=candidate.num_changed,
    )
    return dict(report.metrics) | thresholds.as_metrics(), calibrated


@step(retries=2)
def release(
    candidate: Candidate, metrics: dict[str, float], calibrated: Calibrated, inputs: RefreshInputs, lease: Lease
) -> Release:
    """Put the snapshot into the data registry, tag the table, write the manifest."""
    return candidates.publish(
        inputs.settings,
        inputs.params,
        inputs.base,
        candidate,
        now=inputs.fingerprint,
        metrics=metrics,
        calibrated=calibrated,
        lease=lease,
    )


@step(retries=2)
def register_release(number: int, params: Params, settings: Settings, lease: Lease) -> str:
    """Register the release in MLflow, set its alias, and register the prompts that it is asked with."""
    version = candidates.register_release(settings, params, load_release(settings, number), lease=lease).version
    register_prompts(settings, params.generation)
    return version


@flow(name="refresh")
@in_trace("refresh")
def refresh(
    rebuild: bool = False, allow_removal: tuple[str, ...] = (), again: bool = False, wait_seconds: float = 0
) -> RefreshResult:
    """Bring the index up to its sources.

    Args:
        rebuild: write every row anew, from the snapshot and not from the sources.
        allow_removal: sources that may lose more than their `max_removed_fraction` this time.
        again: release content that was rolled back before.
        wait_seconds: how long to wait for another writer.
    """
    started = time.monotonic()
    settings = Settings()
    params = load_params(settings.params, settings.profile)
    with (
        hold_stores(settings, purpose="refresh", wait_seconds=wait_seconds) as lease,
        cluster(params.execution),
    ):
        finish_earlier_release(params, settings, lease)
        inputs = read_inputs(params, settings)
        plan = list_sources(inputs)
        show_plan(plan)
        guard_removals(plan, inputs.base.indexed, allowed=allow_removal)
        rebuild = rebuild or candidates.must_rebuild(inputs.base, inputs.fingerprint)
        if plan.is_empty and not (rebuild and inputs.base.release):
            commit_scan(settings, plan, None, inputs.signatures)
            result = result_of(plan, inputs)
        else:
            result = take_in(plan, inputs, lease, rebuild=rebuild, again=again)
    return replace(result, seconds=round(time.monotonic() - started, 2))


def finish_earlier_release(params: Params, settings: Settings, lease: Lease) -> None:
    """Finish an erasure that was killed, and what a killed refresh, or one without MLflow, left unfinished."""
    if erasure_is_unfinished(settings):
        from tasks.erasure.erase import finish_erasure

        finish_erasure(settings, params, lease)
    ensure_tables(connect(settings))
    share_releases(settings)
    versions = corrected_versions(settings)
    left = unregistered(settings, versions)
    for number in left:
        logger.info("release %d was not registered: registering it now", number)
        register_release(number, params, settings, lease)
    if not left and (waiting := unpromoted(versions)) is not None:
        candidates.promote_release(settings, waiting)


def take_in(plan: RefreshPlan, inputs: RefreshInputs, lease: Lease, *, rebuild: bool, again: bool) -> RefreshResult:
    """Parse and gate what changed; where anything is left to release, release it."""
    params, settings = inputs.params, inputs.settings
    shards = shards_of(plan, params, settings)
    results = parse.map(shards, params, settings, num_workers=params.execution.num_workers)
    parsed = list(report_progress("parse", results, len(shards)))
    selection = select_documents(plan, parsed, inputs)
    intake = gate(selection, parsed, inputs)
    show_gates(intake.report)
    check_gate(intake)
    result = result_of(plan, inputs, selection, intake)
    removed = tombstones(plan, inputs.base.indexed, selection)
    if not intake.num_accepted and not removed and not rebuild:
        commit_scan(settings, plan, selection, inputs.signatures, intake.accepted)
        return result
    released, embedded = build(intake.accepted, removed, plan, inputs, lease, rebuild=rebuild, again=again)
    commit_scan(settings, plan, selection, inputs.next_signatures, intake.accepted)
    candidates.prune(settings, params, newest=released.number)
    return result.with_release(released, embedded=embedded, automatic=params.release.policy == "auto")


def build(
    accepted: Path,
    removed: Sequence[tuple[str, str, str]],
    plan: RefreshPlan,
    inputs: RefreshInputs,
    lease: Lease,
    *,
    rebuild: bool,
    again: bool,
) -> tuple[Release, int]:
    """Index the accepted documents, judge the index and release it; return how many texts were embedded, too."""
    params, settings = inputs.params, inputs.settings
    files = snapshot(accepted, removed, inputs)
    if not again:
        candidates.refuse_what_was_taken_back(settings, inputs.base, files, inputs.fingerprint)
    whole = rebuild and inputs.base.release is not None
    documents = candidates.all_documents(files, settings.work / "gate" / "all.parquet") if whole else accepted
    chunks = chunk(documents, params, settings)
    embedded = embed_missing(chunks, plan, inputs)
    candidate = write(chunks, accepted, [entry[0] for entry in removed], files, inputs, rebuild=rebuild)
    metrics, calibrated = judge(candidate, inputs)
    show_metrics(metrics)
    released = release(candidate, metrics, calibrated, inputs, lease)
    register_release(released.number, params, settings, lease)
    return released, embedded


def embed_missing(chunks: Path, plan: RefreshPlan, inputs: RefreshInputs) -> int:
    """Embed what was never embedded with this model; return how many texts that were."""
    started = time.monotonic()
    params, settings = inputs.params, inputs.settings
    vectors = open_cache(vector_space(params.embedding, settings), settings)
    folder = settings.work / "embed"
    shards = list(missing_texts([chunks], vectors, folder, chunks_per_shard=params.execution.chunks_per_shard))
    done = embed.map(shards, params, settings, num_workers=1)
    num_texts = sum(keep_vectors(shard, vectors) for shard in report_progress("embed", done, len(shards)))
    keep_rates(settings, plan, chunks, num_texts=num_texts, seconds=time.monotonic() - started)
    return num_texts
