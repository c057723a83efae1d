"""The tenant of this process: a name that parts what several installations keep on the same servers.

A process serves one tenant from its start to its end, and names are needed where no settings are at hand, so the
environment says it here; `Settings.tenant` checks the same variable.
"""

import os
import re

VARIABLE = "ALMANAC_TENANT"
TENANT = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?")


def of_tenant(name: str) -> str:
    """Return what is this tenant's own under a name that all have on a server; without a tenant the name as it is.

    For instance `almanac-index` as `almanac-acme-index`, `almanac` as `almanac-acme`, `weekly` as `acme-weekly`.
    """
    tenant = os.environ.get(VARIABLE)
    if not tenant:
        return name
    platform, dash, rest = name.partition("-")
    return f"{platform}-{tenant}{dash}{rest}" if platform == "almanac" else f"{tenant}-{name}"


def is_own(name: str) -> bool:
    """Return whether what has this name on a shared server is no other tenant's.

    Names of the platform end in one word: `almanac-acme-index` is of the tenant `acme`, `almanac-index` of none. Behind
    a dot stands a knowledge base: no tenant's name holds one.
    """
    first = name.partition(".")[0].rpartition("-")[0]
    if os.environ.get(VARIABLE):
        return first == of_tenant("almanac")
    return first == "almanac" or not name.startswith("almanac-")
