"""Replayed prompts: what the base model says of other things, so that training does not unlearn it.

General requests in our own words, without passages, each answered once by the base model itself (self-distillation);
the answers are kept by the model's identity.
"""

import json
import logging
from collections.abc import Iterator
from pathlib import Path

from tasks.answer.generators.base import Generation, Generator
from tasks.answer.sentences import sentences
from tasks.corpus.document import sha256
from tasks.files import write_json
from tasks.model.examples.example import Example, example_id
from tasks.model.examples.splits import Splits

logger = logging.getLogger(__name__)

MAX_NEW_TOKENS = 32
_BATCH = 8

PROMPTS = (
    "What is the capital of France?",
    "Name three primary colours.",
    "How many days does a leap year have?",
    "What is the boiling point of water at sea level?",
    "Who wrote the play Romeo and Juliet?",
    "Which planet is closest to the sun?",
    "What do bees make from nectar?",
    "In which direction does the sun rise?",
    "What is the opposite of cold?",
    "Say in one sentence what a library is.",
    "Give me a synonym for happy.",
    "What is the plural of mouse?",
    "Write one sentence about the sea.",
    "What is seven plus five?",
    "What is twelve minus four?",
    "If I have three boxes with four apples each, how many apples do I have?",
    "Which is heavier, a kilogram of iron or a gram of iron?",
    "What language is mostly spoken in Brazil?",
    "Name an animal that lives in the desert.",
    "What is the largest ocean on Earth?",
    "Explain in one sentence why leaves are green.",
    "What does a doctor do?",
    "Give a short tip for sleeping better.",
    "How do I boil an egg?",
    "Suggest a name for a small black cat.",
    "Complete the proverb: a stitch in time saves ...",
    "What is the past tense of the verb to go?",
    "Put these words in order of the alphabet: pear, apple, fig.",
    "Say hello in Spanish.",
    "Translate 'good morning' into French.",
    "What is the chemical formula of water?",
    "Which season follows winter?",
    "What instrument has black and white keys?",
    "Name two things that one finds in a kitchen.",
    "Why do people wear coats in winter?",
    "What is a triangle?",
    "How many sides does a hexagon have?",
    "What is half of fifty?",
    "Which month comes after August?",
    "What is the name of the force that keeps us on the ground?",
    "Who was the first person to walk on the Moon?",
    "On which continent is Egypt?",
    "What is the currency of Japan?",
    "Write a polite request for a glass of water.",
    "Is a tomato a fruit? Answer briefly.",
    "What colour does one get from blue and yellow?",
    "Give one reason to plant trees.",
    "What is a metaphor?",
    "Write a title for a story about a lost dog.",
    "How does one thank somebody for a gift?",
    "What is the difference between a lake and a river?",
    "Name a musical instrument with strings.",
    "Which sense do we use our ears for?",
    "Describe the taste of a lemon in a few words.",
    "What does a thermometer measure?",
    "Write a one-line greeting for a birthday card.",
    "What is the square root of 81?",
    "Name a metal that is liquid at room temperature.",
    "Which gas do humans need to breathe?",
    "Tell me one use of a paper clip.",
    "What is a Python list, in one sentence?",
    "Which keyword defines a function in Python?",
    "Who are you?",
    "Cheer me up in one sentence.",
)


def replay_examples(count: int, generator: Generator, splits: Splits, home: Path, *, corpus: str) -> Iterator[Example]:
    """Yield the first `count` prompts in an order of their own, with the base model's answers, where it has any."""
    prompts = sorted(PROMPTS, key=lambda prompt: sha256("replay", prompt))[:count]
    answers = _answers(prompts, generator, home)
    for prompt in prompts:
        if answers[prompt]:
            yield _example(prompt, answers[prompt], splits, corpus, generator.identity)


def _example(prompt: str, answer: str, splits: Splits, corpus: str, model: str) -> Example:
    cluster = f"replay:{sha256(prompt)[:16]}"
    return Example(
        example_id=example_id(prompt, (), answer),
        question=prompt,
        passages=(),
        answer=answer,
        rejected=None,
        support=(),
        origin="replay",
        how=f"answered by {model}",
        topic="general",
        corpus=corpus,
        cluster=cluster,
        split=splits.of_name(cluster),
    )


def _answers(prompts: list[str], generator: Generator, home: Path) -> dict[str, str]:
    path = home / "cache" / f"replay-{sha256(generator.identity, str(MAX_NEW_TOKENS))[:16]}.json"
    answers: dict[str, str] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    missing = [prompt for prompt in prompts if prompt not in answers]
    if missing:
        logger.info("the base model answers %d general prompts, once", len(missing))
    for begin in range(0, len(missing), _BATCH):
        batch = missing[begin : begin + _BATCH]
        chats = [[{"role": "user", "content": prompt}] for prompt in batch]
        written = generator.generate_many(chats, max_new_tokens=MAX_NEW_TOKENS)
        answers |= {prompt: _whole(generation) for prompt, generation in zip(batch, written, strict=True)}
        write_json(path, answers)
    return answers


def _whole(generation: Generation) -> str:
    """Return the sentences that the model ended; none where it repeats itself.

    A sentence that ran into the limit would teach to stop in the middle.
    """
    text, spans = generation.text, sentences(generation.text)
    if generation.num_completion_tokens >= MAX_NEW_TOKENS:
        spans = spans[:-1]
    said = [text[span.start : span.end] for span in spans]
    return text[: spans[-1].end] if said and len(set(said)) == len(said) else ""
