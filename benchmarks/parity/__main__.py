"""Serve a model with an adapter in many ways, right and wrong, and hold each against what the trainer's network said.

`python -m benchmarks.parity` puts random adapters of several sizes on the default model, as a training would: what a
missing adapter, a stale prefix cache or another template changes, beside what precision, threads and batches change.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from benchmarks.parity.prefix_cache import CachingGenerator, PrefixCache
from tasks.answer.generators.transformers import TransformersGenerator, load_base
from tasks.answer.parity.compare import ServedConversation, difference
from tasks.answer.parity.record import NUM_TOKENS, RecordedConversation, record_parity
from tasks.answer.prompt import load_prompt
from tasks.model.examples.tokens import TRAINED_PROMPT
from tasks.params import load_params
from tasks.settings import Settings

ALPHAS = (4, 16, 64)
"""Scales of the adapters: how much they change the base."""
Served = Callable[[RecordedConversation], ServedConversation]


def main() -> None:
    """Print the table."""
    settings = Settings()
    base = load_base(load_params(settings.params).generation, settings)
    print("| adapter | served | worst drift of a conversation | refused |\n|---|---|---|---|", flush=True)
    for alpha in ALPHAS:
        trained = _adapted(base, alpha, seed=1)
        recorded = record_parity(trained, load_prompt(TRAINED_PROMPT))
        is_middle = alpha == ALPHAS[1]
        ways = _served(trained, _adapted(base, alpha, seed=2), base) if is_middle else [_missing(base)]
        for name, served in ways:
            answers = [served(entry) for entry in recorded]
            pairs = list(zip(recorded, answers, strict=True))
            drift = max(_drift(entry, answer) for entry, answer in pairs)
            num_refused = sum(difference(entry, answer) is not None for entry, answer in pairs)
            print(f"| {alpha} | {name} | {drift:.3f} | {num_refused} of {len(pairs)} |", flush=True)


def _missing(base: TransformersGenerator) -> tuple[str, Served]:
    return "the base without the adapter", _alone(base)


def _served(
    trained: TransformersGenerator, other: TransformersGenerator, base: TransformersGenerator
) -> Iterator[tuple[str, Served]]:
    import torch

    merged = replace(trained, model=copy.deepcopy(trained.model).merge_and_unload())
    for number in (2, 1):
        torch.set_num_threads(number)
        yield f"merged, {number} thread(s)", _alone(merged)
    yield "merged, in one batch with a longer prompt", _batched(merged)
    yield "merged, correct prefix cache", _cached(merged, PrefixCache(by_weights=True), base)
    for dtype in (torch.float32, torch.bfloat16):
        changed = replace(merged, model=copy.deepcopy(merged.model).to(dtype))
        yield f"merged, {str(dtype).removeprefix('torch.')}", _alone(changed)
    yield "merged, int8 (dynamic)", _alone(replace(merged, model=_int8(merged.model)))
    yield "another adapter", _alone(replace(other, model=copy.deepcopy(other.model).merge_and_unload()))
    yield _missing(base)
    yield "prefix cache of the base", _cached(merged, PrefixCache(by_weights=False), base)
    for name, template in _broken_templates(str(trained.tokenizer.chat_template)):
        tokenizer = copy.deepcopy(trained.tokenizer)
        tokenizer.chat_template = template
        yield f"template: {name}", _alone(replace(merged, tokenizer=tokenizer))


def _broken_templates(template: str) -> Iterator[tuple[str, str]]:
    yield "plain text", "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}"
    yield "no generation prompt", template.replace("add_generation_prompt", "false")
    yield "turns not ended", template.replace("<|im_end|>", "")


def _alone(generator: TransformersGenerator) -> Served:
    """The prompt's tokens are not told, so that only what is written is compared, as at an endpoint."""

    def served(entry: RecordedConversation) -> ServedConversation:
        prompt = generator.prompt_tokens(entry.messages)
        tokens = [step.token for step in entry.steps]
        return _observed(generator, tokens, _logprobs(generator, [[*prompt, *tokens]], len(prompt), tokens))

    return served


def _batched(generator: TransformersGenerator) -> Served:
    def served(entry: RecordedConversation) -> ServedConversation:
        longer = generator.prompt_tokens([{"role": "user", "content": "Say nothing of this. " * 80}])
        prompt, tokens = generator.prompt_tokens(entry.messages), [step.token for step in entry.steps]
        rows = [[*prompt, *tokens], longer]
        return _observed(generator, tokens, _logprobs(generator, rows, len(prompt), tokens))

    return served


def _logprobs(generator: TransformersGenerator, rows: list[list[int]], num_prompt: int, tokens: Sequence[int]) -> Any:
    """(len(tokens), vocabulary), of the first row, padded on the left as the server pads."""
    import torch

    ids, mask = generator._batch(rows)
    positions = (mask.cumsum(dim=1) - 1).clamp(min=0)
    start = ids.shape[1] - len(rows[0]) + num_prompt - 1
    with torch.inference_mode():
        logits = generator.model(ids, attention_mask=mask, position_ids=positions).logits[0]
    return torch.log_softmax(logits[start : start + len(tokens)].float(), dim=-1)


def _observed(generator: TransformersGenerator, tokens: Sequence[int], logprobs: Any) -> ServedConversation:
    """What greedy decoding writes: the recorded tokens up to the first one that is not the likeliest here."""
    written = logprobs.argmax(dim=-1).tolist()
    differs = next((at for at, pair in enumerate(zip(written, tokens, strict=True)) if len(set(pair)) > 1), len(tokens))
    text = generator.text_of(written[: differs + 1])
    return ServedConversation(None, None, text, tuple(float(logprobs[at, token]) for at, token in enumerate(tokens)))


def _cached(generator: TransformersGenerator, cache: PrefixCache, before: TransformersGenerator) -> Served:
    named = replace(generator, identity="candidate")
    asked_before = CachingGenerator(replace(before, identity="before"), cache)

    def served(entry: RecordedConversation) -> ServedConversation:
        asked_before.write(entry.messages, 1)
        written, logprobs = CachingGenerator(named, cache).write(entry.messages, NUM_TOKENS)
        same = next((at for at, step in enumerate(entry.steps) if not written.text.startswith(step.text)), None)
        return ServedConversation(None, None, written.text, tuple(logprobs[:same]))

    return served


def _int8(network: Any) -> Any:
    import torch

    return torch.ao.quantization.quantize_dynamic(copy.deepcopy(network).float(), {torch.nn.Linear}, dtype=torch.qint8)


def _drift(recorded: RecordedConversation, served: ServedConversation) -> float:
    pairs = list(zip(recorded.steps, served.logprobs, strict=False))
    return sum(abs(step.logprob - logprob) for step, logprob in pairs) / max(1, len(pairs))


def _adapted(base: TransformersGenerator, alpha: float, *, seed: int) -> TransformersGenerator:
    """The base with a random adapter that is not merged, as its trainer has it."""
    import torch
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(seed)
    config = LoraConfig(r=16, lora_alpha=alpha, target_modules="all-linear", init_lora_weights=False)  # type: ignore[arg-type]
    return replace(base, model=get_peft_model(copy.deepcopy(base.model), config).eval())


if __name__ == "__main__":
    main()
