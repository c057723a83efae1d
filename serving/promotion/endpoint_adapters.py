"""The adapters of the answerers that serve, at an endpoint that loads adapters while it runs, as vLLM does.

load what is to serve ─▶ smoke, parity, swap as anywhere ─▶ keep it loaded ─▶ unload it when nothing has used it a while

Names hold the version and folders the run, so neither ever means other weights: vLLM's prefix cache tells adapters
apart by name (and, in newer versions, by folder), and one that was loaded anew under its name would go on from what the
old weights read. What somebody loaded from another folder is never unloaded: it could not be loaded again from here.
"""

import logging
import re
from collections.abc import Iterable
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from tasks.errors import ConfigurationError, DependencyError
from tasks.params import Params
from tasks.releases.folder import cached_folder
from tasks.releases.kind import ANSWERER
from tasks.releases.version import ReleaseVersion
from tasks.settings import Settings

if TYPE_CHECKING:  # the OpenAI client costs a second, and most servers have no endpoint
    from tasks.answer.generators.adapter_api import AdapterApi

ADAPTER = "adapter"
"""The folder of an adapter within an answerer's."""

logger = logging.getLogger(__name__)


class EndpointAdapters:
    """Lets `generation.endpoint` hold the adapters that serve; used by one thread at a time.

    Several servers may share an endpoint. What one of them no longer uses stays for as long as the others need to
    follow; what another loads again after that is left to it.
    """

    def __init__(self, params: Params, settings: Settings) -> None:
        """Nothing is asked yet."""
        self._settings, self._endpoint = settings, params.generation.endpoint
        self._spared_seconds = settings.request_timeout_seconds + 2 * params.serving.poll_seconds
        self._unused_since: dict[str, float] = {}
        self._untried: set[str] = set()
        self._unloaded: set[str] = set()
        self._is_clean = False

    def load(self, version: ReleaseVersion, folder: Path) -> None:
        """Let the endpoint load the adapter of a version, unless it serves that already.

        Args:
            version: of `almanac-answerer`.
            folder: its files on this machine.

        Raises:
            ConfigurationError: the endpoint has no such adapter and loads none, or not this one.
            DependencyError: it does not answer.
        """
        api = self._api()
        if api is None or (name := _name(version)) in api.served():
            return
        if not (folder / ADAPTER).is_dir():
            raise ConfigurationError(
                f"generation.endpoint must serve {name!r}, found neither that nor an adapter that it could load: "
                f"{version} is a whole model; serve it there under this name, or promote another"
            )
        self._load(api, version)
        self._untried.add(name)

    def keep(self, in_use: Iterable[ReleaseVersion], named: Iterable[ReleaseVersion] = ()) -> list[str]:
        """Load again what a restart of the endpoint lost, unload what nothing uses; return what went wrong, in words.

        Args:
            in_use: versions that a request may be answered by.
            named: versions that an alias names: another server may use them, though this one refused them.
        """
        api = self._api()
        if api is None:
            return []
        versions = {_name(version): version for version in in_use}
        if self._is_clean and not versions:
            return []
        self._untried -= versions.keys()
        self._unloaded -= versions.keys()
        try:
            served = api.served()
            for name in versions.keys() - served.keys():
                logger.warning("generation.endpoint no longer serves %s; it is loaded again", name)
                self._load(api, versions[name])
            unused = {name for name, root in served.items() if self._is_own(name, root)} - versions.keys()
            self._unload(api, unused - set(map(_name, named)))
            self._is_clean = not versions and unused <= self._unloaded
        except (ConfigurationError, DependencyError) as error:
            return [str(error)]
        return []

    def _unload(self, api: "AdapterApi", unused: set[str]) -> None:
        """Unload what was refused at once, what served when every server had the time to follow."""
        self._unused_since = {name: self._unused_since.get(name, monotonic()) for name in unused}
        over = {name for name, since in self._unused_since.items() if monotonic() - since >= self._spared_seconds}
        for name in sorted(unused & (over | self._untried) - self._unloaded):
            logger.info("%s at generation.endpoint: %s", "unloaded" if api.unload(name) else "not unloaded", name)
            self._unloaded.add(name)
        self._untried -= self._unloaded

    def _load(self, api: "AdapterApi", version: ReleaseVersion) -> None:
        folder = cached_folder(self._settings, version)
        api.load(_name(version), f"{self._root()}/{folder.name}/{ADAPTER}")
        self._unloaded.discard(_name(version))
        logger.info("loaded at generation.endpoint: %s", _name(version))
        self._is_clean = False

    def _is_own(self, name: str, loaded_from: str) -> bool:
        """Say whether an adapter is an answerer of this installation, from where this server would load it."""
        named = re.fullmatch(rf"{re.escape(ANSWERER.model)}(?:\..+)?-(\d+)", name)
        at = loaded_from.removeprefix(f"{self._root()}/")
        return named is not None and at.startswith(f"{named[1]}-") and at != loaded_from

    def _root(self) -> str:
        own = self._settings.endpoint_adapter_folder
        return own.rstrip("/") if own else str(self._settings.layout.cache / "answerers")

    def _api(self) -> "AdapterApi | None":
        if self._endpoint is None:
            return None
        from tasks.answer.generators.adapter_api import AdapterApi

        return AdapterApi(self._endpoint, self._settings)


def _name(version: ReleaseVersion) -> str:
    from tasks.answer.generators.endpoint import adapter_name

    return adapter_name(version.label)
