import random
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.corpus.document import DOCUMENT_SCHEMA, Document, Item, from_table, make_document, to_table
from tasks.corpus.snapshot import compact, corpus_digest, fold_state, read_documents, write_delta
from tasks.errors import CorruptionError, DependencyError


def document(key: str, text: str, *, access: tuple[str, ...] = ("everyone",)) -> Document:
    item = Item(source="notes", key=key, fingerprint="1", size_bytes=len(text), uri=f"notes/{key}")
    return make_document(
        item,
        title=key.title(),
        text=text,
        knowledge_base="notes",
        access=access,
        raw_hash=f"raw-{text}",
        updated_at=datetime(2026, 11, 2, tzinfo=UTC),
        metadata={"author": key},
    )


def delta(folder: Path, number: int, texts: Mapping[str, str], removed: Iterable[str] = ()) -> Path:
    accepted = folder / f"accepted-{number}.parquet"
    pq.write_table(to_table(document(key, text) for key, text in texts.items()), accepted)
    output = folder / f"{number:04}.parquet"
    write_delta([accepted], [(f"notes:{key}", "notes", key) for key in removed], output)
    return output


def texts_of(files: list[Path], ids: list[str] | None = None) -> dict[str, str]:
    return {row["key"]: row["text"] for batch in read_documents(files, ids) for row in batch.to_pylist()}


def test_later_file_wins(tmp_path: Path) -> None:
    files = [delta(tmp_path, 0, {"a": "old", "b": "same"}), delta(tmp_path, 1, {"a": "new"})]
    assert texts_of(files) == {"a": "new", "b": "same"}
    state = fold_state(files)
    assert dict(zip(state["key"].to_pylist(), state["file"].to_pylist(), strict=True)) == {"b": 0, "a": 1}


def test_tombstone_takes_a_document_away_and_a_later_file_brings_it_back(tmp_path: Path) -> None:
    files = [delta(tmp_path, 0, {"a": "1", "b": "2"}), delta(tmp_path, 1, {}, removed=["a"])]
    assert texts_of(files) == {"b": "2"}
    assert fold_state(files)["document_id"].to_pylist() == ["notes:b"]
    assert texts_of([*files, delta(tmp_path, 2, {"a": "3"})]) == {"a": "3", "b": "2"}


def test_document_comes_back_as_it_was_written(tmp_path: Path) -> None:
    written = [document("a", "héllo"), document("secret", "x", access=())]
    pq.write_table(to_table(written), tmp_path / "accepted.parquet")
    assert write_delta([tmp_path / "accepted.parquet"], [], tmp_path / "d.parquet") == 2
    batches = list(read_documents([tmp_path / "d.parquet"]))
    assert all(batch.schema.equals(DOCUMENT_SCHEMA) for batch in batches)
    assert from_table(pa.Table.from_batches(batches)) == written


def test_state_has_no_text_and_keeps_all_that_a_plan_needs(tmp_path: Path) -> None:
    state = fold_state([delta(tmp_path, 0, {"a": "1"})])
    expected = [name for name in DOCUMENT_SCHEMA.names if name not in ("text", "metadata")]
    assert state.schema.names == [*expected, "file"]
    assert state["access"].to_pylist() == [["everyone"]]


def test_corpus_without_files_is_empty() -> None:
    assert fold_state([]).num_rows == 0
    assert list(read_documents([])) == []
    assert corpus_digest(fold_state([])) == corpus_digest(fold_state([]))


def test_delta_without_rows_is_a_file_that_changes_nothing(tmp_path: Path) -> None:
    files = [delta(tmp_path, 0, {"a": "1"})]
    assert write_delta([], [], tmp_path / "0001.parquet") == 0
    assert texts_of([*files, tmp_path / "0001.parquet"]) == {"a": "1"}


def test_only_named_documents_are_read(tmp_path: Path) -> None:
    files = [delta(tmp_path, 0, {"a": "1", "b": "2", "c": "3"}), delta(tmp_path, 1, {"b": "4"}, removed=["c"])]
    assert texts_of(files, ["notes:b", "notes:c", "notes:absent"]) == {"b": "4"}
    assert texts_of(files, []) == {}


