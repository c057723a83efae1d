"""Greedy writing of several chats on a CPU: each prompt is read alone, then all are written token by token together.

Read alone, a prompt needs neither padding nor a mask. Written together, a pass over the weights serves many answers,
and one that has ended leaves. Knows neither tokenizer nor prompt.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tasks.device import one_core_a_thread

if TYPE_CHECKING:
    import torch

_NEUTRAL = frozenset(
    (
        *("bos_token_id", "eos_token_id", "pad_token_id", "transformers_version", "_from_model_config", "use_cache"),
        *("max_length", "max_new_tokens"),
        # Of sampling, which greedy writing does not do.
        *("do_sample", "temperature", "top_k", "top_p", "min_p", "typical_p"),
    )
)
"""Settings of a model's own generation that change nothing here; one with others writes by `generate` alone."""

Choose = Callable[["torch.Tensor", bool], "torch.Tensor"]
"""Logits (num_rows, vocabulary) and whether they are of the first token, to the next tokens (num_rows,)."""
Ended = Callable[[list[int]], bool]
"""Whether an answer of these tokens has ended."""


@dataclass(slots=True)
class _Rows:
    """Answers that are being written.

    Attributes:
        places: of the prompts.
        cache: keys and values of what was read and written.
        mask: (num_rows, width), 0 where a shorter prompt is padded on the left.
        positions: (num_rows,) of the next token.
        tokens: (num_rows,) chosen last.
    """

    places: list[int]
    cache: Any
    mask: "torch.Tensor"
    positions: "torch.Tensor"
    tokens: "torch.Tensor"


def can_write_together(network: Any) -> bool:
    """Say whether a network is on the CPU, keeps all that it read, and writes by its logits alone."""
    from transformers import DynamicCache
    from transformers.cache_utils import DynamicLayer

    plain = all(type(layer) is DynamicLayer for layer in DynamicCache(config=network.config).layers)
    settings = network.generation_config.to_diff_dict().items()
    by_logits = all(name in _NEUTRAL or value is None or value is False for name, value in settings)
    return network.device.type == "cpu" and plain and by_logits


def write_together(
    network: Any, prompts: Sequence[Sequence[int]], *, choose: Choose, ended: Ended, max_new_tokens: int
) -> list[list[int]]:
    """Return the tokens that are written behind each prompt, the one that ends it included.

    Prompts are dealt to the cores: threads that share a product of matrices wait for each other, these do not.
    """
    import torch

    num_threads = min(torch.get_num_threads(), len(prompts))
    # Long and short ones in turn, so that all threads have as much to read.
    order = sorted(range(len(prompts)), key=lambda place: -len(prompts[place]))
    written: dict[int, list[int]] = {}

    def write(places: Sequence[int]) -> None:
        part = [prompts[place] for place in places]
        for place, tokens in zip(places, _written(network, part, choose, ended, max_new_tokens), strict=True):
            written[place] = tokens

    if num_threads == 1:
        write(order)
    else:
        with one_core_a_thread() as enter, ThreadPoolExecutor(num_threads, initializer=enter) as pool:
            for _ in pool.map(write, (order[first::num_threads] for first in range(num_threads))):
                pass
    return [written[place] for place in range(len(prompts))]


def _written(
    network: Any, prompts: Sequence[Sequence[int]], choose: Choose, ended: Ended, max_new_tokens: int
) -> list[list[int]]:
    import torch

    answers: list[list[int]] = [[] for _ in prompts]
    with torch.inference_mode():
        rows = _read(network, prompts, choose)
        for step in range(max_new_tokens):
            going = []
            for row, (place, token) in enumerate(zip(rows.places, rows.tokens.tolist(), strict=True)):
                answers[place].append(token)
                if not ended(answers[place]):
                    going.append(row)
            if not going or step + 1 == max_new_tokens:
                break
            if len(going) < len(rows.places):
                _keep(rows, going)
            _write_token(network, rows, choose)
    return answers


def _read(network: Any, prompts: Sequence[Sequence[int]], choose: Choose) -> _Rows:
    """Read each prompt alone, and lay what was kept of them side by side, padded on the left."""
    import torch
    from transformers import DynamicCache

    caches, tokens = [], []
    for prompt in prompts:
        cache = DynamicCache(config=network.config)
        output = network(input_ids=torch.tensor([prompt]), past_key_values=cache, use_cache=True, logits_to_keep=1)
        tokens.append(choose(output.logits[:, -1].float(), True))
        caches.append(cache)
    width = max(map(len, prompts))
    mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    positions = torch.tensor([len(prompt) for prompt in prompts])
    return _Rows(
        list(range(len(prompts))), DynamicCache(list(_joined(caches, width))), mask, positions, torch.cat(tokens)
    )


def _joined(caches: Sequence[Any], width: int) -> "Iterator[tuple[torch.Tensor, torch.Tensor]]":
    """Yield keys and values (num_rows, num_heads, width, dim) of each layer; the caches are emptied on the way."""
    import torch

    def padded(states: "torch.Tensor") -> "torch.Tensor":
        return torch.nn.functional.pad(states, (0, 0, width - states.shape[-2], 0))

    for layers in zip(*(cache.layers for cache in caches), strict=True):
        keys = torch.cat([padded(layer.keys) for layer in layers])
        values = torch.cat([padded(layer.values) for layer in layers])
        for layer in layers:
            layer.reset()
        yield keys, values


def _keep(rows: _Rows, going: list[int]) -> None:
    """Let go of the answers that have ended."""
    import torch

    chosen = torch.tensor(going)
    rows.places = [rows.places[row] for row in going]
    rows.cache.batch_select_indices(chosen)
    rows.mask, rows.positions, rows.tokens = rows.mask[chosen], rows.positions[chosen], rows.tokens[chosen]


def _write_token(network: Any, rows: _Rows, choose: Choose) -> None:
    import torch

    rows.mask = torch.cat([rows.mask, rows.mask.new_ones((len(rows.places), 1))], dim=1)
    output = network(
        input_ids=rows.tokens[:, None],
        attention_mask=rows.mask,
        position_ids=rows.positions[:, None],
        past_key_values=rows.cache,
        use_cache=True,
    )
    rows.tokens, rows.positions = choose(output.logits[:, -1].float(), False), rows.positions + 1
