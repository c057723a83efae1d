"""Which passage supports which sentence: the formulas. Standard library only.

Support is lexical: the share of a sentence's content words that a window of neighbouring sentences of one passage
holds. It knows no paraphrase, and it does not see a false relation between true words; it does see an invented
number, identifier or negation.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from tasks.index.passage import Passage

MAX_WINDOW_SENTENCES = 3
"""A quote spans at most so many neighbouring sentences."""

_STOP_WORDS = """
    a about above after again all also am an and any are as at be because been before being below between both but by
    can could did do does doing down during each etc few for from further had has have having he her here hers him his
    how i if in into is it its itself just let like may me might more most must my of off on once only or other our out
    over own per same she should so some such than that the their them then there these they this those through to too
    under until up upon us very was we were what when where which while who whom whose why will with would yes you
    your
"""
STOP_WORDS = frozenset(_STOP_WORDS.split())
NEGATIONS = frozenset({"not", "no", "never", "none", "nor", "neither", "without", "cannot", "nothing"})

_TOKEN = re.compile(
    r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\W\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]+"
    r"(?:[.\-_/:+#'\u2019]+[^\W\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]+)*"
)
_CONTRACTED_NOT = re.compile(r"n['\u2019]t\b", re.IGNORECASE)
_MARKER = re.compile(r"\[\s*(\d{1,2}(?:\s*,\s*\d{1,2})*)\s*\]")
_SENTENCE_END = re.compile(
    r"(?<=[.!?])[\"'\u201d\u2019)*`]*\s+(?=[\"'\u201c\u2018(*`\[]*[A-Z0-9])|(?<=[\u3002\uff01\uff1f])"
)
_ABBREVIATION = re.compile(
    r"(?:\b(?:e\.g|i\.e|etc|vs|cf|approx|no|fig|mr|mrs|ms|dr|prof|st)|\b[A-Za-z])\.$", re.IGNORECASE
)
_BLOCK_LINE = re.compile(r"\s*(?:#{1,6}\s|[-*+]\s|\d{1,3}[.)]\s|\||>|</?[A-Za-z]|```|~~~|[=*~-]{3,}|$)")
_PROSE = re.compile(r"(?:[-*+]\s+)?[*_`]{0,3}\w.*\w\W{0,3}[.!]\W{0,3}$", re.DOTALL)
_WHETHER = re.compile(
    r"\s*(?:is|are|was|were|do|does|did|can|could|has|have|had|will|would|should|may|must)\b", re.IGNORECASE
)
_PRONOUN = re.compile(r"\W*(?:it|its|they|their|this|these|those|he|she|his|her|such)\b", re.IGNORECASE)
_FENCE = re.compile(r"\s*(?:```|~~~)")


class Span(NamedTuple):
    """A half-open range of characters."""

    start: int
    end: int


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


@dataclass(frozen=True, slots=True)
class Support:
    """The best place of one passage for a sentence.

    Attributes:
        score: share of the sentence's content found there, in [0, 1].
        span: that place, in characters of the passage's text.
    """

    score: float
    span: Span


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
    """Whether a token is a number or an identifier: a digit, `_`, an inner `.` or `:`, or capitals within the word."""
    return bool(re.search(r"\d|_|\w[.:]+\w|[a-z][A-Z]", token))


def vocabulary(text: str) -> frozenset[str]:
    """Everything that a text offers to a match: stems, whole tokens, and the parts of compound tokens."""
    found: set[str] = set()
    for token in _TOKEN.findall(_CONTRACTED_NOT.sub(" ", text)):
        folded = token.casefold()
        found.add(folded)
        for part in re.split(r"[\W_]+", folded):
            found.update((part, stem(part)))
    return frozenset(found)


def sentences(text: str) -> list[Span]:
    """Sentences of Markdown prose, and lines of its lists, tables, headings and code; spans without outer blanks."""
    spans: list[Span] = []
    for block in _blocks(text):
        start = block.start
        for match in _SENTENCE_END.finditer(text, block.start, block.end):
            if _ABBREVIATION.search(text, start, match.start()):
                continue
            spans.append(Span(start, match.start() if match.group().isspace() else match.end()))
            start = match.end()
        spans.append(Span(start, block.end))
    return [trimmed for span in spans if (trimmed := _trim(text, span)).start < trimmed.end]


def _blocks(text: str) -> list[Span]:
    """Paragraphs as one span each; a line that opens a block of its own begins a new one; code goes line by line."""
    blocks: list[Span] = []
    fenced = False
    position = 0
    for line in text.splitlines(keepends=True):
        fence = bool(_FENCE.match(line))
        end = position + len(line)
        if (
            blocks
            and not fenced
            and not _BLOCK_LINE.match(line)
            and blocks[-1].end == position
            and not _closed(text, blocks[-1])
        ):
            blocks[-1] = Span(blocks[-1].start, end)
        else:
            blocks.append(Span(position, end))
        fenced = fenced != fence
        position = end
    return blocks


def _closed(text: str, block: Span) -> bool:
    """Whether nothing can be appended to this block: a blank line, a heading, a table row, a fence."""
    return bool(
        re.match(r"\s*(?:#{1,6}\s|\||</?[A-Za-z]|```|~~~|[=*~-]{3,}|$)", text[block.start : block.end].rstrip("\n"))
    )


def _trim(text: str, span: Span) -> Span:
    piece = text[span.start : span.end]
    return Span(span.start + len(piece) - len(piece.lstrip()), span.start + len(piece.rstrip()))


def support(sentence: Terms, passage: Passage, question: Terms) -> Support:
    """The window of the passage that holds most of the sentence.

    score = |content of the sentence that the window or the passage's title holds| / |content of the sentence|, and 0
    where the title and the window lack an exact term, the passage lacks a name (of the sentence, or of the question
    and spoken of in the sentence), the window holds none of what the sentence adds to the question, or the sentence
    denies and the window's nearest sentence does not, or the reverse. Equal scores: the window with more of the
    question's words, then the shorter one.
    """
    best, best_rank = Support(0.0, Span(0, 0)), (0.0, 0, 0)
    titled = vocabulary(f"{passage.title} {passage.headings}")
    names = sentence.names | {name for name in question.names if stem(name) in sentence.words}
    if not sentence.content or not names <= titled | vocabulary(passage.text):
        return best
    added = sentence.content - question.content or sentence.content
    for window in _windows(_parts(passage.text)):
        held = frozenset().union(*(part.vocabulary for part in window))
        nearest = max(window, key=lambda part: len(sentence.content & part.vocabulary))
        found = sentence.content & (held | titled)
        if not sentence.exact <= found or added.isdisjoint(held) or nearest.negated != sentence.negated:
            continue
        span = Span(window[0].span.start, window[-1].span.end)
        rank = (len(found) / len(sentence.content), len(question.content & held), span.start - span.end)
        if rank > best_rank:
            best, best_rank = Support(rank[0], span), rank
    return best


class _Part(NamedTuple):
    span: Span
    vocabulary: frozenset[str]
    negated: bool


def _parts(text: str) -> list[_Part]:
    pieces = [(span, text[span.start : span.end]) for span in sentences(text)]
    return [_Part(span, vocabulary(piece), terms(piece).negated) for span, piece in pieces]


def _windows(parts: Sequence[_Part]) -> list[Sequence[_Part]]:
    return [
        parts[first : first + size]
        for size in range(1, MAX_WINDOW_SENTENCES + 1)
        for first in range(len(parts) - size + 1)
    ]


def best_quote(question: Terms, passages: Sequence[Passage]) -> tuple[int, Support]:
    """Number (from 1) of the passage and place of the one prose sentence that fits the question best.

    score = |content of the question that the sentence or its passage's title holds| / |content of the question|, and
    0 where the sentence itself holds none of it, lacks an exact term, adds fewer than three words, or is no prose.
    Equal scores: the sentence that comes to the question's words sooner (its subject), then the earlier one.
    """
    best, best_rank = (1, Support(0.0, Span(0, 0))), (0.0, 0)
    for number, passage in enumerate(passages, start=1):
        titled = vocabulary(f"{passage.title} {passage.headings}")
        for part in _parts(passage.text):
            sentence = passage.text[part.span.start : part.span.end]
            found = question.content & (part.vocabulary | titled)
            added = terms(sentence).content - question.content
            if found.isdisjoint(part.vocabulary) or not question.exact <= found or len(added) < 3:
                continue
            rank = (len(found) / len(question.content), -_words_before(sentence, question))
            if _PROSE.match(sentence) and rank > best_rank:
                best, best_rank = (number, Support(rank[0], part.span)), rank
    return best


def _words_before(sentence: str, question: Terms) -> int:
    tokens = _TOKEN.findall(sentence)
    held = (index for index, token in enumerate(tokens) if not question.content.isdisjoint(vocabulary(token)))
    return next(held, len(tokens))


def is_claim(sentence: str, question: str) -> bool:
    """Whether a sentence says something: it asks nothing, opens no list, and adds to the question.

    An answer to a question whether something is so need not add.
    """
    if sentence.rstrip().endswith(("?", "\uff1f", ":")):
        return False
    return bool(_WHETHER.match(question)) or not terms(sentence).content <= terms(question).content


def leans_on_previous(sentence: str) -> bool:
    """Whether a sentence is about something that the one before it named."""
    return bool(_PRONOUN.match(sentence))


def markers(sentence: str) -> list[int]:
    """The passage numbers that a sentence cites as `[1]` or `[1, 2]`, in order, each once."""
    numbers = [int(number) for match in _MARKER.finditer(sentence) for number in match.group(1).split(",")]
    return list(dict.fromkeys(numbers))


def without_markers(sentence: str) -> str:
    """The sentence with its markers taken out."""
    return re.sub(r"\s+([.,;:!?])", r"\1", re.sub(r"\s{2,}", " ", _MARKER.sub("", sentence))).strip()


def with_markers(sentence: str, numbers: Sequence[int]) -> str:
    """The sentence with `[n]` before its closing punctuation."""
    cited = "".join(f"[{number}]" for number in numbers)
    body = sentence.rstrip(".!?\u3002")
    return f"{body} {cited}{sentence[len(body) :]}"


def missing_terms(question: str, passages: Sequence[Passage]) -> tuple[str, ...]:
    """The question's rare terms (identifiers, numbers, names) that no passage, title or heading holds.

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
    """Identifiers, numbers and names of a question, in order, each once, without a possessive ending."""
    found: dict[str, None] = {}
    for match in _TOKEN.finditer(question):
        token = re.sub(r"['\u2019]s$", "", match.group())
        opens = not question[: match.start()].strip() or question[: match.start()].rstrip().endswith(
            (".", "!", "?", ":")
        )
        name = token[:1].isupper() and not opens and token.casefold() not in STOP_WORDS and len(token) > 1
        if is_exact(token) or name:
            found[token] = None
    return tuple(found)


def _joined(term: str) -> str:
    return re.sub(r"[\W_]+", "", term.casefold())
