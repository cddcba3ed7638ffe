"""What to change if it does not fit."""

import pytest

from bedside.models.shapes import facts, shape_of
from bedside.plan import advice, memory
from bedside.plan.setup import Lengths
from tests.plan.conftest import MakeSetup

LLAMA_8B = "meta-llama/Meta-Llama-3-8B"
BASES = [(name, shape_of(config, name)) for name, config in facts().items()]
GIB = memory.GIB


def test_what_fits_needs_no_advice(make_setup: MakeSetup) -> None:
    assert advice.until_it_fits(make_setup(), 64 * GIB, BASES) == []


def test_the_least_harmful_changes_that_save_come_first_and_the_last_one_fits(make_setup: MakeSetup) -> None:
    setup = make_setup("Qwen/Qwen2.5-7B-Instruct", {"batch_size": 4}, precision="bf16")
    changes = advice.until_it_fits(setup, 7 * GIB, BASES)
    names = list(dict.fromkeys(change.change.partition(" =")[0] for change in changes))
    order = ["model.quantise", "train.checkpointing", "train.optimizer", "train.batch_size", "model.max_length"]
    assert names == [name for name in order if name in names]
    assert len(names) > 2
    assert [change.fits for change in changes] == [False] * (len(changes) - 1) + [True]


def test_what_saves_only_after_another_change_comes_after_it(make_setup: MakeSetup) -> None:
    """4 bits lose the fused step, whose activations are so much smaller that they must be computed again first."""
    setup = make_setup(LLAMA_8B, {"batch_size": 4}, precision="bf16")
    named = [change.change for change in advice.until_it_fits(setup, 12 * GIB, BASES)]
    assert named[:2] == ["train.checkpointing = 'on'", "model.quantise = 'nf4'"]


def test_each_change_is_on_top_of_those_before_it(make_setup: MakeSetup) -> None:
    setup = make_setup(LLAMA_8B, {"batch_size": 4}, precision="bf16")
    changes = advice.until_it_fits(setup, 8 * GIB, BASES)
    sizes = [memory.needed(setup), *(change.bytes for change in changes)]
    assert sizes == sorted(sizes, reverse=True)


def test_a_change_that_gives_nothing_is_not_named(make_setup: MakeSetup) -> None:
    setup = make_setup(LLAMA_8B, {"optimizer": "adamw_8bit"}, quantise="nf4", recompute=True)
    named = " ".join(change.change for change in advice.until_it_fits(setup, 6 * GIB, BASES))
    assert "quantise" not in named
    assert "checkpointing" not in named
    assert "optimizer" not in named
    assert "batch_size" not in named


def test_fewer_rows_at_once_keep_the_rows_of_a_step(make_setup: MakeSetup) -> None:
    setup = make_setup(LLAMA_8B, {"batch_size": 4, "accumulation": 2})
    named = [change.change for change in advice.until_it_fits(setup, 1 * GIB, BASES)]
    assert "train.batch_size = 1 with train.accumulation = 8" in named


def test_the_last_resort_is_the_largest_base_that_fits(make_setup: MakeSetup) -> None:
    last = advice.until_it_fits(make_setup(LLAMA_8B), 3 * GIB, BASES)[-1]
    assert last.fits
    chosen = dict(BASES)[last.change.removeprefix("model.base = '").rstrip("'")]
    larger = [shape for _, shape in BASES if chosen.parameters < shape.parameters < 8 * 10**9]
    least = {"quantise": "nf4", "recompute": True, "max_length": 256, "lengths": Lengths(256, 51, 205)}
    smallest = [make_setup(LLAMA_8B, {"optimizer": "adamw_8bit"}, shape=shape, **least) for shape in larger]
    assert smallest
    assert all(memory.needed(setup) > 3 * GIB for setup in smallest)


def test_where_nothing_helps_no_change_claims_to_fit(make_setup: MakeSetup) -> None:
    changes = advice.until_it_fits(make_setup(LLAMA_8B), 0.1 * GIB, BASES)
    assert changes
    assert not any(change.fits for change in changes)


@pytest.mark.parametrize(("fits", "words"), [(True, "2.00 GiB, fits"), (False, "2.00 GiB, does not fit yet")])
def test_a_change_is_told_with_the_memory_that_it_leaves(fits: bool, words: str) -> None:
    assert str(advice.Advice("x", 2 * GIB, fits)) == f"x: {words}"
