"""Answer a question from passages: decide whether they can hold the answer, generate, check, cite or abstain.

Knows neither how the passages were found nor where the answer goes. A marker `[n]` is the position of a passage in
`Answer.passages`, counted from 1; the markers in the text are exactly those of `Answer.citations`.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from tasks.answer.cite import (
    Support,
    best_quote,
    is_claim,
    leans_on_previous,
    markers,
    missing_terms,
    rare_terms,
    sentences,
    support,
    terms,
    vocabulary,
    with_markers,
    without_markers,
)
from tasks.answer.generators.base import Generation, Generator
from tasks.answer.plain import plain_text
from tasks.answer.prompt import Messages, Prompt, fit_passage, load_prompt, render
from tasks.errors import ConfigurationError
from tasks.index.passage import Passage
from tasks.params import GenerationParams

Similarity = Callable[[str, Sequence[str]], Sequence[float]]
"""Cosines in [-1, 1] of a question with texts."""

_DECLINED = re.compile(
    r"not (?:in|found in|mentioned in|stated in|contained in) the (?:given |provided )?"
    r"(?:documents?|passages?|text|context)"
    r"|(?:documents?|passages?|text|context)\b.{0,40}(?:do|does|did)(?: not|n['\u2019]t) "
    r"(?:hold|contain|mention|provide|specify|say|state|include|give|answer|explain|describe|explicitly)"
    r"|(?:i|we) (?:do not|don['\u2019]t|cannot|can['\u2019]t) (?:know|find|answer|provide|determine)",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Citation:
    """The place in a document that supports a sentence of the answer.

    Attributes:
        marker: the `[n]` in the answer; passage n of the answer's passages. Two sentences that lean on different
            places of one passage share a marker.
        quote: `document.text[start:end]`, as it is in the document: Markdown, to be shown as text only.
    """

    marker: int
    document_id: str
    uri: str
    title: str
    quote: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Answer:
    """What is said, on what grounds, and at what cost.

    Attributes:
        text: plain text without links, images or HTML.
        reason: why it abstained; None where it answered.
        passages: those that the answerer considered, in the order of their markers.
        prompt: what the model read; empty where it was not asked.
    """

    text: str
    abstained: bool
    reason: str | None
    citations: tuple[Citation, ...]
    passages: tuple[Passage, ...]
    prompt: str
    num_prompt_tokens: int
    num_completion_tokens: int


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """A question that the model is to answer, so that several can be generated in one batch.

    Attributes:
        messages: what the model reads.
        read: the passages as they stand in the messages.
        passages: the same, whole.
    """

    question: str
    messages: Messages
    read: tuple[Passage, ...]
    passages: tuple[Passage, ...]
    params: GenerationParams


def answer_question(
    question: str,
    passages: Sequence[Passage],
    generator: Generator,
    params: GenerationParams,
    similarity: Similarity | None = None,
) -> Answer:
    """Answer from the best passages, or abstain.

    Args:
        question: in plain words.
        passages: best first, already filtered by what the asker may read.
        generator: writes the draft.
        params: the answerer's parameters.
        similarity: judges passages that come without one (full-text search); without it they are not judged.

    Raises:
        ConfigurationError: the question is empty or leaves no room for a passage in the model's context.
    """
    asked = prepare(question, passages, generator, params, similarity)
    if isinstance(asked, Answer):
        return asked
    return finish(asked, generator.generate(asked.messages, max_new_tokens=params.max_new_tokens))


def prepare(
    question: str,
    passages: Sequence[Passage],
    generator: Generator,
    params: GenerationParams,
    similarity: Similarity | None = None,
) -> GenerationRequest | Answer:
    """What `answer_question` does before the model writes: the messages, or an abstention without it.

    Raises:
        ConfigurationError: as `answer_question`.
    """
    if not question.strip():
        raise ConfigurationError("the question must hold words, found none; ask again")
    shown = tuple(passages[: params.num_passages])
    reason = why_unanswerable(question, shown, params, similarity)
    if reason is not None:
        return _abstention(reason, shown)
    messages, read = _fit(load_prompt(params.prompt), question, shown, generator, params)
    return GenerationRequest(question, messages, read, shown[: len(read)], params)


def finish(asked: GenerationRequest, generation: Generation) -> Answer:
    """What `answer_question` does with the model's draft: check it, cite, or abstain."""
    text, citations, reason = _checked(generation.text, asked.question, asked.read, asked.params)
    draft = (
        _abstention(reason, asked.passages)
        if reason
        else Answer(text, False, None, citations, asked.passages, "", 0, 0)
    )
    return _with_cost(draft, asked.messages, generation)


def declines(text: str) -> bool:
    """Whether a text says that it holds no answer."""
    return bool(_DECLINED.search(text))


def why_unanswerable(
    question: str, passages: Sequence[Passage], params: GenerationParams, similarity: Similarity | None
) -> str | None:
    """The reason to abstain before the model is asked; None where the passages may hold the answer.

    Three signs: no passage; the nearest one is farther than `min_score`; too few of the question's rare terms
    (identifiers, numbers, names) stand in any passage (`min_term_coverage`).
    """
    if not passages:
        return "no passage was found"
    nearest = _nearest(question, passages, similarity)
    if nearest is not None and nearest < params.min_score:
        return f"the nearest passage has similarity {nearest:.2f}, below min_score {params.min_score:g}"
    rare = rare_terms(question)
    missing = missing_terms(question, passages)
    if rare and 1 - len(missing) / len(rare) < params.min_term_coverage:
        return f"no passage mentions {', '.join(plain_text(term) for term in missing[:3])}"
    return None


