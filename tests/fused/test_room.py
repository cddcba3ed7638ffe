"""What a layer keeps until its backward pass has a place of its own, which the lanes share out."""

import threading

import torch

from bedside.fused.room import Room

LIKE = torch.zeros(3, 1)


def test_a_lane_gets_the_same_memory_again_and_beside_the_others() -> None:
    room = Room()
    with room.lane(0, 8):
        first = room.kept("layer", LIKE, 4, torch.float32).fill_(1)
    with room.lane(3, 8):
        second = room.kept("layer", LIKE, 4, torch.float32).fill_(2)
    with room.lane(0, 8):
        again = room.kept("layer", LIKE[:2], 4, torch.float32)
    assert again.data_ptr() == first.data_ptr()
    assert first.eq(1).all()
    assert second.eq(2).all()


def test_layers_do_not_share_and_outside_of_a_lane_memory_is_new() -> None:
    room = Room()
    with room.lane(0, 3):
        one, other = (room.kept(layer, LIKE, 4, torch.bfloat16) for layer in ("first", "second"))
    loose = [room.kept("first", LIKE, 4, torch.bfloat16) for _ in range(2)]
    assert len({tensor.data_ptr() for tensor in (one, other, *loose)}) == 4
    assert {tensor.dtype for tensor in (one, *loose)} == {torch.bfloat16}


def test_a_larger_batch_gets_a_larger_block_and_what_was_handed_out_stays_whole() -> None:
    room = Room()
    with room.lane(0, 3):
        small = room.kept("layer", LIKE, 4, torch.float32).fill_(1)
    with room.lane(97, 100):
        room.kept("layer", LIKE, 4, torch.float32).fill_(2)
    assert small.eq(1).all()


def test_a_lane_is_of_its_thread_alone() -> None:
    room, seen = Room(), []
    with room.lane(0, 3):
        held = room.kept("layer", LIKE, 4, torch.float32)
        thread = threading.Thread(target=lambda: seen.append(room.kept("layer", LIKE, 4, torch.float32).data_ptr()))
        thread.start()
        thread.join()
    assert seen != [held.data_ptr()]
