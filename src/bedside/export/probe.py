"""llama.cpp asked about a GGUF file: its tokens of a text, and its probabilities of the next token.

In: a GGUF file. Out: token ids and natural logarithms of probabilities. Goes through xllamacpp's own HTTP server on
a free loopback port, behind a key of its own, because its Python calls do not tokenise.
"""

import json
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.request import ProxyHandler, Request, build_opener

from bedside.errors import MissingExtra, ModelError
from bedside.runtime.llamacpp import opened

BIAS = 1e6


class Probe:
    """A loaded file. `context` is tokens."""

    def __init__(self, path: Path, context: int) -> None:
        try:
            import xllamacpp
        except ImportError as error:
            raise MissingExtra.named("running a GGUF file", "export") from error
        parameters = xllamacpp.CommonParams()
        parameters.n_ctx, parameters.n_parallel = context, 1
        self._key = secrets.token_urlsafe()
        parameters.hostnames, parameters.port, parameters.api_keys = ["127.0.0.1"], 0, [self._key]
        # A proxy of the environment must not be asked for a loopback address.
        self._open = build_opener(ProxyHandler({})).open
        self._server = opened(path, parameters)
        self._whole = self.tokens("x")[-1]

    @property
    def stored_as(self) -> str:
        """The type of most weights in llama.cpp's words: "F32", "BF16", "Q4_K - Medium", …."""
        told = self._ask("/v1/models")["data"][0]["meta"]["ftype"]
        return str(told).removeprefix("all ")

    def tokens(self, text: str) -> list[int]:
        """The token ids that llama.cpp makes of a prompt, the begin token included where it adds one."""
        reply = self._ask("/tokenize", {"content": text, "add_special": True, "parse_special": True})
        return [int(token) for token in reply["tokens"]]

    def next_logprobs(self, ids: Sequence[int], top: int) -> dict[int, float]:
        """Log-probabilities of the `top` likeliest tokens after `ids`, by token id."""
        # llama.cpp tells no probabilities beside a token that ends in the middle of a character, so it is made to
        # choose a whole one. What it tells are the probabilities before that bias.
        request = {"prompt": list(ids), "max_tokens": 1, "n_probs": top, "logit_bias": [[self._whole, BIAS]]}
        reply = self._server.handle_completions({**request, "temperature": 0})
        if "error" in reply:
            raise ModelError(f"llama.cpp: {reply['error'].get('message', reply['error'])}")
        likeliest = reply["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
        return {int(token["id"]): float(token["logprob"]) for token in likeliest}

    def close(self) -> None:
        """Frees the model and the port."""
        del self._server

    def _ask(self, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {self._key}", "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        with self._open(Request(self._server.listening_address + path, data=data, headers=headers)) as reply:
            return dict(json.load(reply))
