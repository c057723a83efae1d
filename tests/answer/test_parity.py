"""Parity: what precision changes is borne; another template, other weights and a stale prefix cache are not."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.parity.prefix_cache import CachingGenerator, PrefixCache
from tasks.answer.generators.transformers import TransformersGenerator, load_base
from tasks.answer.parity.compare import ServedConversation, difference
from tasks.answer.parity.record import NUM_TOKENS, RecordedConversation, Step, read_parity, record_parity, write_parity
from tasks.answer.prompt import load_prompt
from tasks.errors import CorruptionError
from tasks.params import GenerationParams
from tasks.settings import Settings
from tests.chat_model import save_chat_model
from tests.conftest import BASE_PARAMS


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> TransformersGenerator:
    """A tiny model whose random weights are large enough to prefer something."""
    folder = save_chat_model(tmp_path_factory.mktemp("parity"))
    params = GenerationParams.model_validate(BASE_PARAMS["generation"] | {"model": str(folder), "gguf_file": None})
    base = load_base(params, Settings())
    return with_noise(base, 1)


def with_noise(base: TransformersGenerator, seed: int, size: float = 0.5) -> TransformersGenerator:
    """The model with other weights, of another name."""
    import copy

    import torch

    network = copy.deepcopy(base.model)
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * size)
    return replace(base, model=network, identity=f"noise-{seed}", one_paragraph=False)


@pytest.fixture(scope="module")
def recorded(model: TransformersGenerator) -> tuple[RecordedConversation, ...]:
    return record_parity(model, load_prompt("cited-answer"))


def served(generator: Any, entry: RecordedConversation, **changes: Any) -> ServedConversation:
    """What a generator in this process says."""
    prompt = generator.prompt_tokens(entry.messages)
    whole = ServedConversation(
        tuple(prompt),
        len(prompt),
        generator.generate(entry.messages, max_new_tokens=NUM_TOKENS).text,
        tuple(generator.log_probabilities(prompt, [step.token for step in entry.steps])),
    )
    return replace(whole, **changes)


def reasons(recorded: tuple[RecordedConversation, ...], generator: Any, **changes: Any) -> list[str]:
    return [why for entry in recorded if (why := difference(entry, served(generator, entry, **changes)))]


def test_the_same_model_says_the_same(model: TransformersGenerator, recorded: tuple[RecordedConversation, ...]) -> None:
    assert len(recorded) == 4
    assert reasons(recorded, model) == []


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_precision_that_a_server_chooses_is_borne(
    precision: str, model: TransformersGenerator, recorded: tuple[RecordedConversation, ...]
) -> None:
    import copy

    import torch

    served_model = replace(model, model=copy.deepcopy(model.model).to(getattr(torch, precision)))
    assert reasons(recorded, served_model) == []


def test_other_weights_are_named(model: TransformersGenerator, recorded: tuple[RecordedConversation, ...]) -> None:
    found = reasons(recorded, with_noise(model, 2))

    assert len(found) == len(recorded)
    assert "log-probabilities of its first 2 tokens are off by" in found[0]


def test_another_chat_template_is_named(
    model: TransformersGenerator, recorded: tuple[RecordedConversation, ...]
) -> None:
    import copy

    tokenizer = copy.deepcopy(model.tokenizer)
    tokenizer.chat_template = "{% for message in messages %}{{ message['content'] }}\n{% endfor %}"
    found = reasons(recorded, replace(model, tokenizer=tokenizer))

    assert len(found) == len(recorded)
    assert "another chat template or tokenizer" in found[0]


def test_prefix_cache_of_other_weights_is_seen_where_prompts_begin_alike(
    model: TransformersGenerator, recorded: tuple[RecordedConversation, ...]
) -> None:
    found = {}
    for by_weights in (True, False):
        cache = PrefixCache(by_weights)
        before, now = CachingGenerator(with_noise(model, 2), cache), CachingGenerator(model, cache)
        for entry in recorded:
            before.write(entry.messages, 1)
        answers = []
        for entry in recorded:
            written, logprobs = now.write(entry.messages, NUM_TOKENS)
            same = written.text == entry.steps[-1].text
            answers.append(ServedConversation(None, None, written.text, tuple(logprobs if same else logprobs[:1])))
        found[by_weights] = [difference(entry, answer) for entry, answer in zip(recorded, answers, strict=True)]

    assert found[True] == [None] * len(recorded)
    assert any(found[False])


def test_text_that_was_ended_since_it_repeats_itself_is_compared_up_to_there() -> None:
    steps = tuple(Step(7, "-backends" * num, -0.1, 9.0) for num in range(1, NUM_TOKENS + 1))
    entry = RecordedConversation("loop", [], (1, 2), steps)
    ended = ServedConversation(None, None, "-backends" * 6, ())
    assert difference(entry, ended) is None
    assert "writes another token 4" in str(difference(entry, replace(ended, text="-backends" * 3)))


def test_what_was_recorded_is_read_back(tmp_path: Path, recorded: tuple[RecordedConversation, ...]) -> None:
    assert read_parity(tmp_path) == ()
    write_parity(tmp_path, recorded)
    assert read_parity(tmp_path) == recorded
    (tmp_path / "parity.json").write_text('{"conversations": [{}]}')
    with pytest.raises(CorruptionError, match=r"parity\.json"):
        read_parity(tmp_path)
