"""The Grafana dashboard asks only for figures that the server has, by labels that they have."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from serving.api.service import Service
from tasks.params import Params
from tasks.settings import Settings
from tests.conftest import files_source
from tests.server import StaticPair

DASHBOARD = json.loads((Path(__file__).parents[2] / "infra" / "grafana" / "almanac.json").read_text(encoding="utf-8"))
SUFFIXES = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}


@pytest.fixture
def figures(write_params: Callable[..., Params], settings: Settings) -> set[str]:
    """The names of all that `/metrics` shows."""
    families = Service(write_params([files_source(settings.home)]), settings, StaticPair).metrics.registry.collect()
    return {f"{family.name}{suffix}" for family in families for suffix in SUFFIXES[family.type]}


def queries() -> Iterator[str]:
    for panel in DASHBOARD["panels"]:
        yield from (target["expr"] for target in panel["targets"])
    yield from (variable["query"] for variable in DASHBOARD["templating"]["list"])


def test_every_figure_exists(figures: set[str]) -> None:
    asked = {name for query in queries() for name in re.findall(r"\balmanac_\w+", query)}

    assert asked <= figures
    shown = {re.sub(r"_(?:bucket|sum|count)\Z", "", name) for name in asked}
    missing = {re.sub(r"_(?:bucket|sum|count)\Z", "", name) for name in figures} - shown
    assert missing == {"almanac_cache_entries"}


def test_panels_have_places_and_letters_of_their_own() -> None:
    panels: list[dict[str, Any]] = DASHBOARD["panels"]

    assert len({panel["id"] for panel in panels}) == len(panels)
    assert len({(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels}) == len(panels)
    for panel in panels:
        letters = [target["refId"] for target in panel["targets"]]
        assert len(set(letters)) == len(letters)
