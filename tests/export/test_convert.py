from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from gguf import GGUFReader
from transformers import AutoModelForCausalLM, AutoTokenizer

from bedside.errors import ModelError
from bedside.export import architecture, pieces, readings
from bedside.export.agreement import Agreement, continuations, in_transformers
from bedside.export.conversations import conversations
from bedside.export.convert import write_gguf
from bedside.files import read_json, write_json
from bedside.models.gguf import metadata
from bedside.recipe import ModelSection, PromptSection, Quantisation
from bedside.records import Message
from bedside.runtime.hf import encode, load_tokenizer
from bedside.runtime.libllama import File
from bedside.runtime.llamacpp import LlamaCpp
from bedside.runtime.tokenizer import end_ids, renderer_of
from tests.greedy import greedy_ids

TIE = 0.012
QUESTION = "Which drug lowers the blood pressure?"
LLAMA_3_1 = {
    "rope_type": "llama3",
    "rope_theta": 500000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
}
GEMMA_4B = {
    "full_attention": {"rope_type": "linear", "rope_theta": 500.0, "factor": 8.0},
    "sliding_attention": {"rope_type": "default", "rope_theta": 50.0},
}


def _greedy(folder: Path, ids: Sequence[int], tokens: int, end: Sequence[int]) -> tuple[list[int], float]:
    """What transformers says, up to the first token that llama.cpp takes for an end, and how narrowly it chose.

    That is the least difference between the best two logits, in standard deviations of the logits.
    """
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    prompt = torch.tensor([ids])
    settings = {"max_new_tokens": tokens, "do_sample": False, "eos_token_id": [*end]}
    said = model.generate(
        prompt, attention_mask=prompt >= 0, **settings, output_logits=True, return_dict_in_generate=True
    )
    new: list[int] = said.sequences[0, len(ids) :].tolist()
    logits_TV = torch.cat(said.logits)
    best_T2 = logits_TV.topk(2).values
    narrowest = float((best_T2[:, 0] - best_T2[:, 1]).min() / logits_TV.std())
    return (new[:-1] if new[-1] in end else new), narrowest


def _asked(folder: Path) -> tuple[list[int], list[int]]:
    """Token ids of the question as the model's template renders it, and those at which an answer ends."""
    tokenizer = load_tokenizer(folder, PromptSection())
    text = renderer_of(tokenizer).render([Message("user", QUESTION)], generation=True)
    return encode(tokenizer, text), end_ids(tokenizer)


def _agree(folder: Path, gguf: Path, tokens: int = 40, distinct: int = 2) -> float:
    """Asserts that transformers and llama.cpp read a prompt as the same tokens and continue it with the same.

    Returns how narrowly transformers chose (see `_greedy`): a near tie is decided by rounding.
    """
    ids, end = _asked(folder)
    expected, narrowest = _greedy(folder, ids, tokens, end)
    assert len(set(expected)) >= distinct, "the model says too little to show anything"
    with closing(LlamaCpp(gguf, 512)) as model:
        assert greedy_ids(model._server, ids, tokens) == expected
        text = model.prompt_text([Message("user", QUESTION)])
    with closing(File(gguf, 512)) as probe:
        assert probe.tokens(text) == ids
    return narrowest


def test_a_tied_model_speaks_as_in_transformers(tiny_llama: Path, tmp_path: Path, own_cache: Path) -> None:
    write_gguf(tiny_llama, tmp_path / "model.gguf", "f32", "tiny")
    assert _agree(tiny_llama, tmp_path / "model.gguf") > 0


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"num_key_value_heads": 4},
        {"head_dim": 32},
        {"attention_bias": True},
        {"vocab_size": 412},
        {"rope_parameters": {"rope_type": "default", "rope_theta": 500.0}},
        {"rope_parameters": {"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0}},
        {"rope_parameters": {**LLAMA_3_1, "original_max_position_embeddings": 64}},
    ],
    ids=["grouped", "one key head each", "wide heads", "biases", "padded", "rope base", "linear rope", "Llama 3.1"],
)
def test_an_untied_model_speaks_as_in_transformers(tiny_llama: Path, save_llama: Any, settings: dict[str, Any]) -> None:
    folder = save_llama(AutoTokenizer.from_pretrained(tiny_llama), **settings)
    write_gguf(folder, folder / "model.gguf", "f32", "tiny")
    assert _agree(folder, folder / "model.gguf") > 0


