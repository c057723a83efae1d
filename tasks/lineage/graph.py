"""A lineage as a graph of nodes, each made from those that point to it; drawn as text or as a Mermaid chart.

Knows nothing of where nodes are read from.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Kind = Literal[
    "source", "document", "chunk", "corpus", "release", "training set", "example", "model", "answer", "rating"
]
MAX_DRAWN = 12
"""So many nodes of a kind are drawn below one node; `--json` has them all."""
_MAX_LABEL = 60
_PLAIN = re.compile(r"[^\w .:/@#(),=+-]")


@dataclass(frozen=True, slots=True)
class Node:
    """One thing.

    Attributes:
        kind: what it is.
        name: that no other of its kind has.
        facts: what is known of it, in the order in which it is shown; never a text of a document.
    """

    kind: Kind
    name: str
    facts: Mapping[str, str] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """Return what names it in the graph."""
        return f"{self.kind} {self.name}"


@dataclass(frozen=True, slots=True)
class Edge:
    """`target` was made from `source`, or showed it."""

    source: str
    target: str
    how: str = ""


@dataclass(frozen=True, slots=True)
class Lineage:
    """What a thing was made from, and what was made from it.

    Attributes:
        root: what was asked for.
        nodes: the root among them, in the order in which they were met.
        left_out: number of nodes by kind that were not read since they are too many.
    """

    root: Node
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    left_out: Mapping[str, int]

    def as_json(self) -> dict[str, Any]:
        """Return the fields of `almanac lineage --json`."""
        return {
            "root": self.root.id,
            "nodes": [{"id": node.id} | asdict(node) for node in self.nodes],
            "edges": [asdict(edge) for edge in self.edges],
            "left_out": dict(self.left_out),
        }

    def of_kind(self, kind: Kind) -> list[Node]:
        """Return the nodes of a kind."""
        return [node for node in self.nodes if node.kind == kind]


class Graph:
    """Collects nodes and edges, each once; what is said of a node first stands."""

    def __init__(self) -> None:
        self._nodes: dict[str, Node] = {}
        self._edges: dict[Edge, None] = {}
        self.left_out: dict[str, int] = {}

    def add(self, node: Node) -> Node:
        """Add a node unless it is there; return the one that is."""
        return self._nodes.setdefault(node.id, node)

    def holds(self, kind: Kind, name: str) -> bool:
        """Say whether a node is there."""
        return f"{kind} {name}" in self._nodes

    def join(self, source: Node, target: Node, how: str = "") -> None:
        """Say that `target` was made from `source`."""
        self._edges[Edge(self.add(source).id, self.add(target).id, how)] = None

    def lineage(self, root: Node) -> Lineage:
        """Return all that was collected."""
        return Lineage(self.add(root), tuple(self._nodes.values()), tuple(self._edges), dict(self.left_out))


def as_text(lineage: Lineage) -> str:
    """Draw the root, below it what it was made from and what was made from it, as two trees."""
    nodes = {node.id: node for node in lineage.nodes}
    back: dict[str, list[tuple[str, str]]] = {}
    forward: dict[str, list[tuple[str, str]]] = {}
    for edge in lineage.edges:
        back.setdefault(edge.target, []).append((edge.source, edge.how))
        forward.setdefault(edge.source, []).append((edge.target, edge.how))
    lines = [_label(lineage.root)]
    for title, neighbours in (("made from", back), ("went into", forward)):
        below = list(_tree(lineage.root.id, nodes, neighbours, {lineage.root.id}, "  "))
        lines += ["", title, *(below or ["  nothing that is kept"])]
    lines += [f"{number} more of kind {kind} were not read" for kind, number in lineage.left_out.items()]
    return "\n".join(lines)


def as_mermaid(lineage: Lineage) -> str:
    """Return a chart that MLflow, GitHub and other readers of Markdown draw."""
    numbers = {node.id: f"n{number}" for number, node in enumerate(lineage.nodes)}
    lines = ["flowchart LR"]
    lines += [f'  {numbers[node.id]}["{_plain(node.id)}"]' for node in lineage.nodes]
    for edge in lineage.edges:
        arrow = f"-->|{_plain(edge.how)}|" if edge.how else "-->"
        lines.append(f"  {numbers[edge.source]} {arrow} {numbers[edge.target]}")
    lines.append(f"  style {numbers[lineage.root.id]} stroke-width:3px")
    return "\n".join(lines)


def _tree(
    node: str,
    nodes: Mapping[str, Node],
    neighbours: Mapping[str, Sequence[tuple[str, str]]],
    drawn: set[str],
    indent: str,
) -> Iterator[str]:
    """Yield a line for each node below; what was drawn is named again without what is below it."""
    shown: dict[str, int] = {}
    for name, how in neighbours.get(node, ()):
        kind = nodes[name].kind
        shown[kind] = shown.get(kind, 0) + 1
        if shown[kind] > MAX_DRAWN:
            continue
        again = name in drawn
        note = f" ({how})" if how else ""
        yield f"{indent}{name if again else _label(nodes[name])}{note}{' …' if again and name in neighbours else ''}"
        if not again:
            drawn.add(name)
            yield from _tree(name, nodes, neighbours, drawn, f"{indent}  ")
    for hidden, number in shown.items():
        if number > MAX_DRAWN:
            yield f"{indent}and {number - MAX_DRAWN} more of kind {hidden}"


def _label(node: Node) -> str:
    facts = ", ".join(f"{name} {value}" for name, value in node.facts.items() if value)
    return f"{node.id}  [{facts}]" if facts else node.id


def _plain(text: str) -> str:
    """Leave nothing in a label that the chart would read as its own syntax."""
    text = _PLAIN.sub("_", text)
    return text if len(text) <= _MAX_LABEL else f"{text[: _MAX_LABEL - 1]}…"
