"""Lint sees what training makes of a row, and decides as training does which rows are left out."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bedside.lint.case import Case, Overlong, Refused, cases
from bedside.train import batch

from .conftest import CASES, World, encoder, example, examples


def test_a_case_holds_the_ids_and_labels_of_the_training_batch(world: World) -> None:
    subject = world.subject()
    how = encoder(subject)
    rows = batch.encode(subject.train, how.section, how.tokenizer, 512).rows
    for case, row in zip(cases(subject.train, how), rows, strict=True):
        assert isinstance(case, Case)
        assert (case.ids, case.served_ids) == (row.ids, row.ids[: row.prompt])
        assert case.labels == (batch.IGNORED,) * row.prompt + row.ids[row.prompt :]
        assert case.padding == (batch.IGNORED,)
        assert case.trained == row.trained
        assert case.said.endswith("<|im_end|>")


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(limit=st.integers(16, 200), repeats=st.lists(st.integers(0, 3), min_size=len(CASES), max_size=len(CASES)))
def test_the_rows_that_lint_calls_too_long_are_those_that_training_leaves_out(
    world: World, limit: int, repeats: list[int]
) -> None:
    rows = [example(i, reasoning=CASES[i][1] * n) for i, n in enumerate(repeats)]
    rows.append(example(0, id="short", question="Why?", reasoning="", answer="So."))
    subject = world.subject(rows, model={"max_length": limit})
    how = encoder(subject)
    overlong = [case.case.example.id for case in cases(rows, how) if isinstance(case, Overlong)]
    try:
        left_out = batch.encode(rows, how.section, how.tokenizer, limit).too_long
    except batch.DataError:
        left_out = [row.id for row in rows]
    assert overlong == left_out


@pytest.mark.parametrize(("limit", "cut"), [(40, "prompt"), (75, "reasoning"), (125, "answer")])
def test_where_a_cut_would_have_gone_through_is_told(world: World, limit: int, cut: str) -> None:
    how = encoder(world.subject(model={"max_length": limit}))
    (case,) = cases([example(1)], how)
    assert isinstance(case, Overlong)
    assert case.cut == cut


def test_a_cut_of_a_row_without_reasoning_goes_through_its_answer(world: World) -> None:
    how = encoder(world.subject(model={"max_length": 70}, prompt={"reasoning": "none"}))
    (case,) = cases([example(1, answer="Vitamin K. " * 9)], how)
    assert isinstance(case, Overlong)
    assert case.cut == "answer"


def test_a_template_that_fails_leaves_a_row_refused_with_its_reason(world: World) -> None:
    how = encoder(world.subject(base=world.base("{{ raise_exception('no system role') }}")))
    for case in cases(examples(), how):
        assert isinstance(case, Refused)
        assert "no system role" in case.message
        assert (case.served, case.full) == ("", "")
