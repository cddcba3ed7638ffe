"""The formulas of what is kept between the passes, against what autograd really keeps in a tiny random Llama."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from bedside.models.shapes import shape_of
from bedside.plan import activations
from bedside.plan.setup import Lengths, Setup
from bedside.recipe import TrainSection
from tests.plan.conftest import MakeSetup

CONFIG: dict[str, Any] = {
    "vocab_size": 100,
    "hidden_size": 64,
    "intermediate_size": 160,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "tie_word_embeddings": True,
}
PROMPT, TOKENS = 3, 50
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def kept_a_layer(setup: Setup, rows: int) -> float:
    """Bytes of distinct memory that one more decoder layer makes autograd keep, for each token of a batch."""
    return (_kept(setup, 4, rows) - _kept(setup, 3, rows)) / (rows * TOKENS)


def _kept(setup: Setup, layers: int, rows: int) -> int:
    from transformers import LlamaConfig, LlamaForCausalLM

    from bedside.fused.packs import Row
    from bedside.train import lora
    from bedside.train.learner import Learner

    with torch.random.fork_rng():
        model = LlamaForCausalLM(LlamaConfig(**CONFIG, num_hidden_layers=layers)).to(DTYPES[setup.precision])
        learner = Learner(lora.attach(model, setup.train, 1), 0, setup.train, TOKENS).train()
    batch = next(learner.batches([_row(Row, TOKENS - 10 * number) for number in range(rows)]))
    own = {tensor.untyped_storage().data_ptr() for tensor in (*learner.parameters(), *_frozen(learner))}
    kept: dict[int, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept.setdefault(tensor.untyped_storage().data_ptr(), tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = _forward(learner, batch)
    assert loss.requires_grad
    return sum(tensor.untyped_storage().nbytes() for place, tensor in kept.items() if place not in own)


def _forward(learner: Any, batch: Any) -> torch.Tensor:
    """The fused step's before lanes compute its gradient at once."""
    if learner._fused is None:
        return learner(batch)
    ((pack,),) = batch
    return learner._fused.summed_loss(pack)


def _row(row: Any, tokens: int) -> Any:
    return row(str(tokens), tuple(range(3, 3 + tokens)), PROMPT)


def _frozen(learner: Any) -> list[torch.Tensor]:
    """Stacked weights are no parameters of the module tree."""
    fused = learner._fused
    layers = fused.layers if fused else []
    return [product.weight for it in layers for product in (it.qkv, it.out, it.gate_up, it.down)]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("dropout", [0.0, 0.1])
@pytest.mark.parametrize("targets", [None, ("q_proj", "v_proj"), ("k_proj", "up_proj", "o_proj")])
@pytest.mark.parametrize(("step", "batch_size"), [("fused", 1), ("peft", 1), ("peft", 2)])
def test_a_layer_keeps_what_the_formula_says(
    make_setup: MakeSetup, step: str, batch_size: int, targets: tuple[str, ...] | None, dropout: float, precision: str
) -> None:
    train = {"rank": 4, "step": step, "batch_size": batch_size, "dropout": dropout}
    train |= {"targets": targets} if targets else {}
    setup = make_setup(
        shape=shape_of({**CONFIG, "model_type": "llama", "num_hidden_layers": 1}, "test"),
        precision=precision,
        lengths=Lengths(TOKENS, PROMPT, TOKENS - PROMPT),
        train=train,
    )
    assert sum(activations.layer(setup).values()) == pytest.approx(kept_a_layer(setup, batch_size), rel=0.02)


@pytest.mark.parametrize("step", ["auto", "peft"])
def test_twice_the_tokens_keep_twice_the_memory(make_setup: MakeSetup, step: str) -> None:
    short = make_setup(train={"step": step}, lengths=Lengths(512, 100, 412), max_length=512)
    long = replace(short, lengths=Lengths(1024, 200, 824), max_length=1024)
    assert activations.kept(long) == pytest.approx(2 * activations.kept(short), rel=0.01)


def test_computing_again_keeps_the_states_between_the_layers_and_one_layer_whole(make_setup: MakeSetup) -> None:
    setup = make_setup()
    again = replace(setup, recompute=True)
    shape, each = setup.shape, sum(activations.layer(setup).values())
    assert activations.kept(again) == round(1024 * (30 * 4 * shape.hidden + each))
    assert activations.kept(again) < activations.kept(setup) / 5


def test_the_chunk_of_logits_is_that_of_the_fused_step() -> None:
    from bedside.fused import step

    assert activations.FUSED_CHUNK == step.CHUNK


def test_the_logits_of_the_fused_step_do_not_grow_with_the_answers(make_setup: MakeSetup) -> None:
    short = make_setup(lengths=Lengths(512, 10, 502), max_length=512)
    long = replace(short, lengths=Lengths(1024, 10, 1014), max_length=1024)
    assert activations.working(replace(short, train=TrainSection(step="peft"))) < activations.working(
        replace(long, train=TrainSection(step="peft"))
    )
    assert activations._loss(short) == activations._loss(long)
