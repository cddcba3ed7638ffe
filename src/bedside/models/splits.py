"""How byte-level tokenizers split text before they merge, by the name that llama.cpp has for it (`tokenizer.ggml.pre`).

Both directions read it: a tokenizer is exported under the name of its split, and a GGUF file's name gives it back.
Source: llama.cpp's src/llama-vocab.cpp.
"""

from dataclasses import dataclass

LLAMA_3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""The split of Llama 3 and of all that were trained from it, DeepSeek-R1-Distill-Llama among them."""
QWEN_2 = LLAMA_3.replace(r"\p{N}{1,3}", r"\p{N}")
"""The split of Qwen2, 2.5 and 3: Llama 3's with each digit by itself."""


@dataclass(frozen=True, slots=True)
class Split:
    """`pattern` takes the place of GPT-2's own, `digits` come apart first; `ignore_merges` keeps known words."""

    pattern: str | None = None
    digits: bool = False
    ignore_merges: bool = False


SPLITS = {
    "gpt-2": Split(),
    "smollm": Split(digits=True),
    "llama-bpe": Split(LLAMA_3, ignore_merges=True),
    "qwen2": Split(QWEN_2),
    "deepseek-r1-qwen": Split(QWEN_2),
    "starcoder": Split(digits=True),
    "refact": Split(digits=True),
    "command-r": Split(digits=True),
    "codeshell": Split(digits=True),
}
"""By name; of the names of one split the first is the one that is written."""
COMPOSING = ("qwen2", "deepseek-r1-qwen")
"""Tokenizers that compose characters (NFC) first, which no GGUF file says and llama.cpp does not do."""
