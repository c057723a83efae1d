"""Outputs that appear whole or not at all: written beside, then renamed."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tasks.errors import DependencyError


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a path beside `path`; on success it is flushed to disk and renamed to `path`, else it is removed.

    Raises:
        DependencyError: the disk refused (full, read-only); `path` is as it was.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield beside
        with beside.open("rb+") as stream:
            os.fsync(stream.fileno())
        beside.replace(path)
    except OSError as error:
        raise DependencyError(
            f"{path} must be writable, but the disk says: {error}; free space or correct ALMANAC_HOME, and run again"
        ) from error
    finally:
        with suppress(NotADirectoryError):
            beside.unlink(missing_ok=True)


def write_json(path: Path, content: Any) -> None:
    """Write JSON whole or not at all."""
    with whole_file(path) as beside:
        beside.write_text(json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")
