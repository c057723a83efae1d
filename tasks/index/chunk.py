"""Documents to chunks: by structure, within a token budget of the embedding model's own tokenizer.

A chunk is a slice of one document. Sections start at headings; a section above the budget is cut at the best
boundary that fits (block, line, sentence, word). Cuts restart at each heading, so an edit changes the chunks of its
own section only. Knows nothing of embedding models but their tokenizer, and nothing of storage.
"""

import json
import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.corpus.document import Document, from_table, sha256
from tasks.files import whole_file
from tasks.params import ChunkingParams

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer

CHUNKING_VERSION = "2"
"""Part of the fingerprint of a release: raise it when the same parameters give other chunks."""

MAX_CHARACTERS_PER_TOKEN = 12
"""A tokenizer may call a word of a megabyte one unknown token; the budget holds in characters too."""

HEADING_SEPARATOR = " › "  # noqa: RUF001
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
        pa.field("text_key", pa.string(), nullable=False),
        pa.field("content_hash", pa.string(), nullable=False),
        pa.field("updated_at", pa.timestamp("us", tz="UTC")),
        pa.field("expires_at", pa.timestamp("us", tz="UTC")),
        pa.field("metadata", pa.string(), nullable=False),
    ]
)


@dataclass(frozen=True, slots=True)
class Slice:
    """A chunk's place: `text[start:end]` under `headings` (the path that its context names)."""

    start: int
    end: int
    headings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Section:
    start: int
    end: int
    headings: tuple[str, ...]
    own: tuple[str, ...]
    """Headings in force behind the section's first heading line."""


class _Tokens:
    """Counts tokens between two character offsets of one text in O(log n)."""

    def __init__(self, encoding: "Encoding") -> None:
        self._starts = [offset[0] for offset in encoding.offsets]

    def count(self, start: int, end: int) -> int:
        return bisect_left(self._starts, end) - bisect_left(self._starts, start)

    def limit(self, start: int, end: int, budget: int) -> int:
        """The largest offset up to `end` such that `[start, offset)` holds at most `budget` tokens."""
        position = bisect_left(self._starts, start) + budget
        within = end if position >= len(self._starts) else min(end, self._starts[position])
        return min(within, start + budget * MAX_CHARACTERS_PER_TOKEN)


class _Contexts:
    """The context of a heading path: title and headings, cut to a number of tokens."""

    def __init__(self, title: str, tokenizer: "Tokenizer", max_tokens: int) -> None:
        self._title, self._tokenizer, self._max_tokens = title, tokenizer, max_tokens
        self._known: dict[tuple[str, ...], tuple[str, int]] = {}

    def text(self, headings: tuple[str, ...]) -> str:
        return self._look_up(headings)[0]

    def num_tokens(self, headings: tuple[str, ...]) -> int:
        return self._look_up(headings)[1]

    def _look_up(self, headings: tuple[str, ...]) -> tuple[str, int]:
        if headings not in self._known:
            self._known[headings] = self._make(headings)
        return self._known[headings]

    def _make(self, headings: tuple[str, ...]) -> tuple[str, int]:
        names = [self._title, *(name for name in headings if name != self._title)]
        context = HEADING_SEPARATOR.join(filter(None, names))[: self._max_tokens * MAX_CHARACTERS_PER_TOKEN]
        offsets = self._tokenizer.encode(context, add_special_tokens=False).offsets
        if len(offsets) > self._max_tokens:
            context = context[: offsets[self._max_tokens][0]].rstrip() if self._max_tokens else ""
        return context, self.count(f"{context}\n\n")

    def count(self, text: str) -> int:
        return len(self._tokenizer.encode(text, add_special_tokens=False).ids)


@dataclass(frozen=True, slots=True)
class _Budget:
    """Tokens left for the text of a chunk under a heading path."""

    contexts: _Contexts
    max_tokens: int

    def under(self, section: _Section) -> int:
        used = max(self.contexts.num_tokens(section.headings), self.contexts.num_tokens(section.own))
        return self.max_tokens - used


def chunk_document(document: Document, tokenizer: "Tokenizer", params: ChunkingParams) -> list[Slice]:
    """Cut one document into slices that cover all of its text but white space.

    Each slice with its context fits `params.max_tokens`, the model's special tokens included.
    """
    contexts = _Contexts(document.title, tokenizer, params.max_context_tokens)
    encoding = tokenizer.encode(document.text, add_special_tokens=False)
    return _chunk(document, encoding, contexts, _text_tokens(tokenizer, params), params)


def _text_tokens(tokenizer: "Tokenizer", params: ChunkingParams) -> int:
    return params.max_tokens - int(tokenizer.num_special_tokens_to_add(False))


def _chunk(
    document: Document, encoding: "Encoding", contexts: _Contexts, max_tokens: int, params: ChunkingParams
) -> list[Slice]:
    text, tokens, budget = document.text, _Tokens(encoding), _Budget(contexts, max_tokens)
    whole = _Section(0, len(text), (), ())
    slices: list[Slice] = []
    if tokens.limit(0, len(text), budget.under(whole)) >= len(text):
        slices.append(Slice(0, len(text), ()))
    else:
        sections, boundaries = _outline(document)
        for section in _merged(sections, tokens, budget, params.min_tokens):
            cutter = _Cutter(text, tokens, boundaries, budget.under(section), params.overlap_tokens)
            slices.extend(cutter.cut(section))
    return list(_fitted(text, slices, contexts, max_tokens))


