"""A home with two index releases and three answerers, and what its tests of swaps do to it."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serving.promotion.live import LivePair
from serving.promotion.pair import Pair
from tasks.answer.answerer import write_manifest
from tasks.index.search import Request
from tasks.params import Params
from tasks.releases import kind
from tasks.releases.lifecycle import required
from tasks.releases.lifecycle import versions as all_versions
from tasks.releases.model_registry import CHAMPION, mlflow_client
from tasks.settings import Settings

QUESTION = "how long are snapshots of the ledger kept?"
KEPT = {1: "ninety days", 2: "seven years"}
ANSWERER, INDEX = kind.ANSWERER.model, kind.INDEX.model
MANIFEST = str(kind.ANSWERER.manifest)
PROMPT = [{"role": "user", "content": "say"}]


@dataclass(frozen=True)
class World:
    """A home with two index releases, the first champion, and three registered answerers, none of them champion."""

    settings: Settings
    params: Params
    folder: Path

    def point(self, model: str, version: str | None, alias: str = CHAMPION) -> None:
        """Move an alias as a person does in the UI; None: delete it."""
        with mlflow_client(self.settings) as client:
            if version is None:
                client.delete_registered_model_alias(model, alias)
            else:
                client.set_registered_model_alias(model, alias, version)

    def named(self, model: str, alias: str = CHAMPION) -> str | None:
        with mlflow_client(self.settings) as client:
            found = client.get_registered_model(model).aliases.get(alias)
        return None if found is None else str(found)

    def tags(self, model: str, version: str) -> dict[str, str]:
        with mlflow_client(self.settings) as client:
            return dict(client.get_model_version(model, version).tags)

    def answerer_folder(self, name: str) -> Path:
        """A copy of a whole answerer, to be broken."""
        return Path(shutil.copytree(self.folder / "answerer-1", self.folder.parent / name))


def versions(live: LivePair, user_key: str | None = None) -> tuple[str, str]:
    with live.acquire(user_key) as pair:
        return pair.index_version, pair.answerer_version


def written(pair: Pair) -> str:
    return pair.answerer.generator.generate(PROMPT, max_new_tokens=6).text


def found(live: LivePair, pair: Pair) -> str:
    return pair.index.search(Request(QUESTION), live.access())[0].text


def answer_of(world: World, open_live: Callable[..., LivePair], version: str) -> str:
    """What an answerer writes when nothing is swapped."""
    from serving.promotion.swap import load_registered

    entry = required(all_versions(world.settings, kind.ANSWERER), kind.ANSWERER, version)
    loaded = load_registered(entry, world.params, world.settings, lambda generator: generator)
    return loaded.answerer.generator.generate(PROMPT, max_new_tokens=6).text


def break_manifest(folder: Path) -> None:
    (folder / MANIFEST).unlink()


def break_base(folder: Path) -> None:
    rewrite(folder, base="another-model@0000")


def break_prompt(folder: Path) -> None:
    rewrite(folder, prompt_digest="0" * 16)


def break_file(folder: Path) -> None:
    (folder / "adapter" / "adapter_model.safetensors").write_bytes(b"no weights")


def break_weights(folder: Path) -> None:
    path = folder / "adapter" / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-64])
    rewrite(folder)


def break_numbers(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    path = folder / "adapter" / "adapter_model.safetensors"
    save_file({name: tensor * float("nan") for name, tensor in load_file(path).items()}, path)
    rewrite(folder)


def break_context(folder: Path) -> None:
    rewrite(folder, generation={"max_new_tokens": 4096})


def rewrite(folder: Path, **changes: Any) -> None:
    raw = json.loads((folder / MANIFEST).read_text())
    from tasks.answer.answerer import Manifest

    write_manifest(folder, Manifest(**raw | changes))


def register_unchecked(world: World, folder: Path, **tags: str) -> str:
    """Register as a person may by hand, without the checks of a retrain."""
    with mlflow_client(world.settings) as client:
        experiment = client.get_experiment_by_name(ANSWERER)
        assert experiment
        run = client.create_run(experiment.experiment_id)
        client.log_artifacts(run.info.run_id, str(folder), "answerer")
        made = client.create_model_version(
            ANSWERER, "runs:/by-hand", run_id=run.info.run_id, tags={"gate": "passed"} | tags
        )
    return str(made.version)
