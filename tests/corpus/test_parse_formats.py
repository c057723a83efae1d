"""All files of the open format collection: what is listed is accepted or rejected for a reason, and nothing hangs."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from tasks.corpus.parsing.parse import Parsed, parse_items
from tasks.corpus.sources import open_source
from tasks.params import ParsingParams
from tasks.params.sources import FilesSource, RecordFields, RecordsSource

BENCH = Path(os.environ.get("ALMANAC_BENCH_DIR", Path(__file__).resolve().parents[2] / ".." / "shared" / "bench"))
FORMATS = BENCH / "mixed_formats"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not FORMATS.is_dir(), reason=f"no benchmark data at {BENCH}: set ALMANAC_BENCH_DIR"),
]

REJECTED_THOUGH_GOOD: Mapping[str, str] = {
    "pandoc_docx/docx_normalize.docx": "its XML is ill-formed, and only lenient readers take it",
    "pandoc_odt/odt_odt_hiddenTextByStyle.odt": "its only words are hidden by their style",
    "pandoc_odt/odt_odt_hiddenTextByVariable.odt": "all of its text is hidden or computed",
    "pandoc_odt/odt_odt_horizontalRule.odt": "a rule and no word",
    "pandoc_odt/odt_odt_variable.odt": "all of its text is computed from a variable",
    **dict.fromkeys(
        (
            "pandoc_pptx/pptx_footer_no-title-slide_reference.pptx",
            "pandoc_pptx/pptx_reference-deleted-layouts.pptx",
            "pandoc_pptx/pptx_reference-depth.pptx",
            "pandoc_pptx/pptx_reference-moved-layouts.pptx",
        ),
        "slides without a word",
    ),
    "pandoc_tex/command_3971b.tex": "a macro and no word",
}
UNSUPPORTED = {".bin", ".json", ".xml", ".zip"}


@pytest.fixture(scope="module")
def parsed(tmp_path_factory: pytest.TempPathFactory) -> Parsed:
    cache = tmp_path_factory.mktemp("cache")
    source = FilesSource(
        kind="files",
        name="formats",
        url=str(FORMATS),
        knowledge_base="kb",
        access=("everyone",),
        max_removed_fraction=0.2,
    )
    items = list(open_source(source, cache=cache).scan())
    parsing = ParsingParams(timeout_seconds=30, max_memory_mb=1024, max_item_mb=64, max_characters=10_000_000)
    result = parse_items(source, items, parsing=parsing, cache=cache)
    assert len(result.documents) + len(result.rejects) == len(items)
    assert {found.key for found in (*result.documents, *result.rejects)} == {item.key for item in items}
    return result


def readings() -> dict[str, tuple[str, str]]:
    """What pypdf and pdfium make of each PDF: `error`, `none` (no text) or `text`."""
    entries = json.loads((FORMATS / "manifest.json").read_text())
    return {
        entry["path"]: (_reading(entry["pypdf"]), _reading(entry["pdfium"]))
        for entry in entries
        if entry["path"].endswith(".pdf")
    }


def _reading(outcome: str) -> str:
    """An outcome is `err <name>` or `ok <pages> <characters> …`."""
    words = outcome.split()
    if words[0] == "err":
        return "error"
    return "text" if int(words[2]) else "none"


def test_pdfs_that_both_readers_read_are_accepted(parsed: Parsed) -> None:
    accepted = {document.key for document in parsed.documents}

    assert {path for path, found in readings().items() if found == ("text", "text")} <= accepted


def test_pdfs_from_which_neither_reader_takes_text_are_rejected(parsed: Parsed) -> None:
    rejected = {reject.key for reject in parsed.rejects}

    assert {path for path, found in readings().items() if "text" not in found} <= rejected


def test_pdfs_that_one_reader_can_read_are_accepted(parsed: Parsed) -> None:
    accepted = {document.key for document in parsed.documents}

    assert {path for path, found in readings().items() if "text" in found} <= accepted


def test_only_files_with_a_reason_of_their_own_are_rejected_among_the_other_formats(parsed: Parsed) -> None:
    rejected = {reject.key for reject in parsed.rejects if not reject.key.endswith(".pdf")}

    assert {key for key in rejected if Path(key).suffix not in UNSUPPORTED} == set(REJECTED_THOUGH_GOOD)


def test_each_reject_has_a_code_and_one_line_that_says_what_to_do(parsed: Parsed) -> None:
    codes = {"empty", "encrypted", "damaged", "type_mismatch", "unsupported", "partial", "encoding"}

    assert {reject.code for reject in parsed.rejects} <= codes
    assert all(
        "must" in reject.reason and "found" in reject.reason and ";" in reject.reason for reject in parsed.rejects
    )
    assert all("\n" not in reject.reason and reject.raw_hash for reject in parsed.rejects)


def test_a_pdf_without_a_part_of_its_bytes_is_never_passed_off_as_whole(parsed: Parsed, tmp_path: Path) -> None:
    whole = (FORMATS / "pdf_ok" / "deterministic-id-in.pdf").read_bytes()
    third = len(whole) // 3
    (tmp_path / "hole.pdf").write_bytes(whole[:third] + os.urandom(20_000) + whole[third + 20_000 :])
    (tmp_path / "cut.pdf").write_bytes(whole[: 2 * third])
    source = FilesSource(
        kind="files", name="cut", url=str(tmp_path), knowledge_base="kb", access=("everyone",), max_removed_fraction=0.2
    )
    parsing = ParsingParams(timeout_seconds=60, max_memory_mb=1024, max_item_mb=64, max_characters=10_000_000)
    items = list(open_source(source, cache=tmp_path).scan())

    rejects = parse_items(source, items, parsing=parsing, cache=tmp_path).rejects

    assert {(reject.key, reject.code) for reject in rejects} <= {
        ("hole.pdf", "partial"),
        ("hole.pdf", "damaged"),
        ("cut.pdf", "partial"),
        ("cut.pdf", "damaged"),
    }
    assert len(rejects) == 2


@pytest.mark.parametrize("name", ["weekly_otel", "weekly_prometheus"])
def test_the_weeks_of_a_feed_fold_to_the_replayed_state(name: str, tmp_path: Path) -> None:
    source = RecordsSource(
        kind="records",
        name=name,
        url=str(BENCH / name / "week_*.jsonl"),
        mode="changes",
        fields=RecordFields(id="_id", version="blob"),
        front_matter=True,
        knowledge_base="kb",
        access=("everyone",),
        max_removed_fraction=0.2,
    )
    state: dict[str, str] = {}
    for path in sorted((BENCH / name).glob("week_*.jsonl")):
        for line in path.read_text().splitlines():
            record = json.loads(line)
            if record.get("op") == "delete":
                state.pop(record["_id"])
            else:
                state[record["_id"]] = record["blob"]

    items = open_source(source, cache=tmp_path).scan()

    assert {item.key: item.fingerprint.split(" ")[0] for item in items} == state
