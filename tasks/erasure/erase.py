"""The order in which documents are taken back; killed anywhere, the next call goes on.

find ─▶ keep what is to be done ─▶ tombstones ─▶ hide ─▶ index ─▶ snapshots ─▶ training sets ─▶ models marked ─▶ traces
─▶ derived files ─▶ old bytes ─▶ search ─▶ receipt

From the moment that it is kept what is to be done, a kill leaves it to the next writer; before, nothing was changed.
From the tombstones on no refresh brings a document back, from the hiding on no server shows it. What is to be done
holds text: it lies in the home, for its owner alone, until the receipt is written.
"""

import datetime as dt
import json
import shutil
import sqlite3
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from tasks.audit.audit import open_audit
from tasks.corpus import inbox, quarantine
from tasks.corpus.tombstones import add_tombstones, keyed_hash, load_tombstones, unfinished_path
from tasks.erasure.byte_search import Needles, needles_of
from tasks.erasure.files import databases, empty_free_pages, scrub, scrub_prefect
from tasks.erasure.index_rows import hide_at_once, remove_old_bytes, rewrite_releases, tagged_versions, text_keys
from tasks.erasure.outside import (
    ARTIFACTS,
    bucket_keeps_versions,
    places_outside,
    scrub_artifacts,
    search_stores,
    vacuum_postgresql,
)
from tasks.erasure.receipt import Receipt, keep_receipt, log_receipt
from tasks.erasure.snapshots import (
    collect_garbage,
    corpus_of,
    rewrite_snapshots,
    rewrite_training_sets,
    separate_tags,
    snapshots_with,
    training_sets_with,
)
from tasks.erasure.subject import Subject, Wanted, find_subject
from tasks.erasure.tracking import count_traces, delete_traces, mark_models, trained_on
from tasks.errors import ConfigurationError, CorruptionError, DependencyError
from tasks.files import write_json
from tasks.home import make_private
from tasks.index.embedding.cache import erase_vectors
from tasks.index.registration import renew_manifest
from tasks.index.release import lance_tag, load_release, release_numbers, renew_release
from tasks.lease import Lease
from tasks.model.examples.review import queue as review_queue
from tasks.model.examples.review.golden import forget_golden
from tasks.params import Params
from tasks.registry.shared import open_registry, share_registry
from tasks.releases.tracking_store import is_embedded
from tasks.settings import Settings

READER_POLLS = 3
"""A server looks for a moved tag at each poll: after so many it reads no old version any more."""


