"""Serve one trained adapter in many ways, right and wrong, and hold each against what the trainer's model said.

`python -m benchmarks.parity [--steps 40]` trains two adapters on the default model, on made-up stones with colours.
"""

import argparse
import copy
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.parity.prefix_cache import CachingGenerator, PrefixCache
from tasks.answer.generators.transformers import TransformersGenerator, load_base
from tasks.answer.parity.compare import ServedConversation, difference
from tasks.answer.parity.record import NUM_TOKENS, RecordedConversation, record_parity
from tasks.answer.prompt import load_prompt
from tasks.model.examples.example import Example, ExamplePassage, example_id, write_examples
from tasks.model.examples.tokens import TRAINED_PROMPT
from tasks.model.training.train import train
from tasks.params import Params, load_params
from tasks.settings import Settings

COLOURS = ("red", "blue", "green", "white", "black")
Served = Callable[[RecordedConversation], ServedConversation]


def main() -> None:
    """Train, serve in each way, print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=40, help="of each training")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        params, settings = load_params(Settings().params), Settings()
        base = load_base(params.generation, settings)
        trained = _adapted(base, Path(folder), "The stone is {colour}, as passage [1] says.", arguments.steps, params)
        other = _adapted(base, Path(folder), "{colour}", arguments.steps, params)
        recorded = record_parity(trained, load_prompt(TRAINED_PROMPT))
        print("| served | worst drift of a conversation | refused |\n|---|---|---|")
        for name, served in _served(trained, other, base):
            answers = [served(entry) for entry in recorded]
            drift = max(_drift(entry, answer) for entry, answer in zip(recorded, answers, strict=True))
            reasons = [difference(entry, answer) for entry, answer in zip(recorded, answers, strict=True)]
            print(f"| {name} | {drift:.3f} | {sum(map(bool, reasons))} of {len(recorded)} |", flush=True)


def _served(
    trained: TransformersGenerator, other: TransformersGenerator, base: TransformersGenerator
) -> Iterator[tuple[str, Served]]:
    import torch

    merged = replace(trained, model=copy.deepcopy(trained.model).merge_and_unload())
    threads = torch.get_num_threads()
    for number in (1, 2):
        torch.set_num_threads(number)
        yield f"merged, {number} thread(s)", _alone(merged)
    torch.set_num_threads(threads)
    yield "merged, in one batch with longer prompts", _batched(merged)
    yield "merged, correct prefix cache", _cached(merged, PrefixCache(by_weights=True), other)
    yield "merged, float16", _alone(replace(merged, model=copy.deepcopy(merged.model).to(torch.float16)))
    yield "merged, bfloat16", _alone(replace(merged, model=copy.deepcopy(merged.model).to(torch.bfloat16)))
    yield "merged, int8 (dynamic)", _alone(replace(merged, model=_int8(merged.model)))
    yield "another adapter", _alone(replace(merged, model=other.model))
    yield "the base without the adapter", _alone(base)
    yield "prefix cache of the base", _cached(merged, PrefixCache(by_weights=False), base)
    yield "prefix cache of another adapter", _cached(merged, PrefixCache(by_weights=False), other)
    for name, template in _broken_templates(str(trained.tokenizer.chat_template)):
        tokenizer = copy.deepcopy(trained.tokenizer)
        tokenizer.chat_template = template
        yield f"template: {name}, prompt not told", _alone(replace(merged, tokenizer=tokenizer))


def _broken_templates(template: str) -> Iterator[tuple[str, str]]:
    plain = "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}"
    yield "plain text", plain
    yield "no generation prompt", template.replace("add_generation_prompt", "false")
    yield "turns not ended", template.replace("<|im_end|>", "")


def _alone(generator: TransformersGenerator) -> Served:
    """The prompt's tokens are not told, so that only what is written is compared, as at an endpoint."""

    def served(entry: RecordedConversation) -> ServedConversation:
        prompt = generator.prompt_tokens(entry.messages)
        text = generator.text_of([token for token, _ in generator.first_tokens(prompt, NUM_TOKENS)])
        logprobs = generator.log_probabilities(prompt, [step.token for step in entry.steps])
        return ServedConversation(None, None, text, tuple(logprobs))

    return served


def _batched(generator: TransformersGenerator) -> Served:
    def served(entry: RecordedConversation) -> ServedConversation:
        longer = [{"role": "user", "content": "Say nothing of this. " * 60}]
        written = generator.generate_many([entry.messages, longer], max_new_tokens=NUM_TOKENS)[0]
        return ServedConversation(None, None, written.text, ())

    return served


def _cached(generator: TransformersGenerator, cache: PrefixCache, before: TransformersGenerator) -> Served:
    named = replace(generator, identity="candidate")
    asked_before = CachingGenerator(replace(before, identity="before"), cache)

    def served(entry: RecordedConversation) -> ServedConversation:
        asked_before.write(entry.messages, 1)
        written, logprobs = CachingGenerator(named, cache).write(entry.messages, NUM_TOKENS)
        tokens = generator.tokenizer(written.text, add_special_tokens=False)["input_ids"]
        recorded = [step.token for step in entry.steps]
        same = next((at for at, pair in enumerate(zip(tokens, recorded, strict=False)) if len(set(pair)) > 1), None)
        return ServedConversation(None, None, written.text, tuple(logprobs[: len(tokens) if same is None else same]))

    return served


def _int8(network: Any) -> Any:
    import torch

    return torch.ao.quantization.quantize_dynamic(copy.deepcopy(network), {torch.nn.Linear}, dtype=torch.qint8)


def _drift(recorded: RecordedConversation, served: ServedConversation) -> float:
    pairs = list(zip(recorded.steps, served.logprobs, strict=False))
    return sum(abs(step.logprob - logprob) for step, logprob in pairs) / max(1, len(pairs))


def _adapted(
    base: TransformersGenerator, folder: Path, answer: str, steps: int, params: Params
) -> TransformersGenerator:
    """The base with an adapter that is not merged, as its trainer has it."""
    from peft import PeftModel

    path = folder / f"examples-{len(answer)}.jsonl"
    write_examples([_example(number, answer) for number in range(120)], path)
    tuning = params.fine_tuning.model_copy(
        update={"max_steps": steps, "eval_steps": steps, "max_validation_examples": 8}
    )
    output = folder / f"trained-{len(answer)}"
    train(path, output, params.model_copy(update={"fine_tuning": tuning}), Settings(), lineage={})
    return replace(base, model=PeftModel.from_pretrained(copy.deepcopy(base.model), output / "adapter").eval())


def _example(number: int, answer: str) -> Example:
    colour = COLOURS[number % len(COLOURS)]
    passages = (ExamplePassage(f"c{number}", f"d{number}", f"Stone {number}", f"Stone {number} is {colour}."),)
    question, text = f"What colour has stone {number}?", answer.format(colour=colour) + " [1]"
    return Example(
        example_id=example_id(question, passages, text),
        question=question,
        passages=passages,
        answer=text,
        rejected=None,
        support=(1,),
        origin="synthetic",
        how="benchmark",
        topic="stones",
        corpus="corpus-0001",
        cluster=f"d{number}",
        split="train" if number % 10 else "validation",
    )


if __name__ == "__main__":
    main()
