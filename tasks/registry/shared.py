"""The registry's history in the shared store: pointers, sums and tags as a git bundle; DVC's remote has the bytes.

Written behind each publication under the lease, and named by its fencing number: what a writer leaves that was
overtaken is never the newest. A machine that lacks a tag, or the whole registry, takes the newest bundle.
"""

import tempfile
from pathlib import Path

from tasks.registry.data_registry import Registry
from tasks.settings import Settings
from tasks.shared_lease import SharedLease
from tasks.shared_store import SharedStore, open_shared_store

_FOLDER = "registry/"
_KEPT = 3


def open_registry(settings: Settings, *, folder: str | None = None, tag: str | None = None) -> Registry:
    """Return the data registry; what another machine published is fetched where it is needed.

    Args:
        settings: where the registry and the shared store are.
        folder: of files, as `examples`; None: the corpus.
        tag: that the caller will read; None: whatever is newest, for who is about to publish.

    Raises:
        DependencyError: the shared store, git or the disk does not answer.
    """
    registry = Registry(settings.registry, settings.remote, **({"folder": folder} if folder else {}))
    store = open_shared_store(settings.shared_state)
    if store is not None and (tag is None or not registry.tags(tag)):
        _fetch(registry, store)
    return registry


def share_registry(settings: Settings, lease: SharedLease | None) -> None:
    """Let other machines have what was published; call under the lease.

    Raises:
        BusyError: another machine has taken over.
        DependencyError: the shared store, git or the disk does not answer.
    """
    store = open_shared_store(settings.shared_state)
    if store is None or lease is None:
        return
    registry = Registry(settings.registry, settings.remote)
    bundles = store.names(_FOLDER)
    lease.check()
    store.write(f"{_FOLDER}{lease.fence:08d}.bundle", registry.bundle())
    for name in bundles[:-_KEPT]:
        store.delete(name)


def _fetch(registry: Registry, store: SharedStore) -> None:
    names = store.names(_FOLDER)
    content = store.read(names[-1]) if names else None
    if content is None:
        return
    with tempfile.TemporaryDirectory(prefix="almanac-registry-") as folder:
        path = Path(folder) / "registry.bundle"
        path.write_bytes(content)
        registry.follow(path)
