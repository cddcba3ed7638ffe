"""The architectures that can be exported, from Hugging Face's words into GGUF's.

In: `config.json` and tensors under their Hugging Face names. Out: GGUF metadata, GGUF names, and values arranged as
llama.cpp computes with them. What all have in common is in `Architecture`; how they differ is one row of `FAMILIES`.
Source: the GGUF specification (ggml, docs/gguf.md), and of llama.cpp its converter (conversion/) and src/models/.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from gguf import MODEL_ARCH
from numpy.typing import NDArray

from bedside.errors import ModelError
from bedside.files import read_json

ROPE_FACTORS = "rope_freqs.weight"
BIASED = ("q_proj", "k_proj", "v_proj")


@dataclass(frozen=True, slots=True)
class Family:
    """What sets an architecture apart from the others.

    `ropes` are the kinds of rotary scaling that llama.cpp applies to it. `interleaved` says that it rotates each even
    row of a head against the next odd one, where Hugging Face rotates the first half against the second.
    `norm_shift` is what llama.cpp expects added to the weights of norms, `biased` the layers that may have a bias.
    `wide` says that the heads may be wider together than the model, `windowed` that most layers see the last tokens
    only, with a rotary base of their own. `fixed` are the settings of `config.json` with one value in llama.cpp; one
    that is absent there has the first. `tied` and `rope_theta` are what holds where `config.json` does not say.
    """

    arch: MODEL_ARCH
    ropes: tuple[str, ...] = ("default", "linear")
    interleaved: bool = False
    norm_shift: float = 0.0
    biased: tuple[str, ...] = ()
    wide: bool = True
    windowed: bool = False
    fixed: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    tied: bool = False
    rope_theta: float = 10000.0

    @property
    def name(self) -> str:
        """GGUF's name of it."""
        return gguf.MODEL_ARCH_NAMES[self.arch]


FAMILIES: dict[str, Family] = {
    "LlamaForCausalLM": Family(
        MODEL_ARCH.LLAMA,
        ropes=("default", "linear", "llama3"),
        interleaved=True,
        biased=(*BIASED, "o_proj", "gate_proj", "up_proj", "down_proj"),
        fixed={"hidden_act": ("silu",)},
    ),
    "Qwen2ForCausalLM": Family(
        MODEL_ARCH.QWEN2,
        biased=BIASED,
        wide=False,
        fixed={"hidden_act": ("silu",), "use_sliding_window": (False,)},
    ),
    "Qwen3ForCausalLM": Family(
        MODEL_ARCH.QWEN3,
        fixed={"hidden_act": ("silu",), "use_sliding_window": (False,)},
    ),
    "Gemma3ForCausalLM": Family(
        MODEL_ARCH.GEMMA3,
        norm_shift=1.0,  # Hugging Face multiplies by 1 + weight
        windowed=True,
        tied=True,
        rope_theta=1e6,
        fixed={
            "hidden_activation": ("gelu_pytorch_tanh",),
            "attn_logit_softcapping": (None,),
            "final_logit_softcapping": (None,),
            "use_bidirectional_attention": (False, None),
        },
    ),
}
"""By the name that `config.json` gives as its architecture."""
ASIDE = {"Gemma3ForConditionalGeneration": "reads images, too; export its text model, a Gemma3ForCausalLM"}
"""Why an architecture is not exported that is close to one that is."""


@dataclass(frozen=True, slots=True)
class Window:
    """Layers that see only the last `tokens` tokens, but for every `period`-th; `rope_theta` is their rotary base."""

    tokens: int
    period: int
    rope_theta: float


