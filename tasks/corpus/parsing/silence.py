"""Keep a library from writing many lines about a damaged file: the reply is one."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def silent_logging() -> Iterator[None]:
    """Let nothing be logged inside, by anybody in this process."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)
