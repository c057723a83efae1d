"""Facts that change: those that real weeks of documentation changed, and values changed on purpose. Formulas alone.

A fact is a value (number, version, name, address) at one place of a document, with the question that it answers. Its
old value stands nowhere in the document's new text, and the new one nowhere in the old text: what an answer says of
both is certain.
"""

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from tasks.corpus.document import sha256
from tasks.index.passage import Passage
from tasks.model.examples.synthetic import CLOZE, make_questions

Kind = Literal["natural", "on_purpose"]
Saying = Literal["new", "old", "neither"]

MAX_VALUE_CHARACTERS = 80
MAX_LINE_CHARACTERS = 240
MIN_LINE_WORDS = 2
MIN_LINE_SIMILARITY = 0.6
MAX_FACTS_PER_DOCUMENT = 4
NUM_ANCHOR_CHARACTERS = 24

_TOKEN = re.compile(r"\w+(?:[-.:/]\w+)*|[^\w\s]|\s+")
_VALUE = re.compile(r"(?=.*[\d._/:@-])\w(?:[\w.:/#@-]*\w)?")
_NUMBER = re.compile(r"\d{1,3}(?:,\d{3})+|\d+")
_NUMBER_WORDS = ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_NAME = re.compile(r"[A-Z][\w-]*[a-z]\w*")


@dataclass(frozen=True, slots=True)
class Fact:
    """A value that changes after training.

    Attributes:
        document: its id in the feed.
        old_anchor: the old value with the words around it, as they stand in the document; `new_anchor` likewise.
    """

    id: str
    kind: Kind
    document: str
    question: str
    old: str
    new: str
    old_anchor: str
    new_anchor: str


def saying(text: str, fact: Fact) -> Saying:
    """Return which value a text says; one that says both still says the old one."""
    if says(text, fact.old):
        return "old"
    return "new" if says(text, fact.new) else "neither"


def says(text: str, value: str) -> bool:
    """Return whether a value stands in a text as a word of its own: 3.1 not in 3.10, `api` not in `api-metrics`."""
    return _as_word(value).search(text) is not None


# --- changes that the weeks brought ---


def natural_facts(before: Mapping[str, str], after: Mapping[str, str], titles: Mapping[str, str]) -> list[Fact]:
    """Return the values that were replaced in lines which are otherwise alike.

    For instance "supports Python 3.9 and higher." that became "supports Python 3.10 and higher." asks "What belongs in
    the gap in Python: supports Python ____ and higher.".

    Args:
        before: texts by document at week 0.
        after: texts at the last week.
        titles: by document; the question names it, since a line alone says little.
    """
    facts = []
    for document in sorted(before.keys() & after.keys()):
        of_document: dict[str, Fact] = {}
        for line, start, old, new in _replaced(before[document], after[document]):
            if _is_certain(old, new, before[document], after[document]) and len(line.split()) >= MIN_LINE_WORDS:
                gapped = f"{line[:start]}____{line[start + len(old) :]}".strip()
                question = f"What belongs in the gap in {titles[document]}: {gapped}"
                of_document.setdefault(old, _fact("natural", document, question, old, new, before, after))
        facts += list(of_document.values())[:MAX_FACTS_PER_DOCUMENT]
    return facts


def _replaced(before: str, after: str) -> Iterator[tuple[str, int, str, str]]:
    """Yield line, place in it, old and new value, of each pair of lines that differ in values."""
    old_lines, new_lines = before.splitlines(), after.splitlines()
    for kind, start, end, new_start, new_end in _changes(old_lines, new_lines):
        for line in old_lines[start:end] if kind == "replace" else ():
            nearest = max(new_lines[new_start:new_end], key=lambda other: _similarity(line, other))
            if len(line) <= MAX_LINE_CHARACTERS and _similarity(line, nearest) >= MIN_LINE_SIMILARITY:
                yield from _replaced_values(line, nearest)


def _replaced_values(line: str, other: str) -> Iterator[tuple[str, int, str, str]]:
    ours, theirs = _TOKEN.findall(line), _TOKEN.findall(other)
    for kind, start, end, new_start, new_end in _changes(ours, theirs):
        old, new = "".join(ours[start:end]), "".join(theirs[new_start:new_end])
        if kind == "replace" and all(_VALUE.fullmatch(value) for value in (old, new)):
            yield line, len("".join(ours[:start])), old, new


def _changes(before: Sequence[str], after: Sequence[str]) -> list[tuple[str, int, int, int, int]]:
    return difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes()


