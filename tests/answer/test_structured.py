"""Structured answers: what a model in this process writes is of the form, or nobody reads it."""

import json
import os
from dataclasses import replace
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.answer.generators.base import Generation, JsonFormat
from tasks.answer.generators.grammar import check_enforceable
from tasks.answer.generators.transformers import TransformersGenerator, load_base
from tasks.answer.prompt import NOT_FOUND
from tasks.answer.structured.answer import answer_in_json
from tasks.answer.structured.evidence import evidence_of
from tasks.answer.structured.form import of_form, parse_form
from tasks.errors import ConfigurationError, FormatError
from tasks.index.passage import Passage
from tasks.params import GenerationParams
from tasks.settings import Settings
from tests.chat_model import save_chat_model
from tests.conftest import BASE_PARAMS

ASKED = [{"role": "user", "content": "Fill the form."}]
NUM_EXAMPLES = int(os.environ.get("ALMANAC_STRUCTURED_EXAMPLES", "6"))
"""Schemas that hypothesis makes; docs/answers.md has the figures of more."""


def form(schema: dict[str, Any]) -> JsonFormat:
    parsed = parse_form({"type": "json_schema", "json_schema": {"name": "test", "schema": schema}})
    assert parsed
    return parsed


@pytest.fixture(scope="module")
def params(tmp_path_factory: pytest.TempPathFactory) -> GenerationParams:
    folder = save_chat_model(tmp_path_factory.mktemp("structured"))
    return GenerationParams.model_validate(BASE_PARAMS["generation"] | {"model": str(folder), "gguf_file": None})


@pytest.fixture(scope="module")
def model(params: GenerationParams) -> TransformersGenerator:
    """A model that never refuses, and knows nothing of JSON: its weights are random."""
    return replace(load_base(params, Settings()), refusal=NOT_FOUND, refusal_bias=-1e9)


PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 4},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
    },
    "required": ["name", "age"],
    "additionalProperties": False,
}
SCHEMAS: dict[str, dict[str, Any]] = {
    "object": PERSON,
    "optional field": PERSON | {"required": ["name"]},
    "nested": {"type": "object", "properties": {"who": PERSON}, "required": ["who"], "additionalProperties": False},
    "array of objects": {"type": "array", "items": PERSON, "minItems": 1, "maxItems": 2},
    "enumeration": {"enum": ["low", "high", 3, None, True]},
    "constant": {"const": {"a": [1, "b"]}},
    "number": {"type": "number", "minimum": -1, "maximum": 1},
    "several types": {"type": ["string", "null", "boolean"], "maxLength": 4},
    "pattern": {"type": "string", "pattern": "^[A-Z]{2}-[0-9]{3}$"},
    "date": {"type": "string", "format": "date"},
    "any of": {"anyOf": [{"const": "none"}, PERSON]},
    "definitions": {
        "$defs": {"leaf": {"type": "string", "maxLength": 3}},
        "type": "object",
        "properties": {"left": {"$ref": "#/$defs/leaf"}, "right": {"$ref": "#/$defs/leaf"}},
        "required": ["left", "right"],
        "additionalProperties": False,
    },
    "tuple": {"type": "array", "prefixItems": [{"type": "boolean"}, {"enum": ["x"]}], "items": False, "minItems": 2},
}


@pytest.mark.parametrize("name", SCHEMAS)
def test_what_is_written_is_of_the_schema(name: str, model: TransformersGenerator) -> None:
    written = model.generate_json(ASKED, form(SCHEMAS[name]), max_new_tokens=400)

    assert written.finish_reason == "stop"
    jsonschema.validate(json.loads(written.text), SCHEMAS[name], format_checker=jsonschema.FormatChecker())
    of_form(written.text, form(SCHEMAS[name]), is_cut=False)


