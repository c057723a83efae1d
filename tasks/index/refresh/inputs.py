"""What a refresh works from, and what its parsed documents mean for the release that serves; reads no source."""

from collections.abc import Sequence
from dataclasses import dataclass

from tasks.corpus.intake import Intake, gate_documents, hidden_by
from tasks.corpus.parsing.parse import parser_identity
from tasks.corpus.parsing.shards import ParseShard, rejects_of
from tasks.corpus.plan import RefreshPlan
from tasks.corpus.selection import Selection, select_changed
from tasks.corpus.tombstones import load_tombstones
from tasks.errors import GateError
from tasks.index.access_tables import load_access, record_changes
from tasks.index.base import Base, find_base
from tasks.index.embedding.champion import pinned
from tasks.index.embedding.embedder import embedder_identity
from tasks.index.embedding.files import spelt_out
from tasks.index.release import Fingerprint, fingerprint
from tasks.index.table import connect, other_access
from tasks.params import Params
from tasks.releases.kind import INDEX
from tasks.releases.model_registry import require_artifact_store
from tasks.settings import Settings
from tasks.stores import require_packages


@dataclass(frozen=True, slots=True)
class RefreshInputs:
    """What the steps of one refresh share.

    Attributes:
        params: with the embedder at the version that is champion now.
        base: the release that the refresh builds on.
        fingerprint: of an index made now.
    """

    params: Params
    settings: Settings
    base: Base
    fingerprint: Fingerprint

    @property
    def signatures(self) -> dict[str, str]:
        """By source, what beside the bytes decides its documents, now and in the base."""
        return self._signatures(self.base.release.fingerprint if self.base.release else None)

    @property
    def next_signatures(self) -> dict[str, str]:
        """The signatures that the next refresh will find, once this one has released."""
        return self._signatures(self.fingerprint)

    def _signatures(self, base: Fingerprint | None) -> dict[str, str]:
        return {source.name: self.fingerprint.signature(source.name, base) for source in self.params.sources}


def read_inputs(params: Params, settings: Settings) -> RefreshInputs:
    """Find what a refresh would start from; reads only.

    Raises:
        ConfigurationError: a store needs packages that are not installed: better said now than behind the work.
    """
    require_packages("ALMANAC_DVC_REMOTE", settings.dvc_remote)
    require_artifact_store(settings, INDEX.model)
    params = params.model_copy(update={"embedding": spelt_out(pinned(params.embedding, settings), settings)})
    embedder = embedder_identity(params.embedding, settings)
    now = fingerprint(params, parser=parser_identity(), embedder=embedder)
    return RefreshInputs(params, settings, find_base(settings), now)


def select_documents(plan: RefreshPlan, parsed: Sequence[ParseShard], inputs: RefreshInputs) -> Selection:
    """Select what differs from the base; what parsing showed of access holds at once, for the live release too."""
    moved = {f"{part.source.name}:{item.key}": old for part in plan.sources for old, item in part.moved}
    rejects = rejects_of(parsed)
    db = connect(inputs.settings)
    output = inputs.settings.work / "gate" / "changed.parquet"
    forgotten = load_tombstones(inputs.settings)
    selection = select_changed(parsed, inputs.base.indexed, moved, load_access(db).changes, forgotten, output)
    selection.raw_hashes |= {(reject.source, reject.key): (reject.raw_hash, None) for reject in rejects}
    record_changes(
        db, selection.access | other_access(db, selection.newcomers) | hidden_by(rejects, inputs.base.indexed)
    )
    return selection


def gate_selection(selection: Selection, parsed: Sequence[ParseShard], inputs: RefreshInputs) -> Intake:
    """Judge the selected documents by the document gate."""
    num_known = sum(len(rows) for rows in inputs.base.indexed.values())
    return gate_documents(selection, rejects_of(parsed), inputs.params, inputs.settings, num_known)


def check_gate(intake: Intake) -> None:
    """Refuse to go on where the document gate stopped.

    Raises:
        GateError: with the reasons of the gate.
    """
    if intake.reasons:
        raise GateError(f"the document gate stopped the refresh: {'; '.join(intake.reasons)}; nothing was released")
