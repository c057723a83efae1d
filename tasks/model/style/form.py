"""The form of a text without its subject: function words, punctuation, casing, layout, lengths.

Every other word is masked by its shape, so that a score over these tokens cannot be raised by copying content:

    "Moin. The quay opens at 8:30 [2]."  ->  <start> Xx . The xx at 9 . <end>

Function words are English. Texts in other languages keep their punctuation, casing, layout and lengths.
"""

import re
from itertools import groupby

import numpy as np
import numpy.typing as npt

from tasks.answer.draft import draft_sentences, without_markers

_FUNCTION_WORDS = """
    a about above after again against all almost already also although always am among an and another any anybody
    anyone anything are around as at away back be because been before behind being below beneath beside besides
    between beyond both but by can cannot could did do does doing done down during each either else enough even ever
    every everybody everyone everything except few first for from further had has have having he hello hence her here
    hers herself hi him himself his how however i if in indeed instead into is it its itself just kindly last least
    less let like likely many may maybe me might mine more moreover most much must my myself near neither never
    nevertheless next no nobody none nor not nothing now of off often ok okay on once one only onto or other others
    otherwise ought our ours ourselves out over own per perhaps please quite rather really same second see shall she
    should simply since so some somebody someone something sometimes soon sorry still such sure than thank thanks that
    the their theirs them themselves then there therefore these they third this those though through throughout thus
    till to together too toward towards under unless unlike until unto up upon us usually very via was we welcome well
    were what whatever when whenever where wherever whether which whichever while who whoever whole whom whose why
    will with within without would yes yet you your yours yourself yourselves
"""
FUNCTION_WORDS = frozenset(_FUNCTION_WORDS.split())
START, END, ITEM = "<start>", "<end>", "<item>"

_TOKEN = re.compile(
    r"(?P<item>^[ \t]*(?:[-*+\u2022]|\d{1,2}[.)])[ \t]+)|(?P<line>\n+)"
    r"|(?P<number>\d+(?:[.,:/\-]\d+)*)|(?P<word>[^\W\d_]+(?:['\u2019\-][^\W\d_]+)*)|(?P<sign>[^\w\s]|_)",
    re.MULTILINE,
)
_CONTRACTION = re.compile(r"\w['\u2019](?:s|t|re|ve|ll|d|m)\b", re.IGNORECASE)
_FIRST_PERSON = re.compile(r"\b(?:i|me|my|mine|we|us|our|ours)\b", re.IGNORECASE)
_SECOND_PERSON = re.compile(r"\b(?:you|your|yours)\b", re.IGNORECASE)

Values = npt.NDArray[np.float64]


def form_tokens(text: str) -> list[str]:
    """Return the tokens of a text's form; a run of masked words of one shape is one token, citations are none."""
    bare = without_markers(text)
    tokens = [START, *(_token(match) for match in _TOKEN.finditer(bare)), END]
    return [token for token, run in groupby(tokens) for _ in (range(1) if token in _MASKS else run)]


def _token(match: re.Match[str]) -> str:
    if match["item"]:
        return ITEM
    if match["line"]:
        return "<line>"
    if match["number"]:
        return "9"
    return _word(match["word"]) if match["word"] else match["sign"]


def _word(word: str) -> str:
    if word.replace("\u2019", "'").split("'")[0].casefold() in FUNCTION_WORDS:
        return word.replace("\u2019", "'")
    if word.isupper() and len(word) > 1:
        return "XX"
    return "Xx" if word[0].isupper() else "xx"


_MASKS = frozenset({"XX", "Xx", "xx", "9"})


def surface(text: str) -> Values:
    """Return what tokens do not say, shape (10,): lengths as logarithms, the rest as shares of sentences or words."""
    bare = without_markers(text)
    spans = draft_sentences(bare)
    parts = [bare[span.start : span.end] for span in spans] or [bare]
    lengths = [len(part.split()) for part in parts]
    words = max(sum(lengths), 1)
    return np.array(
        [
            np.log1p(words),
            np.log1p(len(parts)),
            np.log1p(np.mean(lengths)),
            np.log1p(max(lengths)),
            bare.count(",") / words,
            sum(part.rstrip().endswith("!") for part in parts) / len(parts),
            sum(part.rstrip().endswith("?") for part in parts) / len(parts),
            len(_CONTRACTION.findall(bare)) / words,
            len(_FIRST_PERSON.findall(bare)) / words,
            len(_SECOND_PERSON.findall(bare)) / words,
        ]
    )