def test_digest_ignores_order_and_files_and_sees_each_change(tmp_path: Path) -> None:
    one = corpus_digest(fold_state([delta(tmp_path, 0, {"a": "1", "b": "2"})]))
    other = corpus_digest(fold_state([delta(tmp_path, 1, {"b": "2"}), delta(tmp_path, 2, {"a": "1"})]))
    assert one == other
    assert corpus_digest(fold_state([delta(tmp_path, 3, {"a": "1", "b": "3"})])) != one
    assert corpus_digest(fold_state([delta(tmp_path, 4, {"a": "1"})])) != one


changes = st.dictionaries(st.sampled_from("abcdefgh"), st.none() | st.text("xyz", min_size=1, max_size=3), max_size=8)


@settings(max_examples=40, deadline=None)
@given(weeks=st.lists(changes, min_size=1, max_size=5))
def test_fold_equals_the_changes_applied_one_by_one(
    tmp_path_factory: pytest.TempPathFactory, weeks: list[dict[str, str | None]]
) -> None:
    folder = tmp_path_factory.mktemp("weeks")
    expected: dict[str, str] = {}
    files = []
    for number, week in enumerate(weeks):
        texts = {key: text for key, text in week.items() if text is not None}
        gone = [key for key, text in week.items() if text is None]
        expected = {key: text for key, text in (expected | texts).items() if key not in gone}
        files.append(delta(folder, number, texts, gone))
    assert texts_of(files) == expected
    compact(files, folder / "base.parquet")
    assert texts_of([folder / "base.parquet"]) == expected
    assert corpus_digest(fold_state([folder / "base.parquet"])) == corpus_digest(fold_state(files))


def test_document_that_stands_twice_in_a_delta_is_refused(tmp_path: Path) -> None:
    pq.write_table(to_table([document("a", "1")]), tmp_path / "accepted.parquet")
    with pytest.raises(CorruptionError, match="notes:a"):
        write_delta([tmp_path / "accepted.parquet"], [("notes:a", "notes", "a")], tmp_path / "d.parquet")
    assert not (tmp_path / "d.parquet").exists()


@pytest.mark.parametrize("damage", ["missing", "cut", "other schema"])
def test_damaged_file_is_named_with_the_remedy(tmp_path: Path, damage: str) -> None:
    path = delta(tmp_path, 0, {"a": "1"})
    if damage == "missing":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:100])
    else:
        pq.write_table(pa.table({"x": [1]}), path)
    for use in (fold_state, lambda files: list(read_documents(files))):
        with pytest.raises(CorruptionError, match=r"0000\.parquet.*restore the snapshot") as error:
            use([path])
        assert "\n" not in str(error.value)


def test_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    output = delta(tmp_path, 0, {"a": "1"})
    (tmp_path / "bad.parquet").write_text("no parquet")
    with pytest.raises(CorruptionError, match=r"bad\.parquet"):
        write_delta([tmp_path / "bad.parquet"], [], output)
    assert texts_of([output]) == {"a": "1"}
    assert not list(tmp_path.glob(".*"))


def test_folder_that_refuses_the_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "d.parquet").mkdir()
    with pytest.raises(DependencyError, match=r"d\.parquet must be writable"):
        write_delta([], [], tmp_path / "d.parquet")


def test_reading_few_documents_of_a_large_corpus_skips_the_rest(tmp_path: Path) -> None:
    rng = random.Random(1)
    texts = {f"{number:05}": rng.randbytes(8_000).hex() for number in range(3_000)}
    path = delta(tmp_path, 0, texts)
    before = pa.total_allocated_bytes()
    peak = 0
    for batch in read_documents([path]):
        peak = max(peak, pa.total_allocated_bytes() - before)
        assert batch.num_rows <= 256
    assert peak < 40 * 2**20
    assert texts_of([path], ["notes:00007"]) == {"00007": texts["00007"]}


@pytest.mark.slow
def test_weekly_delta_costs_what_changed(tmp_path: Path) -> None:
    words = [f"word{number}" for number in range(5_000)]
    rng = np.random.default_rng(3)
    texts = {f"{number}": " ".join(rng.choice(words, 300)) for number in range(5_000)}
    base = delta(tmp_path, 0, texts)
    week = delta(tmp_path, 1, {key: " ".join(rng.choice(words, 300)) for key in list(texts)[:50]})
    assert week.stat().st_size < 0.02 * base.stat().st_size
