"""Whether the passages say something else than a claim: its denial, another number, its words in other roles.

Each look takes the sentence that shares most words with the claim, since only what speaks of the same can contradict
it. All are made of function words, numbers and word order; verbs and subjects are not known.

| Look | For instance, beside `version 6 drops Python 2, and only that` |
|---|---|
| denial | version 6 does not drop Python 2 |
| number | version 8 drops Python 2 |
| opposite | before version 6 (the passage: after) |
| order | Python 2 drops version 6 |
| exclusion | only version 6 runs on Windows (the passage: version 6 runs on Windows) |
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

from tasks.answer.check.exact import evidence, exact_terms, folded, holds
from tasks.answer.check.polarity import Polarity, polarity
from tasks.answer.words import stem

MIN_DENIED_SHARE = 0.75
"""Share of a claim's words in a sentence, from which that sentence can deny it. All shares are chosen on the
development half of our own claims (`python -m benchmarks.package_claims`)."""
MIN_COUNTED_SHARE = 0.3
MIN_OPPOSED_SHARE = 0.5
MIN_ORDERED_SHARE = 0.9
MIN_NEAR_SHARE = 0.3
MIN_INVERTED = 0.4
"""Share of the pairs of words that stand the other way round in the sentence."""
MIN_ORDERED_WORDS = 3

_OPPOSITES = """
    before after, first last, minimum maximum, min max, more less, more fewer, most least, above below, older newer,
    old new, oldest newest, larger smaller, large small, largest smallest, higher lower, high low, highest lowest,
    beginning end, left right, upper lower, true false, sync async, synchronous asynchronous, public private,
    major minor, faster slower, fast slow, longer shorter, longest shortest, long short, inside outside,
    optional required, same different, internal external, local remote, up down, earlier later, early late,
    ascending descending, horizontal vertical, top bottom, positive negative, odd even, success failure
"""
_PAIRS = [tuple(pair.split()) for pair in _OPPOSITES.split(",")]
OPPOSITES = frozenset(_PAIRS) | frozenset((second, first) for first, second in _PAIRS)
_PREFIXES = """
    en dis, en de, in ex, im ex, up down, in out, over under, pre post, inter intra, _ un, _ non, _ dis, _ de
"""
MIN_REMAINDER = 3
"""Letters of a word behind its prefix: `enable` and `disable`, but not `inset` and `exit`."""


def _turned_prefixes() -> dict[str, frozenset[str]]:
    pairs = [tuple(part.replace("_", "") for part in pair.split()) for pair in _PREFIXES.split(",")]
    both = [*pairs, *((second, first) for first, second in pairs)]
    return {prefix: frozenset(other for own, other in both if own == prefix) for prefix, _ in both}


_TURNED = _turned_prefixes()

_COUNTED = re.compile(r"(?<![\w.,])(?P<number>\d+(?:[.,]\d+)*)\s+(?P<thing>[a-z]{3,})")
_THOUSANDS = re.compile(r",(?=\d{3}(?!\d))")
_WORD = re.compile(r"[a-z]+")
# A phrase in front (`By default …`) may stand anywhere, so that order says nothing.
_FRONTED = re.compile(
    r"\W*(?:by|in|on|at|with|without|for|from|to|after|before|since|if|when|where|while|of|during|under|as|unless|until)\b",
    re.IGNORECASE,
)
# What turns the order of words around: an agent behind `by`, a passive.
_FORMS = (
    re.compile(r"\bby\b", re.IGNORECASE),
    re.compile(r"\b(?:is|are|was|were|be|been|being|gets?)\b(?:\s+\w+){0,2}?\s+\w+(?:ed|en)\b", re.IGNORECASE),
)
_EXCLUDES = re.compile(r"\b(?:only|alone|solely|exclusively|always|all|every)\b", re.IGNORECASE)
_RESTRICTS = re.compile(
    r"\b(?:only|alone|solely|exclusively|always|all|every|each|any|just|must|single|entire\w*|whole|full\w*|no|same|exact\w*"
    r"|identical|limit\w*|best)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class _Said:
    """A claim and what is read beside it."""

    text: str
    words: Polarity
    content: frozenset[str]
    sentences: tuple[str, ...]


def contradicted(claim: str, sentences: Sequence[str], titles: str) -> bool:
    """Return whether one of the looks finds that the sentences say something else.

    Args:
        claim: a sentence without its markers.
        sentences: of the passages that it cites.
        titles: of these passages; their words stand in each of their sentences.
    """
    words = polarity(claim)
    content = words.words - polarity(titles).words
    if not content or not sentences:
        return False
    said = _Said(claim, words, content, tuple(sentences))
    nearest, share = _nearest(sentences, content)
    return (
        _denied(said, nearest, share)
        or _counted_otherwise(said)
        or _opposed(said, nearest, share)
        or _turned(said, nearest, share)
        or _excludes(said)
    )


def _nearest(sentences: Sequence[str], content: frozenset[str]) -> tuple[list[str], float]:
    """The sentences that share most of these words, and the share."""
    shared = [len(content & polarity(sentence).words) for sentence in sentences]
    most = max(shared)
    nearest = [sentence for sentence, count in zip(sentences, shared, strict=True) if count == most]
    return nearest, most / max(len(content), 1)


def _denied(said: _Said, nearest: Sequence[str], share: float) -> bool:
    return share >= MIN_DENIED_SHARE and all(_denies(said, polarity(sentence)) for sentence in nearest)


def _denies(said: _Said, read: Polarity) -> bool:
    own = said.words
    both = (own.affirmed & own.denied) | (read.affirmed & read.denied) | own.open | read.open
    shared = (said.content & read.words) - both
    differ = (shared & own.affirmed & read.denied) | (shared & own.denied & read.affirmed)
    agree = said.content & own.denied & read.denied
    return len(differ) > len(agree) and 2 * len(differ) >= len(said.content & (own.denied | read.denied))


def _counted_otherwise(said: _Said) -> bool:
    """Whether the sentence with numbers that speaks of the same has none of the claim's numbers."""
    numbers = [term for term in exact_terms(said.text) if term.kind == "number"]
    plain = said.content - {term.key for term in numbers}
    counting = [sentence for sentence in said.sentences if evidence((sentence,)).numbers]
    if not numbers or not plain or not counting:
        return False
    nearest, share = _nearest(counting, plain)
    if share < MIN_COUNTED_SHARE:
        return False
    held = [evidence((sentence,)) for sentence in nearest]
    absent = not any(holds(each, term) for each in held for term in numbers)
    return absent or all(_things_differ(said.text, sentence) for sentence in nearest)


