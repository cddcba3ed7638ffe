"""A real server on a free loopback port, in a thread; a speaker that only stops when it is closed; the page in a browser."""

import itertools
import threading
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from bedside.recipe import PromptSection, ServeSection
from bedside.records import Delta, Generation, GenerationOptions, Message
from bedside.runtime.backend import Speaker
from bedside.serve.app import create_app
from bedside.serve.keys import Keys
from bedside.serve.run import Server, listen, url_of

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

PATIENCE_S = 20
Serving = Callable[..., AbstractContextManager[str]]


class EndlessSpeaker:
    """Thinks one word, then says words (or with `thinking` goes on to think) until its iterator is closed.

    With `words` it ends after so many; with `silent` it goes on without a word.
    """

    def __init__(self, thinking: bool = False, words: int = 0, silent: bool = False) -> None:
        self.thinking = thinking
        self.silent = silent
        self.words = words
        self.name = "endless"
        self.prompt = PromptSection()
        self.constrains = False
        self.started = threading.Semaphore(0)
        self.closed = threading.Semaphore(0)
        self._pause = threading.Event()

    def stream(self, messages: Sequence[Message], options: GenerationOptions) -> Generator[Delta | Generation]:
        self.started.release()
        try:
            yield Delta(reasoning="hm ")
            for _ in range(self.words) if self.words else itertools.count():
                self._pause.wait(0.01)
                said = "" if self.silent else "word "
                yield Delta(reasoning="hm ") if self.thinking else Delta(answer=said)
            yield Generation("hm", "word " * self.words, "stop", 2, self.words)
        finally:
            self.closed.release()

    def complete(self, prompt: str, options: GenerationOptions) -> Generator[Delta | Generation]:
        return self.stream([Message("user", prompt)], options)

    def tokens(self, prompt: str, continuation: str = "") -> int:
        return len((prompt + continuation).split())

    def close(self) -> None:
        """Nothing to free."""


class FailingSpeaker:
    """Says `words` words and then raises `error`."""

    def __init__(self, error: Exception, words: int = 0) -> None:
        self.name = "failing"
        self.prompt = PromptSection()
        self.constrains = False
        self._error = error
        self._words = words

    def stream(self, messages: Sequence[Message], options: GenerationOptions) -> Generator[Delta | Generation]:
        for _ in range(self._words):
            yield Delta(answer="word ")
        raise self._error

    def complete(self, prompt: str, options: GenerationOptions) -> Generator[Delta | Generation]:
        return self.stream([Message("user", prompt)], options)

    def tokens(self, prompt: str, continuation: str = "") -> int:
        return len((prompt + continuation).split())

    def close(self) -> None:
        """Nothing to free."""


@pytest.fixture
def endless() -> EndlessSpeaker:
    return EndlessSpeaker()


@pytest.fixture
def failing() -> type[FailingSpeaker]:
    return FailingSpeaker


@pytest.fixture
def serving() -> Serving:
    """`with serving(speaker, …, slots=1, api_key=None, app={}, **settings) as url:`; `app` goes to create_app."""
    return _serving


@contextmanager
def _serving(
    *speakers: Speaker,
    slots: int = 1,
    api_key: str | None = None,
    port: int = 0,
    app: Mapping[str, Any] | None = None,
    **settings: object,
) -> Iterator[str]:
    section = ServeSection.model_validate({"port": port, "grace_s": 0, **settings})
    keys = Keys().with_given(api_key)
    server = Server(create_app(speakers, section, **{"slots": slots, "keys": keys, **(app or {})}))
    with listen(section, keys or Keys().with_given("a key")) as listener:  # whether one is wanted is tested apart
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        try:
            yield url_of(listener)
        finally:
            server.should_exit = True
            thread.join(PATIENCE_S)
    assert not thread.is_alive(), "the server did not stop"


@pytest.fixture
def page(browser: "Browser") -> "Iterator[Page]":
    """A page that must ask nobody but 127.0.0.1 and must have no error of its own."""
    from playwright.sync_api import expect

    context = browser.new_context(viewport={"width": 1000, "height": 700}, reduced_motion="reduce")
    page = context.new_page()
    page.set_default_timeout(PATIENCE_S * 1000)
    expect.set_options(timeout=PATIENCE_S * 1000)
    asked: list[str] = []
    errors: list[str] = []
    context.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    yield page
    context.close()
    assert [url for url in asked if not url.startswith(("http://127.0.0.1:", "data:", "blob:http://127.0.0.1:"))] == []
    assert errors == []
