"""The training set on disk: its record beside the examples, and its versions in the data registry."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from tasks.corpus.gate.document_gate import GateReport
from tasks.errors import CorruptionError
from tasks.files import sha256_of_file, write_json
from tasks.lease import hold_stores
from tasks.registry.data_registry import Revision
from tasks.registry.shared import open_registry, share_registry
from tasks.settings import Settings

FILE = "examples.jsonl"
MANIFEST = "manifest.json"
FOLDER = "examples"
"""Its folder in the data registry."""
_LEASE_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """What was built.

    Attributes:
        path: the JSON lines.
        origins: number of examples by origin.
        quarantined: examples that the gate set aside.
        corpus: tag of the snapshot.
        sha256: of the file.
        document_ids: every document whose text is in an example, sorted.
        left_out: why questions did not become examples, with their number.
    """

    path: Path
    num_train: int
    num_validation: int
    num_unanswerable: int
    origins: Mapping[str, int]
    quarantined: int
    corpus: str
    sha256: str
    document_ids: tuple[str, ...]
    left_out: Mapping[str, int]
    params_digest: str


def write_manifest(training_set: TrainingSet, report: GateReport) -> None:
    """Write the record without a path: the same training set has the same manifest wherever it is built."""
    content = {name: value for name, value in asdict(training_set).items() if name != "path"}
    rules = [{"rule": rule.expect, "observed": rule.observed, "success": rule.success} for rule in report.rules]
    write_json(training_set.path.with_name(MANIFEST), content | {"gate": rules})


def read_training_set(folder: Path) -> TrainingSet:
    """Return a training set that was built or restored into `folder`.

    Raises:
        CorruptionError: it has no manifest, or the file is not the one that the manifest names.
    """
    try:
        raw = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        raw.pop("gate")
        built = TrainingSet(path=folder / FILE, **raw | {"document_ids": tuple(raw["document_ids"])})
        digest_found = sha256_of_file(folder / FILE)
    except (OSError, json.JSONDecodeError, KeyError, TypeError) as error:
        raise CorruptionError(
            f"{folder} must hold a training set with its {MANIFEST}, found: {' '.join(str(error).split())}; "
            "build or restore it"
        ) from error
    if digest_found != built.sha256:
        raise CorruptionError(
            f"{folder / FILE} must have sha256 {built.sha256}, found {digest_found}; build or restore it again"
        )
    return built


def version_training_set(settings: Settings, training_set: TrainingSet) -> Revision:
    """Put a training set into the data registry as the next `examples-NNNN`; the newest one again keeps its tag.

    Takes the writer's lease. Killed at any step, the same call completes the work under the same tag.

    Raises:
        BusyError: another process writes to the home for longer than ten minutes.
        CorruptionError: the file is no longer what was built.
        DependencyError: git or DVC is missing or failed, or the disk is full.
    """
    folder = training_set.path.parent
    read_training_set(folder)
    with hold_stores(settings, purpose="version the training set", wait_seconds=_LEASE_SECONDS) as lease:
        registry = open_registry(settings, folder=FOLDER)
        tags = sorted(registry.tags("examples-[0-9]*"))
        files = [folder / FILE, folder / MANIFEST]
        if tags and registry.holds(tags[-1], files):
            return registry.publish(files, tags[-1], "")
        number = int(tags[-1].rpartition("-")[2]) + 1 if tags else 1
        counts = f"{training_set.num_train} + {training_set.num_validation}"
        message = f"Training set {number}: {counts} examples of {training_set.corpus}"
        revision = registry.publish(files, f"examples-{number:04d}", message)
        share_registry(settings, lease.shared)
        return revision
