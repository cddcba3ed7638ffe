"""The report: what is listed, what is counted, what is allowed."""

import pytest

from bedside.lint.findings import LISTED, Finding, NotChecked, Piece, Report, Shown, sorted_out
from bedside.recipe import RuleName
from bedside.verbs.lint import TOLD, in_words


def found(rule: RuleName, n: int, severity: str = "error") -> list[Finding]:
    return [Finding(rule, severity, f"line {i}", "it is") for i in range(n)]  # type: ignore[arg-type]


def report(*findings: Finding, allow: tuple[RuleName, ...] = ()) -> Report:
    errors, warnings, allowed = map(tuple, sorted_out(findings, allow))
    first = Shown("line 1", (Piece("a", False), Piece("b", True)), 1, 1)
    return Report(errors, warnings, allowed, (NotChecked("first-loss", "too large"),), 9, 5, 10, 2, first)


def test_all_findings_of_a_rule_are_listed_up_to_a_bound_and_all_are_counted() -> None:
    told = report(*found("end-missing", LISTED + 40), *found("end-doubled", 2)).to_json()
    assert [error["where"] for error in told["errors"]] == [*(f"line {i}" for i in range(LISTED)), "line 0", "line 1"]
    assert told["counts"]["errors"] == {"end-missing": LISTED + 40, "end-doubled": 2}


def test_errors_and_warnings_of_one_rule_are_counted_apart() -> None:
    findings = [*found("train-test-leak", 7), *found("train-test-leak", 3, "warning"), *found("end-missing", 2)]
    told = report(*findings, allow=("end-missing",)).to_json()
    assert told["counts"] == {
        "errors": {"train-test-leak": 7},
        "warnings": {"train-test-leak": 3},
        "allowed": {"end-missing": 2},
    }


@pytest.mark.parametrize(("n", "more"), [(TOLD, ""), (TOLD + 1, "  … and 1 more (--json lists them)"), (LISTED + 9, f"  … and {LISTED + 9 - TOLD:,} more (--json lists the first {LISTED:,})")])  # fmt: skip
def test_a_person_is_told_a_few_findings_of_each_severity_and_how_to_see_the_others(n: int, more: str) -> None:
    told = in_words(report(*found("train-test-leak", n), *found("train-test-leak", 2, "warning")).to_json())
    errors, _, warnings = told.partition("WARNING train-test-leak")
    assert errors.count("  line ") == TOLD
    assert [line for line in errors.splitlines() if "more" in line] == ([more] if more else [])
    assert warnings.count("  line ") == 2
    assert "more (" not in warnings


def test_the_keys_that_others_build_on_are_there() -> None:
    told = report(*found("end-missing", 1), *found("over-max-length", 1, "warning")).to_json()
    assert told["errors"] == [{"rule": "end-missing", "where": "line 0", "message": "it is"}]
    assert [warning["rule"] for warning in told["warnings"]] == ["over-max-length"]
    assert {name: told[name] for name in ("rows", "trained_tokens", "truncated_rows")} == {
        "rows": 9,
        "trained_tokens": 5,
        "truncated_rows": 2,
    }
    assert (told["first_example"]["prompt"], told["first_example"]["trained"]) == ("a", "b")
    assert told["not_checked"] == [{"rule": "first-loss", "reason": "too large"}]


def test_what_the_recipe_allows_is_told_and_is_no_error() -> None:
    told = report(*found("end-missing", 3), *found("end-doubled", 1), allow=("end-missing",)).to_json()
    assert [error["rule"] for error in told["errors"]] == ["end-doubled"]
    assert {one["rule"] for one in told["allowed"]} == {"end-missing"}
