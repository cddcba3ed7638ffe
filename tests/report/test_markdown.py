"""The verdict in Markdown, and all figures as JSON."""

import json

from bedside.report import markdown
from bedside.report.numbers import MINUS, SPACE
from bedside.text.prompts import NOTICE

from .sample import comparison, material


def test_the_verdict_stands_first_with_the_notice_and_a_row_for_each_task():
    text = markdown.render(material()).replace(SPACE, " ").replace(MINUS, "-")
    assert text.startswith(f"# smollm2-medical-o1: worse\n\n> {NOTICE}\n")
    assert "| Multiple choice (accuracy) | 72 | 11.8 points | 44.4 % | 30.6 % | -13.9 points |" in text
    assert text.count("\n| ") == len(("head", "rule")) + len(comparison()["tasks"])
    assert "better, not counted" in text
    assert "Whether it still declines harmful requests" in text


def test_what_was_left_out_is_told_and_a_name_cannot_break_the_table():
    compared = {**comparison(), "left_out": ["rouge: scored on\none side only"]}
    odd = {**compared["tasks"][0], "task": "a|b\n# c", "metric": "kappa"}
    text = markdown.render(material(comparison={**compared, "tasks": [odd]}))
    assert "Left out: rouge: scored on one side only" in text
    assert "| a\\|b # c (kappa) |" in text


def test_the_results_are_json_and_hold_recipe_and_figures():
    found = json.loads(json.dumps(markdown.results(material())))
    assert found["comparison"]["verdict"] == "worse"
    assert found["recipe"]["name"] == "smollm2-medical-o1"
