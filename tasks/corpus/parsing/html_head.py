"""The title of an HTML page, apart from its text: kreuzberg 4.10 writes what the head says as a block into the text.

For instance `<title>T &amp;amp; C</title>` becomes the heading `## title: T &amp;amp; C` above the page's own `# Pump`.
"""

import re
from html import unescape

_HEAD_WITHIN = 200_000
_TITLE = re.compile(r"<title\b[^>]{0,500}>(?P<title>[^<]{0,5000})</title\s*>", re.IGNORECASE)
_HEAD_ENTRY = re.compile(r"<(?:meta|link|base)\b[^>]{0,5000}>", re.IGNORECASE)
_BODY = re.compile(r"<body\b", re.IGNORECASE)


def split_head(page: str) -> tuple[str, str]:
    """Return the page without title, meta, link and base of its head, and the title as a browser shows it."""
    body = _BODY.search(page, 0, _HEAD_WITHIN)
    end = body.start() if body else min(len(page), _HEAD_WITHIN)
    head, rest = page[:end], page[end:]
    match = _TITLE.search(head)
    title = " ".join(unescape(match["title"]).split()) if match else ""
    if match:
        head = head[: match.start()] + head[match.end() :]
    return _HEAD_ENTRY.sub("", head) + rest, title
