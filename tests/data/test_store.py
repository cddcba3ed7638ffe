from io import BytesIO
from pathlib import Path

import numpy as np

from bedside.data.store import Again, Arrays, Store
from bedside.records import Example, Message

FULL = Example(
    "f", "Q\u2028?", "A.\nB", "R", "C", "yes", ("one", "two"), "renal", (Message("system", "x"),), "g", "row f"
)


def test_rows_come_back_by_number_and_in_order(tmp_path: Path) -> None:
    rows = [Example(str(i), f"Q {i}?", "A.") for i in range(5)]
    with Store(tmp_path / "rows") as store:
        for row in [FULL, *rows]:
            store.append(row)
        assert len(store) == 6
        assert (store[3], store[0]) == (rows[2], FULL)
        assert list(store) == [FULL, *rows]
        assert store[1] == rows[0]
        store.append(FULL)
        assert list(store) == [FULL, *rows, FULL]
        assert store[6] == FULL
    assert not (tmp_path / "rows").exists()


def test_a_file_name_that_is_no_utf8_does_not_stop_the_stage(tmp_path: Path) -> None:
    with Store(tmp_path / "rows") as store:
        store.append(Example("1", "Q?", "A.", where="Bef\udcfcnde.csv line 2"))
        assert store[0].where == "Bef?nde.csv line 2"


def test_arrays_come_back_by_number() -> None:
    rows = [tuple(np.arange(n, dtype=np.uint64) for n in lengths) for lengths in ((3, 0, 2), (0, 0, 0), (1, 2, 70_000))]
    arrays = Arrays(BytesIO())
    for row in rows:
        arrays.append(row)
    for number in (2, 0, 1):
        assert [part.tolist() for part in arrays[number]] == [part.tolist() for part in rows[number]]


def test_what_is_read_again_is_made_anew_each_time() -> None:
    again = Again(lambda: iter([1, 2]))
    assert [list(again), list(again)] == [[1, 2], [1, 2]]
