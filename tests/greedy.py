"""What llama.cpp says greedily, as token ids: the list of log-probabilities lacks those that end within a character."""

from collections.abc import Sequence
from typing import Any


def greedy_ids(server: Any, prompt: str | Sequence[int], max_tokens: int, **settings: Any) -> list[int]:
    """Token ids after a prompt, the end token left out, of a server of xllamacpp."""
    request = {"prompt": prompt, "max_tokens": max_tokens, "temperature": 0, "cache_prompt": False, **settings}
    told = server.handle_completions({**request, "return_tokens": True, "verbose": True})["__verbose"]
    return list(told["tokens"][:-1] if told["stop_type"] == "eos" else told["tokens"])
