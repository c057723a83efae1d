"""Questions made from a passage by rules, offline: each answer is a short span of the text. Formulas only.

The rules read English. They look for sentences that say one thing of one named subject, and pass over all others: few
good questions teach more than many odd ones. For other languages, set `examples.teacher`.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tasks.answer.sentences import sentences
from tasks.answer.words import terms
from tasks.index.passage import Passage
from tasks.model.examples.contamination import normalized_question

MAX_ANSWER_WORDS = 24
MAX_SENTENCE_CHARACTERS = 320
CLOZE = "cloze"


@dataclass(frozen=True, slots=True)
class SyntheticQuestion:
    """A question with an answer that stands in the passage, blanks folded.

    Attributes:
        how: name of the rule, or of the teacher's model.
    """

    question: str
    answer: str
    how: str


def make_questions(passage: Passage) -> list[SyntheticQuestion]:
    """Return the questions that the rules find in a passage, each once, in order of the rules, then of the text."""
    sound = [question for rule in _RULES for question in rule(passage) if _sound(question, passage)]
    once: dict[str, SyntheticQuestion] = {}
    for question in sound:
        once.setdefault(normalized_question(question.question), question)
    return list(once.values())


def folded(text: str) -> str:
    """Return runs of blanks as one blank."""
    return " ".join(text.split())


def holds_span(text: str, span: str) -> bool:
    """Return whether the words of a span stand in a text in a row; case and punctuation are ignored."""
    words = normalized_question(span)
    return bool(words) and f" {words} " in f" {normalized_question(text)} "


def _sound(question: SyntheticQuestion, passage: Passage) -> bool:
    """Return the span exists, adds to the question, and is no fragment with a bracket or quote left open."""
    answer = question.answer
    return (
        2 <= len(answer) <= 300
        and len(answer.split()) <= MAX_ANSWER_WORDS
        and answer in folded(passage.text)
        and not holds_span(question.question, answer)
        and bool(terms(answer).content - terms(question.question).content)
        and all(answer.count(opening) == answer.count(closing) for opening, closing in ("()", "[]", "{}"))
        and all(text.count(quote) % 2 == 0 for quote in '`"' for text in (answer, question.question))
        and not re.search(r"\*|\]\(|https?:|[:,;]$", answer)
    )


# --- sentences that rules may read ---

_UNCLEAR = re.compile(r"\]\(|!\[|\]\[|<[A-Za-z/!]|https?:|^\W*[|>#=]|\$\{|\\|[{}]|\.\.\.|…|:::")
_FENCE = re.compile(r"^\s*(?:```|~~~).*?^\s*(?:```|~~~)\s*$", re.MULTILINE | re.DOTALL)
_OPEN_FENCE = re.compile(r"^\s*(?:```|~~~)", re.MULTILINE)


def _statements(text: str) -> Iterator[str]:
    """Yield sentences and list items of plain prose, blanks folded, bold marks and the list's mark taken off."""
    for start, end in sentences(_without_code(text)):
        line_start = text.rfind("\n", 0, start) + 1
        sentence = folded(text[start:end])
        if text[line_start:start].isspace() and start - line_start >= 4:
            continue
        if 25 <= len(sentence) <= MAX_SENTENCE_CHARACTERS and not _UNCLEAR.search(sentence):
            yield re.sub(r"^(?:[-*+]|\d{1,2}[.)]) ", "", sentence)


def _without_code(text: str) -> str:
    """Return the text with code blanked out, every other character at its place."""
    blanked = _FENCE.sub(lambda match: re.sub(r"[^\n]", " ", match.group()), text)
    left_open = _OPEN_FENCE.search(blanked)
    if left_open is None:
        return blanked
    head = blanked[: left_open.start()]
    return head + re.sub(r"[^\n]", " ", blanked[left_open.start() :])


# --- subjects and answers ---

