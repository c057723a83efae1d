"""Milliseconds a token, held to a schema and free, of the model that `params.yaml` names.

`python -m benchmarks.structured [--tokens 48]` prints a row for each schema: CPU milliseconds a token of the whole and
of the grammar alone, milliseconds until the grammar stands, and whether what was written is of the schema.
"""

import argparse
import time
from typing import Any

from tasks.answer.generators import grammar as grammars
from tasks.answer.generators.base import JsonFormat
from tasks.answer.generators.transformers import load_base
from tasks.answer.structured.form import of_form, parse_form
from tasks.errors import FormatError
from tasks.params import load_params
from tasks.settings import Settings

QUESTION = [
    {"role": "user", "content": "The package zephyr needs Python 3.11 and gives a queue and a lock. Describe it."}
]
TEXT = {"type": "string", "maxLength": 60}
SCHEMAS: dict[str, dict[str, Any]] = {
    "two texts": {"type": "object", "properties": {"name": TEXT, "needs": TEXT}, "required": ["name", "needs"]},
    "enumeration": {
        "type": "object",
        "properties": {"kind": {"enum": ["queue", "lock", "other"]}},
        "required": ["kind"],
    },
    "nested": {
        "type": "object",
        "properties": {
            "package": {
                "type": "object",
                "properties": {"name": TEXT, "year": {"type": "integer"}},
                "required": ["name"],
            },
            "gives": {"type": "array", "items": TEXT, "maxItems": 3},
        },
        "required": ["package", "gives"],
        "additionalProperties": False,
    },
    "any object": {"type": "object"},
}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=48, help="at most, of each answer")
    size = parser.parse_args().tokens
    model = load_base(load_params(Settings().params).generation, Settings())
    model.generate(QUESTION, max_new_tokens=4)
    started = time.process_time()
    free = model.generate(QUESTION, max_new_tokens=size)
    per_token = 1000 * (time.process_time() - started) / max(1, free.num_completion_tokens)
    print(f"| schema | ms a token | of it the grammar | until it stands, ms | tokens | of the schema |\n{'|---' * 6}|")
    print(f"| none | {per_token:.1f} | | | {free.num_completion_tokens} | |", flush=True)
    for name, schema in SCHEMAS.items():
        form = parse_form({"type": "json_schema", "json_schema": {"name": name, "schema": schema}})
        assert form is not None
        stands, masked = _grammar_milliseconds(model, form)
        started = time.process_time()
        written = model.generate_json(QUESTION, form, max_new_tokens=size)
        per_token = (1000 * (time.process_time() - started) - stands) / max(1, written.num_completion_tokens)
        row = f"| {name} | {per_token:.1f} | {masked:.2f} | {stands:.0f} | {written.num_completion_tokens}"
        print(f"{row} | {_verdict(written.text, form, is_cut=written.finish_reason == 'length')} |", flush=True)


def _grammar_milliseconds(model: Any, form: JsonFormat) -> tuple[float, float]:
    """Until the grammar stands, and of one mask: both in CPU milliseconds; the vocabulary is read once before."""
    import torch

    size = int(model.model.config.vocab_size)
    grammars.JsonGrammar(model.tokenizer, size, form)
    started = time.process_time()
    grammar = grammars.JsonGrammar(model.tokenizer, size, form)
    stands = 1000 * (time.process_time() - started)
    ids, scores = torch.zeros((1, 1), dtype=torch.long), torch.zeros((1, size))
    started = time.process_time()
    for _ in range(50):
        grammar.masked(1, ids, scores)
    return stands, 1000 * (time.process_time() - started) / 50


def _verdict(text: str, form: JsonFormat, *, is_cut: bool) -> str:
    try:
        of_form(text, form, is_cut=is_cut)
    except FormatError:
        return "cut: an error" if is_cut else "refused by the model"
    return "yes"


if __name__ == "__main__":
    main()
