"""Where the values of a JSON answer stand in the passages: its claims and citations, beside the value itself.

A value is a claim of its own: a text or a number that the schema does not fix. True, false, null and the words of an
enumeration choose, they state nothing that a passage would hold literally.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tasks.answer.check.claims import Claim, readable
from tasks.answer.check.exact import evidence, exact_terms, missing
from tasks.answer.citations import MIN_EVIDENCE, Citation, best_place, citation_at
from tasks.answer.sentences import Span
from tasks.answer.words import terms
from tasks.index.passage import Passage

_SCALAR = re.compile(r'"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?')
_KEY_FOLLOWS = re.compile(r"\s*:")


@dataclass(frozen=True, slots=True)
class Evidence:
    """The claims of a JSON answer in order, and where in the passages they stand."""

    claims: tuple[Claim, ...]
    citations: tuple[Citation, ...]


def evidence_of(text: str, schema: Mapping[str, Any], passages: Sequence[Passage]) -> Evidence:
    """Return what the passages hold of a JSON text."""
    fixed = frozenset(_fixed(schema))
    claims, cited = [], dict[Citation, None]()
    for said, span in _values(text):
        if said in fixed or not terms(said).content:
            continue
        number = _holding(said, passages)
        claims.append(_claim(said, span, number, passages))
        if number is not None:
            passage = passages[number - 1]
            place = best_place(said, passage)
            cited[citation_at(number, passage, place.span, added=True)] = None
    return Evidence(tuple(claims), tuple(cited))


def _values(text: str) -> Iterator[tuple[str, Span]]:
    """Texts and numbers of a JSON text that are no keys, with their places."""
    for match in _SCALAR.finditer(text):
        if not (match.group().startswith('"') and _KEY_FOLLOWS.match(text, match.end())):
            yield str(json.loads(match.group())), Span(match.start(), match.end())


def _fixed(schema: Any) -> Iterator[str]:
    """The values that a schema spells out."""
    if isinstance(schema, Mapping):
        yield from (str(value) for value in schema.get("enum", ()) if isinstance(schema["enum"], list))
        if "const" in schema:
            yield str(schema["const"])
        for value in schema.values():
            yield from _fixed(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from _fixed(value)


def _holding(said: str, passages: Sequence[Passage]) -> int | None:
    """The number of the passage that holds a value best; None where none clearly does."""
    exact = exact_terms(said)
    scores = [
        (best_place(said, passage).score, -number)
        for number, passage in enumerate(passages, start=1)
        if not missing(exact, evidence((readable(passage),)))
    ]
    score, number = max(scores, default=(0.0, 0))
    return -number if score >= MIN_EVIDENCE else None


def _claim(said: str, span: Span, number: int | None, passages: Sequence[Passage]) -> Claim:
    absent = missing(exact_terms(said), evidence(tuple(map(readable, passages))))
    markers = () if number is None else (number,)
    return Claim(said, span.start, span.end, markers, "unverified" if number is None else "supported", absent, None)
