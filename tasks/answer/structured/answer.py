"""Answer a question with one JSON value: the value is the text, its evidence stands beside it.

passages ─▶ prompt with the form ─▶ a draft that is held to it ─▶ checked again ─▶ claims and citations of its values

Where the documents hold no answer there is no value: the outcome is that of any other question. What is not of the form
reaches nobody.
"""

from collections.abc import Sequence

from tasks.answer.answer import Answer, closest_of, is_refusal, prepare, read_by, with_cost
from tasks.answer.calibration import FALLBACK, Calibration
from tasks.answer.check.claims import TextEmbedder
from tasks.answer.generators.base import Generator, JsonFormat, JsonGenerator
from tasks.answer.shown.links import bounded
from tasks.answer.structured.evidence import evidence_of
from tasks.answer.structured.form import instruction, of_form
from tasks.errors import ConfigurationError
from tasks.index.passage import Passage
from tasks.params import GenerationParams

MIN_NEW_TOKENS = 512
"""What a value may take where the answerer's own sentences are shorter."""


def answer_in_json(
    form: JsonFormat,
    question: str,
    passages: Sequence[Passage],
    generator: Generator,
    params: GenerationParams,
    embedder: TextEmbedder | None = None,
    *,
    calibration: Calibration = FALLBACK,
    client_system: str = "",
) -> Answer:
    """Answer from the best passages in a form; the other arguments are those of `answer_question`.

    Raises:
        ConfigurationError: no model writes, or it cannot be held to the form.
        FormatError: what it wrote is not of the form, or was cut.
    """
    require_writer(generator, params)
    told = "\n\n".join(part for part in (client_system, instruction(form)) if part)
    request = prepare(question, passages, generator, params, embedder, calibration=calibration, client_system=told)
    if isinstance(request, Answer):
        return request
    assert isinstance(generator, JsonGenerator)
    generation = generator.generate_json(request.messages, form, max_new_tokens=params.max_new_tokens)
    text = generation.text.strip()
    if is_refusal(text):
        return with_cost(closest_of(request, "The answerer found no answer in the passages."), request, generation)
    is_cut = generation.finish_reason == "length"
    text = of_form(text, form, is_cut=is_cut, change=lambda said: bounded(said, *read_by(request)))
    held = evidence_of(text, form.schema, request.passages)
    answer = Answer(
        text=text,
        outcome="answer",
        reason=None,
        citations=held.citations,
        claims=held.claims,
        passages=request.passages,
        prompt="",
        num_prompt_tokens=0,
        num_completion_tokens=0,
    )
    return with_cost(answer, request, generation)


def with_room(params: GenerationParams) -> GenerationParams:
    """Return the parameters with room for a value."""
    return params.model_copy(update={"max_new_tokens": max(params.max_new_tokens, MIN_NEW_TOKENS)})


def require_writer(generator: Generator, params: GenerationParams) -> None:
    """Refuse what writes nothing.

    Raises:
        ConfigurationError: excerpts are shown as they stand in the documents.
    """
    if params.is_excerpt or not isinstance(generator, JsonGenerator):
        raise ConfigurationError(
            "`response_format` must have a model to write JSON, and the answers here are excerpts of the documents; "
            "ask for text, or ask who runs this server to set `generation.endpoint` or to promote an answerer"
        )
