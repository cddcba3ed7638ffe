from pathlib import Path

from bedside.data.store import Store
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
        store.append(FULL)
        assert store[6] == FULL
    assert not (tmp_path / "rows").exists()
