"""Every rule is documented, and none twice."""

import re
from pathlib import Path
from typing import get_args

import pytest

from bedside.lint.catalogue import RULES
from bedside.lint.rows import ROW_RULES
from bedside.recipe import RuleName

PAGE = Path(__file__).parents[2] / "docs" / "lint.md"


def test_every_rule_that_can_be_allowed_is_documented_in_the_same_order() -> None:
    assert tuple(RULES) == get_args(RuleName)
    assert set(ROW_RULES) <= set(RULES)


@pytest.mark.parametrize("name", RULES)
def test_a_rule_says_what_it_finds_why_that_hurts_and_how_to_mend_it(name: RuleName) -> None:
    rule = RULES[name]
    for text in (rule.what, rule.why, rule.mend):
        assert re.fullmatch(r"[A-Z].*[.)]", text), text
        assert "  " not in text
    section = PAGE.read_text(encoding="utf-8").partition(f"\n## `{name}`\n")[2].partition("\n## ")[0]
    assert all(text in section for text in (rule.what, rule.why, rule.mend))
