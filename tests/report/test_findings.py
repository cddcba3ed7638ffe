"""A reader is told what matters before training on the rows, and nothing else."""

from typing import Any

import pytest

from bedside.data.stats import token_lengths
from bedside.report.findings import findings
from bedside.report.numbers import SPACE

CLEAN: dict[str, Any] = {
    "read": 400, "contamination": [{"set": "medqa", "items": 1261, "rows": 0, "hit_items": 0, "action": "drop", "pairs": []}],
    "tokens": None, "duplicates": {"exact": 0, "near": 0, "share": 0.0}, "labels": {}, "dropped": {},
}  # fmt: skip


def told(licence: str = "MIT", **changes: Any) -> str:
    return " ".join(findings({**CLEAN, **changes}, {"licence": licence})).replace(SPACE, " ")


def leak(**changes: Any) -> list[dict[str, Any]]:
    return [{**CLEAN["contamination"][0], "rows": 14, "hit_items": 12, **changes}]


def test_of_clean_rows_only_the_comparison_is_told():
    assert told() == "Compared with 1 set: no item was found in a training row."


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"contamination": []}, "compared with no evaluation set"),
        ({"contamination": leak()}, "medqa: 12 of its 1,261 items found in 14 training rows, left out."),
        ({"contamination": leak(action="report", rows=1)}, "in 1 training row, still there: a model may learn these items by heart."),
        ({"duplicates": {"exact": 8, "near": 2, "share": 0.025}}, "Copies of other rows were left out: 8 exact, 2 near; 2.5 %"),
        ({"dropped": {"copy with another label": 1}}, "1 row asks what another row asks and names another answer; the first"),
        ({"labels": {"yes": 3, "no": 1}}, "“yes”: saying it each time is right in 75.0 %"),
        ({"licence": "not stated; set data.licence"}, "licence of the rows is not stated"),
    ],
)  # fmt: skip
def test_what_gives_cause_is_told(changes: dict[str, Any], said: str):
    assert said in told(**changes)


def test_a_row_that_is_too_long_is_told_with_the_part_in_which_the_limit_falls():
    tokens = token_lengths([(10, 600, 9), (10, 500, 9), (1, 2, 3), (1, 2, 3)], "tiny", 512)
    text = told(tokens=tokens)
    assert "model.max_length = 512 tokens: 2 of 4 measured rows (50.0 %)" in text
    assert "the limit falls in the reasoning of 1, in the answer of 1." in text
    assert "max_length" not in told(tokens=token_lengths([(1, 2, 3)], "tiny", 512))


@pytest.mark.parametrize("labels", [{"a": 9}, {str(i): 1 for i in range(30)}], ids=["one", "many"])
def test_labels_that_nobody_could_guess_among_are_not_weighed(labels: dict[str, int]):
    assert "commonest" not in told(labels=labels)
