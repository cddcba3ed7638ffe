"""Which JSON Schemas the model can be held to."""

import json
from typing import Any

import pytest
from pydantic import BaseModel
from starlette.testclient import TestClient

from bedside.recipe import ServeSection
from bedside.runtime.scripted import ScriptedBackend
from bedside.serve.app import create_app
from bedside.serve.schema import MAX_DEPTH, MAX_LENGTH, MAX_SUBSCHEMAS, NotHonoured, compiled

NODE = {"type": "object", "properties": {"next": {"anyOf": [{"$ref": "#/$defs/n"}, {"type": "null"}]}}}


class Finding(BaseModel):
    name: str
    grade: int | None = None


class Case(BaseModel):
    """What a client's pydantic model looks like."""

    diagnosis: str
    findings: list[Finding]


def nested(depth: int, kind: str) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(depth):
        schema = {"type": "array", "items": schema} if kind == "array" else {"anyOf": [schema]}
    return schema


HONOURED: list[dict[str, Any]] = [
    {},
    {"type": "object"},
    Case.model_json_schema(),
    {"$schema": "http://json-schema.org/draft-07/schema#", "type": "string", "maxLength": 50},
    {"$ref": "#/$defs/n", "$defs": {"n": NODE}},
    {"$ref": "#/definitions/n", "definitions": {"n": {"type": "integer", "minimum": 0, "maximum": 9}}},
    {"enum": ["yes", "no", 1, None]},
    {"type": "string", "enum": ["yes", "no"]},
    {"const": {"a": [1, 2]}},
    {"type": ["string", "null"], "maxLength": 20},
    {"type": "number", "minimum": 0, "exclusiveMaximum": 1.5},
    {"type": "array", "items": {"type": "integer"}, "minItems": 1, "maxItems": 3},
    {
        "type": "array",
        "prefixItems": [{"type": "string"}, {"type": "integer"}],
        "items": {"type": "null"},
        "maxItems": 2,
    },
    {"type": "object", "additionalProperties": {"type": "integer"}},
    {"oneOf": [{"type": "string"}, {"type": "integer"}]},
    {"type": "string", "pattern": "^[A-Z]{3}-[0-9]{2,4}(a|b)?$"},
    {"type": "string", "format": "date"},
    {"type": "object", "properties": {'a"b\\n\u2028é 漢': {"type": "boolean"}}, "required": ['a"b\\n\u2028é 漢']},
    nested(MAX_DEPTH, "array"),
]
REFUSED: list[tuple[Any, str]] = [
    ([], "must be an object"),
    (True, "must be an object"),
    ({"type": "bogus"}, "must be one of"),
    ({"type": []}, "must be one of"),
    ({"type": {"a": 1}}, "must be one of"),
    ({"not": {"type": "string"}}, "'not' cannot be honoured"),
    ({"type": "string", "minItems": 1}, "'minItems' cannot be honoured"),
    ({"allOf": [{"type": "string"}, {"type": "integer"}]}, "'allOf' cannot be honoured"),
    ({"type": "integer", "multipleOf": 7}, "'multipleOf' cannot be honoured"),
    ({"$ref": "http://evil.example/schema.json"}, "must name an entry"),
    ({"$ref": "file:///etc/passwd"}, "must name an entry"),
    ({"$ref": "#/$defs/absent"}, "must name an entry"),
    ({"$ref": "#"}, "must name an entry"),
    ({"$ref": 5}, "must name an entry"),
    ({"$ref": {}}, "must name an entry"),
    ({"anyOf": [{"$ref": []}]}, "must name an entry"),
    ({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}}, "leads to itself"),
    ({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}, "leads to itself"),
    ({"$ref": "#/$defs/a", "$defs": {"a": {"anyOf": [{"$ref": "#/$defs/a"}, {"type": "null"}]}}}, "leads to itself"),
    (
        {"$ref": "#/$defs/a", "$defs": {"a": {"anyOf": [{"anyOf": [{"$ref": "#/$defs/a"}]}, {"type": "null"}]}}},
        "leads to itself",
    ),
    ({"$ref": "#/$defs/a", "type": "object", "$defs": {"a": {"type": "string"}}}, "must stand alone"),
    ({"enum": []}, "list of 1 to"),
    ({"anyOf": []}, "list of 1 to"),
    ({"enum": list(range(1001))}, "list of 1 to"),
    ({"type": "string", "enum": ["a", 1]}, "not of its type"),
    ({"type": "integer", "const": True}, "not of its type"),
    ({"const": 10**30}, "not of its type"),
    ({"const": float("nan")}, "not of its type"),
    ({"const": {"a": float("inf")}}, "no JSON"),
    ({"const": "\ud800"}, "no JSON"),
    ({"type": "string", "minLength": 5, "maxLength": 4}, "is more than"),
    ({"type": "string", "maxLength": -1}, "whole number"),
    ({"type": "string", "maxLength": 1.5}, "whole number"),
    ({"type": "string", "maxLength": True}, "whole number"),
    ({"type": "string", "maxLength": MAX_LENGTH + 1}, "whole number"),
    ({"type": "array", "minItems": 10**9}, "whole number"),
    ({"type": "array", "prefixItems": [{}, {}], "maxItems": 1}, "'prefixItems'"),
    ({"type": "array", "items": False}, "must be an object"),
    ({"type": "integer", "minimum": 10, "maximum": 3}, "no number lies between"),
    ({"type": "integer", "exclusiveMinimum": 3, "exclusiveMaximum": 4}, "no number lies between"),
    ({"type": "number", "exclusiveMinimum": 3, "maximum": 3}, "no number lies between"),
    ({"type": "integer", "minimum": 0.5}, "whole number"),
    ({"type": "number", "minimum": 10**30}, "number"),
    ({"type": "number", "minimum": "0"}, "number"),
    ({"type": "object", "properties": {"a": {}}, "required": ["b"]}, "that 'properties' has"),
    ({"type": "object", "properties": {"a": {}}, "required": "a"}, "that 'properties' has"),
    ({"type": "object", "properties": [1]}, "must be an object"),
    ({"type": "object", "properties": {"a": False}}, "must be an object"),
    ({"type": "string", "format": "bogus"}, "must be one of"),
    ({"type": "string", "format": {}}, "must be one of"),
    ({"type": "string", "format": "date", "maxLength": 3}, "no other bound"),
    ({"type": "string", "pattern": "("}, "no regular expression"),
    ({"type": "string", "pattern": "a{3,2}"}, "no regular expression"),
    ({"type": "string", "pattern": "^(?=a)b$"}, "plain regular expression"),
    ({"type": "string", "pattern": r"(a)\1"}, "plain regular expression"),
    ({"type": "string", "pattern": "((a{100}){100}){100}"}, "repeats more than"),
    ({"type": "string", "pattern": "a" * 201}, "at most 200 characters"),
    ({"type": "string", "pattern": 5}, "plain regular expression"),
    (nested(MAX_DEPTH + 1, "array"), "nested more than"),
    (nested(200, "anyOf"), "nested more than"),
    ({"const": json.loads("[" * 200 + "]" * 200)}, "nested more than"),
    ({"type": "object", "properties": {f"p{i}": {} for i in range(MAX_SUBSCHEMAS)}}, "more than"),
    ({"title": "x" * 60_000}, "characters"),
]


