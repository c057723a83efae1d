"""A restriction outlives rollbacks and refreshes, and no command's output shows what its asker may not read."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import cli
from tasks.corpus import intake
from tasks.errors import ConfigurationError, GateError
from tasks.index.history import roll_back_index
from tasks.index.live import LiveIndex
from tasks.index.search import Request
from tasks.params import Params, load_params
from tasks.releases.kind import INDEX
from tasks.releases.lifecycle import promote
from tasks.settings import Settings
from tests.chat_model import save_chat_model
from tests.index.access_world import GROUPS
from tests.index.test_access import MODES

pytestmark = pytest.mark.slow


CANARY = "zebrafish heliotrope quorum"
LEDGER = f"The secret of the ledger is {CANARY}. It is kept by the treasurer in the vault."
PUBLIC = "The pager rotates every Tuesday at noon among the platform engineers of the company."
OTHERS_ASK = [
    ["search", "secret of the ledger", "--json"],
    ["search", "secret of the ledger", "--as", "hr", "--mode", "full_text", "--json"],
    ["search", "secret of the ledger", "--as", "') OR 1=1 --", "--mode", "vector"],
    ["search", "secret of the ledger", "--kb", "nowhere"],
    ["search", "secret of the ledger", "--top-k", "0"],
    ["ask", "What is the secret of the ledger?", "--json"],
    ["ask", "Who keeps the secret of the ledger?", "--as", "hr"],
    ["plan"],
    ["refresh", "--json"],
    ["releases", "--json"],
    ["quarantine", "list"],
    ["quarantine", "list", "--json"],
    ["status"],
    ["doctor", "--deep", "--json"],
]


def record(key: str, text: str, access: list[str]) -> dict[str, Any]:
    return {"id": key, "title": key.title(), "text": text, "uri": f"https://wiki/{key}", "access": access}


class Feed:
    """A records feed of a few documents, and the assistant's own commands on it."""

    def __init__(self, path: Path, refresh: Callable[..., dict[str, Any]]) -> None:
        self.path, self._refresh = path, refresh
        self.records = {"pager": record("pager", PUBLIC, ["everyone"]), "menu": record("menu", PUBLIC[::-1], ["hr"])}

    def put(self, key: str, text: str, access: list[str]) -> None:
        self.records[key] = record(key, text, access)

    def refresh(self, **options: Any) -> dict[str, Any]:
        self.path.write_text("".join(json.dumps(entry) + "\n" for entry in self.records.values()), encoding="utf-8")
        return self._refresh(**options)

    def source(self) -> dict[str, Any]:
        return {
            "name": "wiki",
            "kind": "records",
            "mode": "snapshot",
            "url": str(self.path),
            "knowledge_base": "wiki",
            "access": ["everyone"],
            "max_removed_fraction": 0.9,
        }


@pytest.fixture
def feed(tmp_path: Path, refresh: Callable[..., dict[str, Any]]) -> Feed:
    return Feed(tmp_path / "wiki.jsonl", refresh)


@pytest.fixture
def finds(feed: Feed, write_params: Callable[..., Params], settings: Settings) -> Callable[..., bool]:
    """Whether an asker is shown the ledger, which all modes must agree on."""
    params = write_params([feed.source()])

    def ask(*groups: str) -> bool:
        live = LiveIndex(params, settings)
        shown = {
            mode: CANARY in json.dumps([passage.text for passage in live.search(Request(CANARY, groups, mode=mode))])
            for mode in MODES
        }
        assert len(set(shown.values())) == 1, shown
        return shown["hybrid"]

    return ask


def test_restriction_outlives_rollback_and_the_refresh_after_it(
    feed: Feed, finds: Callable[..., bool], settings: Settings
) -> None:
    feed.put("ledger", LEDGER, ["finance"])
    feed.refresh()
    assert finds("finance")
    assert not finds()
    feed.put("ledger", LEDGER, [])
    feed.refresh()
    assert not finds("finance")

    roll_back_index(settings, None)
    assert not finds("finance")
    assert not finds()

    with pytest.raises(GateError, match="rolled back"):
        feed.refresh()
    assert not finds("finance")
    feed.put("ledger", LEDGER, ["hr"])
    feed.refresh()
    assert finds("hr")
    assert not finds("finance")


