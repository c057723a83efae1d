"""The index and the answerer that serve: how each is loaded from the version that an alias names, when it is closed."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from serving.promotion.endpoint_adapters import EndpointAdapters
from serving.promotion.parity import check_parity
from serving.promotion.smoke import check_logits
from tasks.answer.answerer import Answerer, default_answerer, load_answerer
from tasks.answer.generators.base import Generator
from tasks.errors import CorruptionError, UnavailableError
from tasks.index.live import open_index
from tasks.index.release import Release, load_release
from tasks.index.search import Index
from tasks.params import GenerationParams, Params
from tasks.releases.folder import cached_folder, release_folder
from tasks.releases.model_registry import now
from tasks.releases.version import ReleaseVersion
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
    """An open release of a version."""

    version: ReleaseVersion
    release: Release
    index: Index
    since: str = field(default_factory=now)


@dataclass(slots=True, eq=False)
class LoadedAnswerer:
    """A loaded answerer with the requests that use it.

    Attributes:
        version: None for the default answerer.
        parity: what was compared with its trainer's model; None for the default answerer.
        num_users: requests that are not at their end; counted under the lock of `LivePair`.
        retired: something else serves now: it is closed behind its last request.
    """

    version: ReleaseVersion | None
    answerer: Answerer
    parity: str | None = None
    since: str = field(default_factory=now)
    num_users: int = 0
    retired: bool = False

    @property
    def id(self) -> tuple[str, str, str] | None:
        """Return what tells its version from every other; None for the default answerer."""
        return self.version.id if self.version else None

    def close(self) -> None:
        """Let the generator go."""
        if isinstance(self.answerer.generator, Closable):
            self.answerer.generator.close()


def load_index(db: "DBConnection", version: ReleaseVersion, params: Params, settings: Settings) -> LoadedIndex:
    """Open the release of a version.

    Raises:
        ConfigurationError: no refresh made this version.
        CorruptionError: its tag is gone.
        UnavailableError: its manifest or its embedder cannot be had here.
    """
    try:
        release = load_release(settings, version.release)
    except CorruptionError as error:  # a file of this home: the version is as good as it was
        raise UnavailableError(str(error)) from error
    return LoadedIndex(version, release, open_index(db, release, params, settings))


def load_registered(
    version: ReleaseVersion,
    params: Params,
    settings: Settings,
    wrap: Wrap,
    serving: Answerer | None = None,
    adapters: EndpointAdapters | None = None,
) -> LoadedAnswerer:
    """Fetch and load the answerer of a version.

    Args:
        version: of `almanac-answerer`, or of a knowledge base's own, which shares the base's weights in this process.
        params: `generation`.
        settings: where MLflow and the home are.
        wrap: put around its generator.
        serving: what answers until now; see `serving.promotion.parity`.
        adapters: of the endpoint, which loads this one where it can; None: it must serve it already.

    Raises:
        ConfigurationError: it has no files, or belongs to another base model or prompt.
        CorruptionError: a file is not what its manifest says.
        UnavailableError: its base model cannot be had here, or its manifest has a newer format.
        DependencyError: MLflow does not answer.
        GateError: its logits are not finite, or it does not say what its trainer's model said.
    """
    return _load(version, release_folder(settings, version), params.generation, settings, wrap, serving, adapters)


def recall_answerer(
    version: ReleaseVersion, params: Params, settings: Settings, wrap: Wrap, adapters: EndpointAdapters
) -> LoadedAnswerer:
    """Load the answerer that served last, without MLflow."""
    return _load(version, cached_folder(settings, version), params.generation, settings, wrap, None, adapters)


def load_default(params: Params, settings: Settings, wrap: Wrap) -> LoadedAnswerer:
    """Load what answers where nothing was promoted."""
    return LoadedAnswerer(None, _wrapped(default_answerer(params.generation, settings), wrap))


def _load(
    version: ReleaseVersion,
    folder: Path,
    generation: GenerationParams,
    settings: Settings,
    wrap: Wrap,
    serving: Answerer | None,
    adapters: EndpointAdapters | None,
) -> LoadedAnswerer:
    if adapters is not None:
        adapters.load(version, folder)
    shares_base = version.kind.knowledge_base is not None
    answerer = load_answerer(folder, generation, settings, version=version.label, shares_base=shares_base)
    check_logits(answerer)
    parity = check_parity(folder, answerer, wrap, serving)
    return LoadedAnswerer(version, _wrapped(answerer, wrap), parity)


def _wrapped(answerer: Answerer, wrap: Wrap) -> Answerer:
    return replace(answerer, generator=wrap(answerer.generator))
