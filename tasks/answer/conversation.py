"""A follow-up as a question of its own: rewritten by the model where there is one, by rules where not.

By rules, `How do I install it?` behind `What does tenacity do?` is searched as `How do I install it? (tenacity)`. A
model writes `How do I install tenacity?`; its sentence is taken only where it is made of the asker's words. In both
ways only the asker speaks in a question, never an answer, and so never a document.
"""

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from tasks.answer.words import NEGATIONS, STOP_WORDS, rare_terms, stem, vocabulary
from tasks.errors import AlmanacError

MAX_SUBJECT_WORDS = 12
"""More words of earlier questions would outweigh the last one in the search."""
MAX_ELLIPSIS_WORDS = 2
MAX_FRAGMENT_WORDS = 4
MAX_REWRITE_TOKENS = 64
MAX_REWRITE_CHARACTERS = 300

_WORD = re.compile(r"\w+(?:[.\-_/:+#]+\w+)*")
_PRONOUN = re.compile(
    r"\b(?:it|its|they|them|their|theirs|this|these|those|he|him|his|she|her|hers|(?:that|the other|which) ones?"
    r"|the (?:latter|former|same|other))\b|\bthat\b(?=\W*$|\s+(?:mean|work|happen|help|include|require|affect)s?\b)",
    re.IGNORECASE,
)
_EXPLETIVE = re.compile(
    # "is it possible to limit requests": nothing is meant by "it". "is it safe to use in production": something is.
    r"\bit (?:\w+ )?(?:possible|necessary|safe|true|ok|okay|allowed|better|best|easy|hard|enough|recommended|required)"
    r"(?: for \w+)?(?: that\b"
    r"| to \w+ (?!(?:in|on|with|from|at|for|by|as|when|while|after|before|again|and|or|it)\b)\w)",
    re.IGNORECASE,
)
_CONTINUES = re.compile(
    r"\W*(?:and|but|or|also|then|so|otherwise|what about|how about|what if|same (?:for|with)|instead)\b", re.IGNORECASE
)
_PREPOSITION = re.compile(r"\W*(?:in|on|for|with|without|under|from|as|even|only|except)\b", re.IGNORECASE)
_DEFINITE = re.compile(r"\bthe\b", re.IGNORECASE)
_REQUEST_WORDS = """
    code continue detail detailed details elaborate exactly example examples explain further give longer mean please
    sample shorter show simpler snippet step steps summarize summary tell
"""
_REQUESTS = frozenset(_REQUEST_WORDS.split())
"""What one asks of an answer, not of a document."""
_CHOICE_WORDS = frozenset({"mean", "meant", "one", "choose", "first", "package"})
MAX_CHOICE_WORDS = 2
_COURTESY = re.compile(
    r"\W*(?:(?:ok(?:ay)?|great|perfect|cool|nice|good|fine|thanks|thank you|thx|cheers|got it|i see|awesome|hello|hi"
    r"|hey|good (?:morning|afternoon|evening)|bye|goodbye|yes|no|very much|so much|a lot|all|that help(?:s|ed))\b\W*)+",
    re.IGNORECASE,
)

logger = logging.getLogger(__name__)


class Writer(Protocol):
    """What rewrites: the text of one short completion."""

    def __call__(self, messages: Sequence[Mapping[str, str]], *, max_new_tokens: int) -> str:
        """Return what the model writes behind the messages."""


@dataclass(frozen=True, slots=True)
class Turn:
    """The last question of a conversation.

    Attributes:
        question: as it was asked.
        subject: words of earlier questions that it leans on; empty where it stands alone.
        earlier: the questions before it, oldest first, where it may lean on them.
        rewritten: the question as a model made it stand alone.
    """

    question: str
    subject: tuple[str, ...] = ()
    earlier: tuple[str, ...] = ()
    rewritten: str | None = None

    @property
    def is_courtesy(self) -> bool:
        """Whether nothing is asked: a greeting, thanks."""
        return bool(_COURTESY.fullmatch(self.question))

    def searched(self) -> str:
        """Return the question with its whole subject, for the search."""
        return self.rewritten or _with_subject(self.question, self.subject)

    def about(self, titles: Iterable[str]) -> str:
        """Return the question with what of its subject names a document that was found, for the answer.

        All of the subject would ask the earlier question again: an excerpt would fit that one best.
        """
        if self.rewritten:
            return self.rewritten
        named = vocabulary(" ".join(titles))
        if self._chooses(named):
            return f"{self.earlier[-1]} ({self.question.strip(' .!?')})"
        return _with_subject(self.question, [word for word in self.subject if vocabulary(word) <= named])

    def _chooses(self, named: frozenset[str]) -> bool:
        """Whether a few words name the document that the question before left open: `tenacity`, `I mean httpx`."""
        own = [word for word in _content(self.question) if word.casefold() not in _CHOICE_WORDS]
        if not self.earlier or not own or len(own) > MAX_CHOICE_WORDS:
            return False
        left_open = named.isdisjoint(_stems(self.earlier[-1]) | set(_folded(self.earlier[-1])))
        return left_open and all(vocabulary(word) & named for word in own)