_IDENTIFIER = r"`[^`\n]{2,48}`"
_NOT_A_SUBJECT = re.compile(
    r"^(?:this|that|these|those|it|its|they|he|she|we|you|i|there|here|what|which|who|when|where|why|how|if|all|each|"
    r"every|some|any|both|most|many|such|another|other|others|one|note|also|please|for|in|on|at|by|with|from|to|as|but|and|or|so|"
    r"then|thus|however|because|since|while|although|once|only|our|your|their|first|second|third|finally|currently|"
    r"see|let|let's|not|no|now|today|example|examples|below|above|following|same|default|result|goal|idea|reason)\b",
    re.IGNORECASE,
)
_INNER_VERB = re.compile(
    r"[,;:()]|\b(?:is|are|was|were|has|have|can|will|may|must|should|does|do|did|that|which|now|also|only|currently|"
    r"always|never|often|usually|typically|correctly|no longer|by|who)\b|^\w+ing\b",
    re.IGNORECASE,
)
_CLAUSE_END = re.compile(
    r"(?:,? (?:which|where|whereas|but|so that|because|although|while|unless|e\.g\.|i\.e\.)\b|"
    r"; | [\u2014\u2013-]{1,2} |: |"
    r", (?:and|or|so|as|then|it|we|you|they|this|with|making|allowing|using|like|such|including|if|when|typically|"
    r"usually)\b|"
    r" and (?:is|are|was|were|has|have|can|will|may|returns?|does|do|it|then|this|you|we|makes?|adds?|raises?)\b).*$"
)


def _subject(text: str, title: str) -> str | None:
    """Return a subject that means something outside of its sentence: it is named, or says what it is; else None."""
    text = text.replace("*", "").strip()
    bare = re.sub(r"^(?:the|a|an) ", "", text, flags=re.IGNORECASE)
    if _NOT_A_SUBJECT.match(bare) or len(bare.split()) > 6 or _INNER_VERB.search(bare):
        return None
    named = (
        "`" in bare
        or normalized_question(title) in normalized_question(bare)
        or re.search(r"\d|[a-z][A-Z]|[A-Z]{2}|_", bare)
    )
    proper = all(word[:1].isupper() for word in bare.split() if len(word) > 3)
    if not (named or proper or (text != bare and len(bare.split()) >= 2)):
        return None
    return text if text == bare or text[0].islower() else text[0].lower() + text[1:]


def _clause(text: str, max_words: int = MAX_ANSWER_WORDS) -> str | None:
    """Return the beginning of a predicate up to the end of its clause; None where that is too long.

    For instance, "a cache of vectors, which a refresh fills, and returns them in order." gives "a cache of vectors":
    what follows the first relative clause, conjunction, colon or dash says something else.
    """
    clause = _CLAUSE_END.sub("", text).strip().rstrip(".!").strip()
    return clause if clause and len(clause.split()) <= max_words else None


def _asked(question: str, title: str) -> str:
    """Return the question with the document's short name, unless it says it already."""
    if not title or len(title.split()) > 3 or normalized_question(title) in normalized_question(question):
        return f"{question}?"
    return f"{question} in {title}?"


# --- rules: what one sentence says ---

Rule = Callable[[Passage], Iterator[SyntheticQuestion]]


def _of_statements(name: str, pattern: str, ask: Callable[[re.Match[str], str], tuple[str, str] | None]) -> Rule:
    """Return a rule that matches one statement and returns question (without its mark) and answer."""
    compiled = re.compile(pattern)

    def rule(passage: Passage) -> Iterator[SyntheticQuestion]:
        for statement in _statements(passage.text):
            match = compiled.match(statement)
            question = ask(match, passage.title) if match else None
            if question:
                yield SyntheticQuestion(_asked(question[0], passage.title), question[1], name)

    return rule


def _define(match: re.Match[str], title: str) -> tuple[str, str] | None:
    subject, answer = _subject(match["subject"], title), _clause(match["answer"])
    if subject is None or answer is None or len(answer.split()) < 3:
        return None
    return f"What {match['verb']} {subject}", answer


def _value(match: re.Match[str], title: str) -> tuple[str, str] | None:
    answer = _clause(match["answer"], 10)
    subject = _subject(f"the {match['subject']}", title)
    return (f"What {match['verb']} {subject}", answer) if answer and subject else None


def _default(match: re.Match[str], _title: str) -> tuple[str, str] | None:
    answer = _clause(match["answer"], 8)
    return (f"What does {match['subject']} default to", answer) if answer else None


_NO_PARTICIPLE = frozenset(
    {"open", "often", "then", "even", "when", "need", "red", "different", "dependent", "present"}
)


def _passive(match: re.Match[str], title: str) -> tuple[str, str] | None:
    subject, answer = _subject(match["subject"], title), _clause(match["answer"], 12)
    verb, preposition = match["verb"], match["preposition"]
    # "designed to be" and "used to produce" go on with a verb.
    infinitive = preposition == "to" and not re.match(
        r"(?:the|a|an|any|all|each|its|your)\b|[`\"'A-Z\d]", match["answer"]
    )
    if subject is None or answer is None or infinitive or verb in _NO_PARTICIPLE:
        return None
    auxiliary, _, be = match["auxiliary"].partition(" ")
    rest = " ".join(filter(None, (subject, be, verb)))
    if preposition in ("in", "on") and re.match(r"(?:[A-Z][a-z]+ )?(?:1[5-9]|20)\d\d\b", answer):
        return f"When {auxiliary} {rest}", answer
    return f"What {auxiliary} {rest} {preposition}", answer


