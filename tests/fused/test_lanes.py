"""Lanes side by side: the loss and gradients of one lane, the same bytes each time, a thread for each."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor

from bedside.fused.lanes import each, side_by_side
from bedside.fused.packs import Packed, Row, in_lanes, pack
from bedside.recipe import TrainSection
from bedside.train import lora
from bedside.train.learner import Learner
from tests.fused.test_step import llama, tuned

SETTINGS = TrainSection(rank=4, alpha=8, batch_size=4)


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As on a machine with two cores, where the few tokens that these rows begin with are worth sharing."""
    monkeypatch.setattr("bedside.fused.packs.WORTH", 2)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def rows(*lengths: int) -> list[Row]:
    """Rows that begin with the same five tokens."""
    return [Row(str(n), (7, 8, 9, 10, *((i * n) % 300 + 5 for i in range(n))), 5 + n // 3) for n in lengths]


def trained(learner: Learner, chosen: list[Row]) -> tuple[float, Tensor]:
    learner.zero_grad()
    losses = [learner(batch) for batch in learner.batches(chosen)]
    (sum(losses) / 7).backward()
    return float(sum(losses).detach()), torch.cat([parameter.grad.flatten() for _, parameter in learner.trained])


@pytest.mark.parametrize("recompute", [False, True])
def test_lanes_give_the_loss_and_gradients_of_one_and_always_the_same_bytes(recompute: bool, threads: None) -> None:
    learner = Learner(tuned(llama()), 2, SETTINGS, 64, recompute=recompute)
    chosen = rows(50, 30, 41, 60, 125, 33)
    torch.set_num_threads(1)
    loss, gradient = trained(learner, chosen)
    torch.set_num_threads(2)
    assert any(set(pack.layout.after) != {-1} for batch in learner.batches(chosen) for lane in batch for pack in lane)
    assert [[len(lane) for lane in batch] for batch in learner.batches(chosen)] == [[1, 2], [1]]
    first, second = trained(learner, chosen), trained(learner, chosen)
    assert first[0] == pytest.approx(loss, rel=1e-6)
    assert (first[1] - gradient).norm() <= 1e-5 * gradient.norm()
    assert first[0] == second[0]
    assert torch.equal(first[1], second[1])


def test_gradients_computed_in_blocks_are_those_computed_in_new_memory_and_blocks_stay(threads: None) -> None:
    learner = Learner(tuned(llama()), 2, SETTINGS, 64)
    chosen = rows(50, 30, 41, 60)
    _, gradient = trained(learner, chosen)
    fused = learner._fused
    assert fused
    held = [layer.rotated.part(0, 1, torch.zeros(1, 1), 1, torch.float32).data_ptr() for layer in fused.layers]
    learner.zero_grad()
    (fused.summed_loss(pack(chosen, share=True)) / 7).backward()
    plain = torch.cat([parameter.grad.flatten() for _, parameter in learner.trained])
    assert (gradient - plain).norm() <= 1e-5 * plain.norm()
    trained(learner, rows(20, 25))
    again = [layer.rotated.part(0, 1, torch.zeros(1, 1), 1, torch.float32).data_ptr() for layer in fused.layers]
    assert held == again
    assert len(set(held)) == len(held)


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

    pair = next(Learner(tuned(llama()), 2, SETTINGS, 64).batches(rows(40, 41)))
    side_by_side(loss, pair, [parameter]).backward()
    assert seen == [1, 1]
    assert torch.get_num_threads() == 2
    assert float(parameter.grad) == 6


def test_threads_that_begin_later_have_the_callers_cores_again(threads: None) -> None:
    assert list(each(lambda number: torch.get_num_threads(), [1, 2, 3])) == [1, 1, 1]
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(torch.get_num_threads).result() == 2


def test_what_is_not_in_hand_is_not_begun_once_nobody_waits(threads: None) -> None:
    begun = []
    go_on = threading.Event()

    def work(number: int) -> int:
        begun.append(number)
        assert number < 2 or go_on.wait(20)
        return number

    for number in (results := each(work, list(range(60)))):
        if number == 1:
            results.close()
            go_on.set()
            break
    list(each(lambda number: number, [1]))  # after all that is in hand
    assert len(begun) < 60


def test_an_error_in_a_lane_is_raised(threads: None) -> None:
    parameter = torch.nn.Parameter(torch.ones(()))

    def loss(pack: Packed) -> Tensor:
        raise ArithmeticError(f"{len(pack.ids_T)} tokens")

    pair = next(Learner(tuned(llama()), 2, SETTINGS, 64).batches(rows(40, 41)))
    with pytest.raises(ArithmeticError, match="tokens"):
        side_by_side(loss, pair, [parameter])


@pytest.mark.parametrize(
    ("lengths", "tokens", "expected"),
    [
        ((50, 30, 41, 60), 256, [[[64, 34], [54, 45]]]),  # longest first, each to the lane with the fewest tokens
        ((50,), 128, [[[54]]]),
        ((60, 10), 128, [[[64, 14]]]),  # one lane would wait for the other most of the time
        ((100, 30, 31), 128, [[[35], [34]], [[104]]]),  # too long for half of the 128 tokens
        ((1, 1, 1), 128, [[[5, 5, 5]]]),
    ],
)
def test_rows_are_shared_out_as_they_are_soonest_done(
    lengths: tuple[int, ...], tokens: int, expected: list[list[list[int]]]
) -> None:
    batches = in_lanes(rows(*lengths), tokens, share=False, cores=2)
    assert [[[n for pack in lane for n in pack.layout.lengths] for lane in batch] for batch in batches] == expected


@pytest.mark.parametrize("tokens", [40, 128, 300, 5000])
@pytest.mark.parametrize("cores", [1, 2, 3, 16])
def test_every_row_is_in_one_pack_and_no_more_tokens_are_computed_at_a_time_than_asked(tokens: int, cores: int) -> None:
    chosen = rows(50, 30, 41, 60, 100, 20, 21, 22, 90)
    packs = []
    for batch in in_lanes(chosen, tokens, share=False, cores=cores):
        at_a_time = sum(max(len(pack.ids_T) for pack in lane) for lane in batch)
        assert at_a_time <= tokens or [[len(pack.layout.lengths) for pack in lane] for lane in batch] == [[1]]
        packs += [pack for lane in batch for pack in lane]
    assert sorted(n for pack in packs for n in pack.layout.lengths) == sorted(len(row.ids) for row in chosen)
    assert sum(pack.trained for pack in packs) == sum(row.trained for row in chosen)


def test_dropout_draws_its_numbers_in_one_lane(threads: None) -> None:
    settings = TrainSection(rank=4, dropout=0.1, batch_size=4)
    learner = Learner(lora.attach(llama(), settings, seed=1), 2, settings, 64)
    assert all(len(batch) == 1 for batch in learner.batches(rows(50, 30, 41, 60)))


def test_so_does_the_dropout_that_an_adapter_brings(threads: None) -> None:
    brought = lora.attach(llama(), TrainSection(rank=4, dropout=0.1), seed=1)
    learner = Learner(brought, 2, SETTINGS, 64)
    batches = list(learner.batches(rows(50, 30, 41, 60)))
    assert all(len(batch) == 1 for batch in batches)
    assert {after for batch in batches for lane in batch for pack in lane for after in pack.layout.after} == {-1}