# Seeds with which no token is a near tie: llama.cpp multiplies queries and keys in fp16, so that rounding would decide.
@pytest.mark.parametrize(
    ("kind", "fixture", "tied", "seed"),
    [
        (kind, fixture, tied, seed)
        for kind, fixture, untied_seeds, tied_seeds in [
            ("llama", "llama_3_tokenizer", (1, 6), (0, 5)),
            ("llama", "sentencepiece_tokenizer", (5, 7), (7, 8)),
            ("qwen2", "qwen_2_tokenizer", (0, 8), (2, 8)),
            ("qwen2", "r1_qwen_tokenizer", (2, 6), (0, 5)),
            ("qwen3", "qwen_2_tokenizer", (8, 15), (3, 10)),
            ("gemma3_text", "gemma_tokenizer", (1, 11), (4, 46)),
        ]
        for tied, seeds in ((False, untied_seeds), (True, tied_seeds))
        for seed in seeds
    ],
)
def test_each_architecture_speaks_as_in_transformers(
    save_model: Any, request: pytest.FixtureRequest, kind: str, fixture: str, tied: bool, seed: int
) -> None:
    tokenizer = request.getfixturevalue(fixture)
    folder = save_model(tokenizer, kind, tie_word_embeddings=tied, seed=seed)
    write_gguf(folder, folder / "model.gguf", "f32", "tiny")
    assert _agree(folder, folder / "model.gguf", distinct=15) > TIE, "take another seed"


@pytest.mark.parametrize(
    ("kind", "settings", "seed"),
    [
        ("qwen2", {"rope_parameters": {"rope_type": "linear", "rope_theta": 500.0, "factor": 4.0}}, 2),
        ("qwen3", {"head_dim": 16, "num_key_value_heads": 4}, 1),
        ("gemma3_text", {"num_hidden_layers": 7, "sliding_window_pattern": 6}, 1),
        ("gemma3_text", {"num_hidden_layers": 3, "sliding_window_pattern": 6}, 4),
        ("gemma3_text", {"rope_parameters": GEMMA_4B}, 0),
        ("gemma3_text", {"vocab_size": 600}, 1),
    ],
    ids=["linear rope", "narrow heads", "usual pattern", "windows only", "linear rope beside a window", "padded"],
)
def test_what_an_architecture_may_have_is_exported(
    save_model: Any, request: pytest.FixtureRequest, kind: str, settings: dict[str, Any], seed: int
) -> None:
    tokenizer = request.getfixturevalue("gemma_tokenizer" if kind == "gemma3_text" else "qwen_2_tokenizer")
    folder = save_model(tokenizer, kind, seed=seed, **settings)
    write_gguf(folder, folder / "model.gguf", "f32", "tiny")
    assert _agree(folder, folder / "model.gguf") > TIE, "take another seed"


@pytest.mark.parametrize("kind", ["llama", "qwen2", "qwen3", "gemma3_text"])
@pytest.mark.parametrize("quantisation", get_args(Quantisation))
def test_every_quantisation_loads_and_speaks(
    tiny_llama: Path, save_model: Any, kind: str, quantisation: Quantisation
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_llama)
    folder = save_model(tokenizer, kind, hidden_size=256, intermediate_size=512)
    write_gguf(folder, folder / "model.gguf", quantisation, "tiny")
    ids, _ = _asked(folder)
    with closing(LlamaCpp(folder / "model.gguf", 512)) as model:
        spoken = greedy_ids(model._server, ids, 8)
    assert len(spoken) == 8
    assert all(0 <= token < len(tokenizer) for token in spoken)


