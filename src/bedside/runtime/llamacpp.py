"""llama.cpp (through xllamacpp) as a backend: fast decoding of a GGUF file.

The prompt is rendered here with the file's own template and handed over as text, so that one renderer serves every
backend. llama.cpp adds the begin token by itself where the file says so; a template that prints one too would double
it, so it is taken off here.
"""

import json
import queue
import secrets
import threading
import unicodedata
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.request import ProxyHandler, Request, build_opener

from bedside.errors import ContextTooLong, MissingExtra, ModelError, UsageError, first_line
from bedside.models import header
from bedside.models.gguf import GgufMetadata, metadata
from bedside.recipe import PromptSection
from bedside.records import Delta, Finish, Generation, GenerationOptions, Message, TokenLogprob
from bedside.runtime.budget import complete, in_one_go, stream_with_answer, write_with_answer
from bedside.runtime.reading import Piece
from bedside.text.chat import renderer_of

FOREIGN = PromptSection(style="chat", system="", reasoning="think")
"""How a file is prompted that does not say: its own template and no system message."""
SCHEMAS = 32
"""Of so many schemas it is remembered whether they hold."""
COUNT_S = 30.0
"""For llama.cpp to tell how many tokens a text has."""
CERTAIN = 1000
"""Added to a token's logit, it is taken whatever the others are."""


class LlamaCpp:
    """Implements `backend.Speaker` and `backend.Measured`; `context` is tokens for each of `slots` conversations."""

    together = 1

    def __init__(self, path: Path, context: int = 4096, slots: int = 1, threads: int = 0, name: str = "") -> None:
        self.metadata = metadata(path)
        if not self.metadata.template:
            raise ModelError(f"{path}: the file holds no chat template, so it cannot be asked")
        self.name = name or path.stem
        self.constrains = self.metadata.eos_id is not None
        self._follows = lru_cache(maxsize=SCHEMAS)(self._try_schema)
        self.prompt = self.metadata.prompt or FOREIGN
        self.context = min(context, self.metadata.context_length)
        self.at_once = slots
        self.window = self.context
        self.wider = "serve.context" if self.context < self.metadata.context_length else ""
        self._key = secrets.token_urlsafe()  # llama.cpp listens on a loopback port; no other user may ask there
        self._server = self._opened(path, slots, threads)

    def prompt_text(self, messages: Sequence[Message]) -> str:
        """The text that llama.cpp is given for a conversation."""
        return prompt_text(self.metadata, messages)

    def tokens(self, prompt: str, continuation: str = "") -> int:
        """See `Measured`; counted by llama.cpp itself. Raises ModelError if it does not in time."""
        body = json.dumps({"content": prompt + continuation, "add_special": True, "parse_special": True}).encode()
        headers = {"Authorization": f"Bearer {self._key}", "Content-Type": "application/json"}
        request = Request(f"{self._server.listening_address}/tokenize", data=body, headers=headers)
        try:
            with build_opener(ProxyHandler({})).open(request, timeout=COUNT_S) as reply:  # no proxy for loopback
                return len(json.load(reply)["tokens"])
        except OSError as error:
            raise ModelError(f"{self.name}: llama.cpp did not count the tokens ({first_line(error)})") from error

    def stream(self, messages: Sequence[Message], options: GenerationOptions) -> Generator[Delta | Generation]:
        """See `backend.Speaker`. Raises ContextTooLong if it does not fit, UsageError for a schema that cannot hold."""
        self._need(options.schema)
        reasons = self.prompt.reasoning == "think"
        return stream_with_answer(self._stream_text, self.prompt_text(messages), options, reasons)

    def complete(self, prompt: str, options: GenerationOptions) -> Generator[Delta | Generation]:
        """See `backend.Speaker`. Raises the same as `stream`."""
        self._need(options.schema)
        return complete(self._stream_text, prompt, options)

    def write(
        self,
        conversations: Sequence[Sequence[Message]],
        options: GenerationOptions,
        progress: Callable[[int], None] = lambda n: None,
    ) -> list[Generation]:
        """See `backend.Writer`. Raises ContextTooLong if one does not fit."""
        return write_with_answer(self._generate, list(map(self.prompt_text, conversations)), options, progress)

    def _generate(
        self, prompts: Sequence[str], options: GenerationOptions, progress: Callable[[int], None]
    ) -> list[Generation]:
        found = []
        for prompt in prompts:
            found.append(in_one_go(self._stream_text(prompt, replace(options, afresh=True)), prompt))
            progress(1)
        return found

    def _stream_text(self, prompt: str, options: GenerationOptions) -> Generator[Piece]:
        with closing(self._chunks(_request(prompt, options))) as chunks:
            for chunk in chunks:
                yield _piece(chunk, options.logprobs)

    def close(self) -> None:
        """Frees the model."""
        del self._server

    def _opened(self, path: Path, slots: int, threads: int) -> Any:
        return _serve(path, self.context, slots, threads, self._key)

    def _need(self, schema: str) -> None:
        if schema and not (self.constrains and self._follows(schema)):
            raise UsageError(
                f"{self.name} cannot be held to this JSON Schema; leave out what is rare in it, or all of it"
            )

    def _try_schema(self, schema: str) -> bool:
        """Whether a schema holds: one that it cannot read llama.cpp passes over (its issue 19051), and answers freely.

        So the model is made to end its answer at once, which nothing but a schema that holds can keep it from.
        """
        request = _request(" ", GenerationOptions(max_tokens=1, schema=schema, afresh=True)) | {"stream": False}
        reply = self._server.handle_completions(request | {"logit_bias": [[self.metadata.eos_id, CERTAIN]]})
        return "error" not in reply and reply["choices"][0]["finish_reason"] == "length"

    def _chunks(self, request: dict[str, Any]) -> Generator[dict[str, Any]]:
        """Chunks of a completion. llama.cpp calls back in its caller's thread, so that is one of our own."""
        chunks: queue.SimpleQueue[dict[str, Any] | BaseException | None] = queue.SimpleQueue()
        gone = threading.Event()

        def receive(chunk: dict[str, Any]) -> bool:
            chunks.put(chunk)
            return gone.is_set()

        def work() -> None:
            try:
                self._server.handle_completions(request, receive)
            except BaseException as error:  # noqa: BLE001 - handed to the consumer below
                chunks.put(error)
            chunks.put(None)

        worker = threading.Thread(target=work, daemon=True)
        worker.start()
        try:
            while (chunk := chunks.get()) is not None:
                if isinstance(chunk, BaseException):
                    raise chunk
                _raise_if_refused(chunk)
                yield chunk
        finally:
            gone.set()
            worker.join()


