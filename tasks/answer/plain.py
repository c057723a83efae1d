"""Plain text out of whatever a model copied from a document: no image, link or HTML reaches a reader's browser."""

import re
import unicodedata

_COMMENT = re.compile(r"<!--.*?(?:-->|$)", re.DOTALL)
_ACTIVE_ELEMENT = re.compile(r"<(script|style|iframe|object|svg)\b.*?(?:</\1\s*>|$)", re.DOTALL | re.IGNORECASE)
_TAG = re.compile(r"</?[A-Za-z!?][^<>]*(?:>|$)")
_IMAGE = re.compile(r"!\[[^\[\]]*\](?:\([^()]*(?:\([^()]*\)[^()]*)*\)|\[[^\[\]]*\])")
_LINK = re.compile(r"\[([^\[\]]*)\]\([^()]*(?:\([^()]*\)[^()]*)*\)")
_DEFINITION = re.compile(r"^\s{0,3}\[[^\]\n]+\]:\s*\S+.*$", re.MULTILINE)
_BLOCK_MARK = re.compile(r"^[ \t]*(?:#{1,6}[ \t]+|(?:```|~~~).*$|>[ \t]*)|\*\*", re.MULTILINE)
_SCHEME = re.compile(r"\b(?:[A-Za-z][A-Za-z0-9+.-]*:/+|(?:javascript|data|vbscript|mailto):)|\bwww\.", re.IGNORECASE)


def plain_text(text: str) -> str:
    """Reduce Markdown and HTML to text; an address keeps its name but loses its scheme, so that nothing links to it.

    Runs to a fixed point, since taking one construct out may leave another (`[![x](a)](b)`, `<scr<b>ipt>`).
    """
    text = "".join(char for char in text if char in "\n\t" or unicodedata.category(char) not in {"Cc", "Cf"})
    previous = None
    while text != previous:
        previous, text = text, _reduced(text)
    return text.strip()


def _reduced(text: str) -> str:
    for pattern in (_COMMENT, _ACTIVE_ELEMENT, _IMAGE, _DEFINITION, _TAG, _BLOCK_MARK):
        text = pattern.sub("", text)
    text = _LINK.sub(lambda match: f"[{match.group(1)}]" if match.group(1).isdigit() else match.group(1), text)
    # What was cut off in the middle must not become whole when it is joined to other text.
    return _SCHEME.sub("", text).replace("![", "[").replace("](", "] (")