@pytest.mark.parametrize("kind", ["qwen3", "gemma3_text"])
def test_tied_embeddings_are_quantised_as_an_output_and_norms_are_not(
    tiny_llama: Path, save_model: Any, kind: str
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_llama)
    folder = save_model(tokenizer, kind, hidden_size=256, intermediate_size=512, tie_word_embeddings=True)
    write_gguf(folder, folder / "model.gguf", "q4_k_m", "tiny")
    kinds = {tensor.name: tensor.tensor_type.name for tensor in GGUFReader(folder / "model.gguf").tensors}
    assert (kinds["token_embd.weight"], kinds["blk.0.attn_q.weight"]) == ("Q6_K", "Q4_K")
    assert {kind for name, kind in kinds.items() if name.endswith("norm.weight")} == {"F32"}
    assert "blk.0.attn_q_norm.weight" in kinds
    assert "output.weight" not in kinds


@pytest.mark.parametrize("quantisation", get_args(Quantisation))
def test_bytes_are_the_same_however_tensors_are_cut(
    tiny_llama: Path, save_llama: Any, monkeypatch: pytest.MonkeyPatch, quantisation: Quantisation
) -> None:
    folder = save_llama(AutoTokenizer.from_pretrained(tiny_llama), hidden_size=256, intermediate_size=512)
    write_gguf(folder, folder / "whole.gguf", quantisation, "tiny")
    monkeypatch.setattr(pieces, "PIECE", 1)
    write_gguf(folder, folder / "cut.gguf", quantisation, "tiny")
    assert (folder / "cut.gguf").read_bytes() == (folder / "whole.gguf").read_bytes()


def test_rows_that_fit_no_block_of_256_fall_back(tiny_llama: Path, tmp_path: Path, own_cache: Path) -> None:
    write_gguf(tiny_llama, tmp_path / "model.gguf", "q4_k_m", "tiny")
    kinds = {tensor.name: tensor.tensor_type.name for tensor in GGUFReader(tmp_path / "model.gguf").tensors}
    assert kinds["blk.0.attn_q.weight"] == "Q5_0"
    assert kinds["token_embd.weight"] == "Q8_0"
    assert kinds["output_norm.weight"] == "F32"


def test_the_file_says_how_it_is_prompted(tiny_llama: Path, tmp_path: Path, own_cache: Path) -> None:
    section = PromptSection(style="alpaca-think", system="Prüfe 'alles'.")
    folder = tmp_path / "merged"
    load_tokenizer(tiny_llama, section).save_pretrained(folder)
    for name in ("config.json", "model.safetensors"):
        (folder / name).symlink_to(tiny_llama / name)
    write_json(folder / "bedside.json", section.model_dump(mode="json"))
    write_gguf(folder, tmp_path / "model.gguf", "f16", "a name")
    said = metadata(tmp_path / "model.gguf")
    assert (said.name, said.bos, said.eos, said.adds_bos) == ("a name", "<|im_start|>", "<|im_end|>", False)
    assert (said.pre_tokenizer, said.context_length, said.prompt) == ("smollm", 512, section)
    assert said.template == load_tokenizer(folder, section).chat_template


def test_a_folder_without_a_prompt_section_gives_a_file_without(
    tiny_llama: Path, tmp_path: Path, own_cache: Path
) -> None:
    write_gguf(tiny_llama, tmp_path / "model.gguf", "f16", "tiny")
    assert metadata(tmp_path / "model.gguf").prompt is None