def scalars() -> st.SearchStrategy[dict[str, Any]]:
    """Schemas of values that end."""
    integers = st.integers(-99, 99)
    return st.one_of(
        st.integers(0, 9).map(lambda size: {"type": "string", "maxLength": size}),
        st.tuples(integers, st.integers(0, 50)).map(
            lambda pair: {"type": "integer", "minimum": pair[0], "maximum": pair[0] + pair[1]}
        ),
        st.sampled_from([{"type": "boolean"}, {"type": "null"}, {"type": "string", "format": "date-time"}]),
        st.lists(st.one_of(st.text('abcdé "\\\n{}[]', max_size=6), integers, st.none()), min_size=1, max_size=4).map(
            lambda values: {"enum": values}
        ),
    )


def wider(inner: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    """Arrays, objects with optional fields, and choices of schemas."""
    names = st.text('abc $"é', min_size=1, max_size=4)
    arrays = st.tuples(inner, st.integers(0, 2), st.integers(0, 2)).map(
        lambda part: {"type": "array", "items": part[0], "minItems": part[1], "maxItems": part[1] + part[2]}
    )
    objects = st.tuples(st.dictionaries(names, inner, max_size=3), st.booleans()).map(
        lambda part: {
            "type": "object",
            "properties": part[0],
            "required": sorted(part[0])[:: 2 if part[1] else 1],
            "additionalProperties": False,
        }
    )
    choices = st.lists(inner, min_size=1, max_size=3).map(lambda parts: {"anyOf": parts})
    return st.one_of(arrays, objects, choices)


@settings(
    max_examples=NUM_EXAMPLES,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(schema=st.recursive(scalars(), wider, max_leaves=5))
def test_schemas_that_nobody_thought_of_are_met(schema: dict[str, Any], model: TransformersGenerator) -> None:
    written = model.generate_json(ASKED, form(schema), max_new_tokens=600)

    assert written.finish_reason == "stop"
    jsonschema.validate(json.loads(written.text), schema)


def test_any_object_is_an_object_or_cut(model: TransformersGenerator) -> None:
    asked = parse_form({"type": "json_object"})
    assert asked
    written = model.generate_json(ASKED, asked, max_new_tokens=64)
    assert written.text.startswith("{")
    if written.finish_reason == "length":
        with pytest.raises(FormatError, match="cut at the limit of tokens"):
            of_form(written.text, asked, is_cut=True)
    else:
        assert isinstance(json.loads(written.text), dict)


@pytest.mark.parametrize(
    ("requested", "why"),
    [
        ({"type": "grammar"}, "text, json_object or json_schema"),
        ({"type": "json_schema"}, "must hold"),
        ({"type": "json_schema", "json_schema": {"name": "x"}}, "must hold"),
        (
            {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "nonsense"}}},
            "must be a JSON Schema",
        ),
        (
            {"type": "json_schema", "json_schema": {"schema": {"$ref": "https://example.org/a.json"}}},
            "must begin with #",
        ),
        ({"type": "json_schema", "json_schema": {"schema": {"$id": "https://example.org/", "$ref": "#/a"}}}, "with #"),
        ({"type": "json_schema", "json_schema": {"schema": {"enum": ["a" * 40_000]}}}, "at most 32000 characters"),
    ],
)
def test_what_is_no_form_is_refused(requested: dict[str, Any], why: str) -> None:
    with pytest.raises(ConfigurationError, match=why):
        parse_form(requested)


@pytest.mark.parametrize("keyword", [{"not": {"const": 1}}, {"type": "array", "uniqueItems": True}, {"if": {}}])
def test_what_cannot_be_enforced_is_named(keyword: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=f"found .*{next(name for name in keyword if name != 'type')}"):
        check_enforceable(form(keyword))


@pytest.mark.parametrize(("bias", "refuses"), [(1e9, True), (-1e9, False)])
def test_model_refuses_where_it_would_without_a_form(bias: float, refuses: bool, model: TransformersGenerator) -> None:
    written = replace(model, refusal_bias=bias).generate_json(ASKED, form({"enum": [1, 2]}), max_new_tokens=64)

    assert (written.text == NOT_FOUND) is refuses
    assert refuses or written.text in ("1", "2")


def test_text_is_no_form() -> None:
    assert parse_form(None) is None
    assert parse_form({"type": "text"}) is None


