"""From sources to accepted documents: plan, parsed shards, selection, gate, quarantine, in calls that a flow makes."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow.parquet as pq

from tasks.corpus import quarantine
from tasks.corpus.document import EVERYONE
from tasks.corpus.gate.document_gate import check_documents, gate_fingerprint
from tasks.corpus.gate.report import write_report
from tasks.corpus.parsing.parse import LEFT_OUT, Reject, parser_identity
from tasks.corpus.parsing.shards import ParseShard, write_shards
from tasks.corpus.plan import IndexedDocument, RefreshPlan, make_plan, save_scan
from tasks.corpus.selection import Selection, learned
from tasks.params import Params, digest
from tasks.settings import Settings


def plan_sources(
    params: Params,
    settings: Settings,
    indexed: Mapping[str, Mapping[str, IndexedDocument]],
    signatures: Mapping[str, str],
    learned_access: Mapping[str, frozenset[str]],
) -> RefreshPlan:
    """List every source and compare it with the base release; items in quarantine stay there while nothing changed."""
    now = quarantine_fingerprint(params)
    held = {
        where: raw for where, (raw, fingerprint) in quarantine.known_held(settings.home).items() if fingerprint == now
    }
    plan = make_plan(
        params.sources, indexed, settings=settings, held=held, signatures=signatures, learned_access=learned_access
    )
    places = [(part.source.name, key, seen.raw_hash) for part in plan.sources for key, seen in part.seen.items()]
    left_out = quarantine.held_by(settings.home, LEFT_OUT) & held.keys()
    return replace(
        plan, num_left_out=sum((name, key) in left_out and held[name, key] == raw for name, key, raw in places)
    )


def quarantine_fingerprint(params: Params) -> str:
    """Return changes when the parser, its limits or the gate's rules change: then a held item is judged again."""
    return f"{gate_fingerprint(params.document_gate)} {digest(params.parsing)} {parser_identity()}"


def shards_of(plan: RefreshPlan, params: Params, settings: Settings) -> list[ParseShard]:
    """Return the items to parse, in shards."""
    return [
        shard
        for part in plan.sources
        for shard in write_shards(
            part.source,
            part.to_read,
            parsing=params.parsing,
            settings=settings,
            items_per_shard=params.execution.items_per_shard,
        )
    ]


@dataclass(frozen=True, slots=True)
class Intake:
    """What the document gate let through.

    Attributes:
        accepted: Parquet file of documents.
        quarantined: documents that the gate set aside, and items that went wrong in parsing.
        left_out: items that are no documents: unsupported files, drafts.
        report: folder with the gate's report as `documents.html` and `documents.md`.
    """

    accepted: Path
    num_accepted: int
    quarantined: int
    left_out: int
    report: Path
    reasons: tuple[str, ...]


def gate_documents(
    selection: Selection, rejects: Sequence[Reject], params: Params, settings: Settings, num_known: int
) -> Intake:
    """Judge the selected documents; keep what is set aside, with reasons, before anything else is written.

    When the gate stops, `reasons` says why and nothing was accepted.
    """
    folder = settings.work / "gate"
    num_left_out = sum(reject.code in LEFT_OUT for reject in rejects)
    accepted, held = folder / "accepted.parquet", folder / "held.parquet"
    verdict = check_documents(
        [selection.documents],
        accepted=accepted,
        held=held,
        params=params.document_gate,
        approved=quarantine.approved(settings.home),
        num_rejected=len(rejects) - num_left_out,
        num_known=num_known,
    )
    report = settings.work / "report"
    write_report(verdict, held, html=report / "documents.html", markdown=report / "documents.md")
    entries = [*quarantine.from_rejects(rejects), *quarantine.from_held(held)]
    quarantine.record(settings.home, entries, fingerprint=quarantine_fingerprint(params))
    num_quarantined = verdict.num_quarantined + len(rejects) - num_left_out
    return Intake(accepted, verdict.num_accepted, num_quarantined, num_left_out, report, verdict.reasons)


def hidden_by(
    rejects: Iterable[Reject], indexed: Mapping[str, Mapping[str, IndexedDocument]]
) -> dict[str, tuple[str, ...]]:
    """Return who may read the last good version of a document whose new version is rejected.

    Nobody, where nobody can tell what the new version says of it. A narrower access holds at once; a wider one was
    meant for another text. An item that could not be read so far changes nothing.
    """
    return {
        f"{reject.source}:{reject.key}": _narrowed(indexed.get(reject.source, {}).get(reject.key), reject.access)
        for reject in rejects
        if reject.access is not None
    }


def _narrowed(before: IndexedDocument | None, access: tuple[str, ...]) -> tuple[str, ...]:
    if before is None or EVERYONE in before.access:
        return access
    return before.access if EVERYONE in access else tuple(sorted(set(access) & set(before.access)))


def commit_scan(
    settings: Settings,
    plan: RefreshPlan,
    selection: Selection | None,
    signatures: Mapping[str, str],
    accepted: Path | None = None,
) -> None:
    """Keep what was learned for the next scan; let go of quarantined items that passed or are listed no more."""
    for name, scan in learned(plan, selection, signatures).items():
        save_scan(settings, name, scan)
    listed = [(part.source.name, key) for part in plan.sources for key in part.seen]
    quarantine.clear_absent(settings.home, listed)
    if accepted is not None:
        passed = pq.read_table(accepted, columns=["source", "key", "raw_hash"]).to_pydict()
        quarantine.resolve(settings.home, accepted=zip(*passed.values(), strict=True))
