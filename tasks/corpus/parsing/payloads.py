"""Pictures that a Markdown text carries inside itself: their words stay, their bytes go.

Converters and note-taking programs write `![alt](data:image/png;base64,…)`: 60 kB of it make some two hundred
chunks that nobody can read.
"""

import re

_DATA = r"data:[\w/+.-]{1,80}(?:;[\w=.-]{1,40}){0,4};base64,[A-Za-z0-9+/=_%\s-]{0,}?"
_PICTURE = re.compile(rf"!\[(?P<alt>[^\]\n]{{0,500}})\]\(\s*<?{_DATA}>?(?:\s+[\"'][^\"'\n]{{0,300}}[\"'])?\s*\)")
_DEFINITION = re.compile(rf"^ {{0,3}}\[[^\]\n]{{1,100}}\]:[ \t]*<?{_DATA.replace(chr(92) + 's', '')}>?[ \t]*$\n?", re.M)
_OTHER = re.compile(r"(data:[\w/+.-]{1,80}(?:;[\w=.-]{1,40}){0,4};base64,)[A-Za-z0-9+/=_-]{40,}")


def without_payloads(text: str) -> str:
    """Return the text without the bytes of pictures and other data addresses; a picture leaves its alternative text."""
    if ";base64," not in text:
        return text
    text = _PICTURE.sub(lambda match: match["alt"], text)
    return _OTHER.sub(r"\1", _DEFINITION.sub("", text))
