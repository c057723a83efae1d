"""The clarifying question itself: it names the documents that may be meant, each with the place that speaks for it."""

from collections.abc import Sequence

from tasks.answer.answer import Answer, of_excerpts
from tasks.answer.asking_back.choices import choices, lacks_subject
from tasks.answer.citations import Citation, best_place, citation_at
from tasks.answer.conversation import Turn
from tasks.answer.excerpt import excerpts
from tasks.answer.markdown import escaped
from tasks.index.passage import Passage

REASON = "Several documents may be meant."


def ask_back(question: str, passages: Sequence[Passage], turn: Turn | None = None) -> Answer | None:
    """Return a clarifying question where the question may mean several documents; None where it is to be answered.

    Where the question has a subject, what each document says of it stands below: the asker may need no second turn.

    Args:
        question: in plain words, with what an earlier question says of its subject.
        passages: best first, already filtered by what the asker may read.
        turn: what the question was made of; where the conversation gave it a subject, nothing is asked back.
    """
    if turn is not None and (turn.is_courtesy or turn.subject or turn.rewritten):
        return None
    numbers = choices(question, passages)
    if not numbers:
        return None
    labels = [
        f"**{escaped(label)}** [{number}]" for label, number in zip(_labels(numbers, passages), numbers, strict=True)
    ]
    text = f"Which one do you mean: {', '.join(labels[:-1])} or {labels[-1]}? Say its name, and I answer for that one."
    best = {excerpt.number: excerpt for excerpt in reversed(excerpts(question, passages, num_passages=max(numbers)))}
    if not lacks_subject(question) and best.keys() >= set(numbers):
        return of_excerpts([best[number] for number in numbers], tuple(passages), "clarification", REASON, lead_in=text)
    cited = tuple(_cited(question, number, passages[number - 1]) for number in numbers)
    return Answer(text, "clarification", REASON, cited, (), tuple(passages), "", 0, 0)


def _cited(question: str, number: int, passage: Passage) -> Citation:
    return citation_at(number, passage, best_place(question, passage).span, added=False)


def _labels(numbers: Sequence[int], passages: Sequence[Passage]) -> list[str]:
    """Titles; where two documents share one, with the headings of what was found there."""
    chosen = [passages[number - 1] for number in numbers]
    titles = [passage.title or passage.uri for passage in chosen]
    return [
        title
        if titles.count(title) == 1
        else " \u203a ".join(part for part in (title, passage.headings or passage.uri))
        for title, passage in zip(titles, chosen, strict=True)
    ]
