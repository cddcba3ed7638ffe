from bedside.text.markdown import table


def test_a_cell_can_neither_end_its_cell_nor_its_row():
    assert list(table(("a", "b"), [("x|y", "two\nlines")])) == ["| a | b |", "| --- | --- |", r"| x\|y | two lines |"]
