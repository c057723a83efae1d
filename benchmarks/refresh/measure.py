"""Seconds and memory of what a benchmark runs."""

import resource
import time
from collections.abc import Callable
from typing import Any


def measured(action: Callable[[], int]) -> dict[str, Any]:
    """Return CPU and wall seconds of an action and what it returned; imports must be done before."""
    before, started = cpu_seconds(), time.monotonic()
    embedded = action()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "cpu": cpu_seconds() - before,
        "wall": time.monotonic() - started,
        "embedded": embedded,
        "peak_mb": peak,
    }


def cpu_seconds() -> float:
    """Return those of this process and its finished children."""
    parts = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(part.ru_utime + part.ru_stime for part in parts)
