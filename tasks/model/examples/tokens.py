"""An example as the chat that an answerer reads, and as its tokens: exactly those that it reads when it serves."""

from tasks.answer.generators.transformers import TransformersGenerator
from tasks.answer.prompt import Messages, load_prompt, render
from tasks.model.examples.example import Example

TRAINED_PROMPT = "cited-answer"
"""The prompt of trained answerers: passages first, so that questions over the same passages share them."""

Tokens = tuple[int, ...]


def messages_of(example: Example) -> Messages:
    """Return what the answerer reads for an example; without passages, a plain chat that ends with the question."""
    if not example.passages:
        said = [{"role": turn.role, "content": turn.content} for turn in example.history]
        return [*said, {"role": "user", "content": example.question}]
    passages = [passage.as_passage() for passage in example.passages]
    return render(load_prompt(TRAINED_PROMPT), example.question, passages)


def answer_tokens(generator: TransformersGenerator, answer: str) -> Tokens:
    """Return the tokens of an answer with the end of its turn."""
    ids = generator.tokenizer(answer, add_special_tokens=False)["input_ids"]
    return (*ids, generator.tokenizer.eos_token_id)


def example_tokens(example: Example, generator: TransformersGenerator) -> int:
    """Return how many tokens an example has as it is trained."""
    read = generator.prompt_tokens(messages_of(example))
    return len(read) + len(answer_tokens(generator, example.answer)) - 1
