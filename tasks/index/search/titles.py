"""Documents that a question names by their title: `How do I set a timeout in grimp?` names `grimp`.

Whoever names a document wants to read what that one says, or that it says nothing: without it in the results the best
match is another document's word `timeout`.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterable
from functools import lru_cache

from tasks.index.search.terms import STOP_WORDS, question_terms

MAX_DOCUMENTS_OF_TITLE = 3
"""A title of more documents, as `README`, names none of them."""
MAX_TITLE_WORDS = 8
MAX_NAMED = 2
"""So many named documents are looked for in a search of their own."""

_WORD = re.compile(r"[^\W_]+")
_PLATFORM = re.compile(r"^(?:python|py)[-_]|[-_](?:python|py)$", re.IGNORECASE)
"""People say `dateutil` of `python-dateutil`."""


@lru_cache(maxsize=4096)
def name_of(title: str) -> str:
    """Return the words by which a title is named, in lower case, separated by blanks."""
    return _words(_PLATFORM.sub("", title.strip()))


def names(text: str, title: str) -> bool:
    """Return whether a question, or a passage, names a document: `scikit_learn` is `scikit-learn`."""
    named = name_of(title)
    return bool(named) and f" {named} " in f" {_words(text)} "


class Titles:
    """The titles of a release by the words that name them."""

    def __init__(self, titles: Iterable[str]) -> None:
        """Keep the titles, given once for each document; those of many documents and bare stop words name nothing."""
        self._by_name: dict[str, set[str]] = {}
        for title, count in Counter(titles).items():
            name = name_of(title)
            if name and count <= MAX_DOCUMENTS_OF_TITLE and name not in STOP_WORDS:
                self._by_name.setdefault(name, set()).add(title)

    def alone_in(self, question: str, language: str) -> list[str]:
        """Return the titles that a question names where it asks for nothing else: `What is grimp for?`."""
        named = self.named_in(question)
        words = frozenset(term for title in named for term in question_terms(title, language))
        return named if named and words.issuperset(question_terms(question, language)) else []

    def named_in(self, question: str, *, but: Collection[str] = ()) -> list[str]:
        """Return the titles that a question names, longer names first, without those of `but` and beyond `MAX_NAMED`.

        Where a longer name holds a shorter one at the same place, the shorter one names nothing: `ruamel.yaml` is not
        `yaml`.
        """
        words = _words(question).split()
        taken: set[int] = set()
        titles: list[str] = []
        for length in range(min(MAX_TITLE_WORDS, len(words)), 0, -1):
            for start in range(len(words) - length + 1):
                places = range(start, start + length)
                found = self._by_name.get(" ".join(words[start : start + length]))
                if found and taken.isdisjoint(places):
                    taken.update(places)
                    titles.extend(sorted(found))
        return [title for title in dict.fromkeys(titles) if title not in but][:MAX_NAMED]


def _words(text: str) -> str:
    return " ".join(_WORD.findall(text.casefold()))
