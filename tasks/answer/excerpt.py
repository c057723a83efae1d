"""The best excerpt of the passages: a paragraph or a list with the code that belongs to it, never a heading alone.

What answers where no model writes, and what is shown as the closest passages where nothing is sure. Chosen by the words
that question and excerpt share, the rarer among these passages the more, and by the passage's similarity and rank.
Nothing is embedded or generated: vectors of the blocks chose worse on the validation questions (docs/answers.md).
"""

import math
import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from tasks.answer.draft import markers
from tasks.answer.markdown import Block, blocks, escaped, without_pictures
from tasks.answer.sentences import Span
from tasks.answer.words import terms, vocabulary
from tasks.index.passage import Passage
from tasks.index.search.titles import names

MAX_CHARACTERS = 900
"""An excerpt is read at a glance: the best block, with its neighbours up to this size."""
MAX_CLOSEST_CHARACTERS = 600
"""Of each of the closest passages: three of them are read before one helps. No anchor of the validation questions is
lost by it, at 400 one in sixty."""
MAX_EXCERPTS = 3
CLOSE_SCORE = 0.1
"""Of another passage an excerpt is shown too where its score is so close to the best; chosen on validation."""
NUM_PASSAGES = 5
"""Looked at: later ones are hardly ever chosen."""
MIN_WORDS = 4
MIN_LEAD_WORDS = 2
"""Of what a passage begins with: `Python plotting package` says what a document is about."""
OPENING_SCORE = 0.1
"""Given to the first words of a document where a question holds no word that excerpts have beside their titles."""
NAMED_OPENING_SCORE = 0.4
"""Given in its place to those of a document that the question names."""
OPENING_CHARACTERS = 500
"""Of content, within which less and less of either is given; chosen on every other package (docs/answers.md)."""
NAMED_RANK = 0.15
"""All of them move an excerpt among those of one question; chosen on the splits `train` and `validation`."""
CODE_RANK = 0.03
START_RANK = 0.06
"""Given to the first words of a document where a question asks how, less from there to `START_CHARACTERS`: what
everybody needs is shown before what few need."""
START_CHARACTERS = 2000
INSTALLATION_RANK = 0.1
LINKS_RANK = 0.1
CHANGES_RANK = 0.1
"""Lost by what stands under a changelog or a version where a question asks of no change."""
FOREIGN_RANK = 1.0
"""Lost by a passage that speaks of no document that the question names: it stands behind all that do."""
MAX_LINKED_SHARE = 0.5
WORDS_RELEVANCE = 0.25
MAX_LEAD_CHARACTERS = 200
EXCERPT_VERSION = 8
"""Counts up with any change of what is chosen: part of the answerer's identity."""


_PLACE = re.compile(r"^\*\*.*\*\* \[\d+\]\n\n", re.MULTILINE)
_LINKS = re.compile(r"!?\[[^\]]*\]\([^)]*\)|!?\[[^\]]*\]\[[^\]]*\]|https?://\S+|^\s*\[[^\]]+\]:.*$", re.MULTILINE)
_FENCE = re.compile(r"^ {0,3}(?P<sign>`{3,}|~{3,})[ \t]*(?P<language>\w*)[^`\n]*$", re.MULTILINE)
_TAGS = re.compile(r"</?[A-Za-z][^<>\n]*>")
_TARGETS = re.compile(r"(?<=\])\([^)\s]*\)")
_ADDRESSES = re.compile(r"(?<=\])\([^)\s]*\)|https?://\S+")
_ASKS_HOW = re.compile(r"\bhow (?:do|does|can|could|should|would|to|is|are)\b", re.IGNORECASE)
_CODE = re.compile(r"^\s*(?:```|~~~|>>> )|\n {4}", re.MULTILINE)
_CHANGES = re.compile(
    r"\b(?:change ?log|what's changed|release notes|release history|changes|breaking changes|history)\b"
    r"|(?:^|\u203a )\W*v?(?:ersion )?\d+\.\d+[\w.]*(?: |$)",
    re.IGNORECASE,
)
_ASKS_OF_CHANGES = re.compile(
    r"\b(?:new|chang\w+|version\w*|release\w*|since|fix\w*|v?\d+\.\d+\S*|remov\w+|deprecat\w+|drop\w*|still|history)\b",
    re.IGNORECASE,
)
_INSTALLS = re.compile(
    r"^\s*[$>!]?\s*(?:python3? -m |uv |sudo )?(?:pipx?|pip3|conda|mamba|npm|brew|apt|apt-get|poetry|uv)\s+"
    r"(?:install|add|create|uninstall)\b",
    re.MULTILINE,
)


