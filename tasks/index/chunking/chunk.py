"""Documents to chunks: by structure, within a token budget of the embedding model's own tokenizer.

A chunk is a slice of one document. Sections start at headings; a section above the budget is cut at the best
boundary that fits (block, line, sentence, word). Cuts restart at each heading, so an edit changes the chunks of its
own section only. Knows nothing of embedding models but their tokenizer, and nothing of storage.

Ours stays beside LangChain's recursive splitter, whose chunks carry neither place nor headings: a sentence added to
each of 40 READMEs changes 5.9 % of the chunks (there 6.4 %), at 0.8 times the CPU seconds (`benchmarks.libraries`).
"""

import json
import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.corpus.document import Document, from_table, sha256
from tasks.files import whole_file
from tasks.index.chunking.content import num_content_characters
from tasks.index.chunking.context import HEADING_SEPARATOR, MAX_CHARACTERS_PER_TOKEN, Contexts
from tasks.index.chunking.outline import Outline, Section, outline_of
from tasks.params import ChunkingParams

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer

CHUNKING_VERSION = "5"
"""Part of the fingerprint of a release: raise it when the same parameters give other chunks."""

_SENTENCE_END = re.compile(r"(?<=[.!?。！？])\s+|(?<=[。！？])")  # noqa: RUF001

