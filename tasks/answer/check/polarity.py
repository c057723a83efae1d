"""What a text affirms and what it denies, word by word: the scope of each negation is the rest of its clause.

For instance `minidom does not expand entities, it returns them` denies `expand` and `entity`, affirms `return`, and
leaves open what becomes of `minidom`. Knows no verbs.
"""

import re
from dataclasses import dataclass
from functools import lru_cache

from tasks.answer.words import STOP_WORDS, is_exact, stem

_CONTRASTS = r"\b(?:rather than|instead of|in place of)\b"
_NEGATION = re.compile(
    r"\b(?:not|no|never|none|nor|neither|cannot|nothing|nobody|fail(?:s|ed)? to|unable to)\b|\w+n['\u2019]t\b|"
    + _CONTRASTS,
    re.IGNORECASE,
)
_CONTRAST = re.compile(_CONTRASTS, re.IGNORECASE)
_BOUNDARY = re.compile(
    r"[,;:()\u2013\u2014.!?]+(?=\s|$)|\s-{1,3}\s|\n\s*\n"
    r"|\b(?:and|but|or|so|because|if|when|where|while|although|though|since|until|unless|whereas|which|who|then)\b",
    re.IGNORECASE,
)
_TOKEN = re.compile(r"[^\W_](?:[\w.\-/:+#]*[\w+#])?|_\w+")


@dataclass(frozen=True, slots=True)
class Polarity:
    """The content words of a text, stemmed; a word can be both affirmed and denied.

    Attributes:
        affirmed: words of clauses without a negation.
        open: words before the negation of a clause: `no wheels are built` is `wheels are not built`.
        denied: words behind it.
        clauses: the words of each clause as they stand, repeated ones too.
    """

    affirmed: frozenset[str]
    open: frozenset[str]
    denied: frozenset[str]
    clauses: tuple[tuple[str, ...], ...]

    @property
    def words(self) -> frozenset[str]:
        """All of them."""
        return self.affirmed | self.open | self.denied


@lru_cache(maxsize=2048)
def polarity(text: str) -> Polarity:
    """Return what a sentence affirms and denies."""
    affirmed: set[str] = set()
    undecided: set[str] = set()
    denied: set[str] = set()
    clauses: list[tuple[str, ...]] = []
    for clause in _BOUNDARY.split(text):
        before, after = _scope(clause)
        # "Kept in files rather than in memory": what stands before is affirmed all the same.
        is_open = bool(after) and not _CONTRAST.search(clause)
        (undecided if is_open else affirmed).update(before)
        denied.update(after)
        clauses.append((*before, *after))
    return Polarity(frozenset(affirmed), frozenset(undecided), frozenset(denied), tuple(clauses))


def _scope(clause: str) -> tuple[list[str], list[str]]:
    """The words before the first negation of a clause, and those behind it; two negations cancel each other."""
    negations = list(_NEGATION.finditer(clause))
    if len(negations) != 1:
        return content(_NEGATION.sub(" ", clause)), []
    return content(clause[: negations[0].start()]), content(clause[negations[0].end() :])


def content(text: str) -> list[str]:
    """Return the content words of a text in order: exact terms casefolded, others stemmed."""
    words: list[str] = []
    for token in _TOKEN.findall(text):
        folded = token.casefold()
        if is_exact(token):
            words.append(folded)
        elif folded not in STOP_WORDS:
            words += [stem(part) for part in re.split(r"\W+", folded) if part and part not in STOP_WORDS]
    return words
