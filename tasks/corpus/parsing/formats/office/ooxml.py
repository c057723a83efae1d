"""The packages of Office Open XML: parts, relationships and safe XML, for Word, PowerPoint and Excel alike.

A part is parsed without entities, network and document types: nothing that a file says is fetched or expanded.
"""

import io
import posixpath
import zipfile
import zlib
from dataclasses import dataclass
from functools import cached_property
from typing import Self
from urllib.parse import unquote

from lxml import etree

from tasks.corpus.parsing.formats.reading import damaged

_RELATIONSHIPS = "{http://schemas.openxmlformats.org/package/2006/relationships}Relationship"
_STRICT = {
    b"http://purl.oclc.org/ooxml/wordprocessingml/main": b"http://schemas.openxmlformats.org/wordprocessingml/2006/main",
    b"http://purl.oclc.org/ooxml/spreadsheetml/main": b"http://schemas.openxmlformats.org/spreadsheetml/2006/main",
    b"http://purl.oclc.org/ooxml/presentationml/main": b"http://schemas.openxmlformats.org/presentationml/2006/main",
    b"http://purl.oclc.org/ooxml/drawingml/main": b"http://schemas.openxmlformats.org/drawingml/2006/main",
    b"http://purl.oclc.org/ooxml/drawingml/chart": b"http://schemas.openxmlformats.org/drawingml/2006/chart",
    b"http://purl.oclc.org/ooxml/officeDocument/math": b"http://schemas.openxmlformats.org/officeDocument/2006/math",
    b"http://purl.oclc.org/ooxml/officeDocument/relationships": (
        b"http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    ),
}
"""Namespaces of the strict variant, in which Office can save too."""
RELATIONSHIP = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}"
_CORE_TITLE = "{http://purl.org/dc/elements/1.1/}title"


def parse_xml(data: bytes) -> etree._Element:
    """Return the root of an XML text.

    Raises:
        ParseError: `damaged`.
    """
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, huge_tree=True, remove_comments=True, remove_pis=True
    )
    try:
        return etree.fromstring(data, parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        raise damaged(error) from error


@dataclass(frozen=True, slots=True)
class Relationship:
    """What a part points at: the end of its type (`image`, `hyperlink` …) and its target, a part's name or an URL."""

    kind: str
    target: str
    external: bool


class Package:
    """A zip of parts. Part names begin without a slash and are compared without regard to case."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        self._names = {name.replace("\\", "/").lstrip("/").lower(): name for name in archive.namelist()}
        self._relationships: dict[str, dict[str, Relationship]] = {}

    @classmethod
    def open(cls, data: bytes) -> Self:
        """Open the bytes of a file.

        Raises:
            ParseError: `damaged`.
        """
        try:
            return cls(zipfile.ZipFile(io.BytesIO(data)))
        except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
            raise damaged(error) from error

    def __contains__(self, name: str) -> bool:
        return self._name(name) is not None

    def _name(self, name: str) -> str | None:
        lowered = name.lower()
        return self._names.get(lowered) or self._names.get(unquote(lowered))

    def read(self, name: str) -> bytes:
        """Return the bytes of a part.

        Raises:
            ParseError: `damaged`.
        """
        entry = self._name(name)
        if entry is None:
            raise damaged(f"no part {name}")
        try:
            return self._archive.read(entry)
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError) as error:
            raise damaged(error) from error

    def xml(self, name: str) -> etree._Element:
        """Return the root of a part.

        Raises:
            ParseError: `damaged`.
        """
        return parse_xml(self.xml_bytes(name))

    def xml_bytes(self, name: str) -> bytes:
        """Return the bytes of a part of XML, the strict variant's namespaces as the usual ones.

        Raises:
            ParseError: `damaged`.
        """
        data = self.read(name)
        if b"purl.oclc.org/ooxml" in data[:8192]:
            for strict, transitional in _STRICT.items():
                data = data.replace(strict, transitional)
        return data

    def relationships(self, name: str) -> dict[str, Relationship]:
        """Return what a part ('' for the package itself) points at, by identifier."""
        if name not in self._relationships:
            folder, base = posixpath.split(name)
            part = posixpath.join(folder, "_rels", base + ".rels")
            elements = self.xml(part).iter(_RELATIONSHIPS) if part in self else ()
            self._relationships[name] = dict(_relationship(element, folder) for element in elements)
        return self._relationships[name]

    def target(self, name: str, kind: str) -> str | None:
        """Return the first part of a kind that a part points at."""
        for relationship in self.relationships(name).values():
            if relationship.kind == kind and not relationship.external and relationship.target in self:
                return relationship.target
        return None

    def main_part(self, usual: str) -> str:
        """Return the name of the main part, by the package's own relationship, else its usual name.

        Raises:
            ParseError: `damaged`: neither is there.
        """
        name = self.target("", "officeDocument") or (usual if usual in self else None)
        if name is None:
            raise damaged(f"no main part such as {usual}")
        return name

    @cached_property
    def title(self) -> str:
        """The title among the file's properties, or ''."""
        name = self.target("", "core-properties")
        text = self.xml(name).findtext(_CORE_TITLE) if name else None
        return " ".join((text or "").split())


def _relationship(element: etree._Element, folder: str) -> tuple[str, Relationship]:
    target = element.get("Target", "")
    external = element.get("TargetMode") == "External"
    if not external:
        target = posixpath.normpath(posixpath.join("/" + folder, target.replace("\\", "/"))).lstrip("/")
    return element.get("Id", ""), Relationship(element.get("Type", "").rpartition("/")[2], target, external)


def local_name(element: etree._Element) -> str:
    """Return an element's name without its namespace."""
    return str(element.tag).rpartition("}")[2]


def is_on(element: etree._Element | None, attribute: str) -> bool:
    """Return whether a switch is on: an element that is there is on, unless its value says otherwise."""
    return element is not None and element.get(attribute, "true").lower() not in {"0", "false", "off", "none"}
