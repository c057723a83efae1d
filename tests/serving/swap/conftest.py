"""The home of the tests of swaps, made once a file, and servers on copies of it."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from serving.promotion.live import LivePair
from tasks.index.history import roll_back_index
from tasks.params import GenerationParams, Params
from tasks.releases.model_registry import CHALLENGER
from tasks.settings import Settings
from tests.answerers import register_answerer, save_answerer
from tests.chat_model import save_chat_model
from tests.conftest import BASE_PARAMS, files_source, merged
from tests.serving.swap.swap_world import ANSWERER, KEPT, World


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory, migrated_mlflow: Path) -> World:
    from flows.refresh import refresh

    root = tmp_path_factory.mktemp("swap")
    home, notes = root / "home", root / "notes"
    home.mkdir()
    notes.mkdir()
    shutil.copy(migrated_mlflow, home / "mlflow.db")
    generation = {"model": str(save_chat_model(root / "base")), "gguf_file": None, "max_new_tokens": 6}
    raw = merged(BASE_PARAMS, {"sources": [files_source(notes)], "generation": generation})
    (root / "params.yaml").write_text(yaml.safe_dump(raw))
    params = Params.model_validate(raw)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ALMANAC_HOME", str(home))
        patch.setenv("ALMANAC_PARAMS", str(root / "params.yaml"))
        for number, kept in KEPT.items():
            (notes / "backup.md").write_text(f"# Backups\n\nSnapshots of the ledger are kept for {kept} in storage.\n")
            assert refresh.fn().release == number
        settings = Settings()
    for seed in (1, 2, 3):
        folder = save_answerer(root / f"answerer-{seed}", params.generation, settings, seed=seed)
        assert register_answerer(settings, folder, key=f"seed {seed}") == str(seed)
    world = World(settings, params, root)
    roll_back_index(settings, 1)
    world.point(ANSWERER, None, CHALLENGER)
    return world


@pytest.fixture
def world(template: World, tmp_path: Path) -> World:
    """The template, copied: its MLflow artifacts stay where they are."""
    home = Path(shutil.copytree(template.settings.home, tmp_path / "home"))
    shutil.copytree(template.folder / "answerer-1", tmp_path / "files" / "answerer-1")
    return World(template.settings.model_copy(update={"home": home}), template.params, tmp_path / "files")


@pytest.fixture
def open_live(world: World) -> Iterator[Callable[..., LivePair]]:
    opened: list[LivePair] = []

    def make(
        settings: Settings | None = None, wrap: Any = None, generation: GenerationParams | None = None, **serving: Any
    ) -> LivePair:
        own = {} if generation is None else {"generation": generation}
        params = world.params.model_copy(
            update={"serving": world.params.serving.model_copy(update={"poll_seconds": 0.1} | serving)} | own
        )
        options = {} if wrap is None else {"wrap": wrap}
        opened.append(LivePair(params, settings or world.settings, **options))
        return opened[-1]

    yield make
    for live in opened:
        live.stop()
