"""Packs side by side: the loss and the gradients of one pack, the same bytes each time, in a thread for each."""

import threading
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from bedside.recipe import TrainSection
from bedside.train import lora
from bedside.train.batch import Packed, Row
from bedside.train.lanes import side_by_side
from bedside.train.learner import Learner
from tests.train.test_fused import llama, tuned

SETTINGS = TrainSection(rank=4, alpha=8, batch_size=4)


@pytest.fixture
def threads() -> Iterator[None]:
    """As on a machine with two cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def rows(*lengths: int) -> list[Row]:
    """Rows that begin with the same four tokens."""
    return [Row(str(n), (7, 8, 9, 10, *((i * n) % 300 + 5 for i in range(n))), 5 + n // 3) for n in lengths]


def trained(learner: Learner, chosen: list[Row]) -> tuple[float, Tensor]:
    learner.zero_grad()
    (batch,) = learner.batches(chosen)
    loss = learner(batch)
    loss.backward()
    return float(loss.detach()), torch.cat([parameter.grad.flatten() for _, parameter in learner.trained])


@pytest.mark.parametrize("recompute", [False, True])
def test_lanes_give_the_loss_and_gradients_of_one_and_always_the_same_bytes(recompute: bool, threads: None) -> None:
    learner = Learner(tuned(llama()), 2, SETTINGS, 64, recompute=recompute)
    chosen = rows(50, 30, 41, 60)
    torch.set_num_threads(1)
    loss, gradient = trained(learner, chosen)
    torch.set_num_threads(2)
    assert [len(batch) for batch in learner.batches(chosen)] == [2]
    first, second = trained(learner, chosen), trained(learner, chosen)
    assert first[0] == pytest.approx(loss, rel=1e-6)
    assert (first[1] - gradient).norm() <= 1e-5 * gradient.norm()
    assert first[0] == second[0]
    assert torch.equal(first[1], second[1])


def test_a_loss_without_gradients_is_the_same(threads: None) -> None:
    learner = Learner(tuned(llama()), 2, SETTINGS, 64)
    (batch,) = learner.batches(rows(50, 30, 41, 60))
    with torch.no_grad():
        loss = learner(batch)
    assert not loss.requires_grad
    assert float(loss) == float(learner(batch).detach())


def test_each_lane_has_its_share_of_the_cores_and_the_caller_keeps_its_own(threads: None) -> None:
    parameter = torch.nn.Parameter(torch.ones(()))
    seen = []
    meet = threading.Barrier(2, timeout=20)

    def loss(pack: Packed) -> Tensor:
        meet.wait()  # one after the other, they would never meet
        seen.append(torch.get_num_threads())
        return parameter * 3

    pair: tuple[Packed, ...] = tuple(next(Learner(tuned(llama()), 2, SETTINGS, 64).batches(rows(40, 41))))
    side_by_side(loss, pair, [parameter]).backward()
    assert seen == [1, 1]
    assert torch.get_num_threads() == 2
    assert float(parameter.grad) == 6


def test_an_error_in_a_lane_is_raised(threads: None) -> None:
    parameter = torch.nn.Parameter(torch.ones(()))

    def loss(pack: Packed) -> Tensor:
        raise ArithmeticError(f"{len(pack.ids_T)} tokens")

    pair = tuple(next(Learner(tuned(llama()), 2, SETTINGS, 64).batches(rows(40, 41))))
    with pytest.raises(ArithmeticError, match="tokens"):
        side_by_side(loss, pair, [parameter])


@pytest.mark.parametrize(
    ("lengths", "lanes"), [((50, 30, 41, 60), 2), ((50,), 1), ((60, 10), 1), ((60, 20, 21, 22), 2)]
)
def test_rows_are_shared_out_only_if_they_fill_the_lanes_evenly(
    lengths: tuple[int, ...], lanes: int, threads: None
) -> None:
    learner = Learner(tuned(llama()), 2, SETTINGS, 64)
    (batch,) = learner.batches(rows(*lengths))
    assert len(batch) == lanes
    assert sum(pack.trained for pack in batch) == sum(row.trained for row in rows(*lengths))


def test_dropout_draws_its_numbers_in_one_lane(threads: None) -> None:
    settings = TrainSection(rank=4, dropout=0.1, batch_size=4)
    learner = Learner(lora.attach(llama(), settings, seed=1), 2, settings, 64)
    assert [len(batch) for batch in learner.batches(rows(50, 30, 41, 60))] == [1]
