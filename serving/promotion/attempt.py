"""An attempt to load what an alias names, and whom its failure is to blame on."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from tasks.errors import AlmanacError, DependencyError
from tasks.releases.version import ReleaseVersion

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Attempt(Generic[T]):
    """An attempt to load an index or an answerer; where it fails, `unfit` is the version that is refused.

    Attributes:
        needs_promoter: whether somebody who may must have let that version serve; one that serves was looked at.
    """

    name: str
    load: Callable[[], T]
    unfit: ReleaseVersion | None = None
    needs_promoter: bool = True


def is_of_this_machine(error: Exception) -> bool:
    """Say whether this machine is to blame, not the version: it lacks a service, a file, a library, memory or room."""
    if isinstance(error, DependencyError | ImportError | MemoryError):
        return True
    return isinstance(error, OSError) and error.errno is not None


def one_line(error: BaseException) -> str:
    """Return what went wrong, in one line."""
    text = " ".join(str(error).split())[:400] or type(error).__name__
    return text if isinstance(error, AlmanacError) else f"{type(error).__name__}: {text}"