def last_turn(questions: Sequence[str]) -> Turn:
    """Return the last question, with the subject of the earlier ones where it leans on them.

    Args:
        questions: what one asker asked in a conversation, oldest first; at least one.
    """
    *before, last = questions
    earlier = tuple(question for question in before if not _COURTESY.fullmatch(question))
    subject: tuple[str, ...] = ()
    for question in earlier:
        subject = (*subject, *_content(question)) if leans_on_history(question) else _content(question)
    if not earlier or not leans_on_history(last):
        # A bare name may say which one the question before meant.
        stands_alone = len(_WORD.findall(last)) > 1 and bool(_names(last))
        return Turn(last, earlier=() if stands_alone else earlier)
    said = {word.casefold() for word in _content(last)}
    added = [word for word in dict.fromkeys(subject) if word.casefold() not in said]
    return Turn(last, tuple(added[-MAX_SUBJECT_WORDS:]), earlier)


def leans_on_history(question: str) -> bool:
    """Return whether a question speaks of something that it does not name.

    Signs: a continuation (`and for PDFs?`), a pronoun with no name before it, hardly a word, a request for more
    (`show me an example`), one noun with its article (`what is the licence?`).
    """
    if _COURTESY.fullmatch(question):
        return False
    words, content, names = _WORD.findall(question), _content(question), _names(question)
    if _CONTINUES.match(question) or (_PREPOSITION.match(question) and len(words) <= MAX_FRAGMENT_WORDS):
        return True
    if has_open_pronoun(question):
        return True
    if names:
        return False
    if len(words) <= MAX_ELLIPSIS_WORDS or all(word.casefold() in _REQUESTS for word in content):
        return True
    return len(content) == 1 and bool(_DEFINITE.search(question))


def has_open_pronoun(question: str) -> bool:
    """Return whether a pronoun stands in a question with no name before it."""
    pronoun = _PRONOUN.search(_EXPLETIVE.sub("", question))
    return pronoun is not None and not any(question.find(name) < pronoun.start() for name in _names(question))


def rewritten(turn: Turn, write: Writer) -> Turn:
    """Return the turn with its question made to stand alone by a model; as it is where the model is of no help.

    One short call, and only where an earlier question can matter.
    """
    if not turn.earlier or turn.is_courtesy:
        return turn
    asked = "\n".join(f"- {question}" for question in (*turn.earlier, turn.question))
    prompt = (
        f"The questions of a conversation, oldest first:\n{asked}\n\nWrite the last question once more, so that it can "
        "be understood without the others: put the name of what it speaks of in place of `it`, `they` or what was left "
        "out. Use the words of the questions. If it can be understood already, repeat it. Write the question alone."
    )
    try:
        written = write([{"role": "user", "content": prompt}], max_new_tokens=MAX_REWRITE_TOKENS)
    except AlmanacError as error:
        logger.warning("a follow-up was not rewritten by the model, the rules hold: %s", error)
        return turn
    question = " ".join(written.strip().split("\n")[0].strip("\"'`*-> ").split())
    return replace(turn, rewritten=question) if _is_faithful(question, turn) else turn


def _is_faithful(question: str, turn: Turn) -> bool:
    """Whether a rewritten question keeps the last one's words and adds none that the asker did not say."""
    if not question or len(question) > MAX_REWRITE_CHARACTERS:
        return False
    written, last = _stems(question), _stems(turn.question)
    spoken = last.union(*(_stems(earlier) for earlier in turn.earlier))
    return written <= spoken and len(last - written) <= len(last) // 2


def _names(question: str) -> tuple[str, ...]:
    """Identifiers, numbers, names with a capital, and compounds (`pytest-timeout`)."""
    return (*rare_terms(question), *(word for word in _WORD.findall(question) if "-" in word))


def _stems(question: str) -> frozenset[str]:
    return frozenset(stem(word.casefold()) for word in _content(question))


def _with_subject(question: str, subject: Sequence[str]) -> str:
    return f"{question} ({' '.join(subject)})" if subject else question


def _folded(question: str) -> tuple[str, ...]:
    return tuple(word.casefold() for word in _content(question))


def _content(question: str) -> tuple[str, ...]:
    words = _WORD.findall(question)
    return tuple(word for word in words if word.casefold() not in STOP_WORDS | NEGATIONS)
