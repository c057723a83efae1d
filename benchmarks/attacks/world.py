"""The homes that are attacked, made by the product's own refresh: one with every defence of reading, one without.

Each attack has a knowledge base of its own beside the manual that nobody attacked, so that no attack meets another.
"""

import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import yaml

from benchmarks.attacks.attack import Attack, Planted
from benchmarks.attacks.facts import FACTS, page
from tasks.index.live import LiveIndex
from tasks.index.passage import Passage
from tasks.index.search import Request
from tasks.params import Params
from tasks.settings import Settings

DEFENCES = ("reading", "search", "prompt", "draft", "check")
"""In the order of the data path: hidden text and scripts as addresses are left out; near-copies take two places; our
delimiters and control tokens are broken in what a model reads; pictures, foreign links and markers that name no passage
are taken out; claims are marked."""


@dataclass(frozen=True, slots=True)
class World:
    """A home, opened for search."""

    params: Params
    settings: Settings
    index: LiveIndex
    _searched: dict[tuple[str, bool], list[Passage]] = field(default_factory=dict)

    def search(self, attack: Attack, *, chooses: bool) -> list[Passage]:
        """Return what the asker, who is in no group, finds; several answerers read the same."""
        bases = attack.bases if attack.is_limited else (*attack.bases, base_of(attack))
        key = (attack.id, chooses)
        if key not in self._searched:
            self._searched[key] = self.index.search(Request(attack.question, knowledge_bases=bases))
        return self._searched[key]


def base_of(attack: Attack) -> str:
    """Return the knowledge base of an attack."""
    return "a-" + re.sub(r"[^a-z0-9]+", "-", attack.id.casefold()).strip("-")


def build(
    folder: Path, attacks: Sequence[Attack], *, reads_safely: bool, changes: dict[str, Any], mlflow: Path | None = None
) -> World:
    """Index the manual and the attackers' documents in a new home.

    Args:
        folder: gets the documents, `params.yaml` and the home.
        attacks: whose documents are planted.
        reads_safely: False: documents are taken over as text with all that is hidden in them, and no gate looks.
        changes: blocks of `params.yaml` that replace the project's.
        mlflow: a database with MLflow's tables, which take seconds to make.
    """
    from flows.refresh import refresh

    pages = [Planted(f"{each.key}.md", page(each)) for each in FACTS]
    sources = [_source(folder, name, pages, ("everyone",)) for name in ("manual", "annex")]
    for attack in attacks:
        planted = [one if reads_safely else replace(one, name=f"{one.name}.md", data=None) for one in attack.planted]
        if planted:
            sources.append(_source(folder, base_of(attack), planted, attack.access))
    raw = yaml.safe_load(Path("params.yaml").read_text(encoding="utf-8")) | {"sources": sources} | changes
    raw["document_gate"] |= {"max_quarantined_fraction": 1.0} | ({} if reads_safely else {"rules": []})
    raw["index_gate"] |= {"golden": None}
    (folder / "params.yaml").write_text(yaml.safe_dump(raw), encoding="utf-8")
    home = folder / "home"
    home.mkdir()
    if mlflow is not None:
        (home / "mlflow.db").write_bytes(mlflow.read_bytes())
    with ExitStack() as stack:
        stack.enter_context(
            patch.dict(os.environ, {"ALMANAC_HOME": str(home), "ALMANAC_PARAMS": str(folder / "params.yaml")})
        )
        if not reads_safely:
            stack.enter_context(patch("tasks.corpus.parsing.parse.clean", lambda text: (text.strip(), 0)))
            stack.enter_context(patch("tasks.corpus.parsing.details.RUNS", re.compile(r"(?!)")))
        refresh.fn()
        settings = Settings()
        params = Params.model_validate(raw)
        return World(params, settings, LiveIndex(params, settings))


def _source(folder: Path, name: str, planted: Sequence[Planted], access: Sequence[str]) -> dict[str, Any]:
    place = folder / "documents" / name
    place.mkdir(parents=True)
    for one in planted:
        (place / one.name).write_bytes(one.text.encode("utf-8") if one.data is None else one.data)
    shared = {"name": name, "kind": "files", "url": str(place), "max_removed_fraction": 1.0}
    return shared | {"knowledge_base": name, "access": list(access)}


@contextmanager
def without(defences: Sequence[str]) -> Iterator[None]:
    """Turn defences off, as if they had never been written."""
    with ExitStack() as stack:
        for name in defences:
            for target, replacement in _OFF.get(name, {}).items():
                stack.enter_context(patch(target, replacement))
        yield


def _plainly(hits: Any, _question: str, *, top_k: int, **_: Any) -> list[Any]:
    return [hit for hit, _ in zip(hits, range(top_k), strict=False)]


_OFF: dict[str, dict[str, Callable[..., Any]]] = {
    "search": {"tasks.index.search.hybrid.chosen": _plainly},
    "prompt": {"tasks.answer.prompt.guarded": lambda text: text},
    "draft": {
        "tasks.answer.draft.bounded": lambda text, *_: text,
        "tasks.answer.excerpt._without_markers": lambda text: text,
    },
    "check": {"tasks.answer.answer.check": lambda *_: ()},
}
