"""An answer as a tree that a page can build without HTML: its Markdown, with markers and claims where they stand.

Claims and markers are places in the Markdown; the tree holds what of it is seen. Both are walked by their letters and
digits, which no markup changes: `**two** retries [1].` and its bold and plain leaves read `tworetries1` alike.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from tasks.answer.answer import Answer
from tasks.answer.markdown import Node, to_tree, urls

_MARKER = re.compile(r"\[\s*(\d{1,2}(?:\s*[,;]\s*\d{1,2})*)\s*\]")


@dataclass(frozen=True, slots=True)
class _Letters:
    """The letters and digits of a text, and where each one stands."""

    signs: str
    places: tuple[int, ...]


def answer_tree(answer: Answer) -> list[Node]:
    """Return the tree of an answer; links lead only where its passages do.

    Beside the types of `to_tree`: `marker` (`number`), and on leaves `claim`, the position in the answer's claims.
    """
    allowed = urls([passage.text for passage in answer.passages]) | {passage.uri for passage in answer.passages}
    nodes = to_tree(answer.text, allowed)
    claims = _claim_ranges(answer, "".join(_texts(nodes)), allowed)
    cited = frozenset(citation.marker for citation in answer.citations)
    return _Annotator(claims, cited).nodes(nodes)


class _Annotator:
    """Cuts the leaves of a tree where claims begin and end and at markers, walking them in order."""

    def __init__(self, claims: Sequence[tuple[int, int, int]], cited: frozenset[int]) -> None:
        self._claims, self._cited = claims, cited
        self._position = 0

    def nodes(self, nodes: Sequence[Node]) -> list[Node]:
        return [part for node in nodes for part in self._node(node)]

    def _node(self, node: Node) -> list[Node]:
        if node["type"] in ("text", "code"):
            start = self._position
            self._position += len(str(node["text"]))
            return self._text(node, start) if node["type"] == "text" else [self._in_claim(node, start)]
        children = node.get("children")
        if isinstance(children, Sequence) and not isinstance(children, str):
            return [{**node, "children": self.nodes(children)}]
        return [node]

    def _text(self, node: Node, start: int) -> list[Node]:
        text = str(node["text"])
        cuts = {0, len(text)}
        for first, last, _ in self._claims:
            cuts |= {place - start for place in (first, last) if start < place < start + len(text)}
        markers = {match.span(): match for match in _MARKER.finditer(text) if self._is_cited(match)}
        cuts = {cut for cut in cuts if not any(first < cut < last for first, last in markers)}
        ends = sorted(cuts.union(*markers))
        parts: list[Node] = []
        for first, last in pairwise(ends):
            match = markers.get((first, last))
            numbers = [] if match is None else re.findall(r"\d+", match.group())
            leaves: list[Node] = [{"type": "marker", "number": int(number)} for number in numbers]
            parts.extend(
                self._in_claim(leaf, start + first) for leaf in leaves or [{"type": "text", "text": text[first:last]}]
            )
        return parts

    def _is_cited(self, match: re.Match[str]) -> bool:
        return all(int(number) in self._cited for number in re.findall(r"\d+", match.group()))

    def _in_claim(self, node: Node, place: int) -> Node:
        number = next((number for first, last, number in self._claims if first <= place < last), None)
        return node if number is None else {**node, "claim": number}


def _texts(nodes: Sequence[Node]) -> Iterator[str]:
    """The texts of the leaves that may hold a claim, in order."""
    for node in nodes:
        if node["type"] in ("text", "code"):
            yield str(node["text"])
        children = node.get("children")
        if isinstance(children, Sequence) and not isinstance(children, str):
            yield from _texts(children)


def _claim_ranges(answer: Answer, seen: str, allowed: frozenset[str]) -> list[tuple[int, int, int]]:
    """Start, end and number of each claim in the text that is seen; one that cannot be told there is left out."""
    letters, position = _letters(seen), 0
    ranges: list[tuple[int, int, int]] = []
    for number, claim in enumerate(answer.claims):
        wanted = _letters("".join(_texts(to_tree(answer.text[claim.start : claim.end], allowed)))).signs
        place = letters.signs.find(wanted, position) if wanted else -1
        if place < 0:
            continue
        position = place + len(wanted)
        end = letters.places[position - 1] + 1
        ranges.append((letters.places[place], end + _closing(seen, end), number))
    return ranges


def _closing(seen: str, end: int) -> int:
    """How many signs behind a claim's last letter are still its own: a full stop, a bracket."""
    match = re.compile(r"[^\w\s]*").match(seen, end)
    return len(match.group()) if match else 0


def _letters(text: str) -> _Letters:
    places = tuple(place for place, sign in enumerate(text) if sign.isalnum())
    return _Letters("".join(text[place] for place in places), places)
