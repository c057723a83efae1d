"""Text generation in process with transformers: greedy, deterministic, without remote code or pickled weights."""

import shutil
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from tasks.answer.generators.base import Generation, JsonFormat, TextStream
from tasks.answer.generators.loop import is_stuck
from tasks.answer.generators.together import can_write_together, write_together
from tasks.device import fastest_dtype, num_parameters_of, require_memory, torch_device
from tasks.errors import ConfigurationError
from tasks.files import sha256_of_file
from tasks.model_location import gguf_path, model_location
from tasks.params import GenerationParams
from tasks.settings import Settings

if TYPE_CHECKING:
    import torch

    from tasks.answer.generators.grammar import JsonGrammar

ONE_PARAGRAPH_BELOW = 1_000_000_000
"""Parameters of a model: the default of 0.135 billion runs on after its answer, those of 1.5 billion end it."""


@dataclass(frozen=True, slots=True)
class TransformersGenerator:
    """A causal language model of transformers with the chat template of its tokenizer.

    Attributes:
        refusal: how the model begins to say that the passages hold no answer; see `refusal_bias`.
        refusal_bias: added to the logit of the refusal's first token at the first step; above 0 it refuses more often,
            below 0 less. Calibrated on validation questions, so that a share of false refusals holds.
        one_paragraph: whether writing ends with the first paragraph: a small model goes on to imitate its prompt.
    """

    model: Any
    tokenizer: Any
    identity: str
    context_length: int
    refusal: str = ""
    refusal_bias: float = 0.0
    one_paragraph: bool = True
    _special_tokens: tuple[str, ...] = field(default=())

    def generate(self, messages: Sequence[Mapping[str, str]], *, max_new_tokens: int) -> Generation:
        """Continue the chat with the likeliest tokens, up to the end of the sequence or paragraph, or to a loop."""
        return self.generate_many([messages], max_new_tokens=max_new_tokens)[0]

    def generate_many(
        self, conversations: Sequence[Sequence[Mapping[str, str]]], *, max_new_tokens: int
    ) -> list[Generation]:
        """Continue several chats in one batch; each as `generate` would, but for rounding.

        In half precision a token that is as likely as the next may win by who else is in the batch.
        """
        if len(conversations) < 2 or not can_write_together(self.model):
            return self._write(conversations, max_new_tokens, [])
        prompts = [self.prompt_tokens(messages) for messages in conversations]
        written = write_together(
            self.model, prompts, choose=self._likeliest, ended=self._has_ended, max_new_tokens=max_new_tokens
        )
        return [
            self._generation(tokens, len(prompt), max_new_tokens)
            for prompt, tokens in zip(prompts, written, strict=True)
        ]

    def generate_json(
        self, messages: Sequence[Mapping[str, str]], form: JsonFormat, *, max_new_tokens: int
    ) -> Generation:
        """Continue the chat with one JSON value of the form or the agreed refusal: no other token is allowed.

        Raises:
            ConfigurationError: the schema has what the grammar cannot hold a model to.
        """
        from tasks.answer.generators.grammar import JsonGrammar

        grammar = JsonGrammar(self.tokenizer, int(self.model.config.vocab_size), form)
        return self._write([messages], max_new_tokens, [], grammar)[0]

    def stream(self, messages: Sequence[Mapping[str, str]], *, max_new_tokens: int) -> TextStream:
        """Continue the chat as `generate` would, yielding the text token by token; return the whole."""
        steps: SimpleQueue[list[int] | None] = SimpleQueue()
        closed = threading.Event()

        def watch(width: int, input_ids: Any, _scores: Any, **_: Any) -> Any:
            steps.put(input_ids[0, width:].tolist())
            return input_ids.new_full((1,), closed.is_set(), dtype=bool)

        with ThreadPoolExecutor(1, thread_name_prefix="almanac-stream") as thread:
            written = thread.submit(self._write, [messages], max_new_tokens, [watch])
            written.add_done_callback(lambda _: steps.put(None))
            try:
                yield from self._pieces(iter(steps.get, None))
            finally:
                closed.set()
            return written.result()[0]

    def _pieces(self, steps: Iterable[list[int]]) -> Iterator[str]:
        """What each step adds to the text; a character of several tokens waits until it is whole."""
        sent = text = ""
        for ids in steps:
            text = self._text(ids)
            if text.startswith(sent) and not text.endswith("\ufffd"):
                if len(text) > len(sent):
                    yield text[len(sent) :]
                sent = text
        if text.startswith(sent) and len(text) > len(sent):
            yield text[len(sent) :]

    def _write(
        self,
        conversations: Sequence[Sequence[Mapping[str, str]]],
        max_new_tokens: int,
        watches: Sequence[Callable[..., Any]],
        grammar: "JsonGrammar | None" = None,
    ) -> list[Generation]:
        """Generate one batch; each of `watches` is called after every step with the prompt's width first.

        A grammar holds the first row of a batch of one to its form, and ends it.
        """
        import torch

        ids, mask = self._batch([self.prompt_tokens(messages) for messages in conversations])
        width = ids.shape[1]
        endings = [self._have_ended] if grammar is None else []
        processors: list[Callable[..., Any]] = [partial(self._biased, width)] if self.refusal_bias else []
        processors += [partial(grammar.masked, width)] if grammar else []
        with torch.inference_mode():
            output = self.model.generate(
                input_ids=ids,
                attention_mask=mask,
                max_new_tokens=max_new_tokens,
                do_sample=False,
                pad_token_id=self._pad_token_id,
                eos_token_id=self.tokenizer.eos_token_id,
                stopping_criteria=[partial(criterion, width) for criterion in (*endings, *watches)],
                logits_processor=processors or None,
            )
        num_prompt_tokens = mask.sum(dim=1).tolist()
        return [
            self._generation(row[width:].tolist(), num_tokens, max_new_tokens)
            for row, num_tokens in zip(output, num_prompt_tokens, strict=True)
        ]

    def first_tokens(self, prompt_tokens: Sequence[int], num_tokens: int) -> "list[tuple[int, torch.Tensor]]":
        """Return the likeliest first tokens behind a prompt, each with its logits (vocabulary,), as the weights say.

        Neither the calibration of refusals nor the end of a paragraph counts here.
        """
        import torch

        ids, mask = self._batch([prompt_tokens])
        with torch.inference_mode():
            output = self.model.generate(
                input_ids=ids,
                attention_mask=mask,
                max_new_tokens=num_tokens,
                do_sample=False,
                pad_token_id=self._pad_token_id,
                eos_token_id=self.tokenizer.eos_token_id,
                output_logits=True,
                return_dict_in_generate=True,
            )
        tokens = output.sequences[0, ids.shape[1] :].tolist()
        return [(token, logits[0]) for token, logits in zip(tokens, output.logits, strict=True)]

    def log_probabilities(self, prompt_tokens: Sequence[int], tokens: Sequence[int]) -> list[float]:
        """Return the natural logarithm of each token's probability, behind the prompt and the tokens before it."""
        import torch

        ids, _ = self._batch([[*prompt_tokens, *tokens]])
        with torch.inference_mode():
            logits = self.model(ids).logits[0, len(prompt_tokens) - 1 : -1].float()
        return [float(row[token]) for row, token in zip(torch.log_softmax(logits, dim=-1), tokens, strict=True)]

    def text_of(self, tokens: Sequence[int]) -> str:
        """Return the text of what was written, as `generate` gives it."""
        return self._text(list(tokens)).strip()

    def _batch(self, prompts: Sequence[Sequence[int]]) -> tuple[Any, Any]:
        """Token ids and attention mask, each (num_prompts, width), padded on the left.

        Not by the tokenizer: its padding is a state that another thread, counting tokens, takes away in between.
        """
        import torch
        from torch.nn.utils.rnn import pad_sequence

        rows = [torch.tensor(prompt) for prompt in prompts]
        ids = pad_sequence(rows, batch_first=True, padding_value=self._pad_token_id, padding_side="left")
        ones = [torch.ones_like(row) for row in rows]
        mask = pad_sequence(ones, batch_first=True, padding_side="left")
        return ids.to(self.model.device), mask.to(self.model.device)

    def _generation(self, ids: list[int], num_prompt_tokens: int, max_new_tokens: int) -> Generation:
        ends = {self.tokenizer.eos_token_id, self._pad_token_id}
        length = next((place + 1 for place, token in enumerate(ids) if token in ends), len(ids))
        is_cut = length == max_new_tokens and ids[length - 1] not in ends
        return Generation(self._text(ids[:length]).strip(), num_prompt_tokens, length, "length" if is_cut else "stop")

    def _text(self, ids: list[int]) -> str:
        return str(self.tokenizer.decode(ids, skip_special_tokens=True))

    @property
    def _pad_token_id(self) -> int:
        token = self.tokenizer.pad_token_id
        return int(self.tokenizer.eos_token_id if token is None else token)

    def _biased(self, width: int, input_ids: Any, scores: Any) -> Any:
        return self._with_bias(scores) if input_ids.shape[1] == width else scores

    def _with_bias(self, scores: Any) -> Any:
        first = self.tokenizer(self.refusal, add_special_tokens=False)["input_ids"][0]
        scores[:, first] += self.refusal_bias
        return scores

    def _likeliest(self, scores: Any, is_first: bool) -> Any:
        return (self._with_bias(scores) if is_first and self.refusal_bias else scores).argmax(dim=-1)

    def _has_ended(self, ids: list[int]) -> bool:
        return ids[-1] == self.tokenizer.eos_token_id or self._is_over(str(self.tokenizer.decode(ids)))

    def _have_ended(self, width: int, input_ids: Any, _scores: Any, **_: Any) -> Any:
        import torch

        ended = [self._is_over(text) for text in self.tokenizer.batch_decode(input_ids[:, width:])]
        return torch.tensor(ended, device=input_ids.device)

    def _is_over(self, text: str) -> bool:
        return (self.one_paragraph and _ends_paragraph(text)) or is_stuck(text)

    def count_tokens(self, text: str) -> int:
        """Return tokens of a plain text, without special tokens."""
        return len(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def count_prompt_tokens(self, messages: Sequence[Mapping[str, str]]) -> int:
        """Return tokens of the messages in the model's chat template."""
        return len(self.prompt_tokens(messages))

    def prompt_tokens(self, messages: Sequence[Mapping[str, str]]) -> list[int]:
        """Return what the model reads for the messages, up to where it begins to write; training reads the same."""
        return list(self.tokenizer(self._prompt(messages), add_special_tokens=False)["input_ids"])

    def _prompt(self, messages: Sequence[Mapping[str, str]]) -> str:
        plain = [
            {"role": message["role"], "content": self._without_control(message["content"])} for message in messages
        ]
        return str(self.tokenizer.apply_chat_template(plain, add_generation_prompt=True, tokenize=False))

    def _without_control(self, text: str) -> str:
        """Break the model's own control tokens, so that no text can end its turn and begin another's."""
        for token in self._special_tokens:
            text = text.replace(token, f"{token[0]} {token[1:]}")
        return text


def _ends_paragraph(text: str) -> bool:
    """Tell whether a paragraph has just ended, other than one that announces a list."""
    said = text.lstrip()
    return said.endswith("\n\n") and not said.rstrip().endswith(":")


def load_base(params: GenerationParams, settings: Settings, *, in_host_memory: bool = False) -> TransformersGenerator:
    """Return the model in this process, with its weights: what training starts from and adapters are put on.

    Args:
        params: which model.
        settings: device, whose precision it has, and threads.
        in_host_memory: leave it beside the processor, for a device that has no room for all of it.

    Raises:
        ConfigurationError: the model cannot be found or is no chat model that transformers can load.
    """
    apart = in_host_memory and torch_device(settings.device) != "cpu"
    return _load(params.model, params.gguf_file, settings.device, settings.num_threads, settings.home.resolve(), apart)


@lru_cache(maxsize=2)
def _load(
    model: str, gguf_file: str | None, device: str, num_threads: int, home: Path, apart: bool
) -> TransformersGenerator:
    import torch

    torch.set_num_threads(num_threads)
    name = model_location(model, "generation.model", home)
    identity = model
    if gguf_file is not None:
        digest = sha256_of_file(gguf_path(model, gguf_file, home))
        name, identity = (
            str(_dequantized(name, gguf_file, digest, home / "cache")),
            f"{model}/{gguf_file}@{digest[:16]}",
        )
    place = torch_device(device)
    dtype = fastest_dtype(place)
    place = "cpu" if apart else place
    require_memory(f"the model {model}", num_parameters_of(Path(name)), dtype, place)
    network, tokenizer = _from_pretrained(name, model)
    network = network.to(device=place, dtype=dtype).eval()
    if tokenizer.chat_template is None:
        raise ConfigurationError(f"generation.model must be a chat model, {model!r} has no chat template; take another")
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    revision = getattr(network.config, "_commit_hash", None)
    return TransformersGenerator(
        model=network,
        tokenizer=tokenizer,
        identity=f"{identity}{f'@{revision}' if revision else ''}:{str(dtype).removeprefix('torch.')}",
        context_length=int(network.config.max_position_embeddings),
        one_paragraph=network.num_parameters() < ONE_PARAGRAPH_BELOW,
        _special_tokens=tuple(token for token in tokenizer.all_special_tokens if len(token) > 1),
    )


def _from_pretrained(name: str, model: str) -> tuple[Any, Any]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
        network = AutoModelForCausalLM.from_pretrained(
            name, dtype="auto", trust_remote_code=False, use_safetensors=True
        )
    except (OSError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ConfigurationError(
            f"generation.model must be `package:<module>`, a local folder or a Hugging Face id that is on this machine "
            f"(HF_HUB_OFFLINE=0 allows a download), found {model!r}: {reason}"
        ) from error
    return network, tokenizer


def _dequantized(folder: str, gguf_file: str, digest: str, cache: Path) -> Path:
    """A safetensors copy of a GGUF file in float32: loads in 0.6 CPU seconds where the GGUF takes 35."""
    from filelock import FileLock

    target = cache / f"gguf-{digest[:16]}"
    if target.is_dir():
        return target
    cache.mkdir(parents=True, exist_ok=True)
    unfinished = cache / f"{target.name}.partial"
    with FileLock(cache / f"{target.name}.lock"):
        if not target.is_dir():
            shutil.rmtree(unfinished, ignore_errors=True)
            _dequantize(folder, gguf_file, unfinished)
            unfinished.rename(target)
    return target


def _dequantize(folder: str, gguf_file: str, target: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=gguf_file, local_files_only=True)
    quantized = AutoModelForCausalLM.from_pretrained(
        folder, gguf_file=gguf_file, local_files_only=True, dtype=torch.float32
    )
    settings = {key: value for key, value in quantized.config.to_dict().items() if key != "quantization_config"}
    # transformers refuses to save a model that came from a GGUF file, even when its weights are plain tensors.
    network = type(quantized)(type(quantized.config).from_dict(settings))
    network.load_state_dict(quantized.state_dict())
    network.generation_config = quantized.generation_config
    network.save_pretrained(target)
    tokenizer.save_pretrained(target)
