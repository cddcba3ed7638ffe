"""The Llama architecture, from Hugging Face's words into GGUF's.

In: `config.json` and tensors under their Hugging Face names. Out: GGUF metadata, GGUF names, and rows in the order
that llama.cpp's rotary embedding wants. Source: the GGUF specification (ggml, docs/gguf.md) and llama.cpp's converter.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from numpy.typing import NDArray

from bedside.errors import ModelError
from bedside.files import read_json

KNOWN = ("LlamaForCausalLM",)
ROPE_FACTORS = "rope_freqs.weight"
ROPE_TYPES = ("default", "linear", "llama3")


@dataclass(frozen=True, slots=True)
class Llama:
    """The hyperparameters. `rope` holds the rotary embedding's settings, "rope_theta" and "rope_type" among them."""

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    feed_forward: int
    context: int
    vocabulary: int
    rms_eps: float
    tied: bool
    rope: dict[str, Any]

    def add_to(self, writer: gguf.GGUFWriter) -> None:
        """Writes the hyperparameters as metadata."""
        writer.add_context_length(self.context)
        writer.add_embedding_length(self.hidden)
        writer.add_block_count(self.layers)
        writer.add_feed_forward_length(self.feed_forward)
        writer.add_head_count(self.heads)
        writer.add_head_count_kv(self.kv_heads)
        writer.add_layer_norm_rms_eps(self.rms_eps)
        writer.add_vocab_size(self.vocabulary)
        writer.add_rope_dimension_count(self.head_dim)
        writer.add_rope_freq_base(float(self.rope["rope_theta"]))
        if self.head_dim * self.heads != self.hidden:
            writer.add_key_length(self.head_dim)
            writer.add_value_length(self.head_dim)
        if self.rope["rope_type"] == "linear":
            writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
            writer.add_rope_scaling_factor(float(self.rope["factor"]))

    def gguf_names(self, names: Iterable[str]) -> dict[str, str]:
        """{name: name in GGUF} of the tensors that are stored there. Raises ModelError for a tensor of no Llama."""
        known = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, self.layers)
        found: dict[str, str] = {}
        for name in filter(self._stores, names):
            gguf_name = known.get_name(name, try_suffixes=(".weight", ".bias"))
            if gguf_name is None:
                raise ModelError(f"tensor '{name}' belongs to no Llama of {self.layers} layers; it cannot be exported")
            found[name] = gguf_name
        return found

    def _stores(self, name: str) -> bool:
        return not name.endswith("rotary_emb.inv_freq") and not (self.tied and name == "lm_head.weight")

    def arrange(self, name: str, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Rows of the query and key projections as llama.cpp wants them; `values` are those of one head or several.

        Hugging Face rotates the first half of a head against the second, llama.cpp each even row against the next odd.
        """
        layer = name.rpartition(".")[0]
        if not layer.endswith(("q_proj", "k_proj")):
            return values
        halves = values.reshape(-1, 2, self.head_dim // 2, *values.shape[1:])
        return np.ascontiguousarray(halves.swapaxes(1, 2).reshape(values.shape))

    def rope_factors(self) -> NDArray[np.float32] | None:
        """What Llama 3.1 divides each rotary frequency by, shape [head_dim / 2]; None if it has no such scaling."""
        if self.rope["rope_type"] != "llama3":
            return None
        factor, low, high = (float(self.rope[f"{key}factor"]) for key in ("", "low_freq_", "high_freq_"))
        trained = float(self.rope.get("original_max_position_embeddings", 8192))
        exponents = np.arange(0, self.head_dim, 2, dtype=np.float32) / np.float32(self.head_dim)
        wavelengths = 2 * math.pi * np.float32(self.rope["rope_theta"]) ** exponents
        # 0 for waves longer than the trained context allows (divided by the whole factor), 1 for short ones (kept).
        smooth = np.clip((trained / wavelengths - low) / (high - low), 0, 1)
        return np.asarray(1 / ((1 - smooth) / factor + smooth), np.float32)


def read(folder: Path) -> Llama:
    """The architecture of a model folder. Raises ModelError that names what is not known."""
    config = read_json(folder / "config.json")
    name = (config.get("architectures") or ["none"])[0]
    if name not in KNOWN:
        raise ModelError(f"{folder}: architecture '{name}' cannot be exported to GGUF; known: {', '.join(KNOWN)}")
    if config.get("hidden_act", "silu") != "silu":
        raise ModelError(f"{folder}: activation '{config['hidden_act']}' is no Llama's; known: silu")
    heads = config["num_attention_heads"]
    return Llama(
        hidden=config["hidden_size"],
        layers=config["num_hidden_layers"],
        heads=heads,
        kv_heads=config.get("num_key_value_heads") or heads,
        head_dim=config.get("head_dim") or config["hidden_size"] // heads,
        feed_forward=config["intermediate_size"],
        context=config["max_position_embeddings"],
        vocabulary=config["vocab_size"],
        rms_eps=config["rms_norm_eps"],
        tied=bool(config.get("tie_word_embeddings", False)),
        rope=_rope(config, folder),
    )


def _rope(config: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The rotary settings; transformers 5 writes `rope_parameters`, 4 wrote `rope_theta` and `rope_scaling`."""
    rope = dict(config.get("rope_parameters") or config.get("rope_scaling") or {})
    rope.setdefault("rope_theta", config.get("rope_theta", 10000.0))
    rope.setdefault("rope_type", rope.get("type", "default"))
    if rope["rope_type"] not in ROPE_TYPES:
        raise ModelError(
            f"{folder}: rotary scaling '{rope['rope_type']}' cannot be exported; known: {', '.join(ROPE_TYPES)}"
        )
    return rope