def test_pattern_that_runs_away_elsewhere_is_checked_in_time() -> None:
    asked = form({"type": "string", "pattern": "^(a+)+$"})
    with pytest.raises(FormatError, match="pattern"):
        of_form(json.dumps("a" * 60 + "!"), asked, is_cut=False)


def passage(text: str, title: str = "Zephyr") -> Passage:
    return Passage("c", "d", "wiki", "https://wiki.example/z", title, "", text, 0, len(text), 0.0, 0.9, None)


class Scripted:
    """Writes what it is told."""

    identity, context_length = "scripted:none", 4096

    def __init__(self, text: str) -> None:
        self.text = text
        self.messages: list[Any] = []

    def generate_json(self, messages: Any, form: JsonFormat, *, max_new_tokens: int) -> Generation:
        self.messages = messages
        return Generation(self.text, 1, 2)

    def count_tokens(self, text: str) -> int:
        return len(text.split())

    def count_prompt_tokens(self, messages: Any) -> int:
        return 10


RELEASE = {
    "type": "object",
    "properties": {"version": {"type": "string"}, "limit": {"type": "integer"}, "kind": {"enum": ["queue", "lock"]}},
    "additionalProperties": False,
}


def answered(text: str, params: GenerationParams) -> Any:
    own = params.model_copy(update={"answerer": "model"})
    scripted: Any = Scripted(text)
    read = [passage("Zephyr is a task queue. It needs Python 3.11 or newer, and tries a job 5 times.")]
    return answer_in_json(form(RELEASE), "What does zephyr need?", read, scripted, own), scripted


def test_value_is_the_text_and_its_evidence_stands_beside_it(params: GenerationParams) -> None:
    text = '{"version": "Python 3.11", "limit": 7, "kind": "queue"}'
    answer, scripted = answered(text, params)

    assert (answer.text, answer.outcome) == (text, "answer")
    assert [(claim.text, claim.verdict, claim.markers) for claim in answer.claims] == [
        ("Python 3.11", "supported", (1,)),
        ("7", "unverified", ()),
    ]
    assert text[answer.claims[0].start : answer.claims[0].end] == '"Python 3.11"'
    assert [citation.marker for citation in answer.citations] == [1]
    assert "3.11" in answer.citations[0].quote
    assert '"enum": ["queue", "lock"]' in scripted.messages[0]["content"]


@pytest.mark.parametrize("text", [NOT_FOUND, ""])
def test_refusal_in_place_of_a_value_is_no_answer(text: str, params: GenerationParams) -> None:
    answer, _ = answered(text, params)

    assert answer.abstained
    assert answer.reason


@pytest.mark.parametrize("text", ['{"version": 3}', '{"other": "x"}', "Zephyr needs 3.11 [1].", '{"limit": NaN}', "[1"])
def test_what_is_not_of_the_form_reaches_nobody(text: str, params: GenerationParams) -> None:
    with pytest.raises(FormatError) as raised:
        answered(text, params)
    assert text not in str(raised.value)


def test_text_within_a_value_loads_no_picture_and_leads_nowhere(params: GenerationParams) -> None:
    answer, _ = answered('{"version": "3.11 ![x](https://evil.example/?q=1) [here](https://evil.example/)"}', params)

    assert "evil.example" not in answer.text
    assert json.loads(answer.text)["version"].startswith("3.11")


def test_markers_in_arrays_are_numbers_of_the_value(params: GenerationParams) -> None:
    assert evidence_of('{"a": [9]}', {}, [passage("It is 9 o'clock.")]).claims[0].text == "9"


def test_excerpts_cannot_be_json_and_the_error_says_what_to_do(params: GenerationParams) -> None:
    own = params.model_copy(update={"answerer": "excerpt"})
    with pytest.raises(ConfigurationError, match="or to promote an answerer"):
        answer_in_json(form(RELEASE), "What?", [passage("Zephyr is a queue.")], Scripted("{}"), own)  # type: ignore[arg-type]
