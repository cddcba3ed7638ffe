"""Parameters from the configuration alone, against published totals and those of random models."""

import tomllib
from typing import Any

import pytest

from bedside.errors import ModelError
from bedside.models.shapes import FACTS, FAMILIES, shape_of, unlike_llama

MODELS = tomllib.loads(FACTS.read_text(encoding="utf-8"))["model"]
TINY: dict[str, Any] = {
    "vocab_size": 100,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 128,
}


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model["ids"][0])
def test_the_shape_of_a_known_model_gives_the_total_that_its_page_shows(model: dict[str, Any]) -> None:
    assert shape_of(model["config"], model["ids"][0]).parameters == model["parameters"]


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize(
    ("family", "extra"),
    [
        *((family, {}) for family in FAMILIES),
        ("llama", {"attention_bias": True, "mlp_bias": True}),
        ("qwen3", {"attention_bias": True}),
    ],
)
def test_a_random_model_has_as_many_parameters_as_its_configuration_says(
    family: str, extra: dict[str, Any], tied: bool
) -> None:
    from transformers import CONFIG_MAPPING, AutoModelForCausalLM

    config = {**TINY, **extra, "tie_word_embeddings": tied}
    model = AutoModelForCausalLM.from_config(CONFIG_MAPPING[family](**config, pad_token_id=0))
    assert shape_of({**config, "model_type": family}, "test").parameters == model.num_parameters()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({}, None),
        ({"rope_scaling": {"type": "linear", "factor": 2.0}}, None),
        ({"rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}}, "of type 'dynamic'"),
        ({"rope_scaling": {"type": "dynamic", "factor": 2.0}}, "of type 'dynamic'"),
        ({"hidden_act": "gelu"}, "another activation than silu"),
        ({"attention_bias": True}, "biases"),
        ({"mlp_bias": True}, "biases"),
        ({"attention_dropout": 0.1}, "dropout in its attention"),
        ({"model_type": "qwen2"}, "of the family 'qwen2', not of Llama's"),
    ],
)
def test_what_is_unlike_llama_is_the_same_in_a_file_and_in_a_loaded_model(
    change: dict[str, Any], told: str | None
) -> None:
    from transformers import AutoConfig

    config = {**TINY, "model_type": "llama", **change}
    found = shape_of(config, "test").unlike_llama
    assert found == unlike_llama(AutoConfig.for_model(**config).to_dict())
    assert (told is None) is (found is None)
    assert (told or "") in (found or "")


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model["ids"][0])
def test_known_models_of_llamas_family_are_like_llama(model: dict[str, Any]) -> None:
    found = unlike_llama(model["config"])
    assert (found is None) is (model["config"]["model_type"] == "llama")


def test_a_missing_head_width_and_missing_key_heads_follow_from_the_others() -> None:
    config = {name: value for name, value in TINY.items() if name not in ("head_dim", "num_key_value_heads")}
    shape = shape_of({**config, "model_type": "llama"}, "test")
    assert (shape.head_dim, shape.kv_heads) == (16, 4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "mamba"}, "config.json: architecture 'mamba' is not known to plan; known: llama, mistral"),
        ({"model_type": None}, "architecture 'None' is not known"),
        ({"hidden_size": "wide"}, "config.json: its configuration has no whole number 'hidden_size'"),
        ({"vocab_size": None}, "no whole number 'vocab_size'"),
        ({"num_hidden_layers": 10**9}, "says num_hidden_layers = 1000000000, which no model has"),
        ({"hidden_size": -64}, "says hidden_size = -64, which no model has"),
    ],
)
def test_what_is_not_known_of_a_configuration_is_told_in_one_line(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError) as caught:
        shape_of({**TINY, "model_type": "llama", **change}, "config.json")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_id_is_listed_twice() -> None:
    ids = [name.lower() for model in MODELS for name in model["ids"]]
    assert len(ids) == len(set(ids))
