"""One raw item to text, and what it says of itself: by the ending of its name, decoded, front matter apart.

Plain text, reStructuredText and Markdown that hides nothing are read in this process; all else in one that can be
killed.
"""

import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from tasks.corpus.parsing.decode import decode_html, decode_text
from tasks.corpus.parsing.extract import EXTRACTED, Extracted, Extractor
from tasks.corpus.parsing.formats.reading import Reading
from tasks.corpus.parsing.front_matter import (
    refuse_access_in_comments,
    refuse_access_in_page,
    refuse_unread_access,
    split_docinfo,
    split_front_matter,
    split_org_keywords,
)
from tasks.corpus.parsing.rst import rst_to_markdown
from tasks.corpus.sources import RawItem
from tasks.errors import ParseError
from tasks.params.sources import FilesSource, GitSource, RecordsSource, Source

MARKDOWN = frozenset({".md", ".markdown", ".mdx"})
PLAIN = frozenset({".txt", ".text"})
RST = ".rst"
WEB = frozenset({".html", ".htm", ".xhtml"})
_ORG = ".org"
_NOTEBOOK = ".ipynb"
_POINTER = re.compile(
    rb"(?:\xef\xbb\xbf)?(?:version https://(?:git-lfs|hawser)\.github\.com/spec/|/annex/objects/\S+\s*\Z)"
)
"""What Git LFS, or git-annex, keeps in place of a file that was not fetched."""
_MAY_HIDE = re.compile(
    r"<[!?]|\{\s*/\*|<\w[^<>]{0,2000}\b(?:hidden|style|color|bgcolor)\b"
    r"|<(?:style|script|template|noscript|noframes|title|dialog|datalist|video|audio|canvas|rp)\b"
    r"|^[ \t>*+\d.)-]{0,80}\[[^\]\n]{1,999}\]:",
    re.I | re.M,
)
"""What stands in Markdown of which a reader may not see all."""
_DECODED = MARKDOWN | PLAIN | WEB | {RST, _ORG, ".tex", ".csv", ".tsv"}
"""Text in which a block of front matter may stand before the format's own beginning."""
READABLE = frozenset({*MARKDOWN, *PLAIN, RST, *EXTRACTED})


def read_text(source: Source, raw: RawItem, extractor: Extractor) -> tuple[Mapping[str, Any], Extracted]:
    """Return what an item says of itself, and its text as Markdown with the title that its format carries.

    Raises:
        ParseError: the item can't be read, or who may read it is in doubt.
    """
    ending = ending_of(raw.name)
    if ending not in READABLE:
        raise ParseError(
            "unsupported",
            f"the file ending must be one that Almanac reads, found {ending or 'none'!r}; convert or exclude it",
        )
    if _POINTER.match(raw.data):
        raise ParseError(
            "damaged",
            "the file must be the document, found a pointer of Git LFS or git-annex; fetch it with `git lfs pull` or "
            "`git annex get`, or exclude it",
        )
    if ending not in _DECODED:
        return _extracted(source, extractor.extract(raw.data, ending), ending)
    said, text = _split(source, _decoded(raw.data, ending), ending)
    if ending in PLAIN or (ending in MARKDOWN and not _MAY_HIDE.search(text)):
        return said, Extracted(text.replace("\r\n", "\n"), "")
    if ending == RST:
        markdown, num_hidden = rst_to_markdown(text)
        return said, Extracted(markdown, "", Reading(markdown, num_hidden=num_hidden).metadata())
    return said, extractor.extract(text.encode("utf-8", "replace"), ending)


def said_of(source: Source, raw: RawItem) -> Mapping[str, Any]:
    """Return what an item says of itself, as far as its bytes can be read as text at all.

    Raises:
        ParseError: who may read it is in doubt, or nothing can be told.
    """
    ending = ending_of(raw.name)
    if ending not in _DECODED:
        return {}
    try:
        text = _decoded(raw.data, ending)
    except ParseError as error:
        if error.code != "encoding":
            raise
        text = raw.data.decode("utf-8", "replace")  # the block is mostly ASCII, whatever is wrong behind it
    return _split(source, text, ending)[0]


def ending_of(name: str) -> str:
    """Return the ending of a file name, in small letters, with its dot."""
    return PurePosixPath(name.lower()).suffix


def _decoded(data: bytes, ending: str) -> str:
    return decode_html(data) if ending in WEB else decode_text(data)


def _split(source: Source, text: str, ending: str) -> tuple[Mapping[str, Any], str]:
    if not _has_front_matter(source):
        return {}, text
    said, text = split_front_matter(text)
    if ending in WEB:
        refuse_access_in_page(text)
    elif ending not in MARKDOWN | PLAIN:
        refuse_access_in_comments(text)
    if not said and ending == _ORG:
        return split_org_keywords(text)
    if not said and ending == RST:
        return split_docinfo(text)
    return said, text


def _extracted(source: Source, extracted: Extracted, ending: str) -> tuple[Mapping[str, Any], Extracted]:
    """A notebook may begin with a cell of front matter; in another format such a block is not read, and so refused."""
    if not _has_front_matter(source):
        return {}, extracted
    if ending == _NOTEBOOK:
        said, text = split_front_matter(extracted.text)
        return said, Extracted(text, extracted.title, extracted.metadata)
    refuse_unread_access(extracted.text)
    return {}, extracted


def _has_front_matter(source: Source) -> bool:
    """Files have it by custom; a feed must say so; a package's author does not set our access groups."""
    return isinstance(source, FilesSource | GitSource) or (isinstance(source, RecordsSource) and source.front_matter)
