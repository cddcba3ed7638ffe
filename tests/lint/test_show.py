"""One row as a person sees it."""

import io
import re

import pytest

from bedside.lint import check, show
from bedside.lint.findings import Piece

from .conftest import CASES, World, example

PIECES = (Piece("<s>", False, True), Piece("Why?\n", False), Piece("So", True), Piece("</s>", True, True))


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_what_is_trained_stands_in_brackets_and_line_ends_are_seen() -> None:
    assert show.marked(PIECES) == "<s>Why?↵\n⟦So</s>⟧"


def test_a_terminal_gets_colours_and_the_same_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    coloured = show.coloured(PIECES, Terminal())
    assert "\x1b[" in coloured
    assert re.sub(r"\x1b\[[\d;]*m", "", coloured) == "<s>Why?↵\nSo</s>"
    styles = dict(re.findall(r"\x1b\[([\d;]+)m([^\x1b]+)\x1b", coloured)[i][::-1] for i in range(4))
    assert len({styles["<s>"], styles["Why?↵"], styles["So"], styles["</s>"]}) == 4


def test_a_pipe_and_a_person_who_wants_no_colour_get_none(monkeypatch: pytest.MonkeyPatch) -> None:
    assert show.coloured(PIECES, io.StringIO()) == ""
    monkeypatch.setenv("NO_COLOR", "1")
    assert show.coloured(PIECES, Terminal()) == ""


def test_a_row_is_cut_where_training_begins_and_keeps_every_character(world: World) -> None:
    question, reasoning, answer = CASES[1]
    row = check.row(world.subject(), 2)
    assert row.where == "rows.jsonl line 2"
    told = row.to_json()
    assert told["prompt"] == f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n"
    assert told["trained"] == f"<think>\n{reasoning}\n</think>\n\n{answer}<|im_end|>"
    assert [piece.text for piece in row.pieces if piece.special] == [
        "<|im_start|>",
        "<|im_end|>",
        "<|im_start|>",
        "<|im_end|>",
    ]
    assert (row.prompt_tokens, row.trained_tokens) == (
        len(row_ids(world, told["prompt"])),
        len(row_ids(world, told["trained"])),
    )


def row_ids(world: World, text: str) -> list[int]:
    from transformers import AutoTokenizer

    return list(AutoTokenizer.from_pretrained(world.sound)(text, add_special_tokens=False).input_ids)


def test_a_sign_of_several_tokens_comes_through_whole(world: World) -> None:
    row = check.row(world.subject([example(0, answer="β-blocker 🙂 高血压")]), 1)
    assert row.to_json()["trained"].endswith("β-blocker 🙂 高血压<|im_end|>")


def test_a_row_that_is_left_out_says_why(world: World) -> None:
    row = check.row(world.subject(model={"max_length": 16}), 1)
    assert re.fullmatch(r"left out: \d+ tokens, model.max_length = 16", row.note)
    assert row.trained_tokens > 0


def test_a_row_that_is_refused_shows_what_the_template_prints(world: World) -> None:
    row = check.row(world.subject(base=world.base("{{ messages[-1]['content'] }}")), 1)
    assert CASES[0][2] in row.pieces[0].text
    assert "chat template" in row.note
    assert (row.prompt_tokens, row.trained_tokens) == (0, 0)
