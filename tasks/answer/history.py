"""A follow-up as a question of its own: what it leans on is taken from the questions before it, without a model.

`How do I install it?` behind `What does tenacity do?` is searched as `How do I install it? (tenacity)`. Only the
asker's own words are added, never those of an answer, so that no document speaks in a question.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tasks.answer.cite import NEGATIONS, STOP_WORDS, terms, vocabulary

MAX_SUBJECT_WORDS = 12
"""More words of earlier questions would outweigh the last one in the search."""
MAX_ELLIPSIS_WORDS = 2

_WORD = re.compile(r"\w+(?:[.\-_/:+#]+\w+)*")
_PRONOUN = re.compile(
    r"\b(?:it|its|they|them|their|theirs|this|these|those|he|him|his|she|her|hers|ones?)\b", re.IGNORECASE
)
_EXPLETIVE = re.compile(r"\bis it (?:possible|necessary|safe|true|ok|okay|allowed|better)\b", re.IGNORECASE)
_CONTINUES = re.compile(r"\W*(?:and|but|or|also|then|so|otherwise|what about|how about|what if)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Turn:
    """The last question of a conversation.

    Attributes:
        question: as it was asked.
        subject: words of earlier questions that it leans on; empty where it stands alone.
    """

    question: str
    subject: tuple[str, ...] = ()

    def searched(self) -> str:
        """The question with its whole subject, for the search."""
        return _with_subject(self.question, self.subject)

    def about(self, titles: Iterable[str]) -> str:
        """The question with what of its subject names a document that was found, for the answer.

        All of the subject would ask the earlier question again: a quote would fit that one best.
        """
        named = vocabulary(" ".join(titles))
        return _with_subject(self.question, [word for word in self.subject if vocabulary(word) <= named])


def last_turn(questions: Sequence[str]) -> Turn:
    """The last question, with the subject of the earlier ones where it leans on them.

    Args:
        questions: what one asker asked in a conversation, oldest first; at least one.
    """
    subject: tuple[str, ...] = ()
    for question in questions[:-1]:
        subject = (*subject, *_content(question)) if leans_on_history(question) else _content(question)
    last = questions[-1]
    if not leans_on_history(last):
        return Turn(last)
    said = {word.casefold() for word in _content(last)}
    added = [word for word in dict.fromkeys(subject) if word.casefold() not in said]
    return Turn(last, tuple(added[-MAX_SUBJECT_WORDS:]))


def leans_on_history(question: str) -> bool:
    """Whether a question speaks of something that it does not name: a pronoun, a continuation, hardly a word."""
    if _CONTINUES.match(question):
        return True
    if _PRONOUN.search(_EXPLETIVE.sub("", question)):
        return True
    return len(_WORD.findall(question)) <= MAX_ELLIPSIS_WORDS and not terms(question).exact


def _with_subject(question: str, subject: Sequence[str]) -> str:
    return f"{question} ({' '.join(subject)})" if subject else question


def _content(question: str) -> tuple[str, ...]:
    words = _WORD.findall(question)
    return tuple(word for word in words if word.casefold() not in STOP_WORDS | NEGATIONS)
