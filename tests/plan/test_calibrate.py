"""Seconds a token, from a few random layers of the right shape. How many seconds, no test asserts."""

from typing import Any

import pytest

from bedside.models.shapes import FAMILIES, shape_of
from bedside.plan import calibrate
from bedside.plan.setup import Lengths
from bedside.train import lora
from tests.plan.conftest import MakeSetup

CONFIG: dict[str, Any] = {
    "vocab_size": 100,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 12,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 128,
}
SHORT = Lengths(48, 12, 36)


@pytest.mark.parametrize(
    ("depths", "seconds", "expected"),
    [
        ([2, 4], [1.0, 1.4], 1.4 + 26 * 0.2),
        ([1, 2], [3.0, 4.0], 32.0),
        ([2, 4], [1.4, 1.0], 1.0),  # noise: more layers are never faster
        ([3], [0.6], 6.0),
    ],
)
def test_a_token_costs_a_constant_and_a_share_for_each_layer(
    depths: list[int], seconds: list[float], expected: float
) -> None:
    assert calibrate.extrapolated(depths, seconds, 30) == pytest.approx(expected)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("tied", [True, False])
def test_a_random_model_has_the_shape_that_is_planned(make_setup: MakeSetup, family: str, tied: bool) -> None:
    shape = shape_of({**CONFIG, "num_hidden_layers": 2, "model_type": family, "tie_word_embeddings": tied}, "test")
    setup = make_setup(shape=shape, train={"rank": 2})
    first = calibrate.random_model(setup)
    second = calibrate.random_model(setup, first)
    assert second.get_input_embeddings() is first.get_input_embeddings()
    assert second.num_parameters() == shape.parameters
    counted = lora.count(lora.attach(second, setup.train, 0))
    assert counted == (setup.trainable, shape.parameters + setup.trainable)


@pytest.mark.parametrize("train", [{}, {"step": "peft", "batch_size": 2}, {"dropout": 0.1}])
def test_the_real_step_is_measured(make_setup: MakeSetup, train: dict[str, Any]) -> None:
    shape = shape_of({**CONFIG, "model_type": "llama"}, "test")
    setup = make_setup(shape=shape, train={"rank": 2, **train}, lengths=SHORT, max_length=48)
    assert 0 < calibrate.seconds_a_token(setup, budget_s=0) < 1


def test_a_base_in_four_bits_is_measured_in_four_bits(make_setup: MakeSetup) -> None:
    bitsandbytes = pytest.importorskip("bitsandbytes")
    shape = shape_of({**CONFIG, "model_type": "llama"}, "test")
    setup = make_setup(shape=shape, train={"rank": 2}, lengths=SHORT, quantise="nf4", recompute=True)
    layer = calibrate.random_model(setup).get_decoder().layers[1].mlp.up_proj
    assert isinstance(layer, bitsandbytes.nn.Linear4bit)
    assert calibrate.seconds_a_token(setup, budget_s=0) > 0


def test_a_model_of_one_layer_is_measured_once(make_setup: MakeSetup) -> None:
    shape = shape_of({**CONFIG, "num_hidden_layers": 1, "model_type": "llama"}, "test")
    assert calibrate.seconds_a_token(make_setup(shape=shape, lengths=SHORT, train={"rank": 2}), budget_s=0) > 0
