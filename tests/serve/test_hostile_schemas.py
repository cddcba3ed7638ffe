"""Hostile JSON schemas against the real engine: JSON or a 400, whatever is asked, and the server lives on."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from bedside.models import locate
from bedside.runtime.llamacpp import LlamaCpp

from .conftest import Serving
from .test_schema import HONOURED, REFUSED

pytestmark = pytest.mark.slow
PATIENCE_S = 60
HOSTILE: list[Any] = [
    *(schema for schema, _ in REFUSED),
    {"type": "string", "minLength": 10_000},
    {"type": "array", "items": {"type": "array", "items": {"type": "string", "maxLength": 9_999}}, "minItems": 10_000},
    {"type": "object", "properties": {f"p{i}": {"type": "string", "maxLength": 10_000} for i in range(299)}},
    {"anyOf": [{"type": "object", "properties": {f"p{i}_{j}": {} for i in range(5)}} for j in range(49)]},
    {"enum": [f"{'x' * 30}{i}" for i in range(1_000)]},
    {"type": "string", "pattern": "^(a|b|ab)*(c|d){1,999}$"},
    {"type": "string", "pattern": "^(.*a.{12}.*b){1,20}$"},
    {"type": "string", "pattern": "^.*a.{999}$"},
    {"type": "string", "pattern": "a^b"},
    {"oneOf": [{"type": "string"}, {"type": "string", "maxLength": 3}]},
    {"$ref": "#/$defs/n", "$defs": {"n": {"properties": {"c": {"$ref": "#/$defs/n"}}, "required": ["c"]}}},
]


@pytest.fixture(scope="module")
def embedded() -> Iterator[LlamaCpp]:
    model = LlamaCpp(locate.embedded_gguf(), context=512, slots=1, threads=2)
    yield model
    model.close()


def ask(url: str, schema: Any) -> httpx.Response:
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    body = {"messages": [{"role": "user", "content": "Say A."}], "response_format": form, "max_tokens": 16}
    headers = {"Content-Type": "application/json"}
    return httpx.post(f"{url}v1/chat/completions", content=json.dumps(body), headers=headers, timeout=PATIENCE_S)


def test_an_answer_follows_its_schema_or_is_refused(serving: Serving, embedded: LlamaCpp) -> None:
    with serving(embedded, requests_per_minute=0) as url:
        for schema in HOSTILE:
            reply = ask(url, schema)
            assert reply.status_code in (200, 400), str(schema)[:200]
            if reply.status_code == 200:
                _check_follows(reply, str(schema)[:200])
        assert ask(url, {"const": "A"}).json()["choices"][0]["message"]["content"] == '"A"'


def test_ordinary_schemas_hold(serving: Serving, embedded: LlamaCpp) -> None:
    with serving(embedded, requests_per_minute=0) as url:
        for schema in HONOURED:
            reply = ask(url, schema)
            assert reply.status_code == 200, reply.text
            _check_follows(reply, str(schema)[:200])


def _check_follows(reply: httpx.Response, what: str) -> None:
    """The beginning of JSON, and all of it where the model was not cut off."""
    choice = reply.json()["choices"][0]
    text = choice["message"]["content"]
    assert text[:1] in tuple('{["-0123456789tfn') or choice["finish_reason"] == "length", what
    if choice["finish_reason"] == "stop":
        json.loads(text)
