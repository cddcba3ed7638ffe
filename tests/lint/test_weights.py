"""Counts and losses that only the weights can tell."""

import math

import pytest

from bedside.lint import weights
from bedside.lint.weights import Counted, FirstLoss
from bedside.recipe import TrainSection

from .conftest import World, lint


@pytest.mark.parametrize(
    ("loss", "found"),
    [
        (FirstLoss(2.3, 2.3, 32_000, 8), ""),
        (FirstLoss(math.log(32_000), math.log(32_000), 32_000, 8), ""),
        (FirstLoss(14.796, 14.796, 32_000, 8), "first loss is 14.80 nats a token, guessing evenly among all tokens gives ln(32,000) = 10.37"),
        (FirstLoss(9.2, 2.3, 32_000, 8), "training reports 9.200, the mean over the trained tokens is 2.300 (8 rows)"),
        (FirstLoss(2.31, 2.3, 32_000, 8), ""),
        (FirstLoss(math.nan, math.nan, 32_000, 8), "the first loss is nan: the base's weights are damaged"),
        (FirstLoss(math.inf, 2.3, 32_000, 8), "the first loss is inf"),
    ],
)  # fmt: skip
def test_a_first_loss_is_a_mean_and_at_most_that_of_guessing(loss: FirstLoss, found: str) -> None:
    messages = [finding.message for finding in weights.first_loss(loss, "base")]
    assert len(messages) == bool(found)
    assert not found or found in messages[0]


def test_a_sound_model_has_the_loss_that_transformers_computes(world: World) -> None:
    from bedside.fused.packs import Row

    subject = world.subject(train={"rank": 2, "batch_size": 2})
    rows = [Row(str(i), tuple(range(3, 20 + i)), 5) for i in range(5)]
    loss = weights.measure(subject.base, subject.recipe, rows, 2)
    assert loss.reported == pytest.approx(loss.reference, rel=1e-4)
    assert loss.reported == pytest.approx(math.log(loss.vocabulary), rel=0.05)
    assert loss.rows == 5


@pytest.mark.parametrize(("targets", "per_layer"), [(["q_proj"], 64 + 64), (["k_proj", "up_proj"], 64 + 32 + 64 + 128)])
def test_the_claim_comes_from_the_shapes_of_the_targets(world: World, targets: list[str], per_layer: int) -> None:
    subject = world.subject(train={"rank": 4, "targets": targets})
    assert weights.count(subject.base, subject.recipe) == Counted(2 * 4 * per_layer, 2 * 4 * per_layer)


def test_a_published_count_is_held_against_the_architecture() -> None:
    """TinyLlama, r 16 on q, k, v, o over 22 layers: "1.3M" is in fact 4,505,600."""
    (finding,) = weights.parameters_differ(Counted(4_505_600, 1_300_000), TrainSection(targets=("q_proj",)))
    assert "makes 4,505,600 parameters, but 1,300,000 are trained" in finding.message


def test_a_target_that_is_no_layer_is_told_with_those_that_are(world: World) -> None:
    report = lint(world.subject(train={"targets": ["c_attn"]}))
    assert "no linear layer 'c_attn'; it has: down_proj, gate_proj" in report.errors[0].message


def test_a_large_base_is_left_to_training(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bedside.lint.check.LOSS_PARAMETERS", 1000)
    told = {one.rule: one.reason for one in lint(world.subject(), measure_loss=True).not_checked}
    assert "parameters; training checks its own first step" in told["first-loss"]


def test_no_row_that_can_be_trained_is_told(world: World) -> None:
    report = lint(world.subject(model={"max_length": 16}), measure_loss=True)
    assert {finding.rule for finding in report.errors} == {"over-max-length"}
    assert "no row can be trained" in {one.reason for one in report.not_checked}
    assert report.first.note.startswith("left out")
