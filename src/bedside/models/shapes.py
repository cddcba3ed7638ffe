"""The shape of a decoder, from its configuration alone: what counts parameters and memory before there are weights.

    shape_of({"model_type": "llama", "hidden_size": 576, …}, "config.json").parameters     # 134,515,008

`shapes.toml` holds the published configurations of well-known models. Neither torch nor transformers is loaded.
"""

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from bedside.errors import ModelError

FACTS = Path(__file__).with_suffix(".toml")
MOST = {"num_hidden_layers": 1000, "num_attention_heads": 10_000, "num_key_value_heads": 10_000}
MOST_WIDE = 1 << 31
ROTATIONS = ("default", "linear", "llama3", "yarn")
"""Kinds of rotary embedding whose angles depend on the position alone."""
ATTENTION = ("q_proj", "k_proj", "v_proj")


@dataclass(frozen=True, slots=True)
class Family:
    """In what an architecture differs from Llama: norms of a layer, norms of the heads, biases, the default tie."""

    norms: int = 2
    head_norms: bool = False
    qkv_bias: bool = False
    tied: bool = False


FAMILIES = {
    "llama": Family(),
    "mistral": Family(),
    "qwen2": Family(qkv_bias=True),
    "qwen3": Family(head_norms=True),
    "gemma2": Family(norms=4, tied=True),
    "gemma3_text": Family(norms=4, head_norms=True, tied=True),
}


@dataclass(frozen=True, slots=True)
class Shape:
    """Widths and counts of a decoder-only transformer with gated feed-forward layers."""

    family: str
    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    context: int
    tied: bool
    biased: tuple[str, ...] = ()
    """Linear layers that have a bias."""
    unlike_llama: str | None = None
    """In what its layers compute otherwise than Llama's; None if they do not."""

    @property
    def query(self) -> int:
        """Width of all query heads together."""
        return self.heads * self.head_dim

    @property
    def key(self) -> int:
        """Width of all key heads together, and of all value heads."""
        return self.kv_heads * self.head_dim

    @property
    def linear(self) -> dict[str, tuple[int, int]]:
        """{name: (inputs, outputs)} of the linear layers of one decoder layer."""
        return {
            "q_proj": (self.hidden, self.query),
            "k_proj": (self.hidden, self.key),
            "v_proj": (self.hidden, self.key),
            "o_proj": (self.query, self.hidden),
            "gate_proj": (self.hidden, self.intermediate),
            "up_proj": (self.hidden, self.intermediate),
            "down_proj": (self.intermediate, self.hidden),
        }

    @property
    def linear_parameters(self) -> int:
        """Weights of all decoder layers' matrices: what NF4 quantises."""
        return self.layers * sum(inputs * outputs for inputs, outputs in self.linear.values())

    @property
    def parameters(self) -> int:
        """All parameters; a tied head counts once, as transformers and peft count it."""
        family = FAMILIES[self.family]
        norms = family.norms * self.hidden + 2 * self.head_dim * family.head_norms
        biases = sum(self.linear[name][1] for name in self.biased)
        tables = self.vocabulary * self.hidden * (1 if self.tied else 2)
        return self.linear_parameters + self.layers * (norms + biases) + self.hidden + tables

    def tensors(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        """GGUF's name and the shape of every matrix; vectors, which are a thousandth of the file, are left out."""
        names = {"q_proj": "attn_q", "k_proj": "attn_k", "v_proj": "attn_v", "o_proj": "attn_output"}
        names |= {"gate_proj": "ffn_gate", "up_proj": "ffn_up", "down_proj": "ffn_down"}
        yield "token_embd.weight", (self.vocabulary, self.hidden)
        if not self.tied:
            yield "output.weight", (self.vocabulary, self.hidden)
        for layer in range(self.layers):
            for name, (inputs, outputs) in self.linear.items():
                yield f"blk.{layer}.{names[name]}.weight", (outputs, inputs)


@cache
def facts() -> dict[str, dict[str, Any]]:
    """{hub id in small letters: the fields of its config.json} of the models that ship as facts."""
    models = tomllib.loads(FACTS.read_text(encoding="utf-8"))["model"]
    return {name.lower(): model["config"] for model in models for name in model["ids"]}


def shape_of(config: Mapping[str, Any], where: str) -> Shape:
    """The shape that a config.json describes. Raises ModelError for an architecture whose layers are not known."""
    family = FAMILIES.get(str(config.get("model_type")))
    if family is None:
        raise ModelError(
            f"{where}: architecture '{config.get('model_type')}' is not known to plan; known: {', '.join(FAMILIES)}"
        )

    def number(field: str, otherwise: int | None = None) -> int:
        value = config.get(field) or otherwise
        if not isinstance(value, int):
            raise ModelError(f"{where}: its configuration has no whole number '{field}'")
        if not 0 < value <= MOST.get(field, MOST_WIDE):
            raise ModelError(f"{where}: its configuration says {field} = {value}, which no model has")
        return value

    heads = number("num_attention_heads")
    return Shape(
        family=str(config["model_type"]),
        layers=number("num_hidden_layers"),
        hidden=number("hidden_size"),
        intermediate=number("intermediate_size"),
        heads=heads,
        kv_heads=number("num_key_value_heads", heads),
        head_dim=number("head_dim", number("hidden_size") // heads),
        vocabulary=number("vocab_size"),
        context=number("max_position_embeddings"),
        tied=bool(config.get("tie_word_embeddings", family.tied)),
        biased=_biased(config, family),
        unlike_llama=unlike_llama(config),
    )


def unlike_llama(config: Mapping[str, Any]) -> str | None:
    """In what the layers of a config.json, old or new, compute otherwise than Llama's; None if they do not."""
    if config.get("model_type") != "llama":
        return f"the model is of the family '{config.get('model_type')}', not of Llama's"
    other = config.get("hidden_act", "silu") != "silu"
    if other or any(config.get(name) for name in ("attention_bias", "mlp_bias", "attention_dropout")):
        return "the model has biases, dropout in its attention, or another activation than silu"
    rotary = config.get("rope_parameters") or config.get("rope_scaling") or {}
    rotation = rotary.get("rope_type") or rotary.get("type") or "default"
    return None if rotation in ROTATIONS else f"the model's rotary embedding is of type '{rotation}'"


def _biased(config: Mapping[str, Any], family: Family) -> tuple[str, ...]:
    attention = (*ATTENTION, "o_proj") if config.get("attention_bias") else ATTENTION if family.qkv_bias else ()
    return (*attention, "gate_proj", "up_proj", "down_proj") if config.get("mlp_bias") else attention