def _fitted(text: str, slices: Iterable[Slice], contexts: _Contexts, max_tokens: int) -> Iterator[Slice]:
    """Slices within the budget, without the white space around, each beginning and ending behind the one before."""
    before = Slice(-1, 0, ())
    for part in slices:
        start, end = _stripped(text, part.start, part.end)
        if start <= before.start:  # what it shares with a slice that was halved may be whole pieces
            start = before.end
        for piece in _fitting(text, Slice(start, end, part.headings), contexts, max_tokens):
            start, end = _stripped(text, piece.start, piece.end)
            if max(start, before.end) < end:
                before = Slice(start, end, part.headings)
                yield before


def _stripped(text: str, start: int, end: int) -> tuple[int, int]:
    body = text[start:end]
    return start + len(body) - len(body.lstrip()), start + len(body.rstrip())


def _fitting(text: str, part: Slice, contexts: _Contexts, max_tokens: int) -> Iterator[Slice]:
    """Halve a slice that grew because a cut inside a word changed how the word splits into tokens."""
    cut_in_word = _inside_word(text, part.start) or _inside_word(text, part.end)
    if (
        not cut_in_word
        or contexts.num_tokens(part.headings) + contexts.count(text[part.start : part.end]) <= max_tokens
    ):
        yield part
    else:
        middle = (part.start + part.end) // 2
        yield from _fitting(text, Slice(part.start, middle, part.headings), contexts, max_tokens)
        yield from _fitting(text, Slice(middle, part.end, part.headings), contexts, max_tokens)


def _inside_word(text: str, offset: int) -> bool:
    return 0 < offset < len(text) and not text[offset - 1].isspace() and not text[offset].isspace()


def _outline(document: Document) -> tuple[list[_Section], list[int]]:
    """Sections (one a heading) and the offsets at which a top-level Markdown block begins."""
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark").enable("table").disable("inline")
    lines = _line_offsets(document.text)
    path: dict[int, str] = {}
    sections: list[_Section] = []
    boundaries: list[int] = []
    start = 0
    headings: tuple[str, ...] = ()
    own: tuple[str, ...] = ()
    tokens = parser.parse(document.text)
    for token, following in zip(tokens, [*tokens[1:], None], strict=True):
        if token.level != 0 or token.map is None or token.nesting < 0:
            continue
        offset = lines[token.map[0]]
        boundaries.append(offset)
        if token.type == "heading_open" and following is not None:
            if offset > start:
                sections.append(_Section(start, offset, headings, own))
            level = int(token.tag[1])
            path = {depth: name for depth, name in path.items() if depth < level}
            headings = tuple(path[depth] for depth in sorted(path))
            path[level] = following.content.strip()
            own = tuple(path[depth] for depth in sorted(path))
            start = offset
    sections.append(_Section(start, len(document.text), headings, own))
    return sections, boundaries


def _line_offsets(text: str) -> list[int]:
    offsets = [0]
    offsets.extend(match.end() for match in re.finditer("\n", text))
    return [*offsets, len(text)]


def _merged(sections: Sequence[_Section], tokens: _Tokens, budget: _Budget, min_tokens: int) -> Iterator[_Section]:
    """Join a section too small to stand alone with the one behind it, where both fit."""
    held: _Section | None = None
    for section in sections:
        if held is None:
            held = section
            continue
        joined = _Section(held.start, section.end, held.headings, section.own)
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
    boundaries: Sequence[int]
    budget: int
    overlap: int

    def cut(self, section: _Section) -> Iterator[Slice]:
        start, headings = section.start, section.headings
        end = start
        while (limit := self.tokens.limit(start, section.end, self.budget)) < section.end:
            end = self._best_cut(start, limit, max(start, end))
            yield Slice(start, end, headings)
            headings = section.own
            start = self._overlapped(start, end)
            if self.tokens.limit(start, section.end, self.budget) <= end:
                start = end
        yield Slice(start, section.end, headings)

    def _best_cut(self, start: int, limit: int, behind: int) -> int:
        """The last block, line, sentence or word boundary in the later part of `[start, limit)`, in this order.

        It lies behind `behind`, where the slice before ended: each slice holds text of its own.
        """
        floor = max(start + max(1, (limit - start) // 3), behind + 1)
        block = bisect_left(self.boundaries, limit + 1) - 1
        if block >= 0 and self.boundaries[block] >= floor:
            return self.boundaries[block]
        line = self.text.rfind("\n", floor, limit)
        if line >= 0:
            return line + 1
        sentences = [match.end() for match in _SENTENCE_END.finditer(self.text, floor, limit)]
        if sentences:
            return sentences[-1]
        word = max(self.text.rfind(" ", floor, limit), self.text.rfind("\t", floor, limit))
        return word + 1 if word >= 0 else max(limit, behind + 1)

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
    """Rows of `CHUNK_SCHEMA`, document by document."""
    max_tokens = _text_tokens(tokenizer, params)
    encodings = tokenizer.encode_batch([document.text for document in documents], add_special_tokens=False)
    for document, encoding in zip(documents, encodings, strict=True):
        contexts = _Contexts(document.title, tokenizer, params.max_context_tokens)
        yield from _rows_of(document, _chunk(document, encoding, contexts, max_tokens, params), contexts)


def _rows_of(document: Document, slices: Sequence[Slice], contexts: _Contexts) -> Iterator[dict[str, object]]:
    seen: Counter[str] = Counter()
    metadata = json.dumps(dict(document.metadata), ensure_ascii=False)
    for ordinal, part in enumerate(slices):
        text = document.text[part.start : part.end]
        search_text = "\n\n".join(filter(None, (contexts.text(part.headings), text)))
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
            "headings": HEADING_SEPARATOR.join(part.headings),
            "text": text,
            "search_text": search_text,
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