@pytest.mark.parametrize("style", ["chat", "alpaca-think"])
def test_sentencepiece_prompts_have_the_trained_tokens(
    sentencepiece_tokenizer: Any, save_llama: Any, tmp_path: Path, style: str
) -> None:
    """ "chat" prints no begin token though the tokenizer would add one; "alpaca-think" prints it."""
    section = PromptSection(style=style)
    folder = save_llama(sentencepiece_tokenizer)
    load_tokenizer(folder, section).save_pretrained(folder)
    write_json(folder / "bedside.json", section.model_dump(mode="json"))
    write_gguf(folder, tmp_path / "model.gguf", "f32", "tiny")
    ours = readings.trained(folder, section)
    with closing(File(tmp_path / "model.gguf", 16)) as file:
        place = readings.of_file(tmp_path / "model.gguf", file)
        assert list(readings.differences(ours, place, conversations(ours.controls))) == []
    assert metadata(tmp_path / "model.gguf").adds_bos == (style == "alpaca-think")


def test_llama_3_1_divides_its_slow_frequencies(tiny_llama: Path, save_llama: Any) -> None:
    """Against transformers' own inverse frequencies: plain ones divided by those that it computes with scaling."""
    from transformers import LlamaConfig
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    rope = {**LLAMA_3_1, "original_max_position_embeddings": 8192}
    folder = save_llama(AutoTokenizer.from_pretrained(tiny_llama), head_dim=128, rope_parameters=rope)
    scaled, _ = ROPE_INIT_FUNCTIONS["llama3"](LlamaConfig.from_pretrained(folder), "cpu")
    plain = 1 / 500000.0 ** (np.arange(0, 128, 2) / 128)
    np.testing.assert_allclose(architecture.read(folder).rope_factors(), plain / scaled.numpy(), rtol=1e-5)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        (
            {"architectures": ["MistralForCausalLM"]},
            "'MistralForCausalLM' cannot be exported to GGUF; known: "
            "LlamaForCausalLM, Qwen2ForCausalLM, Qwen3ForCausalLM, Gemma3ForCausalLM$",
        ),
        ({"architectures": ["Gemma3ForConditionalGeneration"]}, r"\(reads images, too; .*\); known: "),
        ({"hidden_act": "gelu"}, "hidden_act = 'gelu' is nothing that llama.cpp's llama computes; known: 'silu'"),
        ({"rope_parameters": {"rope_type": "yarn"}}, "rotary scaling 'yarn'"),
        ({"num_hidden_layers": 1}, r"'model\.layers\.1\.\S+' has no place in llama\.cpp's llama of 1 layers"),
        ({"vocab_size": 300}, "resize its embeddings"),
    ],
)
def test_what_cannot_be_exported_is_named_and_leaves_no_file(
    tiny_llama: Path, save_llama: Any, tmp_path: Path, settings: dict[str, Any], named: str
) -> None:
    folder = save_llama(AutoTokenizer.from_pretrained(tiny_llama))
    write_json(folder / "config.json", {**read_json(folder / "config.json"), **settings})
    out = tmp_path / "out"
    with pytest.raises(ModelError, match=named):
        write_gguf(folder, out / "model.gguf", "f16", "tiny")
    assert not out.exists() or not list(out.iterdir())


@pytest.mark.parametrize(
    ("kind", "settings", "named"),
    [
        ("qwen2", {"use_sliding_window": True}, "use_sliding_window = True .* qwen2 computes; known: False"),
        ("qwen2", {"head_dim": 32}, "head_dim = 32 .*; known: 16"),
        (
            "qwen2",
            {"rope_parameters": {**LLAMA_3_1, "rope_type": "llama3"}},
            "scaling 'llama3'.*; known: default, linear$",
        ),
        ("gemma3_text", {"rope_parameters": {"rope_type": "yarn"}}, "scaling 'yarn'"),
        ("gemma3_text", {"hidden_activation": "silu"}, "hidden_activation = 'silu'"),
        ("gemma3_text", {"query_pre_attn_scalar": 64}, "query_pre_attn_scalar = 64 .*; known: 32"),
        ("gemma3_text", {"final_logit_softcapping": 30.0}, r"final_logit_softcapping = 30\.0"),
        ("gemma3_text", {"use_bidirectional_attention": True}, "use_bidirectional_attention = True"),
        (
            "gemma3_text",
            {"layer_types": [f"{x}_attention" for x in ("sliding", "full", "full", "full")]},
            "layer_types",
        ),
        ("gemma3_text", {"layer_types": ["full_attention"] * 4}, "layer_types"),
        ("gemma3_text", {"sliding_window": ...}, r"config\.json: no setting 'sliding_window'"),
    ],
)
def test_what_an_architecture_cannot_express_is_refused_by_name(
    tiny_llama: Path, save_model: Any, kind: str, settings: dict[str, Any], named: str
) -> None:
    folder = save_model(AutoTokenizer.from_pretrained(tiny_llama), kind)
    config = {**read_json(folder / "config.json"), **settings}
    write_json(folder / "config.json", {key: value for key, value in config.items() if value is not ...})
    with pytest.raises(ModelError, match=named) as caught:
        architecture.read(folder)
    assert "\n" not in str(caught.value)


