"""Whether a question that evaluation asks stands among the examples. Formulas only.

Two questions are the same when their words are, or when the sets of their stemmed content words have a Jaccard
similarity of at least `MIN_JACCARD`. Stop words do not count, so that a politer wording is the same question; names
and identifiers do, so that "install X with extras" and "install Y with extras" are two. Signs and units belong to the
word (`C#` is not `C++`, `-5` not `5`, `$` not `€`); capitals, diacritics and how a number is written do not
count. Runs of three words were left out: one changed word in the middle of a question of eight halves their similarity.
"""

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from tasks.answer.check.exact import comparable
from tasks.answer.words import STOP_WORDS, stem
from tasks.index.golden import GoldenQuestion

MIN_JACCARD = 0.8
_DENSE = r"\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
_WORD = re.compile(
    rf"(?<![\w-])--?[a-z][\w-]*|(?<![\w.])-?\d+(?:\.\d+)*|[<>\u2264\u2265%\u20ac$\u00a3]|[{_DENSE}]"
    rf"|[^\W{_DENSE}]+(?:\+\+|#)?"
)


@dataclass(frozen=True, slots=True)
class Collision:
    """A question of the training set that is a golden question.

    Attributes:
        golden: identifier of the golden question.
        similarity: 1.0 where the words are the same.
    """

    question: str
    golden: str
    similarity: float


class HeldOutQuestions:
    """The golden questions of validation and test, found by their words."""

    def __init__(self, questions: Iterable[GoldenQuestion]) -> None:
        self._ids: list[str] = []
        self._contents: list[frozenset[str]] = []
        self._exact: dict[str, int] = {}
        self._by_word: defaultdict[str, list[int]] = defaultdict(list)
        for question in questions:
            self._add(question)

    def _add(self, question: GoldenQuestion) -> None:
        number = len(self._ids)
        content = _content(question.question)
        self._ids.append(question.id)
        self._contents.append(content)
        self._exact.setdefault(normalized_question(question.question), number)
        for word in content:
            self._by_word[word].append(number)

    def collision(self, question: str) -> Collision | None:
        """Return the golden question that this one is, if any."""
        exact = self._exact.get(normalized_question(question))
        if exact is not None:
            return Collision(question, self._ids[exact], 1.0)
        content = _content(question)
        candidates = {number for word in content for number in self._by_word.get(word, ())}
        scored = [(jaccard(content, self._contents[number]), -number) for number in candidates]
        similarity, number = max(scored, default=(0.0, 0))
        return Collision(question, self._ids[-number], similarity) if similarity >= MIN_JACCARD else None


def normalized_question(question: str) -> str:
    """Return its words in one form, punctuation and blanks left out."""
    return " ".join(_WORD.findall(comparable(question)))


def _content(question: str) -> frozenset[str]:
    return frozenset(stem(word) for word in _WORD.findall(comparable(question)) if word not in STOP_WORDS)


def jaccard(one: frozenset[str], other: frozenset[str]) -> float:
    """Return |intersection| / |union| in [0, 1]; 0 where both are empty."""
    union = len(one | other)
    return len(one & other) / union if union else 0.0