_BASE = {
    "requires": "require",
    "supports": "support",
    "needs": "need",
    "uses": "use",
    "provides": "provide",
    "includes": "include",
    "replaces": "replace",
    "implements": "implement",
    "contains": "contain",
    "extends": "extend",
    "wraps": "wrap",
    "follows": "follow",
    "offers": "offer",
    "depends on": "depend on",
    "relies on": "rely on",
    "raises": "raise",
    "returns": "return",
    "accepts": "accept",
    "takes": "take",
}


def _transitive(match: re.Match[str], title: str) -> tuple[str, str] | None:
    subject, answer = _subject(match["subject"], title), _clause(match["answer"], 16)
    if subject is None or answer is None:
        return None
    return f"What does {subject} {_BASE[match['verb']]}", answer


def _purpose(match: re.Match[str], _title: str) -> tuple[str, str] | None:
    answer = _clause(match["answer"])
    return (f"What does {match['subject']} do", answer) if answer and len(answer.split()) >= 3 else None


def _item(match: re.Match[str], _title: str) -> tuple[str, str] | None:
    answer = _clause(re.split(r"(?<=[.!])\s", match["answer"])[0])
    return (f"What is {match['subject']} for", answer) if answer and len(answer.split()) >= 3 else None


_DETERMINED = r"(?P<subject>(?:The |A |An )?[\w`*][\w .+\-/`*@]{1,60}?)"
_VERBS = (
    "returns|raises|sets|creates|writes|reads|loads|saves|runs|starts|stops|enables|disables|specifies|controls|defines|"
    "provides|allows|lets|makes|converts|checks|computes|generates|parses|validates|deletes|removes|adds|registers|"
    "prints|shows|lists|opens|closes|holds|means|tells|determines|configures|sends|wraps|accepts|takes|stores|yields"
)

_SENTENCE_RULES: tuple[Rule, ...] = (
    _of_statements("default", rf"(?:The )?(?P<subject>{_IDENTIFIER}) defaults? to (?P<answer>.+)$", _default),
    _of_statements(
        "purpose",
        rf"(?:The )?(?P<subject>{_IDENTIFIER})(?: \w+){{0,2}}? (?P<answer>(?:{_VERBS}) .+)$",
        _purpose,
    ),
    _of_statements(
        "item",
        rf"\**(?P<subject>{_IDENTIFIER})\**(?: ?\([^()]*\))? ?(?::|-|\u2013|\u2014) (?P<answer>[A-Za-z].+)$",
        _item,
    ),
    _of_statements("definition", rf"{_DETERMINED} (?P<verb>is|are) (?P<answer>(?:a|an|the) .+)$", _define),
    _of_statements(
        "transitive",
        rf"{_DETERMINED} (?P<verb>{'|'.join(_BASE)}) "
        r"(?P<answer>(?!(?:to|that|for|you|your|in|on|by|at|as|it|this|up|out|into|from)\b)\S.+)$",
        _transitive,
    ),
    _of_statements(
        "passive",
        rf"{_DETERMINED} (?P<auxiliary>is|are|was|were|can be|must be|should be|will be) "
        r"(?P<verb>\w+(?:ed|en|lt|wn|pt|ught)) (?P<preposition>by|in|under|with|to|from|on|at|through|via|as|into|for) "
        r"(?P<answer>(?!(?:this|that|these|those|it|them|favou?r|mind|use|order|addition)\b)\S.+)$",
        _passive,
    ),
    _of_statements(
        "value",
        r"The (?P<subject>[\w` -]{6,60}?) (?P<verb>is|are|was|were) (?P<answer>(?:[\d`\"'A-Z]|about |at least ).*)$",
        _value,
    ),
)


# --- rules: headings, commands, gaps ---

_HEADING = re.compile(
    r"^#{1,6} +(?P<heading>[^\n#]+?)[ #]*\n+(?P<body>[^\n#`|<>!\[*-][^\n]*(?:\n[^\n#`|<>!\[*-][^\n]*)*)", re.M
)


