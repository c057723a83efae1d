"""The exceptions of Almanac, on one page.

Each message says what must hold, what was found, and what to do next. The class decides the exit code of the
command line: 1 failed, 2 usage or configuration, 3 refused by a gate or guard, 4 busy, 5 a dependency is down.
"""

import re

_PASSWORD = re.compile(r"(?<=://)([^/\s:@'\"]*):[^/\s'\"]+@")
HIDDEN = "***"


def without_passwords(text: str) -> str:
    """Return a text with `***` for the password of each address in it: `postgresql://almanac:***@db/mlflow`."""
    return _PASSWORD.sub(rf"\1:{HIDDEN}@", text) if "://" in text else text


class AlmanacError(Exception):
    """Base of every error that Almanac raises on purpose.

    Messages go to terminals, logs, Prefect and the quarantine: none holds the password of an address.
    """

    exit_code = 1

    def __init__(self, message: str = "") -> None:
        super().__init__(without_passwords(message))


class ConfigurationError(AlmanacError):
    """A parameter, a setting or an argument is not what it must be."""

    exit_code = 2


class GateError(AlmanacError):
    """A gate or a guard refused; nothing that serves has changed."""

    exit_code = 3


class BusyError(AlmanacError):
    """Another process holds the writer's lease."""

    exit_code = 4


class DependencyError(AlmanacError):
    """A system that this step needs (source, MLflow, disk, DVC remote) does not answer."""

    exit_code = 5


class UnavailableError(DependencyError):
    """What is asked for cannot be had on this machine: a file, a model, a newer format. Another machine may have it."""


class CorruptionError(AlmanacError):
    """Stored data is not what was written; the message names the remedy."""


class FormatError(AlmanacError):
    """A model did not write what the form that was asked for demands; asking for less, or with more room, may help."""


class ParseError(AlmanacError):
    """One item could not be turned into a document; it goes to quarantine with this reason.

    Attributes:
        code: a stable word: `empty`, `encrypted`, `damaged`, `type_mismatch`, `too_large`, `timeout`, `encoding`,
            `unsupported`, `partial`, `invalid_metadata`, `draft`.
        access: groups that the item says all the same; empty where it says them so that nobody can tell which;
            None where it says nothing or could not be read.
    """

    def __init__(self, code: str, message: str, *, access: tuple[str, ...] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.access = access
