"""What a layer keeps until its backward pass has a block of its own, which the lanes share out."""

import threading

import torch

from bedside.fused.room import Block, lane_of_blocks, rows_of

LIKE = torch.zeros(3, 1)


def test_a_lane_gets_the_same_memory_again_and_beside_the_others() -> None:
    block = Block()
    with lane_of_blocks(0, 8):
        first = rows_of(block, LIKE, 4, torch.float32).fill_(1)
    with lane_of_blocks(3, 8):
        second = rows_of(block, LIKE, 4, torch.float32).fill_(2)
    with lane_of_blocks(0, 8):
        again = rows_of(block, LIKE[:2], 4, torch.float32)
    assert again.data_ptr() == first.data_ptr()
    assert first.eq(1).all()
    assert second.eq(2).all()


def test_outside_of_a_lane_memory_is_new() -> None:
    block = Block()
    with lane_of_blocks(0, 3):
        held = rows_of(block, LIKE, 4, torch.bfloat16)
    loose = [rows_of(block, LIKE, 4, torch.bfloat16) for _ in range(2)]
    assert len({tensor.data_ptr() for tensor in (held, *loose)}) == 3
    assert {tensor.dtype for tensor in (held, *loose)} == {torch.bfloat16}


def test_a_larger_batch_gets_a_larger_block_and_what_was_handed_out_stays_whole() -> None:
    block = Block()
    with lane_of_blocks(0, 3):
        small = rows_of(block, LIKE, 4, torch.float32).fill_(1)
    with lane_of_blocks(97, 100):
        large = rows_of(block, LIKE, 4, torch.float32).fill_(2)
    assert small.eq(1).all()
    assert large.untyped_storage().nbytes() >= 100 * 4 * 4 > small.untyped_storage().nbytes()


def test_a_lane_is_of_its_thread_alone() -> None:
    block, seen = Block(), []
    with lane_of_blocks(0, 3):
        held = rows_of(block, LIKE, 4, torch.float32)
        thread = threading.Thread(target=lambda: seen.append(rows_of(block, LIKE, 4, torch.float32).data_ptr()))
        thread.start()
        thread.join()
    assert seen != [held.data_ptr()]
