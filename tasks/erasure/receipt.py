"""The receipt of an erasure: where was searched, what was found before and after, what could not be reached.

It names documents by keyed hash alone, and is signed with the home's key: who holds the key can tell that it is ours
and whose it is.
"""

import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tasks.corpus.tombstones import keyed_hash, load_tombstones
from tasks.errors import CorruptionError
from tasks.files import write_json, write_text
from tasks.releases.model_registry import mlflow_client
from tasks.releases.tracking_store import experiment_id
from tasks.settings import Settings
from tasks.tenant import of_tenant

EXPERIMENT = "almanac-erasures"


@dataclass(frozen=True, slots=True)
class Receipt:
    """What an erasure did.

    Attributes:
        id: names the receipt's files.
        documents: keyed hashes of the ids.
        needles: number of distinctive passages that were searched for.
        undistinctive: documents without one: each of their lines stands elsewhere too.
        found_before, found_after: files of the home that held a needle, by store.
        removed: what went, by store.
        models: versions that were trained on a document, as `almanac-answerer 3`.
        retrain_due: whether one of them serves.
        not_reached: what was not searched or not written anew, and what to do there.
        seconds: on the wall.
    """

    id: str
    at: str
    documents: tuple[str, ...]
    needles: int
    undistinctive: int
    found_before: Mapping[str, int]
    found_after: Mapping[str, int]
    removed: Mapping[str, int]
    models: tuple[str, ...]
    retrain_due: bool
    not_reached: tuple[str, ...]
    seconds: float

    @property
    def is_clean(self) -> bool:
        """Say whether nothing was found after it."""
        return not self.found_after

    def as_json(self) -> dict[str, Any]:
        """Return the fields of `almanac forget --json`."""
        return asdict(self) | {"clean": self.is_clean}


def keep_receipt(settings: Settings, receipt: Receipt, key: bytes) -> Path:
    """Write the receipt, signed with the key of the tombstones, as JSON and Markdown; return the JSON file."""
    folder = settings.layout.forgotten / "receipts"
    path = folder / f"{receipt.id}.json"
    content = json.loads(json.dumps(receipt.as_json()))
    write_json(path, {"receipt": content, "signature": _signature(key, content)})
    write_text(path.with_suffix(".md"), as_markdown(receipt))
    return path


def log_receipt(settings: Settings, path: Path) -> None:
    """Put a receipt into MLflow.

    Raises:
        DependencyError: MLflow does not answer.
    """
    with mlflow_client(settings) as client:
        experiment = experiment_id(client, settings, of_tenant(EXPERIMENT))
        name = f"erasure {path.stem}"
        # An erasure that was killed behind this step has its run already.
        begun = client.search_runs([experiment], f"attributes.run_name = '{name}'", max_results=1)
        run = begun[0] if begun else client.create_run(experiment, run_name=name)
        for file in (path, path.with_suffix(".md")):
            client.log_artifact(run.info.run_id, str(file))
        client.set_terminated(run.info.run_id)


def verify_receipt(settings: Settings, path: Path, document_id: str | None = None) -> bool:
    """Say whether a receipt is this home's, unchanged, and, where a document is named, whether it is among its own.

    Raises:
        CorruptionError: the file is no receipt.
    """
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        content, signature = raw["receipt"], raw["signature"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CorruptionError(f"{path} must be a receipt of an erasure, found: {error!r}; name another file") from error
    key = load_tombstones(settings).key
    if not hmac.compare_digest(_signature(key, content), str(signature)):
        return False
    return document_id is None or keyed_hash(key, "id", document_id) in content["documents"]


def as_markdown(receipt: Receipt) -> str:
    """Return the receipt as a page."""
    stores = sorted({*receipt.found_before, *receipt.found_after, *receipt.removed})
    table = [
        f"| {name} | {receipt.found_before.get(name, 0)} | {receipt.removed.get(name, 0)} "
        f"| {receipt.found_after.get(name, 0)} |"
        for name in stores
    ]
    lines = [
        f"# Erasure {receipt.id}",
        "",
        f"At {receipt.at}: {len(receipt.documents)} documents, in {receipt.seconds} s. "
        f"{receipt.needles} distinctive passages were searched for in every file of the home.",
        "",
        "| Store | files with a passage before | removed or written anew | files with a passage after |",
        "|---|---|---|---|",
        *table,
        "",
        "Nothing was found after it."
        if receipt.is_clean
        else "**Something was found after it: the erasure is not complete.**",
        f"Models trained on a document: {', '.join(receipt.models) or 'none'}."
        + (" One of them serves: a retrain is due." if receipt.retrain_due else ""),
        *(f"- Not reached: {place}" for place in receipt.not_reached),
        "",
        "Documents, by keyed hash:",
        "",
        *(f"- `{digest}`" for digest in receipt.documents),
        "",
    ]
    return "\n".join(lines)


def _signature(key: bytes, content: Mapping[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hmac.new(key, f"receipt\0{text}".encode(), hashlib.sha256).hexdigest()
