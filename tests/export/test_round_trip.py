"""GGUF → a Hugging Face folder → GGUF: the same model and the same tokens, for files of each architecture."""

import random
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from bedside.errors import ModelError
from bedside.export.convert import write_gguf
from bedside.models.convert import gguf_to_folder
from bedside.models.locate import embedded_gguf
from bedside.recipe import PromptSection
from bedside.runtime.hf import encode, load_tokenizer
from bedside.runtime.libllama import File


def _texts(count: int) -> Iterator[str]:
    """Words, digits, spaces, lines, signs and any assigned characters of Unicode, composed; the same ones each time."""
    chance = random.Random(0)
    words = (
        "the",
        "Patient",
        "don't",
        "120/80",
        "3.14159",
        "mg",
        "  ",
        "\n",
        "\n\n",
        "\t",
        "\r\n",
        " ",
        "<think>",
        "ß",
        "漢字",
    )
    assigned = [chr(i) for i in range(0x20, 0x1FBFF) if unicodedata.category(chr(i)) not in ("Cn", "Cs", "Co")]
    for _ in range(count):
        parts = [
            chance.choice(words) if chance.random() < 0.7 else chance.choice(assigned)
            for _ in range(chance.randrange(1, 40))
        ]
        yield unicodedata.normalize("NFC", "".join(parts))


def _assert_same_tokens(folder: Path, files: Sequence[Path], count: int) -> None:
    """Of a folder in transformers and of GGUF files in llama.cpp."""
    tokenizer = load_tokenizer(folder, PromptSection())
    with ExitStack() as stack:
        probes = [stack.enter_context(closing(File(file, 512))) for file in files]
        leads = ["" if probe.tokens("x") == encode(tokenizer, "x") else str(tokenizer.bos_token) for probe in probes]
        for text in _texts(count):
            expected = encode(tokenizer, text)
            for probe, lead in zip(probes, leads, strict=True):
                assert probe.tokens(text) == encode(tokenizer, lead + text), (text, expected)


@pytest.mark.parametrize(
    ("kind", "fixture", "settings"),
    [
        ("llama", "gpt_2_tokenizer", {}),
        ("llama", "llama_3_tokenizer", {"head_dim": 32}),
        (
            "llama",
            "llama_3_tokenizer",
            {"rope_parameters": {"rope_type": "linear", "rope_theta": 500.0, "factor": 4.0}},
        ),
        ("qwen2", "qwen_2_tokenizer", {"tie_word_embeddings": True}),
        ("qwen2", "r1_qwen_tokenizer", {}),
        ("qwen3", "qwen_2_tokenizer", {}),
        ("gemma3_text", "gemma_tokenizer", {"tie_word_embeddings": True}),
        ("gemma3_text", "gemma_tokenizer", {}),
    ],
)
def test_a_file_comes_back_as_the_same_model(
    save_model: Any, request: pytest.FixtureRequest, tmp_path: Path, kind: str, fixture: str, settings: dict[str, Any]
) -> None:
    folder = save_model(request.getfixturevalue(fixture), kind, **settings)
    write_gguf(folder, tmp_path / "once.gguf", "f32", "tiny")
    gguf_to_folder(tmp_path / "once.gguf", tmp_path / "back")
    write_gguf(tmp_path / "back", tmp_path / "twice.gguf", "f32", "tiny")
    ids = torch.tensor([encode(load_tokenizer(folder, PromptSection()), "the heart of the patient beats, 120 times")])
    logits = [
        AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32, attn_implementation="eager")(
            ids
        ).logits.detach()
        for path in (folder, tmp_path / "back")
    ]
    torch.testing.assert_close(logits[1], logits[0], rtol=1e-4, atol=1e-4)
    _assert_same_tokens(tmp_path / "back", [tmp_path / "once.gguf", tmp_path / "twice.gguf"], 100)


@pytest.mark.slow
def test_the_embedded_file_comes_back_with_the_same_tokens(tmp_path: Path) -> None:
    gguf_to_folder(embedded_gguf(), tmp_path / "model")
    write_gguf(tmp_path / "model", tmp_path / "again.gguf", "q8_0", "SmolLM2")
    _assert_same_tokens(tmp_path / "model", [embedded_gguf(), tmp_path / "again.gguf"], 2000)


def _spoilt(file: Path, **changes: Any) -> Path:
    """A copy of a GGUF file with other fields; a tensor of rotary factors is added where `factors` says so."""
    reader = gguf.GGUFReader(file)
    arch = str(changes.get("arch", reader.get_field("general.architecture").contents()))
    writer = gguf.GGUFWriter(file.with_name("spoilt.gguf"), arch)
    for field in reader.fields.values():
        if not field.name.startswith(("GGUF.", "general.architecture", changes.get("without", "GGUF."))):
            value = changes.get(field.name, field.contents())
            kinds = [*field.types, None][:2]
            writer.add_key_value(field.name, value, kinds[0], kinds[1])
    for key in changes.keys() - reader.fields.keys() - {"arch", "without", "factors"}:
        writer.add_string(key, changes[key])
    for tensor in reader.tensors:
        if tensor.name != changes.get("without"):
            writer.add_tensor(tensor.name, np.array(tensor.data))
    if changes.get("factors"):
        writer.add_tensor("rope_freqs.weight", np.ones(8, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file.with_name("spoilt.gguf")


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"arch": "falcon"}, "architecture 'falcon' is not one of llama, qwen2, qwen3, gemma3"),
        ({"tokenizer.ggml.pre": "default"}, "tokenizer 'default' is not proven"),
        ({"tokenizer.ggml.pre": "tekken"}, "tokenizer 'tekken' is not proven"),
        ({"tokenizer.ggml.model": "llama"}, "a tokenizer of kind 'llama' is not proven"),
        ({"llama.rope.scaling.type": "yarn"}, "rotary scaling 'yarn' is not converted"),
        ({"without": "tokenizer.ggml.merges"}, r"the file has no tokenizer\.ggml\.merges"),
        ({"factors": True}, r"tensor 'rope_freqs\.weight' has no counterpart"),
        ({"without": "blk.1.ffn_up.weight"}, r"tensor 'blk\.1\.ffn_up\.weight' has no counterpart"),
    ],
)
def test_a_file_that_would_not_be_the_same_model_is_refused_by_name(
    tiny_llama: Path, own_cache: Path, tmp_path: Path, changes: dict[str, Any], named: str
) -> None:
    write_gguf(tiny_llama, tmp_path / "model.gguf", "f32", "tiny")
    with pytest.raises(ModelError, match=named) as caught:
        gguf_to_folder(_spoilt(tmp_path / "model.gguf", **changes), tmp_path / "folder")
    assert str(caught.value).endswith("; use the model's Hugging Face folder")
    assert not (tmp_path / "folder").exists()


def test_the_copy_that_the_refusals_spoil_converts_when_nothing_is_spoilt(
    tiny_llama: Path, own_cache: Path, tmp_path: Path
) -> None:
    write_gguf(tiny_llama, tmp_path / "model.gguf", "f32", "tiny")
    gguf_to_folder(_spoilt(tmp_path / "model.gguf"), tmp_path / "folder")
    assert (tmp_path / "folder" / "model.safetensors").is_file()