@pytest.mark.parametrize("schema", HONOURED, ids=lambda schema: json.dumps(schema)[:60])
def test_an_ordinary_schema_is_taken(schema: dict[str, Any]) -> None:
    assert json.loads(compiled(schema)) == {key: value for key, value in schema.items() if key != "$schema"}


@pytest.mark.parametrize(("schema", "said"), REFUSED, ids=[f"{i}: {said}" for i, (_, said) in enumerate(REFUSED)])
def test_what_the_model_cannot_be_held_to_is_refused(schema: Any, said: str) -> None:
    with pytest.raises(NotHonoured, match=said.replace("(", r"\(")) as refused:
        compiled(schema)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 400


@pytest.mark.parametrize("depth", [300, 490, 980, 5_000, 100_000])
def test_a_schema_of_any_depth_is_a_400(depth: int) -> None:
    deep = '{"anyOf":[' * depth + "{}" + "]}" * depth
    form = f'{{"type": "json_schema", "json_schema": {{"name": "x", "schema": {deep}}}}}'
    body = f'{{"messages": [{{"role": "user", "content": "A?"}}], "response_format": {form}}}'
    api = TestClient(create_app([ScriptedBackend([])], ServeSection()), base_url="http://127.0.0.1")
    reply = api.post("/v1/chat/completions", content=body, headers={"Content-Type": "application/json"})
    assert reply.status_code == 400
    assert reply.json()["error"]["type"] == "invalid_request_error"
