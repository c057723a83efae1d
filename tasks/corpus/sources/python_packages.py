"""The READMEs of the distributions installed beside Almanac.

The listing reads folder names and file stamps only: parsing 300 METADATA files costs more than a whole unchanged scan.
"""

import email
import email.policy
import hashlib
import os
import re
import sys
from collections.abc import Iterator
from email.message import Message
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from tasks.corpus.document import Item
from tasks.corpus.parsing.decode import decode_text
from tasks.corpus.sources.reader import RawItem
from tasks.errors import DependencyError, ParseError
from tasks.params.sources import PythonPackagesSource

_METADATA_FILES = {".dist-info": "METADATA", ".egg-info": "PKG-INFO"}
_ENDINGS = {"text/markdown": "md", "text/x-rst": "rst", "text/plain": "txt"}
_RST_SIGNS = re.compile(r"^(\.\. [\w|_-]|[=~^*+#\"'-]{4,}\s*$)|`_(?!_)\B|:\w+:`|::\s*$", re.MULTILINE)
OPENING_CHARACTERS = 300
"""Of a description: a summary that it says within these is not said twice."""


class PythonPackagesReader:
    """Lists distributions by the normalised name; the first on the path wins, as it does for `import`."""

    def __init__(self, source: PythonPackagesSource, *, paths: list[str] | None = None) -> None:
        self._source = source
        self._paths = sys.path if paths is None else paths

    def scan(self) -> Iterator[Item]:
        """List the installed distributions in name order.

        Raises:
            DependencyError: no distribution is found at all.
        """
        installed = self._installed()
        if not installed:
            raise DependencyError(
                "the Python path must hold installed distributions, found none; run Almanac in its virtual environment"
            )
        for key in sorted(installed):
            if not any(fnmatchcase(key, glob) for glob in self._source.exclude):
                yield self._item(key, *installed[key])

    def _installed(self) -> dict[str, tuple[str, os.stat_result, str]]:
        # An .egg-info lies in a project folder, which is on the path of some commands only: a .dist-info wins.
        readmes: dict[str, tuple[str, os.stat_result, str]] = {}
        for suffix, file_name in _METADATA_FILES.items():
            for folder in self._paths:
                for key, version, path in _distributions(folder or ".", suffix, file_name):
                    if key not in readmes and (stat := _regular_file(path)):
                        readmes[key] = (version, stat, path)
        return readmes

    def _item(self, key: str, version: str, stat: os.stat_result, path: str) -> Item:
        return Item(
            source=self._source.name,
            key=key,
            fingerprint=f"{version} {stat.st_size} {stat.st_mtime_ns}",
            size_bytes=stat.st_size,
            uri=f"https://pypi.org/project/{key}/",
            locator=path,
        )

    def raw_hash(self, item: Item) -> str:
        """Return sha256 of the METADATA file."""
        return hashlib.sha256(_read(item)).hexdigest()

    def fetch(self, item: Item) -> RawItem:
        """Return the long description under the summary, as a package's page shows both, named by its content type.

        Raises:
            ParseError: `empty`: neither a description nor a summary; `damaged`: METADATA can't be read.
        """
        data = _read(item)
        message = email.message_from_string(decode_text(data), policy=email.policy.compat32)
        summary = _header(message, "Summary")
        description = _description(message)
        text = _under_summary(summary, description)
        if not text:
            raise ParseError("empty", f"the package {item.key} must have a description or a summary, found neither")
        overrides: dict[str, Any] = {
            "title": _header(message, "Name") or item.key,
            "metadata": {"version": _header(message, "Version"), "summary": summary},
        }
        return RawItem(
            text.encode(), _readme_name(message, description or summary), overrides, hashlib.sha256(data).hexdigest()
        )


def _distributions(folder: str, suffix: str, file_name: str) -> Iterator[tuple[str, str, str]]:
    try:
        names = sorted(os.listdir(folder))  # noqa: PTH208 (names only: a Path each doubles the scan)
    except OSError:  # the Python path may name folders and archives that do not exist
        return
    for name in names:
        if name.endswith(suffix):
            distribution, _, version = name.removesuffix(suffix).partition("-")
            key = re.sub(r"[-_.]+", "-", distribution).lower()
            yield key, version, os.path.join(folder, name, file_name)  # noqa: PTH118 (a Path each doubles the scan)


def _regular_file(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)  # noqa: PTH116
    except OSError:  # an interrupted pip leaves folders without METADATA
        return None


def _read(item: Item) -> bytes:
    try:
        return Path(item.locator).read_bytes()
    except OSError as error:
        raise ParseError(
            "damaged", f"the METADATA of {item.key} must be readable, found {error.strerror}; reinstall the package"
        ) from error


def _header(message: Message, name: str) -> str:
    value = " ".join(str(message.get(name) or "").split())
    return "" if value == "UNKNOWN" else value


def _description(message: Message) -> str:
    payload = str(message.get_payload()).strip()
    text = payload or re.sub(r"\n(?: {8}| {7}\|)", "\n", str(message.get("Description") or "")).strip()
    return "" if text == "UNKNOWN" else text


def _under_summary(summary: str, description: str) -> str:
    """The description under the tagline that says what the package is, unless its beginning says the same."""
    if not summary or not description:
        return summary or description
    tagline = summary.rstrip(".")
    beginning = " ".join(description[:OPENING_CHARACTERS].casefold().split())
    return description if tagline.casefold() in beginning else f"{tagline}\n\n{description}"


def _readme_name(message: Message, text: str) -> str:
    content_type = str(message.get("Description-Content-Type") or "").partition(";")[0].strip().lower()
    ending = _ENDINGS.get(content_type)
    if ending is None:
        ending = "rst" if _RST_SIGNS.search(text) else "txt"
    return f"README.{ending}"