@dataclass(frozen=True, slots=True)
class Excerpt:
    """Whole blocks of a passage.

    Attributes:
        number: of the passage, from 1.
        span: the blocks, in characters of the passage's text.
        score: how well it fits the question; comparable between questions, calibrated on golden questions.
        rank: the score and what orders the excerpts of one question alone: a document that the question names, code
            where it asks how, an installation where it asks for none.
    """

    number: int
    span: Span
    score: float
    rank: float


def excerpts(question: str, passages: Sequence[Passage], *, num_passages: int = NUM_PASSAGES) -> list[Excerpt]:
    """Return the excerpts of the first passages, best first; headings, badges and lists of links are none.

    Later passages are looked at too where the question names their document.
    """
    asked = terms(question)
    weights = _weights(asked.content, passages)
    named = named_titles(question, passages)
    offered = [
        (number, passage, span)
        for number, passage in enumerate(passages, start=1)
        if number <= num_passages or passage.title in named
        for span in excerpt_spans(passage.text)
    ]
    bare = vocabulary(" ".join(named)).issuperset(weights) or not any(
        _goes_beyond_title(passage, span, weights) for _, passage, span in offered
    )
    begins = _beginnings(passages)
    leads = _leads(passages)
    ranked: list[Excerpt] = []
    for number, passage, span in offered:
        says_its_name = bare and passage.title in named
        lead = leads.get(passage.document_id, "")
        score = _score(passage, span, weights, number, lead, says_its_name=says_its_name)
        score += _opening(passage, span, named, begins[passage.document_id]) if bare else 0.0
        rank = score + _preference(question, passage, span, named)
        ranked.append(Excerpt(number, span, score, rank))
    return sorted(ranked, key=lambda each: (-each.rank, each.number, each.span))


def _preference(question: str, passage: Passage, span: Span, named: Collection[str]) -> float:
    """What an excerpt is given, or loses, beside its words; it makes no answer of what is none."""
    text = passage.text[span.start : span.end]
    preference = NAMED_RANK if passage.title in named else 0.0
    preference -= FOREIGN_RANK if named and is_foreign(passage, named) else 0.0
    if _ASKS_HOW.search(question):
        preference += START_RANK * max(0.0, 1 - (passage.start + span.start) / START_CHARACTERS)
        preference += CODE_RANK if _CODE.search(text) else 0.0
    if _INSTALLS.search(text) and "install" not in question.casefold():
        preference -= INSTALLATION_RANK
    if _CHANGES.search(passage.headings) and not _ASKS_OF_CHANGES.search(question):
        preference -= CHANGES_RANK
    if _is_mostly_links(text):
        preference -= LINKS_RANK
    return preference


def named_titles(question: str, passages: Sequence[Passage]) -> frozenset[str]:
    """Return the titles of passages that a question names."""
    return frozenset(passage.title for passage in passages if names(question, passage.title))


def is_foreign(passage: Passage, named: Collection[str]) -> bool:
    """Return whether a passage speaks of none of the documents that a question names, by their titles."""
    return not any(names(f"{passage.title} {passage.headings} {passage.text}", title) for title in named)


def _is_mostly_links(text: str) -> bool:
    # As it is read: `A library for [LanceDB](https://…)` is a sentence, however long the address.
    read = _TARGETS.sub("()", text)
    linked = sum(len(match.group()) for match in _LINKS.finditer(read))
    return linked > MAX_LINKED_SHARE * len(read)


def relevance(question: str, passages: Sequence[Passage]) -> float:
    """Return how much the passages have to do with a question at all: low where the documents are about another world.

    The best similarity, and a quarter of the share of the question's words, rarer ones counting more, that any of them
    holds. Other weights of the two part the golden questions from those about other subjects as well, each alone worse
    (docs/answers.md).
    """
    weights = _weights(terms(question).content, passages)
    held = frozenset().union(*(_held(passage) for passage in passages))
    share = sum(weight for word, weight in weights.items() if word in held) / (sum(weights.values()) or 1.0)
    return max((passage.similarity or 0.0 for passage in passages), default=0.0) + WORDS_RELEVANCE * share


def coverage(question: str, groups: Sequence[Sequence[Passage]]) -> list[float]:
    """Return for each group of passages the share of the question's words that it holds, rarer ones counting more."""
    weights = _weights(terms(question).content, [passage for group in groups for passage in group])
    total = sum(weights.values()) or 1.0
    held = [frozenset().union(*map(_held, group)) for group in groups]
    return [sum(weight for word, weight in weights.items() if word in words) / total for words in held]