def _similarity(line: str, other: str) -> float:
    return difflib.SequenceMatcher(None, line, other, autojunk=False).ratio()


# --- changes on purpose ---


def purposeful_facts(passages: Iterable[Passage], texts: Mapping[str, str], *, count: int, seed: int) -> list[Fact]:
    """Return `count` values to change, by the questions that the training set makes of passages by rules.

    A number grows, a number word becomes another one, a name becomes that of another question. One of each document
    first, then a second one.

    Args:
        passages: of the documents that may be changed.
        texts: of these documents, by document, as the feed holds them.
        count: at most so many.
        seed: draws questions and values.
    """
    asked = sorted(
        {
            (document, question.question, question.answer, question.how)
            for passage in passages
            for document in [passage.document_id.partition(":")[2]]
            for question in make_questions(passage)
            if len(question.answer.split()) <= 3
        },
        key=lambda entry: sha256("fact", str(seed), *entry),
    )
    names = [answer for *_, answer, how in asked if how == CLOZE and _NAME.fullmatch(answer)]
    by_document: dict[str, list[Fact]] = {}
    for document, question, old, _ in asked:
        new = _other_value(old, names, sha256("value", str(seed), document, question))
        text = texts[document]
        if new is not None and _occurrences(old, text) == 1:
            changed = with_value(text, old, new)
            if _is_certain(old, new, text, changed):
                fact = _fact("on_purpose", document, question, old, new, {document: text}, {document: changed})
                by_document.setdefault(document, []).append(fact)
    return _one_of_each_first([_apart(facts) for facts in by_document.values()])[:count]


def with_value(text: str, old: str, new: str) -> str:
    """Return a text with a value replaced where it stands as a word of its own."""
    return _as_word(old).sub(lambda _: new, text)


def _other_value(old: str, names: Sequence[str], draw: str) -> str | None:
    """Return a value of the same kind; None: this is no value that can be changed."""
    chance, numbers = int(draw[:8], 16), list(_NUMBER.finditer(old))
    if numbers:
        last = numbers[-1]
        mark = "," if "," in last.group() else ""
        return f"{old[: last.start()]}{int(last.group().replace(',', '')) + 1 + chance % 9:{mark}}{old[last.end() :]}"
    word = next((word for word in old.split() if word in _NUMBER_WORDS), None)
    if word:
        others = [other for other in _NUMBER_WORDS if other != word]
        return old.replace(word, others[chance % len(others)])
    others = [name for name in names if name != old]
    return others[chance % len(others)] if others and _NAME.fullmatch(old) else None


def _apart(facts: Sequence[Fact]) -> list[Fact]:
    """Return facts of one document without those whose places touch: the anchor of one would hold another's value."""
    kept: list[Fact] = []
    for fact in facts:
        if all(fact.old not in other.old_anchor and other.old not in fact.old_anchor for other in kept):
            kept.append(fact)
    return kept[:MAX_FACTS_PER_DOCUMENT]


def _one_of_each_first(groups: Sequence[Sequence[Fact]]) -> list[Fact]:
    return [group[rank] for rank in range(MAX_FACTS_PER_DOCUMENT) for group in groups if rank < len(group)]


# --- places and values ---


def _is_certain(old: str, new: str, before: str, after: str) -> bool:
    """Return whether no text of one time says the value of the other."""
    return (
        max(len(old), len(new)) <= MAX_VALUE_CHARACTERS
        and old.rstrip("s") != new.rstrip("s")
        and not says(old, new)
        and not says(new, old)
        and says(before, old)
        and says(after, new)
        and not says(after, old)
        and not says(before, new)
    )


def _fact(
    kind: Kind, document: str, question: str, old: str, new: str, before: Mapping[str, str], after: Mapping[str, str]
) -> Fact:
    anchors = _anchor(before[document], old), _anchor(after[document], new)
    return Fact(sha256(document, question)[:12], kind, document, question, old, new, *anchors)


def _anchor(text: str, value: str) -> str:
    match = _as_word(value).search(text)
    place = match.start() if match else 0
    around = text[max(0, place - NUM_ANCHOR_CHARACTERS) : place + len(value) + NUM_ANCHOR_CHARACTERS]
    return around.strip()


def _as_word(value: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![\w.-]){re.escape(value)}(?![\w-]|\.\w)", re.IGNORECASE)


def _occurrences(value: str, text: str) -> int:
    return len(_as_word(value).findall(text))
