"""What anybody may know of what serves: versions and times, no reason (paths and addresses stand in those)."""

from collections.abc import Mapping
from typing import Any

_PUBLIC = {
    "index": ("version", "release", "created_at", "since"),
    "answerer": ("version", "since"),
    "challenger": ("version", "since", "share"),
    "mlflow": ("reachable", "asked_at"),
}


def public_status(status: Mapping[str, Any]) -> dict[str, Any]:
    """What anybody may know of what serves: versions and times, no reason (paths and addresses stand in those)."""
    blocks = {
        name: {field: value for field, value in (status.get(name) or {}).items() if field in fields} or None
        for name, fields in _PUBLIC.items()
    }
    return {"ready": bool(status["ready"]), "degraded": bool(status.get("degraded"))} | blocks