def _things_differ(said: str, read: str) -> bool:
    """Whether both count the same thing by other numbers: `5 times`, and `2 times; see step 5`."""
    offered: dict[str, set[str]] = defaultdict(set)
    for thing, number in _counted(read):
        offered[thing].add(number)
    return any(thing in offered and number not in offered[thing] for thing, number in _counted(said))


def _counted(text: str) -> list[tuple[str, str]]:
    """What is counted, with its number in one form: `1,000 rows` counts as `1000 rows` does."""
    return [(match["thing"], _THOUSANDS.sub("", match["number"])) for match in _COUNTED.finditer(folded(text))]


def _opposed(said: _Said, nearest: Sequence[str], share: float) -> bool:
    """Whether the sentence has the opposite of one of the claim's words, and not that word."""
    if share < MIN_OPPOSED_SHARE:
        return False
    own = set(_WORD.findall(said.text.casefold()))
    return all(_has_opposite(own, set(_WORD.findall(sentence.casefold()))) for sentence in nearest)


def _has_opposite(own: set[str], read: set[str]) -> bool:
    differ, others = own - read, read - own
    if any(word in differ and other in others for word, other in OPPOSITES):
        return True
    stems, read_stems = set(map(stem, own)), set(map(stem, read))
    turned, remainders = _remainders(stems - read_stems), _remainders(read_stems - stems)
    return any(remainders[other] & rest for prefix, rest in turned.items() for other in _TURNED[prefix])


def _remainders(stems: Iterable[str]) -> dict[str, set[str]]:
    """The rest of each stem by each prefix that it begins with: `disabl` gives `abl` by `dis`."""
    result: dict[str, set[str]] = defaultdict(set)
    for stemmed in stems:
        for prefix in _TURNED:
            if stemmed.startswith(prefix) and len(stemmed) - len(prefix) >= MIN_REMAINDER:
                result[prefix].add(stemmed.removeprefix(prefix))
    return result


def _turned(said: _Said, nearest: Sequence[str], share: float) -> bool:
    """Whether the same words stand in another order: who does what to whom."""
    if share < MIN_ORDERED_SHARE or _FRONTED.match(said.text):
        return False
    return all(_inverted(said.words, sentence, said.text) for sentence in nearest)


def _inverted(own: Polarity, sentence: str, text: str) -> bool:
    """Whether the pairs of words stand the other way round; whole clauses may change places."""
    if any(bool(form.search(text)) != bool(form.search(sentence)) for form in _FORMS):
        return False
    said, read = _places(own), _places(polarity(sentence))
    words = [word for word in said if word in read]
    pairs = [
        read[first] > read[second]
        for first, second in combinations(words, 2)
        if said[first].clause == said[second].clause or read[first].clause == read[second].clause
    ]
    return len(words) >= MIN_ORDERED_WORDS and bool(pairs) and sum(pairs) >= MIN_INVERTED * len(pairs)


class _Place(NamedTuple):
    clause: int
    place: int


def _places(text: Polarity) -> dict[str, _Place]:
    """Where each word stands that stands once, in order."""
    count = Counter(word for clause in text.clauses for word in clause)
    return {
        word: _Place(number, place)
        for number, clause in enumerate(text.clauses)
        for place, word in enumerate(clause)
        if count[word] == 1
    }


def _excludes(said: _Said) -> bool:
    """Whether the claim says `only` or `all` of what no sentence about the same restricts."""
    if not _EXCLUDES.search(said.text):
        return False
    near = [s for s in said.sentences if len(said.content & polarity(s).words) >= MIN_NEAR_SHARE * len(said.content)]
    return not any(_RESTRICTS.search(sentence) for sentence in near)
