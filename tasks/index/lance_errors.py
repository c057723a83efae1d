"""What LanceDB raises, as errors of ours: it knows a damaged file, a full disk and a lost bucket as `RuntimeError`."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from tasks.errors import CorruptionError, DependencyError

REBUILD = "`almanac rollback index` to another release, or `almanac refresh --rebuild`"
_REFUSED = (
    "No space left",
    "Disk quota",
    "Permission denied",
    "Read-only file system",
    "Too many open files",
    "Generic S3 error",
    "error sending request",
)


@contextmanager
def lance_errors(what: str, remedy: str = REBUILD) -> Iterator[None]:
    """Run calls of LanceDB; as a decorator, for all of a function, but of no generator: that returns before it begins.

    Args:
        what: is read or written; begins the message.
        remedy: what to do when it is damaged.

    Raises:
        DependencyError: the disk or the object store refused.
        CorruptionError: it is not what was written.
    """
    try:
        yield
    except (OSError, RuntimeError, ValueError) as error:
        reason = first_line(error)
        if any(sign in str(error) for sign in _REFUSED):
            raise DependencyError(
                f"{what} must be readable and writable, found: {reason}; free space, or check the disk or the bucket, "
                "and run again"
            ) from error
        raise CorruptionError(f"{what} must be readable, found: {reason}; {remedy}") from error


def rows_of(query: Any, what: str = "the release that serves") -> list[Mapping[str, Any]]:
    """Return the rows of a query of LanceDB.

    Raises:
        DependencyError: the disk or the object store refused.
        CorruptionError: it is not what was written.
    """
    with lance_errors(what):
        rows: list[Mapping[str, Any]] = query.to_arrow().to_pylist()
    return rows


def num_rows_of(table: Any, what: str = "the release that serves") -> int:
    """Return how many rows a table has; errors as those of `rows_of`."""
    with lance_errors(what):
        return int(table.count_rows())


def first_line(error: BaseException) -> str:
    """Return the message of an error on one line, or its kind."""
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__
