"""A folder of sentence-transformers as an embedder: pooled as it says, loaded late, nothing cut."""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from bedside.errors import ContextTooLong, ModelError
from bedside.files import write_json
from bedside.runtime.embedder import POOLINGS, Embedder

TEXTS = ["the heart", "aspirin is given to the patient at once", "", "fever"]
MODULES = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random BERT with a vocabulary of a few words."""
    from transformers import BertConfig, BertModel, BertTokenizer

    folder = tmp_path_factory.mktemp("models") / "tiny-bert"
    words = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        "the",
        "heart",
        "aspirin",
        "is",
        "given",
        "to",
        "patient",
        "at",
        "once",
        "fever",
    ]
    BertTokenizer(vocab={word: i for i, word in enumerate(words)}).save_pretrained(folder)
    size = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = BertConfig(vocab_size=len(words), max_position_embeddings=24, **size)  # type: ignore[arg-type]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    write_json(folder / "modules.json", _modules(*MODULES))
    write_json(folder / "1_Pooling/config.json", {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False})
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": 12, "do_lower_case": False})
    return folder


def _modules(*steps: tuple[str, str]) -> list[dict[str, Any]]:
    return [
        {"idx": i, "path": path, "type": f"sentence_transformers.models.{kind}"} for i, (path, kind) in enumerate(steps)
    ]


def _hidden(bert: Path, text: str) -> torch.Tensor:
    """The model's last hidden states, by transformers alone."""
    from transformers import AutoModel, AutoTokenizer

    tokens = AutoTokenizer.from_pretrained(bert)(text, return_tensors="pt")
    with torch.inference_mode():
        hidden_TD: torch.Tensor = AutoModel.from_pretrained(bert)(**tokens).last_hidden_state[0]
    return hidden_TD


POOLED = {
    "pooling_mode_cls_token": lambda hidden_TD: hidden_TD[0],
    "pooling_mode_mean_tokens": lambda hidden_TD: hidden_TD.mean(0),
    "pooling_mode_max_tokens": lambda hidden_TD: hidden_TD.amax(0),
    "pooling_mode_lasttoken": lambda hidden_TD: hidden_TD[-1],
}


@pytest.mark.parametrize("mode", POOLINGS)
@pytest.mark.parametrize("normalised", [True, False])
def test_texts_are_pooled_and_normalised_as_the_folder_says(bert: Path, mode: str, normalised: bool):
    write_json(bert / "1_Pooling/config.json", {mode: True, "word_embedding_dimension": 16})
    write_json(bert / "modules.json", _modules(*MODULES[: 3 if normalised else 2]))
    vectors, tokens = Embedder(bert).embed(TEXTS)
    assert tokens == [4, 10, 2, 3]
    for text, vector in zip(TEXTS, vectors, strict=True):
        expected = POOLED[mode](_hidden(bert, text))
        if normalised:
            expected = expected / expected.norm()
        assert vector == pytest.approx(expected.tolist(), abs=1e-5)


def test_many_texts_come_back_in_their_order(bert: Path):
    embedder = Embedder(bert)
    many = [text for _ in range(12) for text in TEXTS]
    vectors, _ = embedder.embed(many)
    alone, _ = embedder.embed(TEXTS)
    assert vectors == [pytest.approx(alone[i % len(TEXTS)], abs=1e-6) for i in range(len(many))]


def test_a_text_that_is_too_long_is_refused_and_not_cut(bert: Path):
    with pytest.raises(ContextTooLong, match="text 2 has 22 tokens, tiny-bert reads 12; split it"):
        Embedder(bert).embed(["fever", "fever " * 20])


def test_nothing_is_loaded_before_the_first_text(bert: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    embedder = Embedder(bert)
    assert (embedder.name, embedder.size) == ("tiny-bert", 16)
    with pytest.raises(ImportError):
        embedder.embed(["fever"])


def test_a_step_that_is_not_known_is_named(bert: Path):
    write_json(bert / "modules.json", _modules(*MODULES, ("3_Dense", "Dense")))
    with pytest.raises(ModelError, match="wants the step Dense"):
        Embedder(bert)
    write_json(bert / "modules.json", _modules(*MODULES))


def test_a_folder_reaches_no_other(bert: Path):
    write_json(bert / "modules.json", _modules(("../other", "Transformer"), *MODULES[1:]))
    with pytest.raises(ModelError, match="a path outside of the folder"):
        Embedder(bert)
    write_json(bert / "modules.json", _modules(*MODULES))


@pytest.mark.parametrize(
    ("pooling", "told"),
    [
        ({}, "pooling by nothing"),
        ({"pooling_mode_mean_sqrt_len_tokens": True}, "pooling by pooling_mode_mean_sqrt_len_tokens"),
        (dict.fromkeys(list(POOLINGS)[:2], True), "pooling_mode_cls_token and pooling_mode_mean_tokens"),
    ],
)
def test_a_pooling_that_is_not_known_is_named(bert: Path, pooling: dict[str, bool], told: str):
    write_json(bert / "1_Pooling/config.json", pooling)
    with pytest.raises(ModelError, match=told):
        Embedder(bert)
    write_json(bert / "1_Pooling/config.json", {"pooling_mode_mean_tokens": True})


def test_a_folder_of_another_layout_is_refused(tiny_llama: Path):
    with pytest.raises(ModelError, match=r"no modules\.json as sentence-transformers writes it"):
        Embedder(tiny_llama)


def test_weights_that_lack_a_layer_are_refused(bert: Path, tmp_path: Path):
    import shutil

    from safetensors.torch import load_file, save_file

    folder = Path(shutil.copytree(bert, tmp_path / "lacking"))
    weights = load_file(folder / "model.safetensors")
    lacking = {name: weight for name, weight in weights.items() if "layer.1" not in name}
    save_file(lacking, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match="its weights lack"):
        Embedder(folder).embed(["fever"])
