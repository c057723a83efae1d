"""The answerers of a comparison, by name: the base, what was trained, a profile of `params.yaml`; any number of them.

| Name | What answers |
|---|---|
| `base` | `generation.model` as it comes |
| `champion`, `challenger`, `3` | the version of `almanac-answerer` that has this alias or number |
| `laptop`, or another profile | `generation` with that profile's changes: another base, an endpoint, a prompt |
| a folder | the trained answerer in it |
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tasks.answer.answerer import (
    BASE,
    Answerer,
    Manifest,
    base_answerer,
    load_answerer,
    read_manifest,
    trainable_base,
)
from tasks.errors import ConfigurationError
from tasks.params import GenerationParams, Params, load_params
from tasks.releases.folder import release_folder
from tasks.releases.kind import ANSWERER
from tasks.releases.lifecycle import versions
from tasks.releases.model_registry import CHALLENGER, CHAMPION
from tasks.releases.version import ReleaseVersion
from tasks.settings import Settings

FINE_TUNED = "fine_tuned"
"""The name of the one trained answerer of a comparison; of several each keeps the name that it was asked for by."""


@dataclass(frozen=True, slots=True)
class Compared:
    """An answerer of a comparison.

    Attributes:
        name: that of its strategies.
        manifest: of a trained answerer; None: nobody trained it here.
    """

    name: str
    answerer: Answerer
    manifest: Manifest | None = None


def compared_answerers(names: Sequence[str], params: Params, settings: Settings) -> list[Compared]:
    """Return the answerers of these names, untrained ones first; without a name the base and, if any, the champion.

    Beside a trained answerer the base runs in the engine that trains.

    Raises:
        ConfigurationError: a name stands for nothing, or two have one name.
    """
    released = versions(settings, ANSWERER)
    asked = list(names) or [BASE, *([CHAMPION] if _version(CHAMPION, released) else [])]
    if len(set(asked)) < len(asked):
        raise ConfigurationError(f"each answerer must be named once, found {asked}; name each once")
    trained = [_trained(name, released, params, settings) for name in asked if _is_trained(name, params)]
    if len(trained) == 1:
        trained = [replace(trained[0], name=FINE_TUNED)]
    untrained = [
        _untrained(name, params.generation, settings, beside_trained=bool(trained))
        for name in asked
        if not _is_trained(name, params)
    ]
    return [*untrained, *trained]


def _is_trained(name: str, params: Params) -> bool:
    return name != BASE and name not in params.profiles


def _untrained(name: str, generation: GenerationParams, settings: Settings, *, beside_trained: bool) -> Compared:
    if name == BASE:
        load = trainable_base if beside_trained else base_answerer
        return Compared(name, load(generation, settings))
    changed = load_params(settings.params, name).generation
    return Compared(name, replace(base_answerer(changed, settings), version=name))


def _trained(name: str, released: Sequence[ReleaseVersion], params: Params, settings: Settings) -> Compared:
    version = _version(name, released)
    if version is not None:
        folder, label = release_folder(settings, version), version.version
    elif Path(name).is_dir():
        folder, label = Path(name), Path(name).name
    else:
        raise ConfigurationError(_nothing(name, params))
    answerer = load_answerer(folder, params.generation, settings, version=label)
    return Compared(label if label == Path(name).name else name, answerer, read_manifest(folder))


def _version(name: str, released: Sequence[ReleaseVersion]) -> ReleaseVersion | None:
    return next((entry for entry in released if name == entry.version or name in entry.aliases), None)


def _nothing(name: str, params: Params) -> str:
    if name in (CHAMPION, CHALLENGER) or name.isdigit():
        wanted = f"version {name}" if name.isdigit() else f"a {name}"
        return f"{ANSWERER.model} must have {wanted}, found none; see `almanac releases`, or run `almanac retrain`"
    profiles = ", ".join(params.profiles) or "none"
    return (
        f"an answerer must be base, champion, challenger, a version, a profile ({profiles}) or a folder, found "
        f"{name!r}; name one of these"
    )
