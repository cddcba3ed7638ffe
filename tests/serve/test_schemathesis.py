"""Whatever is sent, the server answers as its OpenAPI document says, and never fails."""

import tempfile
from pathlib import Path

import hypothesis
import pytest
import schemathesis
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance

from bedside.recipe import ServeSection
from bedside.runtime.scripted import ScriptedBackend
from bedside.serve.app import create_app
from bedside.serve.audit import Audit
from bedside.serve.feedback import Feedback

from .test_embeddings import Lengths

CHECKS = [not_a_server_error, status_code_conformance, response_schema_conformance]


class Tireless(ScriptedBackend):
    """Answers any number of requests."""

    def __init__(self) -> None:
        super().__init__([])
        self._replies = iter(lambda: ("It is full.", '{"a": 1}'), None)


HOST = {"Host": "127.0.0.1"}
KEPT = Path(tempfile.mkdtemp())
app = create_app(
    [Tireless()], ServeSection(requests_per_minute=0), embedder=Lengths(),
    feedback=Feedback(KEPT / "feedback.jsonl"), audit=Audit(KEPT / "audit.jsonl"),
)  # fmt: skip
schema = schemathesis.openapi.from_asgi("/openapi.json", app, headers=HOST)


@pytest.mark.slow
@schema.parametrize()
@hypothesis.settings(max_examples=500, deadline=None)
def test_what_is_not_documented_does_not_happen(case: schemathesis.Case) -> None:
    case.call_and_validate(headers=HOST, checks=CHECKS)
