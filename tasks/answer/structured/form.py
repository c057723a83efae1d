"""`response_format` of OpenAI's API: what may be asked for, and whether a text is of that form. Knows no model."""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jsonschema_rs

from tasks.answer.generators.base import JsonFormat
from tasks.errors import ConfigurationError, FormatError

ANY_OBJECT = {"type": "object"}
MAX_SCHEMA_CHARACTERS = 32_000
MAX_SHOWN_CHARACTERS = 4_000
"""A larger schema is enforced without being shown to the model."""
_LINEAR = jsonschema_rs.RegexOptions()
"""A pattern of the asker's cannot take for ever: it is matched in linear time."""


def parse_form(requested: Mapping[str, Any] | None) -> JsonFormat | None:
    """Return the form that a request names; None for text.

    Raises:
        ConfigurationError: its type is none of text, json_object and json_schema, or the schema is none.
    """
    kind = (requested or {}).get("type", "text")
    if requested is None or kind == "text":
        return None
    if kind == "json_object":
        return JsonFormat("object", ANY_OBJECT, {"type": kind})
    if kind != "json_schema":
        raise ConfigurationError(
            f"the type of `response_format` must be text, json_object or json_schema, found {str(kind)[:40]!r}"
        )
    return _of_schema(requested.get("json_schema"))


def _of_schema(given: Any) -> JsonFormat:
    if not isinstance(given, Mapping) or not isinstance(given.get("schema"), Mapping):
        raise ConfigurationError(
            '`response_format` of type json_schema must hold {"json_schema": {"name": …, "schema": {…}}}; add them'
        )
    name, schema = str(given.get("name") or "answer"), given["schema"]
    size = len(json.dumps(schema))
    if size > MAX_SCHEMA_CHARACTERS:
        raise ConfigurationError(
            f"a schema must have at most {MAX_SCHEMA_CHARACTERS} characters, found {size}; shorten it"
        )
    elsewhere = next((target for target in _references(schema) if not target.startswith("#")), None)
    if elsewhere is not None:
        raise ConfigurationError(
            f"each $ref of a schema must begin with #, found {elsewhere[:80]!r}: nothing is fetched; put it into $defs"
        )
    try:
        _validator(schema)
    except ValueError as error:  # of jsonschema_rs: ValidationError against the schema of schemas, and others
        reason = " ".join(str(error).split())[:200]
        raise ConfigurationError(f"the schema of `response_format` must be a JSON Schema, found {reason}") from error
    return JsonFormat(name, schema, {"type": "json_schema", "json_schema": dict(given) | {"name": name}})


def instruction(form: JsonFormat) -> str:
    """Return what a model is told of the form, beside being held to it."""
    schema = json.dumps(dict(form.schema), ensure_ascii=False)
    of_schema = f" of this JSON Schema: {schema}" if len(schema) <= MAX_SHOWN_CHARACTERS else ""
    return f"Write the answer as one JSON value and nothing else, without markers like [1]{of_schema}"


def of_form(text: str, form: JsonFormat, *, is_cut: bool, change: Callable[[str], str] = str) -> str:
    """Return a text that is of the form.

    Args:
        text: what a model wrote.
        form: that was asked for.
        is_cut: whether the limit of tokens ended it.
        change: of each text within the value; what it changes is checked as well.

    Raises:
        FormatError: it is no JSON, or not of the schema; the message quotes nothing of it.
    """
    try:
        value = json.loads(text, parse_constant=_no_number)
    except ValueError as error:
        reason = "it was cut at the limit of tokens" if is_cut else "it is no JSON"
        raise FormatError(
            f"the model must write JSON of the form {form.name!r}, but {reason}; ask for less, raise "
            "max_completion_tokens, or ask again without `response_format`"
        ) from error
    changed = _changed(value, change)
    error_of_value = next(iter(_validator(form.schema).iter_errors(changed)), None)
    if error_of_value is not None:
        place = "/".join(map(str, error_of_value.schema_path))[:120]
        raise FormatError(
            f"the model must write JSON of the form {form.name!r}, found a value that breaks {place}; make the schema "
            "simpler, or ask again without `response_format`"
        )
    return text if changed == value else json.dumps(changed, ensure_ascii=False)


def _changed(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list):
        return [_changed(entry, change) for entry in value]
    return {name: _changed(entry, change) for name, entry in value.items()} if isinstance(value, dict) else value


def _no_number(name: str) -> None:
    raise ValueError(f"JSON has no {name}")


def _validator(schema: Mapping[str, Any]) -> Any:
    return jsonschema_rs.Draft202012Validator(dict(schema), pattern_options=_LINEAR)


def _references(schema: Any) -> Iterator[str]:
    """Every target of a reference in a schema, wherever it stands."""
    if isinstance(schema, Mapping):
        yield from (str(schema[name]) for name in ("$ref", "$dynamicRef", "$recursiveRef") if name in schema)
        # A base address would turn a reference within the schema into one elsewhere.
        yield from (str(schema[name]) for name in ("$id", "id", "$schema") if _is_foreign(schema.get(name)))
        for value in schema.values():
            yield from _references(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from _references(value)


def _is_foreign(address: Any) -> bool:
    return isinstance(address, str) and "://" in address and "json-schema.org" not in address
