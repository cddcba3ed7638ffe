"""When activations are computed again."""

from dataclasses import replace
from typing import Any

import pytest

from bedside import recipe_file
from bedside.errors import ModelError
from bedside.models.shapes import facts
from bedside.plan import activations, recompute
from tests.plan.conftest import MakeSetup


@pytest.mark.parametrize(
    ("checkpointing", "quantise", "free", "wanted"),
    [
        ("on", "none", 100.0, True),
        ("off", "none", 0.1, False),
        ("off", "nf4", 0.1, False),
        ("auto", "nf4", 100.0, True),
        ("auto", "none", 2.1, False),
        ("auto", "none", 1.9, True),
    ],
)
def test_auto_saves_memory_for_four_bits_and_where_activations_take_more_than_half_of_what_is_free(
    make_setup: MakeSetup, checkpointing: str, quantise: str, free: float, wanted: bool
) -> None:
    setup = make_setup(train={"checkpointing": checkpointing}, quantise=quantise)
    kept = activations.kept(setup)
    assert recompute.is_wanted(setup, free * kept) is wanted
    assert recompute.is_wanted(replace(setup, recompute=True), free * kept) is wanted


def setup_of(config: dict[str, Any], **train: Any) -> Any:
    torch = pytest.importorskip("torch")
    from bedside.runtime.device import Device

    chosen = recipe_file.parse({"name": "test", "train": train}, "test")
    return recompute.of_training(chosen, config, Device("cpu", torch.bfloat16, "test"), [(10, 20), (30, 60)])


def test_a_training_is_judged_by_its_own_rows_and_type() -> None:
    setup = setup_of(facts()["huggingfacetb/smollm2-135m"])
    assert (setup.lengths.longest, setup.lengths.prompt, setup.lengths.completion) == (90, 20, 40)
    assert (setup.device, setup.precision, setup.rows) == ("cpu", "bf16", 2)


def test_an_architecture_that_is_not_known_is_the_callers_to_decide() -> None:
    with pytest.raises(ModelError, match="architecture 'gpt2' is not known"):
        setup_of({"model_type": "gpt2"})


@pytest.mark.parametrize(("checkpointing", "wanted"), [("auto", True), ("on", True), ("off", False)])
def test_training_is_frugal_where_plan_knows_nothing(checkpointing: str, wanted: bool) -> None:
    torch = pytest.importorskip("torch")
    from bedside.fused.packs import Row
    from bedside.runtime.device import Device
    from bedside.verbs.train import recomputes

    chosen = recipe_file.parse({"name": "test", "train": {"checkpointing": checkpointing}}, "test")
    where, rows = Device("cpu", torch.float32, "test"), [Row("a", (1, 2, 3), 1)]
    assert recomputes(chosen, {"model_type": "gpt2"}, where, rows) is wanted
    small = facts()["huggingfacetb/smollm2-135m"]
    assert recomputes(chosen, small, where, rows) is (checkpointing == "on")