def _heading(passage: Passage) -> Iterator[SyntheticQuestion]:
    """Yield a heading that asks, answered by the first sentence below it."""
    for match in _HEADING.finditer(_without_code(passage.text)):
        heading = folded(match["heading"].replace("**", "").replace("`", ""))
        first = next(iter(_statements(match["body"])), None)
        answer = _clause(first) if first else None
        how_to = re.fullmatch(r"how to (.{4,60})", heading, re.IGNORECASE)
        if answer is None or not (
            how_to or re.fullmatch(r"(?:what|how|why|when|where|who|can|does|is)\b.{8,80}\?", heading, re.I)
        ):
            continue
        if re.search(r"\b(?:it|this|that)\b", heading, re.IGNORECASE) or answer.endswith("?"):
            continue
        question = f"How do I {how_to[1][0].lower()}{how_to[1][1:]}" if how_to else heading.rstrip("?")
        yield SyntheticQuestion(_asked(question, passage.title), answer, "heading")


_COMMAND = re.compile(
    r"^[ \t]*(?:[$>%] |[-*] `|`)?(?P<command>(?:python3? -m )?"
    r"(?P<tool>pip|pip3|conda|mamba|uv|poetry|pipx|npm|brew|apt|apt-get|dnf)"
    r" (?:pip )?(?:install|add|tool install)(?: (?!#)[^\s`#&|;\\]+){1,5})[ \t`]*$",
    re.MULTILINE,
)


def _install(passage: Passage) -> Iterator[SyntheticQuestion]:
    """Yield commands that install what the document is about."""
    name = passage.title
    if not name or len(name.split()) > 2:
        return
    for match in _COMMAND.finditer(passage.text):
        command, tool = match["command"].strip(), match["tool"]
        if name.casefold().replace("_", "-") not in command.casefold().replace("_", "-") or "<" in command:
            continue
        extra = re.search(r"\[([\w, -]+)\]", command)
        flag = re.search(r" (--?[a-z][\w-]+)", command)
        detail = f" with its {extra[1]} extra" if extra else f" with {tool} and {flag[1]}" if flag else f" with {tool}"
        yield SyntheticQuestion(f"How do I install {name}{detail}?", folded(command), "install")


_GAP = re.compile(
    r"(?<![\w.`/-])(?:(?:[A-Z][A-Za-z]+ )?v?\d+(?:\.\d+)+\+?|\d[\d,.]*(?: ?%| "
    r"(?:percent|seconds?|minutes?|hours?|days?|weeks?|"
    r"months?|years?|MB|GB|KB|ms|bytes|characters|tokens|times|lines|metres|meters|miles|km|kilometres|people|million|"
    r"billion))?|(?:two|three|four|five|six|seven|eight|nine|ten|twelve|twenty|thirty|forty|fifty|sixty|ninety|hundred)"
    r" [a-z]+|(?:1[5-9]|20)\d\d)(?![\w`/-])"
)
_NAME = re.compile(r"(?<=[a-z,] )[A-Z][\w.-]*[A-Za-z](?: (?:of |the |de )?[A-Z][\w-]+)*")


_CHANGE = re.compile(
    r"(?:add|drop|fix|remov|chang|updat|deprecat|improv|mov|renam|bump|mak|allow|support|switch|restor|revert|releas|"
    r"convert|avoid|us|depending|does|doesn|replac|implement|introduc|ensur|handl|correct|clean)(?:e?d|es?|s|ing|t|ped|ping)?\b",
    re.IGNORECASE,
)


def _cloze(passage: Passage) -> Iterator[SyntheticQuestion]:
    """Yield a statement with its number, version or name left out; the gap occurs once, so that the answer is certain.

    A line of a changelog ("Fixed …", "Dropped support …") says nothing without its release, and is passed over.
    """
    for statement in _statements(passage.text):
        if len(statement.split()) < 8 or not statement[0].isupper() or statement[-1] != "." or len(statement) > 200:
            continue
        if _CHANGE.match(statement) or "`" in statement:
            continue
        if _NOT_A_SUBJECT.match(statement) and not re.match(r"(?:in|on|at|by|from|for|the) ", statement, re.I):
            continue
        for pattern in (_GAP, _NAME):
            match = pattern.search(statement)
            if match and normalized_question(statement).count(normalized_question(match.group())) == 1:
                gapped = f"{statement[: match.start()]}____{statement[match.end() :]}"
                answer = match.group().rstrip(".,")
                yield SyntheticQuestion(f"What belongs in the gap: {gapped.replace('**', '')}", answer, CLOZE)
                break


_RULES: tuple[Rule, ...] = (_heading, _install, *_SENTENCE_RULES, _cloze)
