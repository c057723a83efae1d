"""Whose a home and a store are: the first writer's tenant is kept there, and another one is refused."""

import json

from tasks.errors import ConfigurationError, CorruptionError
from tasks.files import write_json
from tasks.settings import Settings
from tasks.shared_store import SharedStore, open_shared_store

_OBJECT = "tenant.json"


def check_home(settings: Settings) -> None:
    """Refuse a home of another tenant.

    Raises:
        ConfigurationError: it is another's.
        CorruptionError: its record is damaged.
    """
    _require(settings, _owner_of_home(settings), f"the home {settings.layout.root}", "ALMANAC_HOME")


def check_store(settings: Settings) -> None:
    """Refuse a store of another tenant; without a store there is none.

    Raises:
        ConfigurationError: it is another's.
        DependencyError: it does not answer.
    """
    if store := open_shared_store(settings.shared_state):
        _require(settings, _owner_of_store(store), f"the store {store.address}", "ALMANAC_STORE")


def claim_home(settings: Settings) -> None:
    """Keep whose the home is, once.

    Raises:
        ConfigurationError: it is another's.
    """
    check_home(settings)
    path = settings.layout.tenant
    if not path.exists():
        write_json(path, {"tenant": settings.tenant or ""})


def claim_store(settings: Settings, store: SharedStore) -> None:
    """Keep whose the store is, once; of two first writers at once one wins.

    Raises:
        ConfigurationError: it is another's.
        DependencyError: it does not answer.
    """
    owner = _owner_of_store(store)
    content = json.dumps({"tenant": (settings.tenant or "") if owner is None else owner}).encode()
    if store.read(_OBJECT) is None:
        store.create(_OBJECT, content)
    _require(settings, _owner_of_store(store), f"the store {store.address}", "ALMANAC_STORE")


def _owner_of_home(settings: Settings) -> str | None:
    """Return whose it is; None: nobody's yet. One that was used before there were tenants has the empty name."""
    layout = settings.layout
    if layout.tenant.exists():
        return _parsed(layout.tenant.read_bytes(), str(layout.tenant))
    return "" if layout.releases.exists() or layout.registry.exists() else None


def _owner_of_store(store: SharedStore) -> str | None:
    content = store.read(_OBJECT)
    if content is not None:
        return _parsed(content, f"{store.address}/{_OBJECT}")
    return "" if store.names("lease/") else None


def _parsed(content: bytes, where: str) -> str:
    try:
        return str(json.loads(content)["tenant"])
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptionError(f"{where} must name a tenant, found {content[:80]!r}; restore or delete it") from error


def _require(settings: Settings, owner: str | None, place: str, variable: str) -> None:
    if owner is not None and owner != (settings.tenant or ""):
        raise ConfigurationError(
            f"{place} must be of {_called(settings.tenant)} to be used by it, found that of {_called(owner)}; "
            f"set {variable} to a place of its own, or correct ALMANAC_TENANT"
        )


def _called(tenant: str | None) -> str:
    return f"the tenant {tenant}" if tenant else "the installation without a tenant"