def speaks_of_names(question: str, passages: Sequence[Passage]) -> bool:
    """Return whether one passage speaks of every name of the question: what it asks is missing, not its subject.

    A name is a word with a capital behind the first word, as `Zephyr` in `Which colour is the logo of Zephyr?`. A
    passage that has it once mentions it, as `America/Lima` in a list of time zones.
    """
    words = re.findall(r"[^\W_]+", question)[1:]
    named = {word.casefold() for word in words if word[0].isupper() and len(word) > 1}
    said = (Counter(re.findall(r"[^\W_]+", f"{each.title} {each.text}".casefold())) for each in passages)
    return bool(named) and any(all(each[name] > 1 for name in named) for each in said)


def _held(passage: Passage) -> frozenset[str]:
    return vocabulary(f"{passage.title} {passage.headings} {passage.text}")


def _weights(asked: frozenset[str], passages: Sequence[Passage]) -> dict[str, float]:
    """The inverse frequency of each word of the question among the passages."""
    held = [_held(passage) for passage in passages]
    return {word: math.log(1 + (len(held) + 1) / (0.5 + sum(word in each for each in held))) for word in sorted(asked)}


def _goes_beyond_title(passage: Passage, span: Span, weights: dict[str, float]) -> bool:
    """Whether an excerpt holds a word of the question that its document's title does not."""
    own = vocabulary(passage.text[span.start : span.end]) - vocabulary(passage.title)
    return not own.isdisjoint(weights)


def _beginnings(passages: Sequence[Passage]) -> dict[str, int]:
    """Where the first of each document's passages starts: what stands before it, as badges, says nothing."""
    begins: dict[str, int] = {}
    for passage in passages:
        begins[passage.document_id] = min(passage.start, begins.get(passage.document_id, passage.start))
    return begins


def _opening(passage: Passage, span: Span, named: Collection[str], begin: int) -> float:
    """What the beginning of a document is given where a question asks for nothing but the document's subject.

    For instance `What does honcho do?` or `How does uvicorn differ from gunicorn?`. The first words get all of it: they
    say what the subject is; less is given from there to `OPENING_CHARACTERS` of what is no link and no tag.
    """
    score = NAMED_OPENING_SCORE if passage.title in named else 0.0 if named else OPENING_SCORE
    before = " ".join(_content(passage.text[: span.start]).split())
    return score * max(0.0, 1 - (passage.start - begin + len(before)) / OPENING_CHARACTERS)


def _leads(passages: Sequence[Passage]) -> dict[str, str]:
    """The first line of each document whose beginning is among the passages, where it is a tagline: short, no sentence.

    Its words say which document it is, as those of the title do, and not what is asked of it.
    """
    firsts = {each.document_id: each.text.partition("\n")[0].rstrip() for each in passages if each.start == 0}
    return {
        document: line
        for document, line in firsts.items()
        if len(line) <= MAX_LEAD_CHARACTERS and not line.endswith((".", "!", "?", ":"))
    }


def _score(
    passage: Passage,
    span: Span,
    weights: dict[str, float],
    number: int,
    lead: str,
    *,
    says_its_name: bool = False,
) -> float:
    """How well an excerpt fits: the words of its title count for less outside its text, but where nothing else counts.

    A tagline as `Pretty-print tabular data` does not repeat the name of what it is the tagline of.
    """
    # Words of an address say where more is to be read, not what.
    own = passage.text[span.start : span.end]
    text = vocabulary(_ADDRESSES.sub("", own.removeprefix(lead) if passage.start + span.start == 0 else own))
    titled = vocabulary(f"{passage.title} {passage.headings} {lead}")
    total = sum(weights.values()) or 1.0
    inside = sum(weight for word, weight in weights.items() if word in text)
    outside = sum(weight for word, weight in weights.items() if word in titled and word not in text)
    similarity = passage.similarity if passage.similarity is not None else 0.0
    share = (inside + (1.0 if says_its_name else 0.5) * outside) / total
    return similarity + 0.5 * share - 0.02 * (number - 1)


@lru_cache(maxsize=512)
def excerpt_spans(text: str) -> tuple[Span, ...]:
    """Return the excerpts that a text offers, in order: prose with the list or the code that follows it."""
    cut = _end_of_cut_code(text)
    if cut:
        rest = excerpt_spans(text[cut:])
        return tuple(Span(cut + span.start, cut + span.end) for span in rest)
    spans: list[Span] = []
    leaves = [block for block in blocks(text) if block.kind != "heading"]
    for place, block in enumerate(leaves):
        follows = place > 0 and _belongs(text, leaves[place - 1], block)
        if spans and follows and block.end - spans[-1].start <= MAX_CHARACTERS:
            spans[-1] = Span(spans[-1].start, block.end)
        else:
            spans.append(Span(_line_start(text, block.start), block.end))
    begins_with_prose = bool(leaves) and leaves[0].kind == "paragraph"
    return tuple(
        span
        for place, span in enumerate(spans)
        if _has_content(text[span.start : span.end], MIN_LEAD_WORDS if begins_with_prose and not place else MIN_WORDS)
    )


