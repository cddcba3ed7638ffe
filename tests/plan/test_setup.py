"""What is trained, and how many tokens are computed at once."""

from pathlib import Path

import pytest

from bedside.errors import ModelError
from bedside.models import known
from bedside.plan.setup import Lengths
from bedside.recipe import ModelSection, TrainSection
from tests.plan.conftest import MakeSetup

ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")


@pytest.mark.parametrize(
    ("base", "targets", "trainable", "total"),
    [  # the published set-ups
        ("meta-llama/Meta-Llama-3-8B", None, 41_943_040, 8_072_204_288),
        ("deepseek-ai/DeepSeek-R1-Distill-Llama-8B", None, 41_943_040, 8_072_204_288),
        ("TinyLlama/TinyLlama-1.1B-Chat-v1.0", ATTENTION, 4_505_600, 1_104_553_984),
        ("HuggingFaceTB/SmolLM2-135M-Instruct", None, 4_884_480, 139_399_488),
    ],
)
def test_the_published_set_ups_train_so_many_parameters(
    make_setup: MakeSetup, base: str, targets: tuple[str, ...] | None, trainable: int, total: int
) -> None:
    setup = make_setup(base, {"targets": targets} if targets else {})
    assert (setup.trainable, setup.shape.parameters + setup.trainable) == (trainable, total)


@pytest.mark.parametrize("train", [{"rank": 4}, {"rank": 3, "targets": ("q_proj", "down_proj", "q_proj")}])
def test_as_many_parameters_are_trained_as_peft_counts(
    make_setup: MakeSetup, tiny_llama: Path, train: dict[str, object]
) -> None:
    import torch

    from bedside.runtime.device import Device
    from bedside.runtime.hf import load_model
    from bedside.train import lora

    shape = known.find(ModelSection(base=str(tiny_llama))).shape
    setup = make_setup(train=train, shape=shape)
    model = lora.attach(load_model(tiny_llama, Device("cpu", torch.float32, "test")), TrainSection(**train), 1)
    assert (setup.trainable, shape.parameters + setup.trainable) == lora.count(model)


@pytest.mark.slow
def test_as_many_parameters_of_the_embedded_model_are_trained_as_peft_counts(make_setup: MakeSetup) -> None:
    import torch

    from bedside.models import locate
    from bedside.runtime.device import Device
    from bedside.runtime.hf import load_model
    from bedside.train import lora

    base = locate.resolve(ModelSection())
    model = lora.attach(load_model(base.folder, Device("cpu", torch.float32, "test")), TrainSection(), 1)
    setup = make_setup(shape=known.find(ModelSection()).shape)
    assert (setup.trainable, setup.shape.parameters + setup.trainable) == lora.count(model)


def test_a_target_that_the_model_has_not_is_named_with_those_there_are(make_setup: MakeSetup) -> None:
    with pytest.raises(ModelError, match="no linear layer 'query'; it has: q_proj, k_proj"):
        _ = make_setup(train={"targets": ("query",)}).trainable


def test_padded_rows_are_as_long_as_the_longest(make_setup: MakeSetup) -> None:
    setup = make_setup(train={"step": "peft", "batch_size": 4}, lengths=Lengths(600, 100, 100))
    assert setup.tokens == 2400
    assert setup.answers == 2000


@pytest.mark.parametrize(
    ("batch_size", "accumulation", "lengths", "tokens"),
    [
        (1, 8, Lengths(1024, 500, 524), 1024),  # a long row fills a pack by itself
        (1, 8, Lengths(900, 100, 400), 1024),  # several short ones fill it together
        (2, 8, Lengths(900, 100, 400), 2048),
        (1, 1, Lengths(300, 100, 200), 300),  # there is no other row in the step
        (1, 4, Lengths(100, 50, 50), 400),  # the step's rows together do not fill it
    ],
)
def test_packed_rows_fill_a_batch_as_far_as_the_step_has_rows(
    make_setup: MakeSetup, batch_size: int, accumulation: int, lengths: Lengths, tokens: int
) -> None:
    setup = make_setup(train={"batch_size": batch_size, "accumulation": accumulation}, lengths=lengths)
    assert setup.fused
    assert setup.tokens == tokens


@pytest.mark.parametrize(
    ("changes", "train"),
    [
        ({"quantise": "nf4"}, {}),
        ({}, {"step": "peft"}),
        ({}, {"strategy": "fsdp"}),
        ({"base": "Qwen/Qwen2.5-0.5B-Instruct"}, {}),
    ],
)
def test_what_the_fused_step_cannot_do_goes_through_peft(
    make_setup: MakeSetup, changes: dict[str, str], train: dict[str, str]
) -> None:
    assert not make_setup(train=train, **changes).fused


@pytest.mark.parametrize(
    ("changes", "train", "share"),
    [
        ({}, {}, 1 - 60 * 0.5 / 240),  # four rows fit into a batch, two into each of its lanes
        ({"cores": 1}, {}, 1 - 60 * 0.75 / 240),
        ({}, {"dropout": 0.1}, 1.0),  # each row has a dropout of its own
        ({"device": "cuda"}, {}, 1.0),
        ({"max_length": 240}, {}, 1.0),
        ({}, {"step": "peft"}, 1.0),
    ],
)
def test_a_common_beginning_is_computed_once_in_a_batch(
    make_setup: MakeSetup, changes: dict[str, object], train: dict[str, object], share: float
) -> None:
    lengths = Lengths(240, 100, 140, shared=60)
    setup = make_setup(**{"max_length": 960, "lengths": lengths, "train": train, **changes})
    assert setup.computed == pytest.approx(share)