def _nearest(question: str, passages: Sequence[Passage], similarity: Similarity | None) -> float | None:
    known = [passage.similarity for passage in passages if passage.similarity is not None]
    unknown = [passage.text for passage in passages if passage.similarity is None]
    if unknown and similarity is not None:
        known.extend(float(cosine) for cosine in similarity(question, unknown))
    return max(known, default=None)


def _fit(
    prompt: Prompt, question: str, passages: Sequence[Passage], generator: Generator, params: GenerationParams
) -> tuple[Messages, tuple[Passage, ...]]:
    """Messages within the model's context, and the passages as they stand in them; the last passages give way first."""
    read = tuple(_trimmed(passage, question, generator, params) for passage in passages)
    room = generator.context_length - params.max_new_tokens
    for count in range(len(read), 0, -1):
        messages = render(prompt, question, read[:count])
        if generator.count_prompt_tokens(messages) <= room:
            return messages, read[:count]
    raise ConfigurationError(
        f"question, one passage and answer must fit the model's {generator.context_length} tokens, found a question of "
        f"{generator.count_tokens(question)}; shorten it or lower generation.max_passage_tokens"
    )


def _trimmed(passage: Passage, question: str, generator: Generator, params: GenerationParams) -> Passage:
    part = fit_passage(passage, question, generator.count_tokens, max_tokens=params.max_passage_tokens)
    return replace(
        passage,
        text=passage.text[part.start : part.end],
        start=passage.start + part.start,
        end=passage.start + part.end,
    )


def _checked(
    draft: str, question: str, passages: Sequence[Passage], params: GenerationParams
) -> tuple[str, tuple[Citation, ...], str | None]:
    """The supported sentences of a draft with their citations; or the reason why none is left."""
    text = plain_text(draft)
    spans = sentences(text)
    if not spans:
        return "", (), "the model wrote nothing"
    if declines(text[spans[0].start : spans[0].end]):
        return "", (), "the model found no answer in the passages"
    kept: dict[str, None] = {}
    citations: dict[Citation, None] = {}
    dropped = False
    for span in spans:
        sentence = " ".join(text[span.start : span.end].split())
        found = supporting_passages(sentence, question, passages, min_support=params.min_support)
        # "It ..." after a sentence that was taken out would speak of something else.
        dropped = not found or not is_claim(sentence, question) or (dropped and leans_on_previous(sentence))
        if not dropped:
            kept[with_markers(without_markers(sentence), list(found))] = None
            citations.update((_citation(number, passages[number - 1], place), None) for number, place in found.items())
    if kept:
        return " ".join(kept), tuple(citations), None
    if params.when_unsupported == "quote" and (quoted := _quoted(question, passages, params.min_support)):
        return *quoted, None
    return "", (), f"no passage supports what the model wrote (min_support {params.min_support:g})"


def _quoted(question: str, passages: Sequence[Passage], min_support: float) -> tuple[str, tuple[Citation, ...]] | None:
    """The sentence of the passages that fits the question best, as the answer; None where none fits well enough."""
    number, place = best_quote(terms(question), passages)
    citation = _citation(number, passages[number - 1], place)
    text = " ".join(plain_text(citation.quote).split())
    if place.score == 0 or place.score < min_support or not text:
        return None
    return with_markers(without_markers(text), [number]), (citation,)


def supporting_passages(
    sentence: str, question: str, passages: Sequence[Passage], *, min_support: float
) -> dict[int, Support]:
    """Passage numbers (from 1) that support a sentence: those of its markers that do, else the one that does best."""
    content, asked = terms(without_markers(sentence)), terms(question)
    titles = vocabulary(" ".join(passage.title for passage in passages))
    # What the question calls by a document's title is its subject: another document cannot support words about it.
    asked = replace(asked, names=asked.names | (asked.content & titles))
    places = {number: support(content, passage, asked) for number, passage in enumerate(passages, start=1)}
    enough = {number: place for number, place in places.items() if place.score > 0 and place.score >= min_support}
    written = {number: enough[number] for number in markers(sentence) if number in enough}
    if written or not enough:
        return written
    best = max(enough, key=lambda number: (enough[number].score, -number))
    return {best: enough[best]}


def _citation(marker: int, passage: Passage, place: Support) -> Citation:
    return Citation(
        marker=marker,
        document_id=passage.document_id,
        uri=passage.uri,
        title=passage.title,
        quote=passage.text[place.span.start : place.span.end],
        start=passage.start + place.span.start,
        end=passage.start + place.span.end,
    )


def _abstention(reason: str, passages: tuple[Passage, ...]) -> Answer:
    titles = list(dict.fromkeys(plain_text(" ".join(passage.title.split())) for passage in passages))[:3]
    looked_at = f" I looked at: {'; '.join(titles)}." if titles else ""
    return Answer(f"I found no answer in the documents.{looked_at}", True, reason, (), passages, "", 0, 0)


def _with_cost(answer: Answer, messages: Messages, generation: Generation) -> Answer:
    return replace(
        answer,
        prompt="\n\n".join(f"{message['role']}: {message['content']}" for message in messages),
        num_prompt_tokens=generation.num_prompt_tokens,
        num_completion_tokens=generation.num_completion_tokens,
    )
