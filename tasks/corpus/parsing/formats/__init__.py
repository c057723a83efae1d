"""One reader for each format: bytes to Markdown as the author's program shows it, hidden parts left out and counted."""

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tasks.corpus.parsing.formats.reading import Reading

READERS_VERSION = "8"
"""Raise it when a reader changes what it returns, so that documents are parsed anew."""


_READERS = {
    ".docx": ("office.word", "read_word"),
    ".eml": ("mail", "read_mail"),
    ".epub": ("epub", "read_epub"),
    ".fb2": ("fiction_book", "read_fiction_book"),
    ".htm": ("html", "read_html"),
    ".html": ("html", "read_html"),
    ".ipynb": ("notebook", "read_notebook"),
    ".markdown": ("markdown_reader", "read_markdown"),
    ".md": ("markdown_reader", "read_markdown"),
    ".mdx": ("markdown_reader", "read_mdx"),
    ".odt": ("open_document", "read_open_document"),
    ".org": ("org", "read_org"),
    ".pptx": ("office.powerpoint", "read_powerpoint"),
    ".xhtml": ("html", "read_html"),
    ".xls": ("office.excel_97", "read_excel_97"),
    ".xlsx": ("office.excel", "read_excel"),
}


def reader_of(ending: str) -> "Callable[[bytes], Reading] | None":
    """Return the reader of a file ending; None: kreuzberg reads it."""
    if ending not in _READERS:
        return None
    module, name = _READERS[ending]
    reader: Callable[[bytes], Reading] = getattr(import_module(f"{__name__}.{module}"), name)
    return reader
