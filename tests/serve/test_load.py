"""Many clients at once, half of whom leave, among bodies that are no requests."""

import asyncio
import threading
from collections import Counter
from collections.abc import AsyncIterator, Coroutine, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx
import pytest

from bedside.records import Delta, Generation, GenerationOptions, Message
from bedside.runtime.backend import Speaker

from .conftest import PATIENCE_S, EndlessSpeaker, Serving

Value = TypeVar("Value")
CLIENTS = 64
SLOTS = 4
CROWD_PATIENCE_S = 300
ASK = {"messages": [{"role": "user", "content": "What raises the JVP?"}], "max_tokens": 12}
CHAT = "v1/chat/completions"
MALFORMED = (
    b"{",
    b"[]",
    b"\xff",
    b"[" * 50_000,
    b'{"messages": "no"}',
    b'{"messages": [{"role": "user", "content": {"a": NaN}}]}',
    b'{"messages": [{"role": "user", "content": "x"}], "max_tokens": 1e999}',
)
NO_HTTP = (b"\x16\x03\x01\x02\x00", b"GET\r\n\r\n", b"POST / HTTP/1.1\r\nContent-Length: -5\r\n\r\n", b"\0" * 100_000)


class Counted(EndlessSpeaker):
    """Says 20 words; knows how many of its answers run, and how many did at most."""

    def __init__(self) -> None:
        super().__init__(words=20)
        self.running = self.most = 0
        self._lock = threading.Lock()

    def stream(self, messages: Sequence[Message], options: GenerationOptions) -> Generator[Delta | Generation]:
        with self._lock:
            self.running += 1
            self.most = max(self.most, self.running)
        try:
            yield from super().stream(messages, options)
        finally:
            with self._lock:
                self.running -= 1


async def healthy(client: httpx.AsyncClient) -> int:
    """An answer to its end, asked for again as often as the server says that it is busy."""
    while True:
        response = await client.post(CHAT, json={**ASK, "stream": True})
        if response.status_code != 429:
            assert response.text.endswith("data: [DONE]\n\n")
            assert '"error"' not in response.text
            return response.status_code
        assert int(response.headers["retry-after"]) > 0
        await asyncio.sleep(0.2)  # sooner than it says, for more of a load


async def leaving(client: httpx.AsyncClient, number: int) -> int:
    """Hangs up after the first words, while it waits for a seat, or while it waits for a whole answer."""
    if number % 3:
        try:
            return (await client.post(CHAT, json=ASK, timeout=0.1 * (number % 4 + 1))).status_code
        except httpx.TimeoutException:
            return 0
    async with client.stream("POST", CHAT, json={**ASK, "stream": True}) as response:
        async for line in response.aiter_lines():
            if "content" in line:
                break
    return response.status_code


async def oversized(client: httpx.AsyncClient, number: int) -> int:
    """Five megabytes, told beforehand or not. The server may hang up before it has read them."""

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(80):
            yield b"x" * 65_536

    headers = {"Content-Type": "application/json"}
    try:
        content = pieces() if number % 2 else b"x" * 5 * 2**20
        return (await client.post(CHAT, content=content, headers=headers)).status_code
    except (httpx.WriteError, httpx.ReadError, httpx.RemoteProtocolError):
        return 0


async def malformed(client: httpx.AsyncClient, number: int) -> int:
    content = MALFORMED[number % len(MALFORMED)]
    return (await client.post(CHAT, content=content, headers={"Content-Type": "application/json"})).status_code


async def no_http(url: str, number: int) -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(url).port)
    writer.write(NO_HTTP[number % len(NO_HTTP)])
    try:
        await writer.drain()
        writer.write_eof()
        status = (await asyncio.wait_for(reader.readline(), PATIENCE_S)).split()
    except OSError:  # it hung up first, before a word or after
        return 0
    finally:
        writer.close()
    return int(status[1]) if len(status) > 1 else 0


async def crowd(url: str) -> Counter[int]:
    """How often each status was given; 0 is a connection without one."""
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=url, timeout=CROWD_PATIENCE_S, limits=limits) as client:
        stays = [healthy(client) for _ in range(CLIENTS // 2)]
        leaves = [leaving(client, number) for number in range(CLIENTS // 2)]
        wrong = [
            each
            for number in range(CLIENTS // 4)
            for each in (oversized(client, number), malformed(client, number), no_http(url, number))
        ]
        mixed = [each for group in zip(stays, leaves, strict=True) for each in group]
        return Counter(await asyncio.gather(*mixed, *wrong))


async def all_seats_are_free(url: str) -> bool:
    """Whether as many answers as there are seats begin while none of them has ended."""
    began = asyncio.Barrier(SLOTS)

    async def one(client: httpx.AsyncClient) -> bool:
        async with client.stream("POST", CHAT, json={**ASK, "stream": True}) as response:
            await anext(response.aiter_lines())
            await asyncio.wait_for(began.wait(), PATIENCE_S)
            return response.status_code == 200

    async with httpx.AsyncClient(base_url=url, timeout=PATIENCE_S) as client:
        return all(await asyncio.gather(*[one(client) for _ in range(SLOTS)]))


def in_a_loop(work: Coroutine[Any, Any, Value]) -> Value:
    """Runs it in a thread of its own: the tests of the page leave playwright's loop in this one."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()


def stands(url: str) -> None:
    """Sends the crowd, and asserts that the server is as it was afterwards."""
    seen = in_a_loop(crowd(url))
    assert not [status for status in seen if status >= 500], seen
    assert seen[200] >= CLIENTS // 2
    assert seen[413] > 0
    assert seen[400] >= CLIENTS // 4
    assert in_a_loop(all_seats_are_free(url))
    assert httpx.get(url + "healthz").status_code == 200


@pytest.mark.parametrize("queue", [2, CLIENTS])
def test_a_crowd_half_of_which_leaves_takes_no_seat_along(serving: Serving, queue: int) -> None:
    speaker = Counted()
    with serving(speaker, slots=SLOTS, queue=queue, requests_per_minute=0) as url:
        stands(url)
        assert speaker.most == SLOTS
    assert speaker.running == 0


@pytest.fixture
def embedded() -> Speaker:
    from bedside.models.locate import embedded_gguf
    from bedside.runtime.llamacpp import LlamaCpp

    return LlamaCpp(embedded_gguf(), context=512, slots=SLOTS, threads=1)


@pytest.mark.slow
def test_a_real_model_stands_the_same_crowd(serving: Serving, embedded: Speaker) -> None:
    with closing(embedded), serving(embedded, slots=SLOTS, queue=CLIENTS, requests_per_minute=0) as url:
        stands(url)
