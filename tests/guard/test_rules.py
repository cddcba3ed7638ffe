"""The file of rules itself."""

import re

import pytest

from bedside.guard import rules as module
from bedside.guard.rules import NUMBERS, rules
from bedside.guard.vitals import LIVING


def test_every_rule_has_a_source_with_a_year_and_an_address() -> None:
    for rule in rules().rules:
        assert rule.sources, rule.name
        assert all(2009 < source.year < 2030 and source.url.startswith("https://") for source in rule.sources)


def test_nobody_is_told_that_a_clinician_has_reviewed_it() -> None:
    assert rules().reviewed is False
    assert "NO CLINICIAN HAS REVIEWED THIS FILE" in module.FILE.read_text(encoding="utf-8")


def test_every_sign_serves_a_rule_or_the_score() -> None:
    used = {option for rule in rules().rules for way in rule.when for part in way for option in part.options}
    scored = {option for part, _ in rules().points for option in part.options}
    assert {sign.name for sign in rules().signs} <= used | scored


def test_a_rule_may_name_just_the_numbers_that_are_read() -> None:
    assert set(NUMBERS) == set(LIVING)


def test_no_repetition_in_a_pattern_is_unbounded() -> None:
    text = module.FILE.read_text(encoding="utf-8")
    patterns = [line for line in text.splitlines() if line.startswith(("pattern", '    "'))]
    assert len(patterns) > 60
    for line in patterns:
        assert not re.search(r"(?<!\\)[)\]\w.][+*]|\{\d+,\}", line), line


def test_a_rule_that_names_no_sign_is_a_bug(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    spoilt = tmp_path / "rules.toml"
    text = module.FILE.read_text(encoding="utf-8")
    spoilt.write_text(text.replace("spo2 <= 87", "spo2 <= many"), encoding="utf-8")
    monkeypatch.setattr(module, "FILE", spoilt)
    with pytest.raises(ValueError, match="'spo2 <= many' is neither a sign nor a limit"):
        rules.__wrapped__()
