import io
import math

import numpy as np
import pytest

from bedside.export import pieces
from bedside.export.pieces import Streamed, cut, in_pieces


@pytest.mark.parametrize("shape", [(7,), (1000, 3), (64, 2048), (128, 64, 2), (5, 10**7)])
@pytest.mark.parametrize("block", [1, 8])
def test_pieces_are_all_rows_in_their_order(shape: tuple[int, ...], block: int) -> None:
    found = cut(shape, block)
    assert [row for piece in found for row in range(piece.start, piece.stop)] == list(range(shape[0]))
    assert all((piece.stop - piece.start) % block == 0 for piece in found[:-1])
    for piece in found:
        rows = piece.stop - piece.start
        assert rows <= block or rows * math.prod(shape[1:]) <= pieces.PIECE


def test_what_is_streamed_is_written_as_an_array_would_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "PIECE", 6)
    values = np.arange(30, dtype=np.float32).reshape(10, 3)
    file = io.BytesIO()
    Streamed(values.nbytes, in_pieces(values.shape, lambda rows: values[rows])).tofile(file)
    assert file.getvalue() == values.tobytes()


def test_few_pieces_are_in_memory_while_one_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "PIECE", 1)
    begun: list[int] = []

    def stored(rows: slice) -> np.ndarray:
        begun.append(rows.start)
        return np.zeros(1)

    import torch

    written = in_pieces((1000,), stored)
    next(written)
    assert len(begun) <= 2 * torch.get_num_threads() + 1
    written.close()
