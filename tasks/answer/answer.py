"""Answer a question from passages. The draft belongs to what writes it; the check belongs to us.

question + passages -> prompt -> draft, kept as written -> citations -> a verdict for each claim -> outcome

Knows neither how the passages were found nor where the answer goes. A marker `[n]` is the position of a passage in
`Answer.passages`, counted from 1. Outcomes: an answer; the closest passages, plainly said to be that; nothing; and, by
`tasks.answer.asking_back`, a question that asks which of several documents is meant.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from tasks.answer.calibration import FALLBACK, Calibration
from tasks.answer.check.claims import Claim, TextEmbedder, check
from tasks.answer.check.verify import verify
from tasks.answer.citations import Citation, citations, with_added
from tasks.answer.draft import kept, visible, without_markers
from tasks.answer.excerpt import (
    MAX_CHARACTERS,
    MAX_CLOSEST_CHARACTERS,
    MAX_EXCERPTS,
    Excerpt,
    close_to_best,
    diverse,
    excerpts,
    is_foreign,
    named_titles,
    relevance,
    shown,
    speaks_of_names,
    widened,
)
from tasks.answer.generators.base import Generation, Generator
from tasks.answer.generators.loop import is_loop
from tasks.answer.prompt import NOT_FOUND, Messages, Prompt, fit_passage, load_prompt, render
from tasks.errors import ConfigurationError
from tasks.index.passage import Passage
from tasks.params import GenerationParams

Outcome = Literal["answer", "clarification", "closest_passages", "nothing_found"]

CLOSEST = "I found no sure answer in the documents. These passages come closest:"
NOTHING = "I found nothing in the documents about this."


@dataclass(frozen=True, slots=True)
class Answer:
    """What is said, on what grounds, and at what cost.

    Attributes:
        text: Markdown, of a model as it wrote it: `tasks.answer.markdown.to_tree` says what of it may be shown how.
        reason: why it is no answer, in a person's words; None where it is one.
        citations: what the markers of the text point to.
        claims: what the text states, each with its verdict; empty where no model wrote.
        passages: those that the answerer considered, whole, in the order of their markers.
        prompt: what the model read; empty where it was not asked.
    """

    text: str
    outcome: Outcome
    reason: str | None
    citations: tuple[Citation, ...]
    claims: tuple[Claim, ...]
    passages: tuple[Passage, ...]
    prompt: str
    num_prompt_tokens: int
    num_completion_tokens: int

    @property
    def abstained(self) -> bool:
        """Whether it is anything but an answer."""
        return self.outcome != "answer"


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """A question that the model is to answer, so that several can be generated in one batch.

    Attributes:
        messages: what the model reads.
        read: the passages as they stand in the messages.
        passages: the same, whole.
        embedder: judges what the claims mean; None: exact terms alone are looked at.
        calibration: from which relevance on passages are shown where the model finds no answer.
    """

    question: str
    messages: Messages
    read: tuple[Passage, ...]
    passages: tuple[Passage, ...]
    params: GenerationParams
    embedder: TextEmbedder | None = None
    calibration: Calibration = FALLBACK


def answer_question(
    question: str,
    passages: Sequence[Passage],
    generator: Generator,
    params: GenerationParams,
    embedder: TextEmbedder | None = None,
    *,
    calibration: Calibration = FALLBACK,
    client_system: str = "",
) -> Answer:
    """Answer from the best passages.

    Args:
        question: in plain words.
        passages: best first, already filtered by what the asker may read.
        generator: writes the draft; not asked where `params.answerer` is `excerpt`.
        params: the answerer's parameters.
        embedder: that of the index: judges what the claims mean; without it exact terms alone are looked at.
        calibration: from which score on an excerpt is an answer, and a small model is asked.
        client_system: the system message of whoever calls, honoured within the operator's.

    Raises:
        ConfigurationError: the question is empty or leaves no room for a passage in the model's context.
    """
    request = prepare(
        question, passages, generator, params, embedder, calibration=calibration, client_system=client_system
    )
    if isinstance(request, Answer):
        return request
    return finish(request, generator.generate(request.messages, max_new_tokens=params.max_new_tokens), generator)


def stream_answer(
    question: str,
    passages: Sequence[Passage],
    generator: Generator,
    params: GenerationParams,
    embedder: TextEmbedder | None = None,
    *,
    calibration: Calibration = FALLBACK,
    client_system: str = "",
) -> Iterator[str | Answer]:
    """Give the draft as the model writes it, at last the checked answer: the check ends the stream, it holds none back.

    Joined, the pieces are the draft as it is kept, without the markers that the check adds and with what the second
    opinion takes out; where the draft refuses, is empty or repeats itself, the last answer's text takes its place. Args
    and errors are those of `answer_question`.
    """
    request = prepare(
        question, passages, generator, params, embedder, calibration=calibration, client_system=client_system
    )
    if isinstance(request, Answer):
        yield request.text
        yield request
        return
    stream = generator.stream(request.messages, max_new_tokens=params.max_new_tokens)
    generation = yield from visible(stream, *read_by(request))
    yield finish(request, generation, generator)


def prepare(
    question: str,
    passages: Sequence[Passage],
    generator: Generator,
    params: GenerationParams,
    embedder: TextEmbedder | None = None,
    *,
    calibration: Calibration = FALLBACK,
    client_system: str = "",
) -> GenerationRequest | Answer:
    """Return what `answer_question` does before a model writes: the messages, or an answer without it.

    Raises:
        ConfigurationError: as `answer_question`.
    """
    if not question.strip():
        raise ConfigurationError("the question must hold words, found none; ask again")
    if not passages:
        return _unanswered(NOTHING, "nothing_found", "No document that you may read was found for this question.")
    if params.is_excerpt:
        return _excerpt_answer(question, tuple(passages), calibration)
    considered = tuple(passages[: params.num_passages])
    if _is_far(considered, params, calibration):
        reason = "The documents that were found are about something else."
        return closest_passages(question, tuple(passages), reason, calibration)
    prompt = load_prompt(params.prompt)
    messages, read = _fit(prompt, question, considered, generator, params, client_system=client_system)
    return GenerationRequest(question, messages, read, considered[: len(read)], params, embedder, calibration)


def finish(request: GenerationRequest, generation: Generation, verifier: Generator | None = None) -> Answer:
    """Return what `answer_question` does with the model's draft: keep it, cite, check; or show the closest passages.

    Args:
        request: what was asked.
        generation: the draft.
        verifier: gives a second opinion on the claims where `generation.verify` says so.
    """
    text = kept(generation.text, *read_by(request))
    if is_refusal(text):
        reason = "The answerer found no answer in the passages." if text else "The answerer wrote nothing."
        return with_cost(closest_of(request, reason), request, generation)
    if is_loop(text):
        return with_cost(closest_of(request, "The answerer repeated itself to the end."), request, generation)
    text, added = with_added(text, request.passages)
    claims = check(text, request.passages, request.embedder)
    if verifier is not None and request.params.verify:
        num_claims, max_new_tokens = len(claims), request.params.max_new_tokens
        verified = verify(text, claims, added, request.read, verifier, max_new_tokens=max_new_tokens)
        text, claims, added = verified.text, verified.claims, verified.added
        if num_claims and not claims:
            reason = "The passages contradict what the answerer wrote."
            return with_cost(closest_of(request, reason), request, generation)
    answer = Answer(
        text=text,
        outcome="answer",
        reason=None,
        citations=citations(text, claims, request.passages, added),
        claims=claims,
        passages=request.passages,
        prompt="",
        num_prompt_tokens=0,
        num_completion_tokens=0,
    )
    return with_cost(answer, request, generation)


def read_by(request: GenerationRequest) -> tuple[list[str], list[str]]:
    """Return the texts of the passages and their addresses: where a link of the draft may lead."""
    return [passage.text for passage in request.passages], [passage.uri for passage in request.passages]


def is_refusal(text: str) -> bool:
    """Whether a draft is the agreed sentence alone, or nothing: what goes beyond it is an answer with a caveat."""
    bare = without_markers(text).strip(" \n\t.*_\"'`").casefold()
    return bare in ("", NOT_FOUND.strip(".").casefold())


def closest_passages(
    question: str, passages: tuple[Passage, ...], reason: str, calibration: Calibration = FALLBACK
) -> Answer:
    """Return the best excerpts of different passages, said to be no answer; none where all are about something else."""
    is_measured = any(passage.similarity is not None for passage in passages)
    is_near = speaks_of_names(question, passages) or relevance(question, passages) >= calibration.min_relevance
    if is_measured and not is_near:
        return _unanswered(NOTHING, "nothing_found", "The documents are about other subjects.", passages)
    best = diverse(excerpts(question, passages), MAX_EXCERPTS)
    if not best:
        return _unanswered(NOTHING, "nothing_found", reason, passages)
    return of_excerpts(best, passages, "closest_passages", reason, lead_in=CLOSEST)


def closest_of(request: GenerationRequest, reason: str) -> Answer:
    """Return the closest passages to what a model was asked and did not answer."""
    return closest_passages(request.question, request.passages, reason, request.calibration)


def _excerpt_answer(question: str, passages: tuple[Passage, ...], calibration: Calibration) -> Answer:
    """The best excerpt as the answer; where it fits too little, the closest passages."""
    ranked = excerpts(question, passages)
    named = named_titles(question, passages)
    is_answer = bool(ranked) and ranked[0].score >= calibration.min_excerpt_score
    if not is_answer or (named and is_foreign(passages[ranked[0].number - 1], named)):
        what = f"What the documents say about {min(named)} does not answer the question." if named else None
        reason = what or "No passage fits the question well enough to be its answer."
        return closest_passages(question, passages, reason, calibration)
    return of_excerpts(close_to_best(ranked), passages, "answer", None)


def of_excerpts(
    chosen: Sequence[Excerpt],
    passages: tuple[Passage, ...],
    outcome: Outcome,
    reason: str | None,
    *,
    lead_in: str | None = None,
) -> Answer:
    """Return excerpts as they are shown, each cited, behind what is said of them all."""
    size = MAX_CHARACTERS if outcome == "answer" else MAX_CLOSEST_CHARACTERS
    wide = [widened(excerpt, passages[excerpt.number - 1].text, size) for excerpt in chosen]
    text = "\n\n".join([*filter(None, [lead_in]), *(shown(excerpt, passages[excerpt.number - 1]) for excerpt in wide)])
    cited = tuple(_excerpt_citation(excerpt, passages[excerpt.number - 1]) for excerpt in wide)
    return Answer(text, outcome, reason, cited, (), passages, "", 0, 0)


def _excerpt_citation(excerpt: Excerpt, passage: Passage) -> Citation:
    start, end = excerpt.span
    return Citation(
        marker=excerpt.number,
        document_id=passage.document_id,
        uri=passage.uri,
        title=passage.title,
        heading=passage.headings,
        quote=passage.text[start:end],
        start=passage.start + start,
        end=passage.start + end,
        added=False,
    )


def _unanswered(text: str, outcome: Outcome, reason: str, passages: tuple[Passage, ...] = ()) -> Answer:
    return Answer(text, outcome, reason, (), (), passages, "", 0, 0)


def _is_far(passages: Sequence[Passage], params: GenerationParams, calibration: Calibration) -> bool:
    """Whether a small model is better not asked; a model at an endpoint judges the passages itself."""
    similarities = [passage.similarity for passage in passages if passage.similarity is not None]
    return params.endpoint is None and bool(similarities) and max(similarities) < calibration.min_similarity


def _fit(
    prompt: Prompt,
    question: str,
    passages: Sequence[Passage],
    generator: Generator,
    params: GenerationParams,
    *,
    client_system: str,
) -> tuple[Messages, tuple[Passage, ...]]:
    """Messages within the model's context, and the passages as they stand in them; the last passages give way first."""
    read = tuple(_trimmed(passage, question, generator, params) for passage in passages)
    room = generator.context_length - params.max_new_tokens
    for count in range(len(read), 0, -1):
        messages = render(prompt, question, read[:count], client_system=client_system)
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


def with_cost(answer: Answer, request: GenerationRequest, generation: Generation) -> Answer:
    """Return an answer with what the model read, and the tokens that it read and wrote."""
    return replace(
        answer,
        prompt="\n\n".join(f"{message['role']}: {message['content']}" for message in request.messages),
        num_prompt_tokens=generation.num_prompt_tokens,
        num_completion_tokens=generation.num_completion_tokens,
    )
