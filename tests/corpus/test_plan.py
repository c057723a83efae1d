"""The plan: what changed since the base release, read as little as possible; and the guard against mass deletion."""

import datetime as dt
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tasks.corpus.document import Item
from tasks.corpus.plan import (
    IndexedDocument,
    RefreshPlan,
    Scan,
    guard_removals,
    load_rates,
    load_scan,
    make_plan,
    save_rates,
    save_scan,
    source_digest,
)
from tasks.corpus.sources import open_source
from tasks.corpus.sources.files import LocalFilesReader
from tasks.errors import CorruptionError, DependencyError, GateError
from tasks.params.sources import FilesSource
from tasks.settings import Settings
from tests.conftest import files_source

LATER = dt.datetime(2999, 1, 1, tzinfo=dt.UTC)
PAST = dt.datetime(2001, 1, 1, tzinfo=dt.UTC)


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    folder = tmp_path / "notes"
    folder.mkdir()
    for name in ("a", "b", "c", "d"):
        (folder / f"{name}.md").write_text(f"# {name}\n")
    return folder


@pytest.fixture
def source(notes: Path) -> FilesSource:
    return FilesSource.model_validate(files_source(notes, max_removed_fraction=0.5))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home")


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Keys of the items whose bytes were read."""
    keys: list[str] = []
    raw_hash = LocalFilesReader.raw_hash

    def counting(reader: LocalFilesReader, item: Item) -> str:
        keys.append(item.key)
        return raw_hash(reader, item)

    monkeypatch.setattr(LocalFilesReader, "raw_hash", counting)
    return keys


PlanNow = Callable[..., RefreshPlan]


@pytest.fixture
def plan_now(source: FilesSource, settings: Settings) -> PlanNow:
    def plan(
        known: Mapping[str, Mapping[str, IndexedDocument]],
        held: Mapping[tuple[str, str], str] | None = None,
        signature: str = "1",
        learned_access: Mapping[str, frozenset[str]] | None = None,
    ) -> RefreshPlan:
        return make_plan(
            [source],
            known,
            settings=settings,
            held=held or {},
            signatures={"notes": signature},
            learned_access=learned_access or {},
        )

    return plan


@pytest.fixture
def known(source: FilesSource, settings: Settings, plan_now: PlanNow) -> dict[str, dict[str, IndexedDocument]]:
    """The base release of these notes, with the scan that came with it."""
    reader = open_source(source, cache=settings.home)
    rows = {
        item.key: IndexedDocument(f"notes:{item.key}", reader.raw_hash(item), "hash", None, ("everyone",))
        for item in reader.scan()
    }
    remember(settings, plan_now({"notes": rows}))
    return {"notes": rows}


def remember(settings: Settings, plan: RefreshPlan) -> None:
    for part in plan.sources:
        save_scan(settings, part.source.name, Scan(part.seen, "1"))


def keys(items: list[Item]) -> list[str]:
    return sorted(item.key for item in items)


def test_everything_is_new_to_an_empty_base(plan_now: PlanNow, reads: list[str]) -> None:
    plan = plan_now({})
    assert plan.counts()["new"] == plan.counts()["listed"] == 4
    assert reads == []


def test_unchanged_items_are_not_read(
    plan_now: PlanNow, known: dict[str, dict[str, IndexedDocument]], reads: list[str]
) -> None:
    plan = plan_now(known)
    assert plan.is_empty
    assert plan.counts()["unchanged"] == 4
    assert reads == []


def test_new_changed_and_removed_items_are_told_apart(
    notes: Path, plan_now: PlanNow, known: dict[str, dict[str, IndexedDocument]], reads: list[str]
) -> None:
    (notes / "b.md").write_text("# b, edited\n")
    (notes / "c.md").unlink()
    (notes / "e.md").write_text("# e\n")

    part = plan_now(known).sources[0]

    assert keys(part.changed) == ["b.md"]
    assert keys(part.new) == ["e.md"]
    assert part.removed == ["c.md"]
    assert part.unchanged == 2
    assert sorted(set(reads)) == ["b.md", "e.md"]


def test_touched_file_is_read_and_found_unchanged(
    notes: Path, plan_now: PlanNow, known: dict[str, dict[str, IndexedDocument]], reads: list[str]
) -> None:
    os.utime(notes / "a.md", (1, 1))

    assert plan_now(known).is_empty
    assert reads == ["a.md"]


def test_moved_file_is_paired_with_its_old_place(
    notes: Path, plan_now: PlanNow, known: dict[str, dict[str, IndexedDocument]]
) -> None:
    (notes / "a.md").rename(notes / "z.md")

    part = plan_now(known).sources[0]

    assert [(old, item.key) for old, item in part.moved] == [("notes:a.md", "z.md")]
    assert (part.new, part.removed) == ([], [])


def test_copy_is_new_and_no_move(notes: Path, plan_now: PlanNow, known: dict[str, dict[str, IndexedDocument]]) -> None:
    (notes / "z.md").write_text((notes / "a.md").read_text())

    part = plan_now(known).sources[0]

    assert keys(part.new) == ["z.md"]
    assert not part.moved


def test_two_moved_files_with_the_same_bytes_are_each_paired_once(notes: Path, plan_now: PlanNow) -> None:
    twins = {name: IndexedDocument(f"notes:{name}", "", "hash", None, ()) for name in ("x.md", "y.md")}
    (notes / "p.md").write_text("twin")
    (notes / "q.md").write_text("twin")
    raw_hash = plan_now({"notes": {"p.md": twins["x.md"]}}).sources[0].seen["p.md"].raw_hash
    rows = {name: IndexedDocument(row.document_id, raw_hash, "hash", None, ()) for name, row in twins.items()}

    part = plan_now({"notes": rows}).sources[0]

    assert len(part.moved) + len(part.removed) == 2
    assert len(part.moved) == len({old for old, _ in part.moved}) == len({item.key for _, item in part.moved})


def test_expired_document_leaves_though_its_item_is_unchanged(
    plan_now: PlanNow, known: dict[str, dict[str, IndexedDocument]]
) -> None:
    row = known["notes"]["a.md"]
    known["notes"]["a.md"] = IndexedDocument(row.document_id, row.raw_hash, row.record_hash, PAST, row.access)
    known["notes"]["b.md"] = IndexedDocument(
        "notes:b.md", known["notes"]["b.md"].raw_hash, "hash", LATER, ("everyone",)
    )

    plan = plan_now(known)

    assert plan.sources[0].expired == ["notes:a.md"]
    assert plan.counts()["expired"] == 1
    assert plan.counts()["unchanged"] == 3


def test_held_item_is_not_parsed_again_until_it_changes(notes: Path, plan_now: PlanNow, reads: list[str]) -> None:
    raw_hash = plan_now({}, held={("notes", "a.md"): "?"}).sources[0].seen["a.md"].raw_hash

    part = plan_now({}, held={("notes", "a.md"): raw_hash}).sources[0]
    (notes / "a.md").write_text("# a, corrected\n")
    after = plan_now({}, held={("notes", "a.md"): raw_hash}).sources[0]

    assert (part.held, keys(part.new)) == (1, ["b.md", "c.md", "d.md"])
    assert (after.held, keys(after.new)) == (0, ["a.md", "b.md", "c.md", "d.md"])


def test_another_parser_or_setting_reads_every_known_item_again(
    plan_now: PlanNow, known: dict[str, dict[str, IndexedDocument]]
) -> None:
    assert keys(plan_now(known, signature="2").sources[0].changed) == ["a.md", "b.md", "c.md", "d.md"]


def test_document_whose_access_was_learned_since_is_read_again(
    plan_now: PlanNow, known: dict[str, dict[str, IndexedDocument]]
) -> None:
    learned = {"notes:a.md": frozenset({"board"}), "notes:b.md": frozenset({"everyone"})}
    assert keys(plan_now(known, learned_access=learned).sources[0].changed) == ["a.md"]


def test_counts_add_up_to_what_is_listed(
    notes: Path, plan_now: PlanNow, known: dict[str, dict[str, IndexedDocument]]
) -> None:
    (notes / "a.md").rename(notes / "z.md")
    (notes / "b.md").write_text("# b, edited\n")
    (notes / "c.md").unlink()
    counts = plan_now(known).counts()
    parts = ("new", "changed", "moved", "removed", "expired", "unchanged", "held", "left_out")
    assert sum(counts[name] for name in parts) == counts["listed"] == 4


def test_missing_folder_is_no_empty_source(
    notes: Path, plan_now: PlanNow, known: dict[str, dict[str, IndexedDocument]]
) -> None:
    for path in notes.iterdir():
        path.unlink()
    notes.rmdir()
    with pytest.raises(DependencyError):
        plan_now(known)


def test_guard_refuses_more_removals_than_the_source_allows(
    notes: Path, plan_now: PlanNow, known: dict[str, dict[str, IndexedDocument]]
) -> None:
    for name in ("a", "b"):
        (notes / f"{name}.md").unlink()
    guard_removals(plan_now(known), known, allowed=())
    (notes / "c.md").unlink()

    with pytest.raises(GateError, match=r"at most 50% .* found 3 of 4 gone; .*--allow-removal notes"):
        guard_removals(plan_now(known), known, allowed=("other",))

    guard_removals(plan_now(known), known, allowed=("notes",))


def test_guard_does_not_count_moves(
    notes: Path, plan_now: PlanNow, known: dict[str, dict[str, IndexedDocument]]
) -> None:
    for path in list(notes.iterdir()):
        path.rename(path.with_suffix(".txt"))
    guard_removals(plan_now(known), known, allowed=())


def test_guard_refuses_a_source_that_left_the_parameters(
    plan_now: PlanNow, known: dict[str, dict[str, IndexedDocument]]
) -> None:
    plan = plan_now(known | {"wiki": {"x": IndexedDocument("wiki:x", "", "", None, ())}})

    assert not plan.is_empty
    with pytest.raises(GateError, match="source wiki must stay"):
        guard_removals(plan, known, allowed=())
    guard_removals(plan, known, allowed=("wiki",))


def test_guard_alone_is_no_change_of_a_source(source: FilesSource) -> None:
    assert source_digest(source) == source_digest(source.model_copy(update={"max_removed_fraction": 0.9}))
    assert source_digest(source) != source_digest(source.model_copy(update={"access": ("board",)}))


def test_damaged_scan_is_named(settings: Settings) -> None:
    path = settings.home / "scan" / "notes.parquet"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"no parquet")
    with pytest.raises(CorruptionError, match="delete it"):
        load_scan(settings, "notes")


def test_estimate_follows_the_measured_rates(plan_now: PlanNow, settings: Settings) -> None:
    save_rates(settings, bytes_per_chunk=2.0, chunks_per_second=4.0)
    counts = plan_now({}).counts()
    assert load_rates(settings) == {"bytes_per_chunk": 2.0, "chunks_per_second": 4.0}
    assert counts["chunks_to_embed"] == 8  # four files of four bytes
    assert counts["estimated_seconds"] == 2.0