CHUNK_SCHEMA = pa.schema(
    [
        pa.field("chunk_id", pa.string(), nullable=False),
        pa.field("document_id", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("knowledge_base", pa.string(), nullable=False),
        pa.field("access", pa.list_(pa.string()), nullable=False),
        pa.field("ordinal", pa.int32(), nullable=False),
        pa.field("start", pa.int32(), nullable=False),
        pa.field("end", pa.int32(), nullable=False),
        pa.field("title", pa.string(), nullable=False),
        pa.field("uri", pa.string(), nullable=False),
        pa.field("headings", pa.string(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
        pa.field("search_text", pa.string(), nullable=False),
        pa.field("num_content_characters", pa.int32(), nullable=False),
        pa.field("gap", pa.string(), nullable=False),
        pa.field("starts_in_code", pa.bool_(), nullable=False),
        pa.field("ends_in_code", pa.bool_(), nullable=False),
        pa.field("text_key", pa.string(), nullable=False),
        pa.field("content_hash", pa.string(), nullable=False),
        pa.field("updated_at", pa.timestamp("us", tz="UTC")),
        pa.field("expires_at", pa.timestamp("us", tz="UTC")),
        pa.field("metadata", pa.string(), nullable=False),
    ]
)


@dataclass(frozen=True, slots=True)
class Slice:
    """A chunk's place: `text[start:end]` under `headings` (the path that its context names).

    Attributes:
        header: the header row of the table within which the slice begins, '' where it begins in none.
        starts_in_code: the slice begins inside a fenced block that did not fit whole.
        ends_in_code: it ends inside one.
    """

    start: int
    end: int
    headings: tuple[str, ...]
    header: str = ""
    starts_in_code: bool = False
    ends_in_code: bool = False


class _Tokens:
    """Counts tokens between two character offsets of one text in O(log n)."""

    def __init__(self, encoding: "Encoding") -> None:
        self._starts = [offset[0] for offset in encoding.offsets]

    def count(self, start: int, end: int) -> int:
        return bisect_left(self._starts, end) - bisect_left(self._starts, start)

    def limit(self, start: int, end: int, budget: int) -> int:
        """Return the largest offset up to `end` such that `[start, offset)` holds at most `budget` tokens."""
        position = bisect_left(self._starts, start) + budget
        within = end if position >= len(self._starts) else min(end, self._starts[position])
        return min(within, start + budget * MAX_CHARACTERS_PER_TOKEN)


@dataclass(frozen=True, slots=True)
class _Budget:
    """Tokens left for the text of a chunk under a heading path."""

    contexts: Contexts
    max_tokens: int

    def under(self, section: Section) -> int:
        used = max(self.contexts.num_tokens(section.headings), self.contexts.num_tokens(section.own))
        return self.max_tokens - used


def _contexts(document: Document, tokenizer: "Tokenizer", params: ChunkingParams) -> Contexts:
    return Contexts(
        document.title, tokenizer, max_context_tokens=params.max_context_tokens, max_tokens=params.max_tokens
    )


def _text_tokens(tokenizer: "Tokenizer", params: ChunkingParams) -> int:
    return params.max_tokens - int(tokenizer.num_special_tokens_to_add(False))


def _chunk(
    document: Document, encoding: "Encoding", contexts: Contexts, max_tokens: int, params: ChunkingParams
) -> list[Slice]:
    text, tokens, budget = document.text, _Tokens(encoding), _Budget(contexts, max_tokens)
    whole = Section(0, len(text), (), ())
    if tokens.limit(0, len(text), budget.under(whole)) >= len(text):
        return list(_fitted(text, [Slice(0, len(text), ())], Outline((), (), ()), contexts, max_tokens))
    outline = outline_of(text)
    slices: list[Slice] = []
    for section in _merged(outline.sections, tokens, budget, params.min_tokens):
        cutter = _Cutter(text, tokens, outline, contexts, budget.under(section), params.overlap_tokens)
        slices.extend(cutter.cut(section))
    return [_with_cuts(part, outline) for part in _fitted(text, slices, outline, contexts, max_tokens)]


def _with_cuts(part: Slice, outline: Outline) -> Slice:
    """Say where a fenced block goes on in the slice before or behind."""
    starts, ends = outline.fence_across(part.start), outline.fence_across(part.end)
    return replace(part, starts_in_code=starts is not None, ends_in_code=ends is not None)


def _fitted(
    text: str, slices: Iterable[Slice], outline: Outline, contexts: Contexts, max_tokens: int
) -> Iterator[Slice]:
    """Slices within the budget, without the white space around, each beginning and ending behind the one before."""
    before = Slice(-1, 0, ())
    for part in slices:
        start, end = _stripped(text, part.start, part.end)
        if start <= before.start:  # what it shares with a slice that was halved may be whole pieces
            start = before.end
        for piece in _fitting(text, Slice(start, end, part.headings), outline, contexts, max_tokens):
            start, end = _stripped(text, piece.start, piece.end)
            if max(start, before.end) < end:
                before = Slice(start, end, part.headings, outline.header_across(start))
                yield before


def _stripped(text: str, start: int, end: int) -> tuple[int, int]:
    body = text[start:end]
    return start + len(body) - len(body.lstrip()), start + len(body.rstrip())


def _fitting(text: str, part: Slice, outline: Outline, contexts: Contexts, max_tokens: int) -> Iterator[Slice]:
    """Halve a slice that grew because a cut inside a word changed how the word splits into tokens.

    For instance `unbelievable` may be 1 token in the whole text, but its halves `unbelie` and `vable` 2 and 2: a slice
    of 64 tokens that ends in `unbelie` counts 65 alone.
    """
    cut_in_word = _inside_word(text, part.start) or _inside_word(text, part.end)
    num_context = contexts.num_tokens(part.headings, outline.header_across(part.start))
    if not cut_in_word or num_context + contexts.count(text[part.start : part.end]) <= max_tokens:
        yield part
    else:
        middle = (part.start + part.end) // 2
        yield from _fitting(text, Slice(part.start, middle, part.headings), outline, contexts, max_tokens)
        yield from _fitting(text, Slice(middle, part.end, part.headings), outline, contexts, max_tokens)


def _inside_word(text: str, offset: int) -> bool:
    return 0 < offset < len(text) and not text[offset - 1].isspace() and not text[offset].isspace()


def _merged(sections: Sequence[Section], tokens: _Tokens, budget: _Budget, min_tokens: int) -> Iterator[Section]:
    """Join a section too small to stand alone with the one behind it, where both fit."""
    held: Section | None = None
    for section in sections:
        if held is None:
            held = section
            continue
        joined = Section(held.start, section.end, held.headings, section.own)
        is_small = tokens.count(held.start, held.end) < min_tokens
        if is_small and tokens.count(joined.start, joined.end) <= budget.under(joined):
            held = joined
        else:
            yield held
            held = section
    if held is not None:
        yield held


@dataclass(frozen=True, slots=True)
class _Cutter:
    """Cuts a section above the budget at the best boundary that fits."""

    text: str
    tokens: _Tokens
    outline: Outline
    contexts: Contexts
    budget: int
    overlap: int

    def cut(self, section: Section) -> Iterator[Slice]:
        start, headings = section.start, section.headings
        end = start
        while (limit := self.tokens.limit(start, section.end, self._room(start))) < section.end:
            end = self._best_cut(start, limit, max(start, end))
            yield Slice(start, end, headings)
            headings = section.own
            start = self._overlapped(start, end)
            if self.tokens.limit(start, section.end, self._room(start)) <= end:
                start = end
        yield Slice(start, section.end, headings)

    def _room(self, start: int) -> int:
        """Tokens left for the text of a slice that begins there: within a table its header is told again."""
        return self.budget - self.contexts.num_header_tokens(self.outline.header_across(start))

    def _best_cut(self, start: int, limit: int, behind: int) -> int:
        """Return the last block, line, sentence or word boundary in the later part of `[start, limit)`, in this order.

        It lies behind `behind`, where the slice before ended: each slice holds text of its own. A fenced block that
        fits a slice of its own is not cut: for instance 30 tokens of prose before 200 of code under a budget of 216
        give a slice of 30 and one of 200. A longer one is cut at a blank line.
        """
        floor = max(start + max(1, (limit - start) // 3), behind + 1)
        block = self.outline.last_boundary(limit)
        if block is not None and block >= floor:
            return self._before_introduction(block, floor)
        fence = self.outline.fence_across(limit)
        if fence is not None and fence[0] > behind and self.tokens.limit(*fence, self.budget) >= fence[1]:
            return fence[0]
        blank = self.text.rfind("\n\n", floor, limit) if fence is not None else -1
        if blank >= 0:
            return blank + 2
        line = self.text.rfind("\n", floor, limit)
        if line >= 0:
            return line + 1
        sentences = [match.end() for match in _SENTENCE_END.finditer(self.text, floor, limit)]
        if sentences:
            return sentences[-1]
        word = max(self.text.rfind(" ", floor, limit), self.text.rfind("\t", floor, limit))
        return word + 1 if word >= 0 else max(limit, behind + 1)

    def _before_introduction(self, block: int, floor: int) -> int:
        """A line such as `Or in a file:` goes with the code that it introduces, where that leaves enough before it."""
        before = self.outline.last_boundary(block - 1)
        fence = self.outline.fence_across(block + 1)
        if before is None or before < floor or fence is None or fence[0] != block:
            return block
        introduces = self.text[before:block].rstrip().endswith(":")
        return before if introduces and self.tokens.limit(before, fence[1], self.budget) >= fence[1] else block

    def _overlapped(self, start: int, end: int) -> int:
        """Where the next slice starts so that up to `overlap` tokens stand in both."""
        if not self.overlap:  # else text without tokens, as private-use characters, would stand in both
            return end
        begin = end
        while (space := self.text.rfind(" ", start + 1, begin)) > start:
            if self.tokens.count(space + 1, end) > self.overlap:
                break
            begin = space
        return begin + 1 if begin < end else end


def chunk_rows(
    documents: Sequence[Document], tokenizer: "Tokenizer", params: ChunkingParams
) -> Iterator[dict[str, object]]:
    """Yield rows of `CHUNK_SCHEMA`, document by document."""
    max_tokens = _text_tokens(tokenizer, params)
    encodings = tokenizer.encode_batch([document.text for document in documents], add_special_tokens=False)
    for document, encoding in zip(documents, encodings, strict=True):
        contexts = _contexts(document, tokenizer, params)
        yield from _rows_of(document, _chunk(document, encoding, contexts, max_tokens, params), contexts)


def _columns(header: str) -> str:
    """The names of a table's columns, as the last of the headings: who reads a part of the table needs them."""
    return " | ".join(filter(None, (cell.strip() for cell in header.strip("> \t|").split("|"))))


def _gap(text: str, part: Slice, following: Slice | None) -> str:
    """The white space between a slice and the next, so that neighbours can be joined as they stand."""
    return text[part.end : following.start] if following else ""


def _rows_of(document: Document, slices: Sequence[Slice], contexts: Contexts) -> Iterator[dict[str, object]]:
    seen: Counter[str] = Counter()
    metadata = json.dumps(dict(document.metadata), ensure_ascii=False)
    for ordinal, (part, following) in enumerate(zip_longest(slices, slices[1:])):
        text = document.text[part.start : part.end]
        search_text = "\n\n".join(filter(None, (contexts.text(part.headings, part.header), text)))
        seen[search_text] += 1
        yield {
            "chunk_id": sha256(document.document_id, search_text, str(seen[search_text]))[:32],
            "document_id": document.document_id,
            "source": document.source,
            "knowledge_base": document.knowledge_base,
            "access": list(document.access),
            "ordinal": ordinal,
            "start": part.start,
            "end": part.end,
            "title": document.title,
            "uri": document.uri,
            "headings": HEADING_SEPARATOR.join(filter(None, (*part.headings, _columns(part.header)))),
            "text": text,
            "search_text": search_text,
            "num_content_characters": num_content_characters(text),
            "gap": _gap(document.text, part, following),
            "starts_in_code": part.starts_in_code,
            "ends_in_code": part.ends_in_code,
            "text_key": sha256(search_text),
            "content_hash": document.content_hash,
            "updated_at": document.updated_at,
            "expires_at": document.expires_at,
            "metadata": metadata,
        }


def chunk_shard(accepted: Path, output: Path, tokenizer: "Tokenizer", params: ChunkingParams) -> int:
    """Chunk a Parquet file of documents into a Parquet file of `CHUNK_SCHEMA`; return the number of chunks."""
    num_chunks = 0
    with whole_file(output) as beside, pq.ParquetWriter(beside, CHUNK_SCHEMA, compression="zstd") as writer:
        for batch in pq.ParquetFile(accepted).iter_batches(batch_size=512):
            rows = list(chunk_rows(from_table(pa.Table.from_batches([batch])), tokenizer, params))
            if rows:
                writer.write_table(pa.Table.from_pylist(rows, schema=CHUNK_SCHEMA))
            num_chunks += len(rows)
    return num_chunks
