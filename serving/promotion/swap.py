"""The two halves of what serves: how each is loaded from the version that an alias names, and when it is closed."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from serving.promotion.aliases import Target, has_files, moment
from serving.promotion.last_known_good import LastKnownGood, digest_of, folder_of
from serving.promotion.smoke import check_logits
from tasks.answer.answerer import BASE, Answerer, base_answerer, load_answerer
from tasks.answer.generators.base import Generator
from tasks.answer.registry import MODEL as ANSWERER
from tasks.answer.registry import AnswererVersion, answerer_files
from tasks.errors import ConfigurationError
from tasks.index.live import open_index
from tasks.index.registration import MODEL as INDEX
from tasks.index.release import Release, load_release
from tasks.index.search import Index
from tasks.params import Params
from tasks.settings import Settings

if TYPE_CHECKING:
    from lancedb.db import DBConnection

Wrap = Callable[[Generator], Generator]


@runtime_checkable
class Closable(Protocol):
    """A wrapped generator that must be told when nobody uses it any more."""

    def close(self) -> None:
        """Let go of what it holds."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class LoadedIndex:
    """An open release; `target` is what named it."""

    target: Target
    release: Release
    index: Index
    since: str = field(default_factory=moment)

    @property
    def key(self) -> tuple[str, str, str]:
        """Of its version."""
        return self.target.key


@dataclass(slots=True, eq=False)
class LoadedAnswerer:
    """A loaded answerer with the requests that use it.

    Attributes:
        target: what named it; None for the base model.
        folder: its files; None for the base model.
        num_users: requests that are not at their end; counted under the lock of `LivePair`.
        retired: something else serves now: it is closed behind its last request.
    """

    target: Target | None
    answerer: Answerer
    folder: Path | None
    since: str = field(default_factory=moment)
    num_users: int = 0
    retired: bool = False

    @property
    def key(self) -> tuple[str, str, str] | None:
        """Of its version; None for the base model."""
        return self.target.key if self.target else None

    def close(self) -> None:
        """Let the generator go."""
        if isinstance(self.answerer.generator, Closable):
            self.answerer.generator.close()


def load_index(db: "DBConnection", target: Target, params: Params, settings: Settings) -> LoadedIndex:
    """Open the release of a version.

    Raises:
        ConfigurationError: no refresh made this version, or it did not pass its gate.
        CorruptionError: its manifest or its tag is gone, or its embedder is another.
    """
    _require_gate(target)
    number = target.tags.get("release", "")
    if not number.isdigit():
        raise ConfigurationError(
            f"a version of {INDEX} must have the tag `release`, version {target.version} has none: no refresh made it; "
            "promote another"
        )
    release = load_release(settings, int(number))
    return LoadedIndex(target, release, open_index(db, release, params, settings))


def load_registered(target: Target, params: Params, settings: Settings, wrap: Wrap) -> LoadedAnswerer:
    """Fetch and load the answerer of a version.

    Raises:
        ConfigurationError: it did not pass its gate, has no files, or belongs to another base model or prompt.
        CorruptionError: a file is not what its manifest says.
        DependencyError: MLflow does not answer.
        GateError: its logits are not finite.
    """
    _require_gate(target)
    if not target.run_id or not has_files(settings, target, "answerer"):
        raise ConfigurationError(
            f"answerer {target.version} must have a run with its files under `answerer/`, found none; promote another"
        )
    folder = answerer_files(settings, AnswererVersion(target.version, target.run_id, (), dict(target.tags)))
    return _load(target, folder, params, settings, wrap)


def load_base(params: Params, settings: Settings, wrap: Wrap) -> LoadedAnswerer:
    """The base model."""
    return LoadedAnswerer(None, _wrapped(base_answerer(params.generation, settings), wrap), None)


def recalled_index(db: "DBConnection", pair: LastKnownGood, params: Params, settings: Settings) -> LoadedIndex:
    """The release that served last, without MLflow."""
    release = load_release(settings, pair.release)
    target = Target(INDEX, pair.index_version, pair.index_run, {})
    return LoadedIndex(target, release, open_index(db, release, params, settings))


def recalled_answerer(pair: LastKnownGood, params: Params, settings: Settings, wrap: Wrap) -> LoadedAnswerer:
    """The answerer that served last, without MLflow."""
    if pair.is_base:
        return load_base(params, settings, wrap)
    target = Target(ANSWERER, pair.answerer_version, pair.answerer_run, {})
    return _load(target, folder_of(settings, pair), params, settings, wrap)


def as_last_known_good(settings: Settings, index: LoadedIndex, answerer: LoadedAnswerer) -> LastKnownGood:
    """What to keep on disk of a pair."""
    kept = LastKnownGood(index.release.number, index.target.version, index.target.run_id, BASE)
    if answerer.target is None or answerer.folder is None:
        return kept
    return replace(
        kept,
        answerer_version=answerer.target.version,
        answerer_run=answerer.target.run_id,
        answerer_folder=str(answerer.folder.relative_to(settings.home.resolve())),
        answerer_digest=digest_of(answerer.folder),
    )


def _load(target: Target, folder: Path, params: Params, settings: Settings, wrap: Wrap) -> LoadedAnswerer:
    answerer = load_answerer(folder, params.generation, settings, version=target.version)
    check_logits(answerer)
    return LoadedAnswerer(target, _wrapped(answerer, wrap), folder)


def _wrapped(answerer: Answerer, wrap: Wrap) -> Answerer:
    return replace(answerer, generator=wrap(answerer.generator))


def _require_gate(target: Target) -> None:
    """Whoever may move the alias may skip the gate by mistake; nothing reaches a user that did not pass one."""
    gate = target.tags.get("gate", "none")
    if gate != "passed":
        raise ConfigurationError(
            f"a version must have passed its gate to serve, version {target.version} of {target.model} has gate "
            f"{gate!r}; promote another"
        )
