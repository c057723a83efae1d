"""Rules of a style guide, each looked up in a text: held, or not. Knows no model."""

import re
from collections.abc import Callable, Mapping

from tasks.answer.draft import draft_sentences, without_markers
from tasks.model.style.form import ITEM, form_tokens
from tasks.params.style import StyleRules

_CODE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]*`", re.DOTALL)
_SINGULAR = re.compile(r"\b(?:I|me|my|mine|myself)\b(?!\.)|\bI['\u2019]")
_PLURAL = re.compile(r"\b(?:we|us|our|ours|ourselves)\b", re.IGNORECASE)
_NOT_OUR_IZE = r"(?!(?:re|down|over|out)?siz|priz|seiz|capsiz|maize|assize)"
# Only words that differ in every sense: "practice", "program" and "meter" are right in both.
_AMERICAN = (
    rf"\b{_NOT_OUR_IZE}\w{{2,}}(?:iz|yz)(?:e[sdr]?|ers?|ing|ations?)\b",
    r"\b(?:col|hon|fav|lab|harb|neighb|behavi|flav|hum|rum|vap|endeav)or(?:able|hood|ite|master|s|ed|ing)?\b",
    r"\b(?:center|theater|fiber|liter|caliber)(?:s|ed)?\b",
    r"\b(?:travel|cancel|label|model|signal|fuel)(?:ed|ing|er|ers)\b",
    r"\b(?:gray|catalog|dialog|analog|defense|offense|pretense|fulfill|enroll|skillful|checkbook|plow)s?\b",
)
_BRITISH = (
    r"\b(?:organ|real|recogn|author|summar|minim|maxim|optim|priorit|categor|final|util|emphas|apolog|character|"
    r"initial|normal|special|standard|stabil|civil|custom)is(?:e[sdr]?|ers?|ing|ations?)\b|\b\w+lys(?:e[sdr]?|ing)\b",
    r"\b(?:col|hon|fav|lab|harb|neighb|behavi|flav|hum|rum|vap|endeav)our(?:able|hood|ite|master|s|ed|ing)?\b",
    r"\b(?:centre|theatre|fibre|litre|calibre)[sd]?\b",
    r"\b(?:travel|cancel|label|model|signal|fuel)l(?:ed|ing|er|ers)\b",
    r"\b(?:grey|catalogue|dialogue|analogue|defence|offence|pretence|fulfil|enrol|skilful|plough)s?\b",
)


def rule_names(rules: StyleRules) -> tuple[str, ...]:
    """Return the rules that are set."""
    return tuple(_checks(rules))


def held_rules(text: str, rules: StyleRules) -> dict[str, bool]:
    """Return whether a text holds each rule that is set; citations and code do not count."""
    bare = without_markers(_CODE.sub(" ", text)).strip()
    return {name: check(bare) for name, check in _checks(rules).items()}


def _checks(rules: StyleRules) -> Mapping[str, Callable[[str], bool]]:
    checks: dict[str, Callable[[str], bool]] = {}
    if rules.greeting is not None:
        checks["greeting"] = lambda text: bool(_phrase(rules.greeting or "").match(text))
    if rules.closing is not None:
        checks["closing"] = lambda text: bool(_phrase(rules.closing or "").search(_parts(text)[-1]))
    if rules.forbidden:
        checks["forbidden"] = lambda text: not any(_phrase(word).search(text) for word in rules.forbidden)
    if rules.max_sentence_words is not None:
        most = rules.max_sentence_words
        checks["max_sentence_words"] = lambda text: all(len(part.split()) <= most for part in _parts(text))
    if rules.first_person is not None:
        checks["first_person"] = lambda text: not any(each.search(text) for each in _forbidden_persons(rules))
    if rules.layout is not None:
        checks["layout"] = lambda text: (ITEM in form_tokens(text)) == (rules.layout == "list")
    if rules.spelling is not None:
        other = "|".join(_AMERICAN if rules.spelling == "british" else _BRITISH)
        checks["spelling"] = lambda text: not re.search(other, text, re.IGNORECASE)
    return checks


def _phrase(words: str) -> re.Pattern[str]:
    """Match a phrase as whole words; a sign, `!` for instance, wherever it stands."""
    first, last = (r"\b" if sign.isalnum() else "" for sign in (words[0], words[-1]))
    return re.compile(first + r"\s+".join(map(re.escape, words.split())) + last, re.IGNORECASE)


def _parts(text: str) -> list[str]:
    return [text[span.start : span.end] for span in draft_sentences(text)] or [text]


def _forbidden_persons(rules: StyleRules) -> tuple[re.Pattern[str], ...]:
    return {"never": (_SINGULAR, _PLURAL), "singular": (_PLURAL,), "plural": (_SINGULAR,)}[
        rules.first_person or "never"
    ]
