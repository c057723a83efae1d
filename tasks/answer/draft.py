"""A model's draft, kept as it was written: what is taken out of it, its markers, and its sentences with their places.

Taken out: `<think>` parts, markers that name no passage, pictures, links to addresses that no passage holds, blanks at
the two ends. Nothing else changes, so that code reaches the reader byte for byte. A marker is `[1]`, `[1][2]` or
`[1, 2]` outside code.
"""

import re
from collections.abc import Collection, Generator, Iterator, Sequence
from dataclasses import dataclass

from tasks.answer.generators.base import Generation, TextStream
from tasks.answer.generators.loop import before_repetition, is_loop
from tasks.answer.markdown import Block, blocks, code_spans, opaque_ranges
from tasks.answer.sentences import Span, split_prose
from tasks.answer.shown.links import bounded, open_link

_THINK = re.compile(r"<think>.*?(?:</think>|\Z)", re.DOTALL)
_MARKER = re.compile(r"\[\s*(\d{1,2}(?:\s*[,;]\s*\d{1,2})*)\s*\](?![(\d])")
MAX_MARKER_CHARACTERS = 24
"""No marker that a model writes is longer."""
_DEFINITION = re.compile(r"^[ ]{0,3}\[\d{1,2}\]:[ \t]+\S", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Marker:
    """A citation as it stands in a text; `numbers` count passages from 1."""

    start: int
    end: int
    numbers: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Sentence:
    """One sentence, list item or table row of a draft.

    Attributes:
        start: first character in the draft.
        end: behind its last one, its closing markers included.
        block: number of its block in `blocks(text)`.
        kind: of its block.
    """

    start: int
    end: int
    block: int
    kind: str


def kept(draft: str, texts: Sequence[str], addresses: Collection[str] = ()) -> str:
    """Return the draft without `<think>` parts, markers that name none of the passages, pictures and foreign links.

    Args:
        draft: what the model wrote.
        texts: of the passages that it read, in the order of their numbers.
        addresses: of these passages.
    """
    return bounded(without_unknown(without_thoughts(draft), texts), texts, addresses).strip()


def without_thoughts(draft: str) -> str:
    """Return the draft without what a reasoning model thought aloud, also where the prompt opened that part."""
    before, closing, after = draft.partition("</think>")
    text = after if closing and "<think>" not in before else draft
    if "<think>" not in text:
        return text
    text = re.sub(r"\A\s*<think>.*?(?:</think>|\Z)", "", text, count=1, flags=re.DOTALL)
    hidden = opaque_ranges(text)
    return _replaced(text, [match.span() for match in _THINK.finditer(text) if not _within(match.start(), hidden)])


def without_unknown(text: str, passages: Sequence[str]) -> str:
    """Return the text without markers that name no passage; of `[1, 9]` the 1 stays.

    `argv[12]` stays where a passage holds it: then it is what the passage says and no marker.
    """
    taken: list[tuple[int, int]] = []
    renewed: dict[int, str] = {}
    for marker in markers(text):
        valid = [number for number in marker.numbers if 1 <= number <= len(passages)]
        if len(valid) == len(marker.numbers) or _is_index(text, marker, passages):
            continue
        if valid:
            renewed[marker.start] = f"[{', '.join(map(str, valid))}]"
            taken.append((marker.start, marker.end))
        else:
            taken.append((_blank_before(text, marker), marker.end))
    return _replaced(text, taken, renewed)


def _is_index(text: str, marker: Marker, passages: Sequence[str]) -> bool:
    word = re.search(r"\w+\Z", text[: marker.start])
    return word is not None and any(f"{word.group()}{text[marker.start : marker.end]}" in each for each in passages)


def _blank_before(text: str, marker: Marker) -> int:
    """A blank before a marker goes with it where a sign, a blank or the end follows."""
    follows = text[marker.end : marker.end + 1]
    blank = marker.start > 0 and text[marker.start - 1] == " "
    return marker.start - 1 if blank and (not follows or not follows.isalnum()) else marker.start


def _replaced(text: str, ranges: Sequence[tuple[int, int]], renewed: dict[int, str] | None = None) -> str:
    for start, end in reversed(ranges):
        text = text[:start] + (renewed or {}).get(start, "") + text[end:]
    return text


def markers(text: str) -> list[Marker]:
    """Return the markers of a text, in order; none within code, an address or a link."""
    if "[" not in text:
        return []
    hidden = opaque_ranges(text) + [match.span() for match in _DEFINITION.finditer(text)]
    return [
        Marker(match.start(), match.end(), tuple(int(number) for number in re.findall(r"\d+", match.group())))
        for match in _MARKER.finditer(text)
        if not _within(match.start(), hidden) and "0" not in re.findall(r"\d+", match.group())
    ]


def _within(place: int, ranges: Sequence[tuple[int, int]]) -> bool:
    return any(start <= place < end for start, end in ranges)


def without_markers(text: str, given: Sequence[Marker] | None = None) -> str:
    """Return the text with its markers taken out, blanks before them too."""
    ranges = [(_blank_before(text, marker), marker.end) for marker in (markers(text) if given is None else given)]
    return _replaced(text, ranges).strip()


def draft_sentences(text: str) -> list[Sentence]:
    """Return sentences of paragraphs and list items, and the rows of tables, in order; headings and code have none."""
    return [sentence for number, block in enumerate(blocks(text)) for sentence in _of_block(text, number, block)]


def _of_block(text: str, number: int, block: Block) -> Iterator[Sentence]:
    if block.kind == "row":
        yield Sentence(block.start, block.end, number, block.kind)
    elif block.kind in ("paragraph", "item"):
        hidden = code_spans(text, block.start, block.end)
        for span in split_prose(text, Span(block.start, block.end), hidden):
            yield Sentence(span.start, span.end, number, block.kind)


def cited_numbers(text: str) -> list[int]:
    """Return the passage numbers that a text cites, in order, each once."""
    return list(dict.fromkeys(number for marker in markers(text) for number in marker.numbers))


def visible(
    stream: TextStream, texts: Sequence[str], addresses: Collection[str] = ()
) -> Generator[str, None, Generation]:
    """Pass a stream on, without `<think>` parts, unknown markers and foreign links, as `kept` would leave it.

    Only what may become one of them is held back: an open `<think>`, the last line from its last `[` on, a link or a
    tag that has not ended. So is what repeats the words before it, until it goes on otherwise; of a loop no more comes.
    """
    written, sent = "", ""
    while True:
        try:
            written += next(stream)
        except StopIteration as end:
            generation: Generation = end.value
            break
        settled = _final_part(before_repetition(written), texts, addresses)
        if settled.startswith(sent) and len(settled) > len(sent):
            yield settled[len(sent) :]
            sent = settled
    whole = kept(generation.text, texts, addresses)
    if whole.startswith(sent) and len(whole) > len(sent) and not is_loop(whole):
        yield whole[len(sent) :]
    return generation


def _final_part(written: str, texts: Sequence[str], addresses: Collection[str]) -> str:
    """What no further piece can change; blanks at the end wait, since they may be the last."""
    if _thinks(written):
        return ""
    held = max(written.rfind("["), written.rfind("<"))
    part = written[:held] if held >= 0 and len(written) - held < MAX_MARKER_CHARACTERS else written
    part = part[: open_link(part)]
    return bounded(without_unknown(without_thoughts(part), texts), texts, addresses).strip()


def _thinks(written: str) -> bool:
    """Whether the model has begun to think aloud, or may be about to."""
    start = written.lstrip()
    return ("<think>" in start and "</think>" not in start) or "<think>".startswith(start[:7])
