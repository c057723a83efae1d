"""What a refresh did: the fields of `almanac refresh --json`, and the check that no document vanished."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tasks.corpus.intake import Intake
from tasks.corpus.plan import RefreshPlan, save_rates
from tasks.corpus.selection import Selection
from tasks.errors import GateError
from tasks.index.candidate import num_rows
from tasks.index.refresh.inputs import RefreshInputs
from tasks.index.release import Release
from tasks.settings import Settings


@dataclass(frozen=True, slots=True)
class RefreshResult:
    """What a refresh did; counts are of documents where the name says nothing else.

    Attributes:
        forgotten: copies of documents that were taken back, which do not come in.
        held: items in quarantine since before, and unchanged; `quarantined` counts them too.
        left_out: items that are no documents (unsupported files, drafts); `quarantined` does not count them.
        documents, chunks: of the release that a next refresh builds on.
        release: number of the release that was made, None where nothing had changed.
        released: whether it serves; else it waits for a person.
        gate: `passed` or `not needed`.
        metrics: of the index gate; those that begin with `live_` are of the release that served.
    """

    listed: int
    new: int
    changed: int
    moved: int
    removed: int
    expired: int
    unchanged: int
    held: int
    chunks_to_embed: int
    estimated_seconds: float
    accepted: int
    quarantined: int
    left_out: int
    documents: int
    chunks: int
    forgotten: int = 0
    embedded: int = 0
    release: int | None = None
    released: bool = False
    gate: str = "not needed"
    metrics: Mapping[str, float] | None = None
    seconds: float = 0.0

    def as_json(self) -> dict[str, Any]:
        """Return the fields of `almanac refresh --json`."""
        return asdict(self) | {"metrics": dict(self.metrics or {})}

    def with_release(self, release: Release, *, embedded: int, automatic: bool) -> "RefreshResult":
        """Return this result with the release that was made of it."""
        return replace(
            self,
            documents=release.num_documents,
            chunks=release.num_chunks,
            embedded=embedded,
            release=release.number,
            released=automatic,
            gate="passed",
            metrics=release.metrics,
        )


def result_of(
    plan: RefreshPlan, inputs: RefreshInputs, selection: Selection | None = None, intake: Intake | None = None
) -> RefreshResult:
    """Count what became of all that the sources list; without a selection nothing was parsed.

    Raises:
        GateError: a listed item is unaccounted for.
    """
    counts = plan.counts()
    base = inputs.base.release
    result = RefreshResult(
        listed=int(counts["listed"]),
        new=int(counts["new"]),
        changed=int(counts["changed"]),
        moved=int(counts["moved"]),
        removed=int(counts["removed"]),
        expired=int(counts["expired"]) + (selection.expired if selection else 0),
        unchanged=int(counts["unchanged"]) + (selection.unchanged if selection else 0),
        held=int(counts["held"]),
        chunks_to_embed=int(counts["chunks_to_embed"]),
        estimated_seconds=counts["estimated_seconds"],
        accepted=intake.num_accepted if intake else 0,
        quarantined=int(counts["held"]) + (intake.quarantined if intake else 0),
        left_out=int(counts["left_out"]) + (intake.left_out if intake else 0),
        documents=base.num_documents if base else 0,
        chunks=base.num_chunks if base else 0,
        forgotten=selection.forgotten if selection else 0,
    )
    _check_nothing_vanished(result)
    return result


def keep_rates(settings: Settings, plan: RefreshPlan, chunks: Path, *, num_texts: int, seconds: float) -> None:
    """Keep how fast this refresh embedded, for the next estimate; nothing was embedded: the rates of before stay."""
    if num_texts:
        bytes_per_chunk = max(plan.bytes_to_read, 1) / num_rows(chunks)
        save_rates(settings, bytes_per_chunk=bytes_per_chunk, chunks_per_second=num_texts / max(seconds, 1e-3))


def _check_nothing_vanished(result: RefreshResult) -> None:
    parts = {
        "accepted": result.accepted,
        "quarantined": result.quarantined,
        "left out": result.left_out,
        "unchanged": result.unchanged,
        "removed": result.removed,
        "expired": result.expired,
        "forgotten": result.forgotten,
    }
    if sum(parts.values()) != result.listed:
        counts = ", ".join(f"{name} {count}" for name, count in parts.items())
        raise GateError(f"every listed item must be accounted for, found {result.listed} listed but {counts}")
