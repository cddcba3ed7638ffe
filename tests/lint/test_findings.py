"""The report: what is listed, what is counted, what is allowed."""

from bedside.lint.findings import LISTED, Finding, NotChecked, Piece, Report, Shown, sorted_out
from bedside.recipe import RuleName


def found(rule: RuleName, n: int, severity: str = "error") -> list[Finding]:
    return [Finding(rule, severity, f"line {i}", "it is") for i in range(n)]  # type: ignore[arg-type]


def report(*findings: Finding, allow: tuple[RuleName, ...] = ()) -> Report:
    errors, warnings, allowed = map(tuple, sorted_out(findings, allow))
    first = Shown("line 1", (Piece("a", False), Piece("b", True)), 1, 1)
    return Report(errors, warnings, allowed, (NotChecked("first-loss", "too large"),), 9, 5, 10, 2, first)


def test_the_first_few_findings_of_each_rule_are_listed_and_all_are_counted() -> None:
    told = report(*found("end-missing", 40), *found("end-doubled", 2)).to_json()
    assert [error["where"] for error in told["errors"]] == [*(f"line {i}" for i in range(LISTED)), "line 0", "line 1"]
    assert told["counts"] == {"end-missing": 40, "end-doubled": 2}


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
