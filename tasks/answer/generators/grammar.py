"""The tokens that a JSON form allows next, by `llguidance`: a model in this process cannot write anything else.

Where it would begin with the agreed refusal if it were free, it writes that and no value, so that "not in the
documents" can be said in any form. It is not merely allowed to: a small model finds a brace less likely than anything.
"""

import json
from functools import lru_cache
from typing import Any

from tasks.answer.generators.base import JsonFormat
from tasks.answer.prompt import NOT_FOUND
from tasks.errors import ConfigurationError

_LAYOUT = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
"""One line: where blanks are free, a small model goes on with them for ever."""


REFUSAL = f"start: {json.dumps(NOT_FOUND)}\n"


def grammar_of(form: JsonFormat) -> str:
    """Return the grammar of a value of the form, as `llguidance` reads it."""
    return f"start: %json {json.dumps(dict(form.schema) | {'x-guidance': _LAYOUT})}\n"


def check_enforceable(form: JsonFormat) -> None:
    """Refuse a schema that no grammar can be made of.

    Raises:
        ConfigurationError: it has a keyword that cannot be enforced, or is too large.
    """
    from llguidance import LLMatcher

    problem = LLMatcher.validate_grammar(grammar_of(form), None)
    if problem:
        raise ConfigurationError(
            f"the schema of `response_format` must be one that can be enforced, found {_first_line(problem)}; leave "
            "that out"
        )


class JsonGrammar:
    """What one answer may go on with; it follows the tokens as they are written."""

    def __init__(self, tokenizer: Any, vocabulary_size: int, form: JsonFormat) -> None:
        """Compile the form for a tokenizer.

        Raises:
            ConfigurationError: the schema cannot be enforced.
        """
        from llguidance import LLMatcher

        tokens = _tokens_of(tokenizer, vocabulary_size)
        self._matcher = LLMatcher(tokens, grammar_of(form))
        self._refusal = LLMatcher(tokens, REFUSAL)
        self._refusal_begins = int(tokenizer(NOT_FOUND, add_special_tokens=False)["input_ids"][0])
        self._require_sound()

    def masked(self, width: int, input_ids: Any, scores: Any) -> Any:
        """Return the scores of the next token, -inf for each that the form does not allow.

        Args:
            width: tokens of the prompt.
            input_ids: (1, width + tokens that were written).
            scores: (1, vocabulary).
        """
        import numpy as np
        import torch

        if input_ids.shape[1] > width:
            self._matcher.consume_token(int(input_ids[0, -1]))
            self._require_sound()
        elif int(scores[0].argmax()) == self._refusal_begins:
            self._matcher = self._refusal
        bits = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
        allowed = np.unpackbits(bits, bitorder="little")[: scores.shape[1]].astype(bool)
        return scores.masked_fill(~torch.from_numpy(allowed).to(scores.device), -torch.inf)

    def _require_sound(self) -> None:
        if self._matcher.is_error():
            raise ConfigurationError(
                "the schema of `response_format` must be one that can be enforced, found "
                f"{_first_line(self._matcher.get_error())}; make it simpler"
            )


@lru_cache(maxsize=4)
def _tokens_of(tokenizer: Any, vocabulary_size: int) -> Any:
    """The vocabulary as `llguidance` reads it: about a second of work."""
    from llguidance.hf import from_tokenizer

    return from_tokenizer(tokenizer, n_vocab=vocabulary_size)


def _first_line(text: str) -> str:
    return " ".join(text.strip().splitlines()[0].split())[:200]
