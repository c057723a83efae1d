"""A lineage as OpenLineage events, for who keeps a catalogue (Marquez, DataHub, OpenMetadata and others).

One `COMPLETE` event for each thing that a job of ours made: its inputs are what it was made from. Identifiers stand for
documents and chunks; no text, no question and no user leaves by this way.
https://openlineage.io/spec/2-0-2/OpenLineage.json
"""

import json
import uuid
from collections.abc import Mapping
from typing import Any

from tasks.lineage.graph import Kind, Lineage, Node

PRODUCER = "https://pypi.org/project/almanac"
SCHEMA_URL = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent"
NAMESPACE = "almanac"
_JOBS: Mapping[Kind, str] = {
    "corpus": "refresh.snapshot",
    "chunk": "refresh.chunk",
    "release": "refresh.release",
    "example": "retrain.examples",
    "training set": "retrain.training_set",
    "model": "retrain.train",
    "answer": "answer",
}
"""What makes a thing; a thing of another kind is the beginning of a lineage, or a person's."""
_MOMENTS = ("created", "created at", "asked")
_UNDATED = "1970-01-01T00:00:00+00:00"


def events_of(lineage: Lineage) -> str:
    """Return the events as JSON, a line each, in the order of the graph."""
    nodes = {node.id: node for node in lineage.nodes}
    inputs: dict[str, list[Node]] = {}
    for edge in lineage.edges:
        inputs.setdefault(edge.target, []).append(nodes[edge.source])
    jobs = [node for node in lineage.nodes if node.kind in _JOBS and node.id in inputs]
    return "".join(f"{json.dumps(_event(node, inputs[node.id]), ensure_ascii=False)}\n" for node in jobs)


def _event(node: Node, inputs: list[Node]) -> dict[str, Any]:
    moment = next((node.facts[name] for name in _MOMENTS if node.facts.get(name)), _UNDATED)
    return {
        "eventType": "COMPLETE",
        "eventTime": moment,
        "producer": PRODUCER,
        "schemaURL": SCHEMA_URL,
        # The same thing has the same run, however often it is told.
        "run": {"runId": str(uuid.uuid5(uuid.NAMESPACE_URL, f"{PRODUCER}/{node.id}"))},
        "job": {"namespace": NAMESPACE, "name": _JOBS[node.kind]},
        "inputs": [_dataset(entry) for entry in inputs],
        "outputs": [_dataset(node)],
    }


def _dataset(node: Node) -> dict[str, Any]:
    return {"namespace": NAMESPACE, "name": f"{node.kind.replace(' ', '_')}/{node.name}"}