def test_document_that_left_and_came_back_restricted_stays_restricted_in_older_releases(
    feed: Feed, finds: Callable[..., bool], settings: Settings
) -> None:
    feed.put("ledger", LEDGER, ["everyone"])
    feed.refresh()
    assert finds()
    kept = feed.records.pop("ledger")
    feed.refresh()
    feed.records["ledger"] = kept | {"access": ["finance"]}
    feed.refresh()

    roll_back_index(settings, 1)

    assert not finds()
    assert finds("finance")


def test_document_that_was_hidden_left_and_came_back_is_found_again(feed: Feed, finds: Callable[..., bool]) -> None:
    feed.put("ledger", LEDGER, ["finance"])
    feed.refresh()
    feed.put("ledger", LEDGER, [])
    feed.refresh()
    del feed.records["ledger"]
    feed.refresh()
    feed.put("ledger", LEDGER, ["everyone"])

    feed.refresh()

    assert finds()


def test_restriction_holds_though_the_restricted_text_cannot_be_parsed(feed: Feed, finds: Callable[..., bool]) -> None:
    feed.put("ledger", LEDGER, ["everyone"])
    feed.refresh()
    assert finds()

    feed.put("ledger", "", ["finance"])
    feed.refresh()

    assert not finds()
    assert finds("finance")


def test_names_are_never_read_as_filters(finds: Callable[..., bool], feed: Feed, settings: Settings) -> None:
    feed.put("ledger", LEDGER, ["finance"])
    feed.refresh()
    assert finds("finance")
    for group in (*GROUPS[1:], "finance ", "Finance", "FINANCE", "finance\n", "finance') OR true --", "*", "%"):
        assert not finds(group), group
    live = LiveIndex(load_params(settings.params), settings)
    for name in ("wiki') OR 1=1 --", "wiki\n", "'", "", "☃", "k" * 81, "wiki OR true", "\\"):
        with pytest.raises(ConfigurationError, match="knowledge base"):
            live.search(Request(CANARY, ("finance",), (name,)))
    with pytest.raises(ConfigurationError, match="1 to 200 characters"):
        live.search(Request(CANARY, ("g" * 201,)))


def test_restricted_text_is_in_no_output_for_others(
    feed: Feed,
    finds: Callable[..., bool],
    home: Path,
    write_params: Callable[..., Params],
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    model = save_chat_model(tmp_path / "model")
    rules = [{"expect": "expect_column_values_to_have_no_secrets", "on_fail": "quarantine"}]
    write_params(
        [feed.source()],
        generation={"model": str(model), "gguf_file": None},
        document_gate={"rules": rules},
        release={"policy": "manual"},
    )
    caplog.set_level("INFO")
    feed.put("ledger", LEDGER, ["finance"])
    feed.put("leaked", f"{LEDGER} The key is AKIAIOSFODNN7EXAMPL3 and AKIAQ3EGZ5RTHV5MWX2C.", ["finance"])
    feed.put("broken", LEDGER, ["no such/group"])
    feed.refresh()
    write_params([feed.source()], generation={"model": str(model), "gguf_file": None}, document_gate={"rules": rules})
    promote(Settings(), INDEX, "1")
    assert finds("finance")
    feed.put("extra", f"{LEDGER} Again.", ["finance"])
    gates: list[str] = []
    write_report = intake.write_report

    def keep_report(*arguments: Any, **paths: Path) -> None:
        write_report(*arguments, **paths)
        gates.extend(path.read_text(encoding="utf-8") for path in paths.values())

    monkeypatch.setattr(intake, "write_report", keep_report)
    feed.refresh()
    outputs = [*gates, json.dumps(feed.refresh())]
    for arguments in OTHERS_ASK:
        monkeypatch.setattr(sys, "argv", ["almanac", *arguments])
        with pytest.raises(SystemExit):
            cli.main()
            sys.exit(0)
        outputs.extend(capfd.readouterr())
    outputs.append(caplog.text)
    assert gates
    for word in ("zebrafish", "heliotrope", "treasurer"):
        assert not [text for text in outputs if word in text]