@dataclass(frozen=True, slots=True)
class ErasurePlan:
    """What would be erased: the dry run.

    Attributes:
        documents: ids.
        snapshots: tags that hold one.
        traces: that show or quote one.
        found: files of the home that hold a distinctive passage, by store.
        undistinctive: documents that no search can find: each of their lines stands elsewhere too.
    """

    documents: tuple[str, ...]
    snapshots: tuple[str, ...]
    quarantined: tuple[str, ...]
    traces: int
    found: dict[str, int]
    undistinctive: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Return the fields of `almanac forget --json` without `--yes`."""
        return asdict(self)


@dataclass(slots=True)
class _Work:
    """What is to be done, kept until it is."""

    document_ids: list[str]
    needles: list[str]
    undistinctive: list[str]
    found_before: dict[str, int]
    text_keys: list[str]
    began_at: str
    content_hashes: list[str] = field(default_factory=list)
    versions: dict[str, int] = field(default_factory=dict)
    tags: list[str] = field(default_factory=list)
    snapshots: list[str] = field(default_factory=list)
    training_sets: list[str] = field(default_factory=list)
    removed: dict[str, int] = field(default_factory=dict)


def plan_erasure(settings: Settings, wanted: Wanted) -> ErasurePlan:
    """Find what would be erased and where it stands; changes nothing.

    Raises:
        ConfigurationError: nothing matches.
    """
    folder = settings.work / "erasure" / "plan"
    try:
        subject = find_subject(settings, wanted, folder)
        needles = needles_of(subject.texts, subject.others)
        return _as_plan(settings, subject, needles)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _as_plan(settings: Settings, subject: Subject, needles: Needles) -> ErasurePlan:
    return ErasurePlan(
        documents=tuple(sorted(subject.texts)),
        snapshots=tuple(subject.snapshots),
        quarantined=tuple(sorted(subject.in_quarantine)),
        traces=count_traces(settings, subject.texts.keys(), needles),
        found=search_stores(settings, needles, passed_over=_passed_over(settings)),
        undistinctive=needles.undistinctive,
    )


def erase(settings: Settings, params: Params, wanted: Wanted, lease: Lease) -> Receipt:
    """Take the documents out of every store; call under the lease.

    Raises:
        ConfigurationError: nothing matches.
        DependencyError: a store does not answer; the next call goes on from there.
    """
    finished = finish_erasure(settings, params, lease)
    _remove_partial_work(settings)
    folder = settings.work / "erasure" / "subject"
    try:
        subject = find_subject(settings, wanted, folder)
    except ConfigurationError:
        if finished is None:
            raise
        return finished  # the command that was killed, given again: nothing of it is left to find
    shutil.rmtree(folder, ignore_errors=True)
    needles = needles_of(subject.texts, subject.others)
    ids = sorted(subject.texts)
    work = _Work(
        document_ids=ids,
        needles=list(needles.texts),
        undistinctive=list(needles.undistinctive),
        found_before=search_stores(settings, needles, passed_over=_passed_over(settings)),
        text_keys=sorted(text_keys(settings, ids)),
        began_at=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        content_hashes=sorted(subject.content_hashes),
        versions=tagged_versions(settings),
    )
    make_private(settings.layout.forgotten)
    _keep(settings, work)
    return _carry_out(settings, params, work, lease)


def finish_erasure(settings: Settings, params: Params, lease: Lease) -> Receipt | None:
    """Go on with an erasure that was killed; None: there was none.

    Raises:
        DependencyError: a store does not answer.
    """
    path = unfinished_path(settings)
    if not path.exists():
        return None
    try:
        work = _Work(**json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise CorruptionError(
            f"{path} must say what an erasure has left to do, found: {error}; delete it and run `almanac forget` again"
        ) from error
    return _carry_out(settings, params, work, lease)


def _carry_out(settings: Settings, params: Params, work: _Work, lease: Lease) -> Receipt:
    started = time.monotonic()
    ids, needles = work.document_ids, Needles(tuple(work.needles), tuple(work.undistinctive))
    folder = settings.work / "erasure"
    lease.check()
    add_tombstones(settings, ids, work.content_hashes)
    hide_at_once(settings, ids)
    _erase_from_index(settings, params, work)
    lease.check()
    open_registry(settings)
    _erase_from_registry(settings, work, needles, folder)
    share_registry(settings, lease.shared)
    # Behind the sharing: another machine, or this one after a kill, takes the history that names the bytes.
    collect_garbage(settings)
    _renew_manifests(settings, folder)
    models = trained_on(settings, work.training_sets, work.snapshots)
    mark_models(settings, models, work.began_at)
    lease.check()
    _count(work, "traces", delete_traces(settings, ids, needles))
    places = [(source, key) for source, _, key in (name.partition(":") for name in ids)]
    _count(work, "quarantine", quarantine.resolve(settings.home, gone=places))
    _count(work, "inbox", sum(inbox.take_back(settings.layout, source, key) for source, key in places))
    _count(work, "review", review_queue.purge(settings.layout, ids, needles.stand_in))
    _count(work, "golden", forget_golden(params, ids, needles.stand_in))
    _count(work, "cache", erase_vectors(settings.layout.cache, work.text_keys))
    for store, number in scrub(settings.layout, needles).items():
        _count(work, store, number)
    _count(work, ARTIFACTS, scrub_artifacts(settings, needles))
    shutil.rmtree(settings.work, ignore_errors=True)
    time.sleep(READER_POLLS * params.serving.poll_seconds)
    remove_old_bytes(settings, ids)
    not_reached = [*_clean_databases(settings, needles), *_elsewhere(settings)]
    key = load_tombstones(settings).key
    receipt = Receipt(
        id=f"{work.began_at[:10]}-{keyed_hash(key, 'receipt', json.dumps(ids))[:10]}",
        at=work.began_at,
        documents=tuple(keyed_hash(key, "id", name) for name in ids),
        needles=len(work.needles),
        undistinctive=len(work.undistinctive),
        found_before=work.found_before,
        found_after=search_stores(settings, needles, passed_over=_passed_over(settings)),
        removed={name: number for name, number in work.removed.items() if number},
        models=tuple(f"{version.kind.model} {version.version}" for version in models),
        retrain_due=any(version.is_champion for version in models),
        not_reached=tuple(not_reached),
        seconds=round(time.monotonic() - started, 1),
    )
    path = keep_receipt(settings, receipt, key)
    log_receipt(settings, path)
    audit = open_audit(settings.layout)
    audit.forget(ids)
    audit.done("forgot", receipt=receipt.id, num_documents=len(ids), clean=receipt.is_clean)
    _remove_partial_work(settings)
    unfinished_path(settings).unlink(missing_ok=True)
    return receipt


def _erase_from_index(settings: Settings, params: Params, work: _Work) -> None:
    def finished(tag: str, version: int, num_rows: int) -> None:
        for number in release_numbers(settings):
            if lance_tag(number) == tag:
                renew_release(settings, load_release(settings, number).without_chunks(version, num_rows))
        work.tags.append(tag)
        _keep(settings, work)

    rows = rewrite_releases(
        settings, params.index, work.document_ids, versions=work.versions, done=work.tags, finished=finished
    )
    _count(work, "lancedb", rows)


def _erase_from_registry(settings: Settings, work: _Work, needles: Needles, folder: Path) -> None:
    """Keep which tags hold the documents before any is published anew: a second call finds them no more."""
    ids = work.document_ids
    work.snapshots = sorted({*work.snapshots, *snapshots_with(settings, ids, folder / "snapshots")})
    work.training_sets = sorted({*work.training_sets, *training_sets_with(settings, ids, needles, folder / "examples")})
    _keep(settings, work)
    _count(work, "registry", rewrite_snapshots(settings, ids, work.snapshots, folder / "snapshots"))
    _count(work, "examples", rewrite_training_sets(settings, ids, needles, work.training_sets, folder / "examples"))
    separate_tags(settings)


def _renew_manifests(settings: Settings, folder: Path) -> None:
    """Let each release's manifest, here and in MLflow, say what its tags name now."""
    for number in release_numbers(settings):
        release = load_release(settings, number)
        corpus, num_documents = corpus_of(settings, release, folder / "manifests")
        renewed = replace(release, corpus=corpus, num_documents=num_documents)
        renew_release(settings, renewed)
        renew_manifest(settings, renewed)


