"""Rules that make text safe to index: composed Unicode, no control, bidirectional or invisible characters."""

import re
import unicodedata

CLEANING_RULES = "3"
"""Raise it when a rule changes, so that documents are parsed anew."""

_EMOJI = "\u00a9\u00ae\u203c-\u3299\ufe0f\U0001f000-\U0001faff"
_JOINING_SCRIPTS = "\u0600-\u0dff\u1000-\u109f\u1780-\u18af\ufb50-\ufdcf\ufe70-\ufefc"
_SELECTORS = "\ufe00-\ufe0f\U000e0100-\U000e01ef"
_FLAGS = "|".join("".join(chr(0xE0000 + ord(letter)) for letter in code) for code in ("gbeng", "gbsct", "gbwls"))

_NEWLINES = re.compile("\r\n?|[\x0b\x0c\x85\u2028\u2029]")
_CONTROLS = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\xad\ufdd0-\ufdef\ufff9-\ufffb\ufffe\uffff]")
_ODD = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u2028\u2029\ufdd0-\ufdef\ufff9-\ufffb\ufffe\uffff]")
"""All that the two above change: one scan instead of two for the text that has none of it."""
_SURROGATES = re.compile("[\ud800-\udfff]")
_SUSPECT = re.compile(f"[\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff\U000e0000-\U000e007f{_SELECTORS}]")
_HIDDEN = re.compile(
    f"(?P<flag>\U0001f3f4(?:{_FLAGS})\U000e007f)"
    f"|(?P<joined>(?<=[{_EMOJI}])\u200d(?=[{_EMOJI}])|(?<=[{_JOINING_SCRIPTS}])[\u200c\u200d])"
    f"|[\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff\U000e0000-\U000e007f]"
    f"|(?<=[{_SELECTORS}])[{_SELECTORS}]"
)
"""Kept: a joiner inside an emoji or after a letter of a joining script (Persian and Hindi need it), the three flags
made of tags, one variation selector. All else here is invisible and can hide instructions from a person."""


def clean(text: str) -> tuple[str, int]:
    """Return the text in NFC, with line feeds, without control and hidden characters, and how many were hidden.

    Lone surrogates become U+FFFD, which stays visible for the gate.
    """
    if _ODD.search(text):
        text = _CONTROLS.sub("", _NEWLINES.sub("\n", text))
    num_hidden = 0
    if not text.isascii():
        text = _SURROGATES.sub("\ufffd", text)
        if _SUSPECT.search(text):
            text, num_hidden = _without_hidden(text)
        text = unicodedata.normalize("NFC", text)
    return text.strip("\n").rstrip(), num_hidden


def as_line_feeds(text: str) -> str:
    """Return the text with every line end (CR, CRLF, form feed, NEL …) as a line feed, as `clean` has it."""
    return _NEWLINES.sub("\n", text) if _NEWLINES.search(text) else text


def clean_line(text: str) -> str:
    """Return one clean line, for titles and metadata values."""
    if text.isascii() and text.isprintable():
        return " ".join(text.split())
    return " ".join(clean(text)[0].split())


def _without_hidden(text: str) -> tuple[str, int]:
    num_hidden = 0

    def replace(match: re.Match[str]) -> str:
        nonlocal num_hidden
        if match.lastgroup:
            return match.group()
        num_hidden += 1
        return ""

    return _HIDDEN.sub(replace, text), num_hidden