def prompt_text(file: GgufMetadata, messages: Sequence[Message]) -> str:
    """The text that llama.cpp is given for a conversation, by a file's own template."""
    text = renderer_of(file).render(messages, generation=True)
    if file.normaliser:
        text = unicodedata.normalize(file.normaliser, text)
    return text.removeprefix(file.bos) if file.adds_bos else text


def _serve(path: Path, context: int, slots: int, threads: int, key: str) -> Any:
    try:
        import xllamacpp
    except ImportError as error:
        raise MissingExtra.named("running a GGUF file", "serve") from error
    parameters = xllamacpp.CommonParams()
    parameters.n_ctx = context * slots
    parameters.n_parallel = slots
    parameters.api_keys = [key]
    parameters.cache_ram_mib = 0  # by default 8 GiB of earlier conversations are held beside those of the slots
    parameters.cache_idle_slots = False
    if threads:
        parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = threads
    return opened(path, parameters)


def opened(path: Path, parameters: Any) -> Any:
    """The server of xllamacpp for a file, once it serves. Raises ModelError if llama.cpp cannot load it.

    llama.cpp parses the file in this process, so it is given none whose header does not hold.

    One that is dropped before its own thread has begun to serve is never told to stop, and dropping it waits for ever.
    """
    import xllamacpp

    header.read(path)
    parameters.model.path = str(path)
    parameters.verbosity = -1
    parameters.endpoint_metrics = True
    try:
        server = xllamacpp.Server(parameters)
    except RuntimeError as error:
        raise ModelError(f"{path}: llama.cpp cannot load it (damaged, or an architecture it does not know)") from error
    server.handle_metrics()  # answered by that thread
    return server


def _raise_if_refused(reply: dict[str, Any]) -> None:
    if "error" in reply:
        detail = reply["error"]
        if detail.get("type") == "exceed_context_size_error":
            raise ContextTooLong(
                f"the conversation has {detail['n_prompt_tokens']} tokens, the context {detail['n_ctx']};"
                " shorten it, or allow more (--context, or serve.context in the recipe)"
            )
        raise ModelError(f"llama.cpp: {detail.get('message', detail)}")


def _request(prompt: str, options: GenerationOptions) -> dict[str, Any]:
    """`verbose` tells with each chunk how many tokens there are by then; a character may be several, a chunk is not."""
    request: dict[str, Any] = {
        "prompt": prompt,
        "stream": True,
        "verbose": True,
        "max_tokens": options.max_tokens,
        "temperature": options.temperature,
        "top_p": options.top_p,
        "seed": options.seed,
        "cache_prompt": not options.afresh,
    }
    if options.schema:
        request["json_schema"] = _compact(options.schema)
    if options.logprobs is not None:
        request["logprobs"] = max(1, options.logprobs)  # 0 would mean none at all
    return request


def _compact(schema: str) -> Any:
    """The schema with the wish, in llguidance's own key, that white space is spent as by `json.dumps`, and no more."""
    try:
        read = json.loads(schema)
    except ValueError as error:
        raise UsageError(f"the JSON Schema is no JSON: {error}") from error
    spaced = {"whitespace_flexible": False, "key_separator": ": ", "item_separator": ", "}
    return {**read, "x-guidance": spaced} if isinstance(read, dict) else read


def _piece(chunk: dict[str, Any], top: int | None) -> Piece:
    choice, told = chunk["choices"][0], chunk["__verbose"]
    reason = choice["finish_reason"]
    finish: Finish | None = reason and ("length" if reason == "length" else "stop")
    made, read = told["tokens_predicted"], told["tokens_evaluated"]
    if top is None or not choice["logprobs"]:
        return Piece(choice["text"], made, read, finish)
    return Piece(choice["text"], made, read, finish, tuple(_logprobs(choice["logprobs"]["content"], top)))


def _logprobs(content: Sequence[dict[str, Any]], top: int) -> Iterator[TokenLogprob]:
    """A character of several tokens is told as one, as likely as its last: of the others llama.cpp tells nothing."""
    for token in content:
        likeliest = tuple((one["token"], one["logprob"]) for one in token["top_logprobs"][:top])
        yield TokenLogprob(token["token"], token["logprob"], likeliest)