def test_a_bias_that_llama_cpp_does_not_add_is_refused_by_name(tiny_llama: Path, save_model: Any) -> None:
    folder = save_model(AutoTokenizer.from_pretrained(tiny_llama), "qwen3", attention_bias=True)
    with pytest.raises(ModelError, match=r"q_proj\.bias' has no place|[kvo]_proj\.bias' has no place"):
        write_gguf(folder, folder / "model.gguf", "f16", "tiny")


def test_settings_of_transformers_4_mean_the_same(tiny_llama: Path, save_model: Any) -> None:
    folder = save_model(AutoTokenizer.from_pretrained(tiny_llama), "gemma3_text")
    new = architecture.read(folder)
    config = read_json(folder / "config.json")
    for key in ("rope_parameters", "layer_types", "tie_word_embeddings"):
        config.pop(key, None)
    old = {"rope_theta": 500.0, "rope_local_base_freq": 50.0, "rope_scaling": None, "sliding_window_pattern": 3}
    write_json(folder / "config.json", {**config, **old})
    assert architecture.read(folder) == replace(new, tied=True)


def test_heads_can_be_arranged_some_at_a_time(tiny_llama: Path, own_cache: Path) -> None:
    model = architecture.read(tiny_llama)
    rows = np.random.default_rng(0).normal(size=(model.heads * model.head_dim, 3)).astype(np.float32)
    name = "model.layers.0.self_attn.q_proj.weight"
    parts = [model.arrange(name, part) for part in np.split(rows, model.heads)]
    np.testing.assert_array_equal(np.concatenate(parts), model.arrange(name, rows))
    assert not np.array_equal(model.arrange(name, rows), rows)


def test_a_finished_file_stays_when_the_next_export_fails(tiny_llama: Path, save_llama: Any) -> None:
    folder = save_llama(AutoTokenizer.from_pretrained(tiny_llama))
    target = folder / "model.gguf"
    write_gguf(folder, target, "f16", "tiny")
    before = target.read_bytes()
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ModelError):
        write_gguf(folder, target, "f16", "tiny")
    assert target.read_bytes() == before
    assert not list(folder.glob(".model.gguf*"))


@pytest.mark.slow
def test_the_embedded_model_says_the_same_after_the_round_trip(tmp_path: Path) -> None:
    from bedside.models.locate import resolve

    folder = resolve(ModelSection()).folder
    write_gguf(folder, tmp_path / "model.gguf", "f32", "SmolLM2")
    ours, found = readings.trained(folder, PromptSection(system="")), Agreement()
    prompt = ours.read([Message("user", "What causes a raised JVP?")]).ids
    model = in_transformers(folder)
    with closing(File(tmp_path / "model.gguf", 512)) as file:
        assert tuple(file.tokens(ours.read([Message("user", "What causes a raised JVP?")]).text)) == prompt
        [one] = continuations(file, [prompt], 64)
    found.add(model([one.text])[0], np.stack(one.rows), one.said)
    assert len(one.said) > 40
    assert found.parted == []
    assert found.to_json()["kl_mean"] < 1e-4
