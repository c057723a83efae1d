"""The answerers of a comparison, by name: the base, what was trained, a profile of `params.yaml`; any number of them.

| Name | What answers |
|---|---|
| `base` | `generation.model` as it comes |
| `champion`, `challenger`, `3` | the version of `almanac-answerer` that has this alias or number |
| `laptop`, or another profile | `generation` with that profile's changes: another base, an endpoint, a prompt |
| a folder | the trained answerer in it |

Of one knowledge base, `champion`, `challenger` and `3` are those of its own answerer, loaded as they serve, and
`general` is the champion of `almanac-answerer`, which answers where it has none.
"""

from collections.abc import Mapping, Sequence
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
from tasks.model.knowledge_base import limited_to
from tasks.params import Params, load_params
from tasks.releases.folder import release_folder
from tasks.releases.kind import ANSWERER, GENERAL, answerer_of
from tasks.releases.lifecycle import champion, versions
from tasks.releases.model_registry import CHALLENGER, CHAMPION
from tasks.releases.version import ReleaseVersion
from tasks.settings import Settings

FINE_TUNED = "fine_tuned"
"""The name of the one trained answerer of a comparison but the general one of a knowledge base's; of several each keeps
the name that it was asked for by."""


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
    """Return the answerers of these names, untrained ones first.

    Without a name: the base and, if any, the champion; of one knowledge base the general champion before its own.
    Beside a trained answerer the base runs in the engine that trains.

    Raises:
        ConfigurationError: a name stands for nothing, or two have one name.
    """
    released = _released(params, settings)
    asked = list(names) or [BASE, *(name for name in (GENERAL, CHAMPION) if name in released)]
    if len(set(asked)) < len(asked):
        raise ConfigurationError(f"each answerer must be named once, found {asked}; name each once")
    trained = [_trained(name, released, params, settings) for name in asked if _is_trained(name, params)]
    if len(trained) == 1 and trained[0].name != GENERAL:
        trained = [replace(trained[0], name=FINE_TUNED)]
    untrained = [
        _untrained(name, params, settings, beside_trained=bool(trained))
        for name in asked
        if not _is_trained(name, params)
    ]
    return [*untrained, *trained]


def _released(params: Params, settings: Settings) -> dict[str, ReleaseVersion]:
    """Return the versions that may be compared by each of their names."""
    only = params.knowledge_bases.only
    own = versions(settings, answerer_of(only))
    by_name = {name: entry for entry in own for name in (entry.version, *entry.aliases)}
    general = champion(settings, ANSWERER) if only is not None else None
    return by_name if general is None else by_name | {GENERAL: general}


def _is_trained(name: str, params: Params) -> bool:
    return name != BASE and name not in params.profiles


def _untrained(name: str, params: Params, settings: Settings, *, beside_trained: bool) -> Compared:
    if name == BASE:
        load = trainable_base if beside_trained else base_answerer
        return Compared(name, load(params.generation, settings))
    changed = limited_to(params.knowledge_bases.only, load_params(settings.params, name)).generation
    return Compared(name, replace(base_answerer(changed, settings), version=name))


def _trained(name: str, released: Mapping[str, ReleaseVersion], params: Params, settings: Settings) -> Compared:
    version = released.get(name)
    if version is not None:
        folder, label = release_folder(settings, version), version.label
        is_own = version.kind.knowledge_base is not None
    elif Path(name).is_dir():
        folder, label = Path(name), Path(name).name
        name, is_own = label, params.knowledge_bases.only is not None
    else:
        raise ConfigurationError(_nothing(name, params))
    answerer = load_answerer(folder, params.generation, settings, version=label, shares_base=is_own)
    return Compared(name, answerer, read_manifest(folder))


def _nothing(name: str, params: Params) -> str:
    only = params.knowledge_bases.only
    if name == GENERAL and only is not None:
        return f"{ANSWERER.model} must have a champion, found none; see `almanac releases`, or leave {GENERAL} out"
    if name in (CHAMPION, CHALLENGER) or name.isdigit():
        wanted, model = f"version {name}" if name.isdigit() else f"a {name}", answerer_of(only).model
        return f"{model} must have {wanted}, found none; see `almanac releases`, or run `{retrain_command(only)}`"
    profiles = ", ".join(params.profiles) or "none"
    return (
        f"an answerer must be base, champion, challenger, a version, a profile ({profiles}) or a folder, found "
        f"{name!r}; name one of these"
    )


def retrain_command(knowledge_base: str | None) -> str:
    """Return the command that trains what a comparison lacks."""
    return "almanac retrain" + (f" --knowledge-base {knowledge_base}" if knowledge_base is not None else "")
