"""A Hugging Face tokenizer → what llama.cpp needs to split text into the same tokens.

In: the tokenizer as transformers applies it (not the file: transformers rebuilds some). Out: a `Vocabulary`. Two
kinds are known: byte-level BPE (GPT-2's, "gpt2"), whose way of splitting text must be one that llama.cpp has under a
name, and BPE over "▁" with byte tokens (SentencePiece's, "llama"). Anything that llama.cpp would split otherwise is
refused by name. Source: llama.cpp's src/llama-vocab.cpp.
"""

import json
import re
from dataclasses import dataclass, field
from typing import Any, Literal

from gguf import TokenType
from transformers import PreTrainedTokenizerBase

from bedside.errors import ModelError

SPACE = "▁"
BYTE = re.compile(r"<0x[0-9A-F]{2}>")
LLAMA_3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""The split of Llama 3 and of all that were trained from it, DeepSeek-R1-Distill-Llama among them."""
Prefix = Literal["never", "first", "always"]


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Tokens by id, with their kinds, and how text is split before they are looked up.

    `prefix` says where a space is put before a text: nowhere, at the very start, or also after each special token.
    `scores` order the merges of a "llama" vocabulary, `merges` those of "gpt2".
    """

    model: Literal["gpt2", "llama"]
    pre: str
    tokens: list[str]
    types: list[int]
    prefix: Prefix = "never"
    scores: list[float] = field(default_factory=list)
    merges: list[str] = field(default_factory=list)


def read(tokenizer: PreTrainedTokenizerBase, size: int) -> Vocabulary:
    """The vocabulary, padded to the model's `size`. Raises ModelError for a tokenizer that llama.cpp has not."""
    spec = json.loads(tokenizer.backend_tokenizer.to_str())
    if spec["model"]["type"] != "BPE":
        raise _unknown(f"a {spec['model']['type']} model")
    for token in spec["added_tokens"]:
        if token["lstrip"] or token["rstrip"] or token["single_word"]:
            raise _unknown(f"token {token['content']!r}, which takes in the spaces around it")
    if spec["model"].get("byte_fallback"):
        return _sentencepiece(spec, size, str(tokenizer.unk_token))
    tokens, types = _tokens(spec, size)
    return Vocabulary("gpt2", _byte_level_split(spec), tokens, types, merges=[" ".join(pair) for pair in _merges(spec)])


def _sentencepiece(spec: dict[str, Any], size: int, unknown: str) -> Vocabulary:
    if spec["model"].get("ignore_merges"):
        raise _unknown("byte tokens together with ignore_merges")
    tokens, types = _tokens(spec, size)
    for i, token in enumerate(tokens):
        if token == unknown:
            types[i] = TokenType.UNKNOWN
        elif types[i] == TokenType.NORMAL and BYTE.fullmatch(token):
            types[i] = TokenType.BYTE
        elif types[i] == TokenType.USER_DEFINED:
            tokens[i] = token.replace(SPACE, " ")  # llama.cpp looks for these in the text before it escapes spaces
    return Vocabulary("llama", "default", tokens, types, _space_prefix(spec), scores=_scores(spec, tokens))


def _tokens(spec: dict[str, Any], size: int) -> tuple[list[str], list[int]]:
    """Tokens and their types by id; rows of the embedding that no token uses get names of their own."""
    tokens = [f"[PAD{i}]" for i in range(size)]
    types: list[int] = [TokenType.UNUSED] * size
    kinds = {text: (i, TokenType.NORMAL) for text, i in spec["model"]["vocab"].items()}
    for added in spec["added_tokens"]:
        kinds[added["content"]] = (added["id"], TokenType.CONTROL if added["special"] else TokenType.USER_DEFINED)
    for text, (i, kind) in kinds.items():
        if i >= size:
            raise ModelError(
                f"token {text!r} has id {i}, the model's vocabulary ends at {size - 1}; resize its embeddings"
            )
        tokens[i], types[i] = text, kind
    return tokens, types


def _merges(spec: dict[str, Any]) -> list[tuple[str, str]]:
    """Pairs in order of rank; older files write a pair as one text."""
    pairs = (pair.split(" ", 1) if isinstance(pair, str) else pair for pair in spec["model"]["merges"])
    return [(left, right) for left, right in pairs]


def _scores(spec: dict[str, Any], tokens: list[str]) -> list[float]:
    """A token's score is minus the rank of the merge that first makes it: llama.cpp merges by highest score."""
    scores: dict[str, float] = {}
    for rank, pair in enumerate(_merges(spec)):
        scores.setdefault("".join(pair), -float(rank))
    return [scores.get(token, 0.0) for token in tokens]


def _byte_level_split(spec: dict[str, Any]) -> str:
    """llama.cpp's name for how a byte-level tokenizer splits text before merging."""
    steps = _steps(spec["pre_tokenizer"], "pretokenizers")
    ignore_merges = bool(spec["model"].get("ignore_merges"))
    if spec["normalizer"] is None and steps and _is(steps[-1], "ByteLevel", add_prefix_space=False):
        regex, before = steps[-1].get("use_regex", True), steps[:-1]
        if not before and regex and not ignore_merges:
            return "gpt-2"
        if len(before) == 1 and regex and not ignore_merges and _is(before[0], "Digits", individual_digits=True):
            return "smollm"
        llama_3 = {"pattern": {"Regex": LLAMA_3}, "behavior": "Isolated", "invert": False}
        if len(before) == 1 and not regex and ignore_merges and _is(before[0], "Split", **llama_3):
            return "llama-bpe"
    raise _unknown(f"byte-level BPE split by {_names(spec)}")


def _space_prefix(spec: dict[str, Any]) -> Prefix:
    steps = _steps(spec["pre_tokenizer"], "pretokenizers")
    normalizers = _steps(spec["normalizer"], "normalizers")
    if not normalizers and len(steps) == 1 and _is(steps[0], "Metaspace", replacement=SPACE, split=False):
        scheme: Prefix = steps[0]["prepend_scheme"]
        return scheme
    prepend_and_replace = (
        len(normalizers) == 2
        and _is(normalizers[0], "Prepend", prepend=SPACE)
        and _is(normalizers[1], "Replace", pattern={"String": " "}, content=SPACE)
    )
    if prepend_and_replace and not steps:
        return "always"
    raise _unknown(f"SentencePiece BPE split by {_names(spec)}")


def _steps(component: dict[str, Any] | None, key: str) -> list[dict[str, Any]]:
    if component is None:
        return []
    return list(component[key]) if component["type"] == "Sequence" else [component]


def _is(component: dict[str, Any], kind: str, **settings: object) -> bool:
    return component["type"] == kind and all(component.get(key) == value for key, value in settings.items())


def _names(spec: dict[str, Any]) -> str:
    """The steps before the merges, as a refusal names them."""
    steps = [*_steps(spec["normalizer"], "normalizers"), *_steps(spec["pre_tokenizer"], "pretokenizers")]
    return " + ".join(_described(step) for step in steps) or "nothing"


def _described(step: dict[str, Any]) -> str:
    pattern = step.get("pattern", {}).get("Regex", "")
    return f"{step['type']}({pattern[:40]}…)" if pattern else str(step["type"])


def _unknown(what: str) -> ModelError:
    return ModelError(
        f"tokenizer: {what} is not one that llama.cpp is known to split alike;"
        " known: SmolLM2's, GPT-2's, Llama 3's (and DeepSeek-R1-Distill-Llama's), Llama 2's (and TinyLlama's)"
    )