@dataclass(frozen=True, slots=True)
class Architecture:
    """The hyperparameters. `rope` holds the rotary embedding's settings, "rope_theta" and "rope_type" among them."""

    family: Family
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
    window: Window | None = None

    def add_to(self, writer: gguf.GGUFWriter) -> None:
        """Writes the hyperparameters as metadata."""
        writer.add_context_length(self.context)
        writer.add_embedding_length(self.hidden)
        writer.add_block_count(self.layers)
        writer.add_feed_forward_length(self.feed_forward)
        writer.add_head_count(self.heads)
        writer.add_head_count_kv(self.kv_heads)
        writer.add_key_length(self.head_dim)
        writer.add_value_length(self.head_dim)
        writer.add_layer_norm_rms_eps(self.rms_eps)
        writer.add_vocab_size(self.vocabulary)
        writer.add_rope_dimension_count(self.head_dim)
        writer.add_rope_freq_base(float(self.rope["rope_theta"]))
        if self.rope["rope_type"] == "linear":
            writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
            writer.add_rope_scaling_factor(float(self.rope["factor"]))
        if self.window is not None:
            writer.add_sliding_window(self.window.tokens)
            writer.add_sliding_window_pattern(self.window.period)
            writer.add_rope_freq_base_swa(self.window.rope_theta)

    def gguf_names(self, names: Iterable[str]) -> dict[str, str]:
        """{name: name in GGUF} of the tensors that are stored there. Raises ModelError for one that has no place."""
        known = gguf.get_tensor_name_map(self.family.arch, self.layers)
        found: dict[str, str] = {}
        for name in filter(self._stores, names):
            gguf_name = known.get_name(name, try_suffixes=(".weight", ".bias"))
            layer, _, kind = name.rpartition(".")
            if gguf_name is None or (kind == "bias" and not layer.endswith(self.family.biased)):
                raise ModelError(
                    f"tensor '{name}' has no place in llama.cpp's {self.family.name} of {self.layers} layers;"
                    " the model cannot be exported"
                )
            found[name] = gguf_name
        return found

    def _stores(self, name: str) -> bool:
        return not name.endswith("rotary_emb.inv_freq") and not (self.tied and name == "lm_head.weight")

    def arrange(self, name: str, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Values as llama.cpp computes with them; of query and key rows, those of one head or several."""
        if name.endswith("norm.weight"):
            return values + np.float32(self.family.norm_shift)
        layer = name.rpartition(".")[0]
        if not self.family.interleaved or not layer.endswith(("q_proj", "k_proj")):
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


def read(folder: Path) -> Architecture:
    """The architecture of a model folder. Raises ModelError that names what is not known."""
    config = read_json(folder / "config.json")
    try:
        return _architecture(config, _family(config))
    except KeyError as error:
        raise ModelError(f"{folder / 'config.json'}: no setting {error}; want a whole model folder") from error
    except ModelError as error:
        raise ModelError(f"{folder}: {error}") from error


def _family(config: dict[str, Any]) -> Family:
    name = (config.get("architectures") or ["none"])[0]
    if name not in FAMILIES:
        reason = f" ({ASIDE[name]})" if name in ASIDE else ""
        raise ModelError(f"architecture '{name}' cannot be exported to GGUF{reason}; known: {', '.join(FAMILIES)}")
    family = FAMILIES[name]
    for key, allowed in family.fixed.items():
        if config.get(key, allowed[0]) not in allowed:
            raise _lacks(family, f"{key} = {config[key]!r}", repr(allowed[0]))
    return family


def _architecture(config: dict[str, Any], family: Family) -> Architecture:
    heads, hidden, layers = config["num_attention_heads"], config["hidden_size"], config["num_hidden_layers"]
    head_dim = config.get("head_dim") or hidden // heads
    if not family.wide and head_dim * heads != hidden:
        raise _lacks(family, f"head_dim = {head_dim}", f"{hidden // heads}, hidden_size by the number of heads")
    return Architecture(
        family,
        hidden=hidden,
        layers=layers,
        heads=heads,
        kv_heads=config.get("num_key_value_heads") or heads,
        head_dim=head_dim,
        feed_forward=config["intermediate_size"],
        context=config["max_position_embeddings"],
        vocabulary=config["vocab_size"],
        rms_eps=config["rms_norm_eps"],
        tied=bool(config.get("tie_word_embeddings", family.tied)),
        rope=_rope(config, family),
        window=_window(config, family) if family.windowed else None,
    )


def _rope(config: dict[str, Any], family: Family) -> dict[str, Any]:
    """The rotary settings; transformers 5 writes `rope_parameters`, 4 wrote `rope_theta` and `rope_scaling`."""
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    rope = dict(rope.get("full_attention", rope))
    rope.setdefault("rope_theta", config.get("rope_theta", family.rope_theta))
    rope.setdefault("rope_type", rope.get("type", "default"))
    if rope["rope_type"] not in family.ropes:
        raise _lacks(family, f"rotary scaling '{rope['rope_type']}'", ", ".join(family.ropes))
    return rope


def _window(config: dict[str, Any], family: Family) -> Window:
    layers, heads = config["num_hidden_layers"], config["num_attention_heads"]
    # llama.cpp tells the 27B model, whose queries alone are scaled by this, by its number of layers.
    divisor = config["hidden_size"] / heads if layers == 62 else config["head_dim"]
    if config.get("query_pre_attn_scalar", 256) != divisor:
        raise _lacks(family, f"query_pre_attn_scalar = {config.get('query_pre_attn_scalar', 256)}", f"{divisor:g}")
    period = config.get("sliding_window_pattern", 6)
    kinds = config.get("layer_types")
    if kinds is not None:
        whole = [i for i, kind in enumerate(kinds) if kind == "full_attention"]
        period = whole[0] + 1 if whole else max(6, layers + 1)
        if [i for i in range(layers) if (i + 1) % period == 0] != whole or period == 1:
            raise _lacks(family, f"layer_types with full attention in {whole}", "in every n-th layer, n above 1")
    rope = dict((config.get("rope_parameters") or {}).get("sliding_attention") or {})
    if rope.get("rope_type", "default") != "default":
        raise _lacks(family, f"rotary scaling '{rope['rope_type']}' in layers with a window", "default")
    theta = rope.get("rope_theta", config.get("rope_local_base_freq", 10000.0))
    return Window(config["sliding_window"], period, float(theta))


def _lacks(family: Family, what: str, known: str) -> ModelError:
    return ModelError(f"{what} is nothing that llama.cpp's {family.name} computes; known: {known}")
