"""The document that a person means: by its id, its key or address, or a part of one of them."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tasks.errors import ConfigurationError

MAX_SUGGESTIONS = 10


@dataclass(frozen=True, slots=True)
class Name:
    """By what a document can be named."""

    document_id: str
    title: str
    uri: str

    @property
    def key(self) -> str:
        """Its key within its source."""
        return self.document_id.partition(":")[2]


def find_document(wanted: str, names: Mapping[str, Name]) -> Name:
    """Return the one document that is meant.

    Raises:
        ConfigurationError: none or several are; the message names those that come near.
    """
    matches = find_documents(wanted, names)
    if len(matches) == 1:
        return matches[0]
    if matches:
        raise ConfigurationError(
            f"`almanac show` needs one document, found {len(matches)} with {wanted!r}: {_listed(matches)}; name one"
        )
    near = [names[name] for name in _near(wanted, names)]
    raise ConfigurationError(
        f"a document must be named by its id, path, address or a part of one, found none with {wanted!r}; "
        + (f"did you mean {_listed(near)}?" if near else "`almanac plan` lists what the sources hold")
    )


def find_documents(wanted: str, names: Mapping[str, Name]) -> list[Name]:
    """Return the documents that may be meant: the one of that id, else those of that key or address, else of a part."""
    if wanted in names:
        return [names[wanted]]
    return _exact(wanted, names) or _within(wanted, names)


def _exact(wanted: str, names: Mapping[str, Name]) -> list[Name]:
    return [name for name in names.values() if wanted in {name.key, name.uri}]


def _within(wanted: str, names: Mapping[str, Name]) -> list[Name]:
    part = wanted.casefold()
    return [name for name in names.values() if part in f"{name.document_id}\n{name.uri}\n{name.title}".casefold()]


def _near(wanted: str, names: Mapping[str, Name]) -> list[str]:
    by_key = {name.key.casefold(): name.document_id for name in names.values()}
    return [by_key[key] for key in difflib.get_close_matches(wanted.casefold(), by_key, n=MAX_SUGGESTIONS, cutoff=0.5)]


def _listed(names: Sequence[Name]) -> str:
    shown = ", ".join(name.document_id for name in names[:MAX_SUGGESTIONS])
    return f"{shown} …" if len(names) > MAX_SUGGESTIONS else shown
