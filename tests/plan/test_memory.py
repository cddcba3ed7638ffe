"""Memory by part: values by hand, and which way each change moves it."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bedside.models.shapes import facts, shape_of
from bedside.plan import memory
from bedside.plan.setup import Lengths, Setup
from bedside.recipe import TrainSection
from tests.plan.conftest import MakeSetup

LLAMA_8B = "meta-llama/Meta-Llama-3-8B"


@pytest.mark.parametrize(("precision", "size"), [("fp32", 538_060_032), ("bf16", 269_030_016), ("fp16", 269_030_016)])
def test_unquantised_weights_are_parameters_times_their_width(make_setup: MakeSetup, precision: str, size: int) -> None:
    assert memory.weights(make_setup(precision=precision)) == size


def test_nf4_takes_4_127_bits_a_weight_of_the_layers_and_leaves_the_tables(make_setup: MakeSetup) -> None:
    assert pytest.approx(4.127, abs=0.0005) == memory.NF4_BITS
    setup = make_setup(LLAMA_8B, quantise="nf4", precision="bf16")
    matrices, tables = 32 * 218_103_808, 2 * 128_256 * 4096
    norms = 65 * 4096
    assert memory.weights(setup) == pytest.approx(matrices * 4.127 / 8 + setup.width * (tables + norms), rel=1e-4)


@pytest.mark.parametrize("optimizer", ["adamw_8bit", "adamw_8bit_paged"])
def test_moments_take_eight_bytes_a_parameter_or_a_little_more_than_two(make_setup: MakeSetup, optimizer: str) -> None:
    whole = make_setup(LLAMA_8B)
    small = make_setup(LLAMA_8B, {"optimizer": optimizer})
    assert memory.moments(whole) == 8 * 41_943_040
    assert memory.moments(small) == pytest.approx((2 + 8 / 256) * 41_943_040)


def test_bitsandbytes_keeps_the_moments_of_small_matrices_in_fp32(make_setup: MakeSetup) -> None:
    setup = make_setup(train={"rank": 1, "optimizer": "adamw_8bit"})
    assert memory.moments(setup) == 8 * setup.trainable


def test_the_parts_of_a_run_are_named_and_sum_to_its_peak(make_setup: MakeSetup) -> None:
    parts = memory.parts(make_setup())
    names = "weights adapter gradients optimizer activations working heap rows framework file"
    assert list(parts) == names.split()
    assert memory.total(parts) == sum(parts.values())
    assert parts["adapter"] == 4 * 4_884_480
    assert parts["gradients"] == 3 * 4 * 4_884_480  # of two lanes, and their sum
    assert memory.parts(make_setup(cores=1))["gradients"] == parts["adapter"]


def test_the_best_update_is_kept_beside_the_current_one(make_setup: MakeSetup) -> None:
    assert memory.parts(make_setup(validates=True))["adapter"] == 2 * memory.parts(make_setup())["adapter"]


def test_a_file_of_another_type_weighs_on_loading_but_need_not_be_free(make_setup: MakeSetup) -> None:
    setup = make_setup(precision="bf16", lengths=Lengths(64, 10, 50), max_length=64)
    parts = memory.parts(setup)
    assert parts["file"] > 0
    assert memory.needed(setup) == memory.total(parts) - parts["file"]
    assert memory.total(parts) == memory.FRAMEWORK["cpu"] + 134_515_008 * (4 + 2)


def test_a_file_of_the_same_type_is_used_where_it_lies_but_by_the_fused_step(make_setup: MakeSetup) -> None:
    short = {"lengths": Lengths(64, 10, 50), "max_length": 64}
    assert memory.total(memory.parts(make_setup(**short))) == memory.FRAMEWORK["cpu"] + 134_515_008 * 2 * 4
    assert memory.parts(make_setup(train={"step": "peft"}, **short))["file"] == 0


def test_what_recomputes_returns_freed_memory(make_setup: MakeSetup) -> None:
    kept, again = (memory.parts(make_setup(recompute=recompute)) for recompute in (False, True))
    share = [parts["heap"] / (parts["activations"] + parts["working"]) for parts in (kept, again)]
    assert share[1] < share[0] / 2


def test_a_card_holds_neither_the_rows_nor_the_file(make_setup: MakeSetup) -> None:
    parts = memory.parts(make_setup(device="cuda", precision="fp16"))
    assert parts["rows"] == parts["file"] == parts["heap"] == 0


SHAPE = shape_of(facts()["huggingfacetb/smollm2-135m"], "test")
SETTINGS = st.builds(
    TrainSection,
    rank=st.integers(1, 64),
    batch_size=st.integers(1, 4),
    accumulation=st.integers(1, 8),
    step=st.sampled_from(["auto", "peft"]),
    dropout=st.sampled_from([0.0, 0.1]),
)


@given(SETTINGS, st.integers(32, 4096), st.integers(1, 4096), st.sampled_from(["fp32", "bf16"]), st.booleans())
def test_longer_rows_never_need_less_memory(
    train: TrainSection, tokens: int, more: int, precision: str, recompute: bool
) -> None:
    def needed(longest: int) -> float:
        lengths = Lengths(longest, longest / 4, longest / 2)
        return memory.needed(Setup(SHAPE, "none", train, "cpu", precision, longest, lengths, 4, 9, recompute, False, 2))  # type: ignore[arg-type]

    assert needed(tokens) < needed(tokens + more)


@pytest.mark.parametrize("step", ["auto", "peft"])
def test_each_saving_saves(make_setup: MakeSetup, step: str) -> None:
    setup = make_setup("TinyLlama/TinyLlama-1.1B-Chat-v1.0", {"step": step})
    for saving in (
        replace(setup, precision="bf16"),
        replace(setup, recompute=True),
        replace(setup, train=TrainSection(step=step, optimizer="adamw_8bit")),
        replace(setup, train=TrainSection(step=step, rank=8)),
    ):
        assert memory.needed(saving) < memory.needed(setup)


def test_four_bits_save_where_activations_are_computed_again(make_setup: MakeSetup) -> None:
    setup = make_setup("TinyLlama/TinyLlama-1.1B-Chat-v1.0", recompute=True)
    assert memory.needed(replace(setup, quantise="nf4")) < memory.needed(setup) / 2