def _end_of_cut_code(text: str) -> int:
    """Where a passage that begins inside fenced code has its prose: behind the first fence; 0 where it begins outside.

    A fence with a language opens code, so that one in the place of a closing one tells; or all fences are bare, one has
    no partner, and the text ends with a fence.
    """
    fences = list(_FENCE.finditer(text))
    opens_late = any(fence["language"] for fence in fences[1::2])
    opens_in_time = any(fence["language"] for fence in fences[::2])
    ends_with_fence = bool(fences) and not text[fences[-1].end() :].strip()
    is_odd = len(fences) % 2 == 1
    is_cut = not opens_in_time and (opens_late or (is_odd and ends_with_fence))
    return fences[0].end() if is_cut else 0


def _belongs(text: str, before: Block, block: Block) -> bool:
    """Whether a block goes on with the one before it: list items together, code and lists with their lead-in."""
    between = text[before.end : block.start]
    if re.search(r"^\s{0,3}#", between, re.MULTILINE):
        return False
    if block.kind == before.kind and block.kind in ("item", "row"):
        return True
    if block.kind == "code":
        return True
    return before.kind == "paragraph" and text[: before.end].rstrip(" *_").endswith(":")


def _line_start(text: str, place: int) -> int:
    """A list's first sign belongs to the excerpt."""
    start = text.rfind("\n", 0, place) + 1
    return start if re.fullmatch(r"[\s>*+-]*(?:\d{1,3}[.)])?\s*", text[start:place]) else place


def _has_content(text: str, min_words: int) -> bool:
    """Whether anything is said but links, badges, tags, rules and letters drawn with signs."""
    return len(re.findall(r"[^\W_]{2,}", _content(text))) >= min_words


def _content(text: str) -> str:
    """The text without links, badges and tags."""
    return _TAGS.sub(" ", _LINKS.sub(" ", text))


def shown(excerpt: Excerpt, passage: Passage) -> str:
    """Return an excerpt under its title and headings, with its marker, as Markdown without pictures."""
    place = " \u203a ".join(part for part in (passage.title, passage.headings) if part)
    text = _without_markers(without_pictures(passage.text[excerpt.span.start : excerpt.span.end]).strip())
    fences = list(_FENCE.finditer(text))
    if len(fences) % 2:
        # Code that was cut would go on over what stands below.
        text = f"{text}\n{fences[-1]['sign']}"
    return f"**{escaped(place)}** [{excerpt.number}]\n\n{text}"


def _without_markers(text: str) -> str:
    """Write a document's own `[2]` so that it is shown as it is: it is no marker, and cites none of our passages."""
    for marker in reversed(markers(text)):
        text = f"{text[: marker.start]}\\{text[marker.start : marker.end - 1]}\\]{text[marker.end :]}"
    return text


def without_places(text: str) -> str:
    """Return the text without the lines under which `shown` puts excerpts: the words of the documents alone."""
    return _PLACE.sub("", text)


def widened(excerpt: Excerpt, text: str, max_characters: int = MAX_CHARACTERS) -> Excerpt:
    """Return the excerpt with the blocks after and before it, as far as `max_characters` allows."""
    spans = excerpt_spans(text)
    first = last = spans.index(excerpt.span)
    while True:
        if last + 1 < len(spans) and spans[last + 1].end - spans[first].start <= max_characters:
            last += 1
        elif first > 0 and spans[last].end - spans[first - 1].start <= max_characters:
            first -= 1
        else:
            break
    # A lead-in whose list or code found no room says nothing.
    while spans[last] != excerpt.span and text[: spans[last].end].rstrip(" *_").endswith(":"):
        last -= 1
    return replace(excerpt, span=Span(spans[first].start, spans[last].end))


def close_to_best(ranked: Sequence[Excerpt]) -> list[Excerpt]:
    """Return the best excerpt, and those of other passages that fit nearly as well."""
    best = diverse(ranked, MAX_EXCERPTS)
    return [excerpt for excerpt in best if excerpt.rank >= best[0].rank - CLOSE_SCORE]


def diverse(ranked: Sequence[Excerpt], count: int) -> list[Excerpt]:
    """Return the best excerpts of different passages."""
    taken: dict[int, Excerpt] = {}
    for excerpt in ranked:
        taken.setdefault(excerpt.number, excerpt)
    return list(taken.values())[:count]
