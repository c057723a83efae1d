"""What stands in folders and feeds beside documents: pictures inside texts, pointers, drafts, late versions."""

import json
import subprocess
from pathlib import Path

import pytest

from tasks.corpus.parsing.parse import Parsed, parse_items
from tasks.corpus.parsing.payloads import without_payloads
from tasks.corpus.sources import open_source
from tasks.params import ParsingParams
from tasks.params.sources import FilesSource, GitSource, RecordsSource

PARSING = ParsingParams(timeout_seconds=30, max_memory_mb=1024, max_item_mb=1, max_characters=10_000)
BASE = {"name": "docs", "knowledge_base": "kb", "access": ["everyone"], "max_removed_fraction": 1.0}
PAYLOAD = "iVBORw0KGgo" * 200


def files(folder: Path, **more: object) -> FilesSource:
    return FilesSource.model_validate(BASE | {"kind": "files", "url": str(folder)} | more)


def feed(path: Path, **more: object) -> RecordsSource:
    return RecordsSource.model_validate(BASE | {"kind": "records", "url": str(path), "mode": "changes"} | more)


def parsed(source: FilesSource | RecordsSource | GitSource, cache: Path) -> Parsed:
    return parse_items(source, list(open_source(source, cache=cache).scan()), parsing=PARSING, cache=cache)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        (f"The ![blue pump](data:image/png;base64,{PAYLOAD}) runs.", "The blue pump runs."),
        (f'The ![pump](<data:image/png;base64,{PAYLOAD}> "A pump") runs.', "The pump runs."),
        (f"See ![][one].\n\n[one]: <data:image/png;base64,{PAYLOAD}>\nEnd.", "See ![][one].\n\nEnd."),
        (f'<img src="data:image/png;base64,{PAYLOAD}">', '<img src="data:image/png;base64,">'),
        ("A `data:text/plain;base64,` prefix is text.", "A `data:text/plain;base64,` prefix is text."),
    ],
)
def test_a_picture_inside_a_text_leaves_its_words(text: str, kept: str) -> None:
    assert without_payloads(text) == kept


@pytest.mark.parametrize(
    "pointer",
    [
        f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 1\n",
        f"\ufeffversion https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 1\n",
        f"/annex/objects/SHA256E-s12--{'0' * 64}.md\n",
    ],
)
def test_a_pointer_is_no_document(tmp_path: Path, pointer: str) -> None:
    (tmp_path / "a.md").write_text(pointer)
    (reject,) = parsed(files(tmp_path), tmp_path).rejects

    assert "git lfs pull" in reject.reason


@pytest.mark.parametrize(
    "mark",
    [
        *("draft: true", "published: false", "unlisted: true", "Draft: yes", "publish: no"),
        *("status: draft", "private: true"),
    ],
)
def test_a_draft_is_left_out_unless_the_source_wants_it(tmp_path: Path, mark: str) -> None:
    (tmp_path / "a.md").write_text(f"---\n{mark}\n---\nText.")
    (reject,) = parsed(files(tmp_path), tmp_path).rejects

    assert (reject.code, reject.access) == ("draft", ())
    assert len(parsed(files(tmp_path, include_drafts=True), tmp_path).documents) == 1


def test_numbered_files_of_a_feed_are_applied_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for number in (9, 10, 100):
        (tmp_path / f"changes-{number}.jsonl").write_text(json.dumps({"id": "a", "text": f"Text {number}."}))

    assert [document.text for document in parsed(feed(tmp_path), tmp_path / "cache").documents] == ["Text 100."]


@pytest.mark.parametrize(("older", "newer"), [(4, 5), (9, 10), ("1.9", "1.10"), ("2024-05-01", "2024-11-01")])
def test_an_older_version_never_takes_the_place_of_a_newer_one(
    tmp_path: Path, older: int | str, newer: int | str
) -> None:
    lines = [
        {"id": "a", "text": "New.", "v": newer},
        {"id": "a", "text": "Old.", "v": older},
        {"id": "a", "op": "delete", "v": older},
    ]
    (tmp_path / "changes.jsonl").write_text("\n".join(map(json.dumps, lines)))
    source = feed(tmp_path, fields={"version": "v"})

    assert [document.text for document in parsed(source, tmp_path / "cache").documents] == ["New."]


@pytest.mark.parametrize("versions", [("b1f0", "a2c4"), ("9876543", "1234567"), ("W/x", "A/b"), (True, False)])
def test_a_version_without_an_order_is_only_a_sign_of_change(tmp_path: Path, versions: tuple[object, object]) -> None:
    lines = [{"id": "a", "text": f"Text {at}.", "v": version} for at, version in enumerate(versions)]
    (tmp_path / "changes.jsonl").write_text("\n".join(map(json.dumps, lines)))
    source = feed(tmp_path, fields={"version": "v"})

    assert [document.text for document in parsed(source, tmp_path / "cache").documents] == ["Text 1."]


def test_a_record_in_which_access_stands_twice_or_misspelt_is_read_by_nobody(tmp_path: Path) -> None:
    lines = [
        '{"id": "a", "text": "T", "access": ["hr"], "access": ["everyone"]}',
        '{"id": "b", "text": "T", "Access": ["hr"]}',
        '{"id": "c", "text": "T", "acess": ["hr"]}',
        '{"id": "d", "text": "T", "metadata": {"access": "hr"}}',
        '{"id": "e", "text": "T", "access": ["hr"], "updated_at": "soon"}',
        '{"id": "f", "text": "T", "access": ["hr"]}',
    ]
    (tmp_path / "changes.jsonl").write_text("\n".join(lines))
    result = parsed(feed(tmp_path), tmp_path / "cache")

    assert {reject.key: reject.access for reject in result.rejects} == {
        "a": (),
        "b": (),
        "c": (),
        "d": (),
        "e": ("hr",),
    }
    assert [(document.key, document.access) for document in result.documents] == [("f", ("hr",))]


@pytest.mark.parametrize("time", ["9999-12-31T23:59:59-08:00", "0001-01-01T00:00:00+14:00", 1e300, -1e300, "x", [], {}])
def test_no_time_of_a_record_stops_the_others(tmp_path: Path, time: object) -> None:
    lines = [{"id": name, "text": "T", name: time} for name in ("updated_at", "expires_at", "title", "uri", "metadata")]
    (tmp_path / "changes.jsonl").write_text("\n".join(map(json.dumps, [*lines, {"id": "good", "text": "T"}])))
    result = parsed(feed(tmp_path), tmp_path / "cache")

    assert "good" in {document.key for document in result.documents}
    assert len(result.documents) + len(result.rejects) == 6


def test_a_tag_does_not_hide_the_branch_of_its_name(tmp_path: Path) -> None:
    def git(*arguments: str) -> None:
        subprocess.run(
            ["git", "-c", "user.name=a", "-c", "user.email=a@b.c", "-C", str(tmp_path / "repo"), *arguments], check=True
        )

    (tmp_path / "repo").mkdir()
    git("init", "-q", "-b", "main")
    for text in ("Old.", "New."):
        (tmp_path / "repo" / "a.md").write_text(text)
        git("add", "a.md")
        git("commit", "-q", "-m", text)
        if text == "Old.":
            git("tag", "main")
    source = GitSource.model_validate(BASE | {"kind": "git", "url": str(tmp_path / "repo"), "ref": "main"})

    assert [document.text for document in parsed(source, tmp_path / "cache").documents] == ["New."]
