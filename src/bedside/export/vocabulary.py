"""A Hugging Face tokenizer → what llama.cpp needs to split text into the same tokens.

In: the tokenizer as transformers applies it (not the file: transformers rebuilds some). Out: a `Vocabulary`. Two
kinds are known: byte-level BPE (GPT-2's, "gpt2"), whose way of splitting text must be one that llama.cpp has under a
name, and BPE over "▁" with byte tokens (SentencePiece's, "llama"). Anything that llama.cpp would split otherwise is
refused by name, but for one thing that every Qwen file in GGUF lacks: llama.cpp does not compose characters (NFC)
first. The vocabulary says so (`composed`), the file with it, and Bedside composes what it hands to llama.cpp; other
programs tokenise decomposed characters ("e" and an accent of its own) otherwise than training did.
Source: llama.cpp's src/llama-vocab.cpp.
"""

import json
import re
from dataclasses import dataclass, field
from typing import Any, Literal

from gguf import TokenType
from transformers import PreTrainedTokenizerBase

from bedside.errors import ModelError
from bedside.models.splits import COMPOSING, SPLITS, Split

SPACE = "▁"
BYTE = re.compile(r"<0x[0-9A-F]{2}>")
DEEPSEEK = "<｜begin▁of▁sentence｜>"
Prefix = Literal["never", "first", "always"]


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Tokens by id, with their kinds, and how text is split before they are looked up.

    `prefix` says where a space is put before a text: nowhere, at the very start, or also after each special token.
    `scores` order the merges of a "llama" vocabulary, `merges` those of "gpt2". `composed` says that training composed
    the text (NFC) before it was split, which llama.cpp does not.
    """

    model: Literal["gpt2", "llama"]
    pre: str
    tokens: list[str]
    types: list[int]
    prefix: Prefix = "never"
    scores: list[float] = field(default_factory=list)
    merges: list[str] = field(default_factory=list)
    composed: bool = False


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
    merges = [" ".join(pair) for pair in _merges(spec)]
    return Vocabulary("gpt2", _byte_level_split(spec), tokens, types, merges=merges, composed=_composes(spec))


def _sentencepiece(spec: dict[str, Any], size: int, unknown: str) -> Vocabulary:
    if spec["model"].get("ignore_merges"):
        raise _unknown("byte tokens together with ignore_merges")
    tokens, types = _tokens(spec, size)
    scores = _scores(spec, tokens)
    of_spaces = _found_as_spaces(spec)
    for i, token in enumerate(tokens):
        if token == unknown:
            types[i] = TokenType.UNKNOWN
        elif types[i] == TokenType.NORMAL and BYTE.fullmatch(token):
            types[i] = TokenType.BYTE
        elif token in of_spaces:
            tokens[i] = token.replace(SPACE, " ")  # llama.cpp looks for these in the text before it escapes spaces
        elif types[i] == TokenType.USER_DEFINED and SPACE in token and scores[i] > _unmade(spec):
            types[i] = TokenType.NORMAL  # merges make it of spaces; found as it is, it would be printed with "▁"
    return Vocabulary("llama", "default", tokens, types, _space_prefix(spec), scores=scores)


def _found_as_spaces(spec: dict[str, Any]) -> set[str]:
    """Added tokens that are looked for after spaces have become "▁", so that they match spaces."""
    if not _replaces_spaces(_steps(spec["normalizer"], "normalizers")):
        return set()
    return {token["content"] for token in spec["added_tokens"] if token["normalized"] and not token["special"]}


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
    return [scores.get(token, _unmade(spec)) for token in tokens]


def _unmade(spec: dict[str, Any]) -> float:
    """The score of tokens that no merge makes, below all others."""
    return -float(len(spec["model"]["merges"]))


def _byte_level_split(spec: dict[str, Any]) -> str:
    """llama.cpp's name for how a byte-level tokenizer splits text before merging."""
    split = _split(spec)
    names = [name for name, known in SPLITS.items() if known == split]
    if not names or (_steps(spec["normalizer"], "normalizers") and not (names[0] in COMPOSING and _composes(spec))):
        raise _unknown(f"byte-level BPE split by {_names(spec)}")
    deepseek = any(token["content"] == DEEPSEEK for token in spec["added_tokens"])
    return "deepseek-r1-qwen" if names[0] == "qwen2" and deepseek else names[0]


def _split(spec: dict[str, Any]) -> Split | None:
    *before, last = _steps(spec["pre_tokenizer"], "pretokenizers") or [{"type": "none"}]
    ignore_merges = bool(spec["model"].get("ignore_merges"))
    if len(before) > 1 or not _is(last, "ByteLevel", add_prefix_space=False):
        return None
    if last.get("use_regex", True):
        digits = [_is(step, "Digits", individual_digits=True) for step in before]
        return Split(digits=bool(digits), ignore_merges=ignore_merges) if all(digits) else None
    if before and _is(before[0], "Split", behavior="Isolated", invert=False):
        return Split(before[0]["pattern"].get("Regex"), ignore_merges=ignore_merges)
    return None


def _composes(spec: dict[str, Any]) -> bool:
    return [step["type"] for step in _steps(spec["normalizer"], "normalizers")] == ["NFC"]


def _space_prefix(spec: dict[str, Any]) -> Prefix:
    steps = _steps(spec["pre_tokenizer"], "pretokenizers")
    normalizers = _steps(spec["normalizer"], "normalizers")
    if not normalizers and len(steps) == 1 and _is(steps[0], "Metaspace", replacement=SPACE, split=False):
        scheme: Prefix = steps[0]["prepend_scheme"]
        return scheme
    prepends = bool(normalizers) and _is(normalizers[0], "Prepend", prepend=SPACE)
    if prepends and _replaces_spaces(normalizers[1:]) and not steps:
        return "always"
    # Gemma's split at spaces finds none any more.
    if _replaces_spaces(normalizers) and all(_is(step, "Split", pattern={"String": " "}) for step in steps):
        return "never"
    raise _unknown(f"SentencePiece BPE split by {_names(spec)}")


def _replaces_spaces(normalizers: list[dict[str, Any]]) -> bool:
    return len(normalizers) == 1 and _is(normalizers[0], "Replace", pattern={"String": " "}, content=SPACE)


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
        " known: SmolLM2's, GPT-2's, Llama 3's (and DeepSeek-R1-Distill-Llama's), Llama 2's (and TinyLlama's),"
        " Qwen2's to Qwen3's (and DeepSeek-R1-Distill-Qwen's), Gemma's"
    )
