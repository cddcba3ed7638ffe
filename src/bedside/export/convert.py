"""A model folder in Hugging Face's layout → one GGUF file that llama.cpp, Ollama and LM Studio run.

In: config.json, safetensors, tokenizer, and `bedside.json` if Bedside merged it. Out: a GGUF file, written to a
temporary sibling and renamed. Tensors pass through a few rows at a time, so memory holds those, not the model.
Specification: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Kind
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from bedside.errors import ModelError
from bedside.export import architecture, vocabulary
from bedside.export.pieces import Streamed, in_pieces
from bedside.export.quantise import MOSTLY, kind_of, quantise, size_of
from bedside.export.tensors import Tensors
from bedside.files import read_json, replacing
from bedside.models.gguf import NORMALISER_KEY, PROMPT_KEY
from bedside.models.splits import COMPOSING
from bedside.progress import bar
from bedside.recipe import PromptSection, Quantisation
from bedside.records import Message
from bedside.runtime.choose import PROMPT_FILE
from bedside.runtime.tokenizer import adds_bos, load_tokenizer, renderer_of

if TYPE_CHECKING:
    from bedside.export.imatrix import Importance


@dataclass(frozen=True, slots=True)
class Planned:
    """A tensor of the file: where it comes from and what it becomes."""

    source: str
    name: str
    shape: tuple[int, ...]
    kind: Kind
    importance: NDArray[np.float32] | None = None
    """How much each column matters."""


def write_gguf(
    folder: Path, target: Path, quantisation: Quantisation, name: str, importance: "Importance | None" = None
) -> None:
    """Writes `target`; `name` is what the file calls itself. Raises ModelError for what llama.cpp would run wrongly."""
    model = architecture.read(folder)
    weights = Tensors.of_model(folder)
    plan = _plan(model, weights, quantisation, importance)
    if target.is_dir():
        raise ModelError(f"{target}: a folder, wanted the path of a GGUF file")
    with replacing(target) as unfinished:
        writer = gguf.GGUFWriter(unfinished, model.family.name)
        try:
            writer.add_type(gguf.GGUFType.MODEL)
            writer.add_name(name)
            writer.add_file_type(MOSTLY[quantisation][1])
            writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
            model.add_to(writer)
            _add_tokenizer(writer, folder, model)
            if importance is not None:
                importance.add_to(writer)
            _write_tensors(writer, model, weights, plan)
        finally:
            writer.close()


def _plan(
    model: architecture.Architecture, weights: Tensors, quantisation: Quantisation, importance: "Importance | None"
) -> list[Planned]:
    names = model.gguf_names(weights.entries)
    tied = "output.weight" not in names.values()

    def planned(source: str, name: str) -> Planned:
        shape = weights.entries[source].shape
        kind = kind_of(name, shape, quantisation, model.layers, tied)
        return Planned(source, name, shape, kind, importance.of(name) if importance else None)

    return [planned(source, name) for source, name in names.items()]


def _write_tensors(
    writer: gguf.GGUFWriter, model: architecture.Architecture, weights: Tensors, plan: list[Planned]
) -> None:
    """Announces every tensor, then writes them in the same order."""
    factors = model.rope_factors()
    if factors is not None:
        writer.add_tensor_info(architecture.ROPE_FACTORS, factors.shape, factors.dtype, factors.nbytes)
    for tensor in plan:
        size = size_of(tensor.shape, tensor.kind)
        writer.add_tensor_info(tensor.name, tensor.shape, np.dtype(np.float32), size, raw_dtype=tensor.kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    if factors is not None:
        writer.write_tensor_data(factors)
    with bar("gguf", len(plan), "tensors") as advance:
        for tensor in plan:
            pieces = in_pieces(tensor.shape, partial(_stored_rows, model, weights, tensor), block=model.head_dim)
            streamed: Any = Streamed(size_of(tensor.shape, tensor.kind), pieces)
            writer.write_tensor_data(streamed)
            advance(1, "")
    writer.flush()


def _stored_rows(model: architecture.Architecture, weights: Tensors, tensor: Planned, rows: slice) -> NDArray[np.uint8]:
    """The bytes of some rows; of whole heads, since `arrange` moves rows within a head alone."""
    values = model.arrange(tensor.source, weights.read(tensor.source, rows))
    return quantise(values, tensor.kind, tensor.importance)


def _add_tokenizer(writer: gguf.GGUFWriter, folder: Path, model: architecture.Architecture) -> None:
    """Vocabulary, special tokens and chat template; the recipe's prompt section if the folder has one."""
    section = _prompt_section(folder)
    tokenizer = load_tokenizer(folder, section or PromptSection())
    known = vocabulary.read(tokenizer, model.vocabulary)
    writer.add_tokenizer_model(known.model)
    writer.add_tokenizer_pre(known.pre)
    writer.add_token_list(known.tokens)
    writer.add_token_types(known.types)
    if known.pre in COMPOSING:
        writer.add_string(NORMALISER_KEY, "NFC" if known.composed else "none")
    if known.model == "llama":
        writer.add_token_scores(known.scores)
    else:
        writer.add_token_merges(known.merges)
    _add_special_tokens(writer, tokenizer)
    _add_prompting(writer, tokenizer, known.prefix)
    if section is not None:
        writer.add_string(PROMPT_KEY, json.dumps(section.model_dump(mode="json"), ensure_ascii=False))


def _add_special_tokens(writer: gguf.GGUFWriter, tokenizer: PreTrainedTokenizerBase) -> None:
    ids = {
        writer.add_bos_token_id: tokenizer.bos_token_id,
        writer.add_eos_token_id: tokenizer.eos_token_id,
        writer.add_unk_token_id: tokenizer.unk_token_id,
        writer.add_pad_token_id: tokenizer.pad_token_id,
    }
    for add, index in ids.items():
        if index is not None:
            add(index)


def _add_prompting(writer: gguf.GGUFWriter, tokenizer: PreTrainedTokenizerBase, prefix: vocabulary.Prefix) -> None:
    """The template, and what llama.cpp puts before the text, so that together they give the trained tokens.

    Training reads the rendered template as it is. So llama.cpp adds a begin token only where the template prints one
    too (the runner then takes the template's off), and the space that SentencePiece puts before the very first
    text only is printed by the template, since llama.cpp can put it before every text after a special token or none.
    """
    renderer = renderer_of(tokenizer)
    opening = renderer.render([Message("user", "x")], generation=True)
    begins_special = any(opening.startswith(token) for token in tokenizer.all_special_tokens)
    lead = "{{ ' ' }}" if prefix == "first" and not begins_special else ""
    writer.add_chat_template(lead + renderer.template)
    writer.add_add_bos_token(adds_bos(tokenizer) and opening.startswith(renderer.bos))
    writer.add_add_space_prefix(prefix == "always")


def _prompt_section(folder: Path) -> PromptSection | None:
    path = folder / PROMPT_FILE
    return PromptSection.model_validate(read_json(path)) if path.is_file() else None
