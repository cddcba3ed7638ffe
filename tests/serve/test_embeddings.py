import json
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import httpx
import openai
import pytest

from bedside.errors import ContextTooLong
from bedside.runtime.scripted import ScriptedBackend
from bedside.serve.wire import MAX_TEXTS

from .conftest import PATIENCE_S, Serving


class Lengths:
    """An embedder whose vectors tell how long the texts are."""

    name = "lengths"

    def embed(self, texts: Sequence[str]) -> tuple[list[list[float]], list[int]]:
        if any(len(text) > 1_000 for text in texts):
            raise ContextTooLong("a text has 1,001 tokens; at most 1,000 are read")
        return [[float(len(text)), 0.5] for text in texts], [len(text.split()) for text in texts]


def client(url: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{url}v1", api_key="none", max_retries=0, timeout=PATIENCE_S)


@pytest.mark.parametrize("packing", [{}, {"encoding_format": "float"}, {"encoding_format": "base64"}])
def test_the_openai_client_gets_vectors(serving: Serving, packing: dict[str, str]) -> None:
    with serving(ScriptedBackend([]), app={"embedder": Lengths()}) as url, client(url) as api:
        reply = api.embeddings.create(model="lengths", input=["a raised JVP", "x"], **packing)
    assert reply.model == "lengths"
    assert (reply.usage.prompt_tokens, reply.usage.total_tokens) == (4, 4)
    if packing.get("encoding_format") == "base64":
        assert [item.embedding for item in reply.data] == ["AABAQQAAAD8=", "AACAPwAAAD8="]  # by hand, float32
    else:
        assert [item.embedding for item in reply.data] == [[12.0, 0.5], [1.0, 0.5]]


def test_one_text_is_a_list_of_one(serving: Serving) -> None:
    with serving(ScriptedBackend([]), app={"embedder": Lengths()}) as url:
        reply = httpx.post(f"{url}v1/embeddings", json={"input": "a raised JVP"})
    assert [item["index"] for item in reply.json()["data"]] == [0]


def test_without_a_model_for_it_the_line_says_how_to_get_one(serving: Serving) -> None:
    with serving(ScriptedBackend([])) as url, client(url) as api, pytest.raises(openai.NotFoundError) as refused:
        api.embeddings.create(model="lengths", input="x")
    assert "serve.embedder=FOLDER" in refused.value.message


def test_another_model_is_not_passed_off_as_the_one_asked_for(serving: Serving) -> None:
    app = {"embedder": Lengths()}
    with (
        serving(ScriptedBackend([]), app=app) as url,
        client(url) as api,
        pytest.raises(openai.NotFoundError) as refused,
    ):
        api.embeddings.create(model="ada", input="x")
    assert "'lengths'" in refused.value.message


class Slow(Lengths):
    """Counts the texts once it may."""

    def __init__(self) -> None:
        self.began = threading.Event()
        self.may_end = threading.Event()

    def embed(self, texts: Sequence[str]) -> tuple[list[list[float]], list[int]]:
        self.began.set()
        self.may_end.wait(PATIENCE_S)
        return super().embed(texts)


def test_where_too_many_wait_the_next_is_told_to_come_back(serving: Serving) -> None:
    slow = Slow()

    def ask(url: str) -> httpx.Response:
        return httpx.post(f"{url}v1/embeddings", json={"input": "x"}, timeout=2)

    with serving(ScriptedBackend([]), app={"embedder": slow}, queue=0) as url, ThreadPoolExecutor(1) as pool:
        first = pool.submit(ask, url)
        assert slow.began.wait(PATIENCE_S)
        try:
            refused = ask(url)
        finally:
            slow.may_end.set()
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "server_busy")
        assert first.result().status_code == 200


def test_a_text_that_is_too_long_for_the_model_is_a_400(serving: Serving) -> None:
    app = {"embedder": Lengths()}
    with (
        serving(ScriptedBackend([]), app=app) as url,
        client(url) as api,
        pytest.raises(openai.BadRequestError) as refused,
    ):
        api.embeddings.create(model="lengths", input="x" * 1_001)
    assert (refused.value.param, refused.value.code) == ("input", "context_length_exceeded")


@pytest.mark.parametrize(
    "wrong",
    [
        {"input": ""},
        {"input": []},
        {"input": [""]},
        {"input": [1, 2]},
        {"input": [[1, 2]]},
        {"input": ["x"] * (MAX_TEXTS + 1)},
        {"input": ["x" * 150_000, "x" * 150_000]},
        {"input": "\ud800"},
        {"input": "x", "dimensions": 64},
        {"input": "x", "encoding_format": "int8"},
    ],
)
def test_what_cannot_be_embedded_is_a_400(serving: Serving, wrong: dict[str, object]) -> None:
    with serving(ScriptedBackend([]), app={"embedder": Lengths()}) as url:
        headers = {"Content-Type": "application/json"}
        reply = httpx.post(f"{url}v1/embeddings", content=json.dumps(wrong), headers=headers)
    assert reply.status_code == 400
    assert reply.json()["error"]["param"] in wrong
