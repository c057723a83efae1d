"""The words of a text: stems, identifiers, names, and whether it denies something. Standard library only."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from tasks.index.passage import Passage

_STOP_WORDS = """
    a about above after again all also am an and any are as at be because been before being below between both but
    by can could did do does doing down during each etc few for from further had has have having he her here hers
    him his how i if in into is it its itself just let like may me might more most must my of off on once one only
    or other our out over own per same she should so some such than that the their them then there these they this
    those through to too under until up upon us very was we were what when where which while who whom whose why will
    with would yes you your
"""
STOP_WORDS = frozenset(_STOP_WORDS.split())
NEGATIONS = frozenset({"not", "no", "never", "none", "nor", "neither", "without", "cannot", "nothing"})

_TOKEN = re.compile(
    r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\W\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]+"
    r"(?:[.\-_/:+#'\u2019]+[^\W\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]+)*"
)
_CONTRACTED_NOT = re.compile(r"n['\u2019]t\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Terms:
    """The content of a text.

    Attributes:
        words: stems of the plain content words, stop words left out.
        exact: numbers and identifiers, casefolded; support needs every one of them.
        names: words with a capital that opens no sentence, casefolded; the passage must hold every one of them.
        negated: whether the text denies something.
    """

    words: frozenset[str]
    exact: frozenset[str]
    names: frozenset[str]
    negated: bool

    @property
    def content(self) -> frozenset[str]:
        """All that support is a share of."""
        return self.words | self.exact


def stem(word: str) -> str:
    """Strip the commonest English endings, so that `supports` meets `supported`; shorter words stay as they are."""
    for ending, replacement in (
        ("ies", "y"),
        ("sses", "ss"),
        ("ing", ""),
        ("ed", ""),
        ("es", ""),
        ("s", ""),
        ("ly", ""),
    ):
        rest = word[: -len(ending)]
        if word.endswith(ending) and len(rest) >= 3 and not word.endswith(("eed", "ss", "us", "is")):
            word = rest + replacement
            break
    return word[:-1] if word.endswith("e") and len(word) > 3 else word


def terms(text: str) -> Terms:
    """Split a text into plain content words and terms that must match exactly."""
    words: set[str] = set()
    exact: set[str] = set()
    negated = bool(_CONTRACTED_NOT.search(text))
    for token in _TOKEN.findall(_CONTRACTED_NOT.sub(" ", text)):
        if is_exact(token):
            exact.add(token.casefold())
            continue
        parts = set(re.split(r"\W+", token.casefold())) - {""}
        negated = negated or not parts.isdisjoint(NEGATIONS)
        words.update(stem(part) for part in parts - STOP_WORDS - NEGATIONS)
    names = frozenset(term.casefold() for term in rare_terms(text) if not is_exact(term))
    return Terms(frozenset(words), frozenset(exact), names, negated)


def is_exact(token: str) -> bool:
    """Return whether a token is a number or an identifier: a digit, `_`, an inner `.` or `:`, or inner capitals."""
    return bool(re.search(r"\d|_|\w[.:]+\w|[a-z][A-Z]", token))


@lru_cache(maxsize=2048)
def vocabulary(text: str) -> frozenset[str]:
    """Return everything that a text offers to a match: stems, whole tokens, and the parts of compound tokens."""
    words: set[str] = set()
    for token in _TOKEN.findall(_CONTRACTED_NOT.sub(" ", text)):
        folded = token.casefold()
        words.add(folded)
        for part in re.split(r"[\W_]+", folded):
            words.update((part, stem(part)))
    return frozenset(words)


def missing_terms(question: str, passages: Sequence[Passage]) -> tuple[str, ...]:
    """Return the question's rare terms (identifiers, numbers, names) that no passage, title or heading holds.

    A name is a word with a capital that does not open a sentence. Separators do not count: `scikit_learn` is
    `scikit-learn`.
    """
    offered = {
        _joined(word)
        for passage in passages
        for word in vocabulary(f"{passage.title} {passage.headings} {passage.text}")
    }
    return tuple(
        term
        for term in rare_terms(question)
        if _joined(term) not in offered and _joined(stem(term.casefold())) not in offered
    )


def rare_terms(question: str) -> tuple[str, ...]:
    """Return identifiers, numbers and names of a question, in order, each once, without a possessive ending."""
    rare: dict[str, None] = {}
    for match in _TOKEN.finditer(question):
        token = re.sub(r"['\u2019]s$", "", match.group())
        opens = not question[: match.start()].strip() or question[: match.start()].rstrip().endswith(
            (".", "!", "?", ":")
        )
        name = token[:1].isupper() and not opens and token.casefold() not in STOP_WORDS and len(token) > 1
        if is_exact(token) or name:
            rare[token] = None
    return tuple(rare)


def _joined(term: str) -> str:
    return re.sub(r"[\W_]+", "", term.casefold())