def _clean_databases(settings: Settings, needles: Needles) -> list[str]:
    """Empty free pages; return the databases that another process holds."""
    busy = []
    try:
        scrub_prefect(settings.layout, needles)
    except sqlite3.Error as error:
        busy.append(f"prefect: {error}; stop `almanac up` and run `almanac forget` again")
    for path in databases(settings.layout):
        try:
            empty_free_pages(path)
        except sqlite3.Error as error:
            name = path.relative_to(settings.layout.root)
            busy.append(f"free pages of {name}: {error}; stop what uses it and run `almanac forget` again")
    return busy


def _elsewhere(settings: Settings) -> list[str]:
    """Name what no byte search of this machine reaches, or what a search does not see."""
    places = ["backups and copies of the home: restore them with `--tombstones` of this home"]
    if settings.shared_state:
        places.append("homes of other machines: their caches and logs; delete those homes, they are made again")
    places += _of_mlflow(settings)
    for address in sorted({place for found in places_outside(settings).values() for place in found if "://" in place}):
        if bucket_keeps_versions(address) is not False:
            places.append(f"{address}: old versions of its objects, if the bucket keeps them; delete those there")
    places.append("the sources themselves, and clones of them in `scan`: the next refresh leaves the documents out")
    return places


def _of_mlflow(settings: Settings) -> list[str]:
    """Empty the rows that MLflow's database still holds, where it is ours to do; else say what is left."""
    if is_embedded(settings):
        return []
    if settings.tracking_uri.startswith("postgresql"):
        try:
            vacuum_postgresql(settings.tracking_uri)
        except DependencyError as error:
            return [str(error)]
        return ["MLflow's database: its write-ahead log and backups, until they are recycled"]
    return [
        f"the database of MLflow at {settings.tracking_uri}: rows were deleted; VACUUM FULL there empties their pages"
    ]


def _count(work: _Work, store: str, number: int) -> None:
    work.removed[store] = work.removed.get(store, 0) + number


def _keep(settings: Settings, work: _Work) -> None:
    path = unfinished_path(settings)
    write_json(path, asdict(work))
    path.chmod(0o600)


def _remove_partial_work(settings: Settings) -> None:
    """Remove what a process left that was killed while it kept what is to be done: it holds text too."""
    path = unfinished_path(settings)
    for leftover in path.parent.glob(f".{path.name}.*.tmp"):
        leftover.unlink()


def _passed_over(settings: Settings) -> tuple[Path, ...]:
    return (unfinished_path(settings), settings.work)
