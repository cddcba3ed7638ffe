"""`bedside lint`: what will really be trained, and every way in which it is wrong."""

import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bedside.errors import CheckFailed, UsageError
from bedside.models import locate
from bedside.progress import say
from bedside.records import Example
from bedside.runs import Run

if TYPE_CHECKING:
    from bedside.lint.check import Subject

TOLD = 5
"""Findings of a rule that a person is told; `--json` lists more."""


def lint(name: str, overrides: Sequence[str], show: int | None, runs: Path) -> dict[str, Any]:
    """What `--json` prints, of the rows of the data stage, which is made if need be; `show` adds a row, from 1."""
    from bedside.data import prepare
    from bedside.lint import check
    from bedside.verbs.pipeline import run_until
    from bedside.verbs.run import prepare_run

    run = prepare_run(name, overrides, runs)
    run_until(run, "data")
    train, test = (prepare.load(run.folder("data"), split) for split in ("train", "test"))
    subject = subject_of(run, locate.resolve(run.recipe.model), train, test, served(run))
    if show is not None and show > len(subject.train):
        raise UsageError(f"--show {show}: there are {len(subject.train)} training rows")
    result = check.lint(subject, measure_loss=True).to_json()
    if show is not None:
        result["shown"] = {"row": show, **check.row(subject, show).to_json()}
    return result


def refuse_faulty(run: Run, subject: "Subject") -> None:
    """Raises CheckFailed, naming the rules, if there is an error in what is about to be trained."""
    from bedside.lint import check
    from bedside.lint.findings import counted

    report = check.lint(subject, measure_loss=False)
    if report.allowed:
        say(f"lint: allowed by the recipe: {_named(counted(report.allowed))}")
    if report.errors:
        rules = _named(counted(report.errors))
        told = f"`bedside lint {run.path}/recipe.toml --runs {run.path.parent}` shows them"
        passes = ", lint.allow lets them pass" if report.trained_tokens else ""
        raise CheckFailed(f"lint found errors in what would be trained: {rules}; {told}{passes}")


def _named(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{rule} ({count})" for rule, count in counts.items())


def subject_of(
    run: Run, base: locate.Base, train: Sequence[Example], test: Sequence[Example], served: tuple[Path, ...] = ()
) -> "Subject":
    """The run's rows and the sets that it is judged on, its base, and what it serves."""
    from bedside.data.sources import read_texts
    from bedside.data.store import Again
    from bedside.evaluate.tasks import outside
    from bedside.lint.check import Subject
    from bedside.lint.contradictions import left_out

    recipe = run.recipe
    held = {"the test split": test, **outside(recipe.evaluate)}
    against = {path: Again(partial(read_texts, path)) for path in recipe.data.against}
    contradicting = tuple(left_out(run.folder("data")))
    return Subject(recipe, base, train, held, against, locate.gguf_of(recipe.model), served, contradicting)


def served(run: Run) -> tuple[Path, ...]:
    """The merged model and the exported files, if nothing that they were made from has changed since."""
    from bedside.files import read_json
    from bedside.verbs.pipeline import steps

    if any(run.state(step.stage) != "done" for step in steps(run.recipe, "export")):
        return ()
    folder = run.folder("export")
    files = read_json(folder / "export.json")["files"]
    return (run.folder("merged"), *(folder / str(file["path"]) for file in files))


def in_words(result: dict[str, Any]) -> str:
    """The same for a person: the counts, every rule that is broken and how to mend it, and a row as it is trained."""
    parts = [_counts(result)]
    for kind, title in (("errors", "ERROR"), ("warnings", "WARNING"), ("allowed", "ALLOWED")):
        parts += _rules(result[kind], title, result["counts"][kind])
    if result["not_checked"]:
        parts += ["", *(f"not checked: {one['rule']} ({one['reason']})" for one in result["not_checked"])]
    row = result.get("shown") or result["first_example"]
    return "\n".join([*parts, "", _row(row)])


def _counts(result: dict[str, Any]) -> str:
    errors, warnings = (len(result["counts"][kind]) for kind in ("errors", "warnings"))
    left_out = f", {result['truncated_rows']} of them left out as too long" if result["truncated_rows"] else ""
    return (
        f"{result['rows']} training rows{left_out}; {result['trained_tokens']:,} of {result['tokens']:,} tokens are"
        f" trained. Rules broken: {errors} with errors, {warnings} with warnings."
    )


def _rules(findings: Sequence[dict[str, str]], title: str, counts: dict[str, int]) -> list[str]:
    """Each broken rule with its first findings, the number of the others, and how to mend it."""
    from bedside.lint.catalogue import RULES

    lines = []
    mends: dict[str, str] = {name: rule.mend for name, rule in RULES.items()}
    for rule in dict.fromkeys(finding["rule"] for finding in findings):
        found = [finding for finding in findings if finding["rule"] == rule]
        lines += ["", f"{title} {rule}"]
        lines += [f"  {finding['where']}: {finding['message']}" for finding in found[:TOLD]]
        lines += _more(counts[rule], len(found))
        lines.append(f"  mend: {mends[rule]}")
    return lines


def _more(count: int, listed: int) -> list[str]:
    """That there are more findings than a person is told, and what lists them."""
    which = "them" if count == listed else f"the first {listed:,}"
    return [f"  … and {count - TOLD:,} more (--json lists {which})"] if count > TOLD else []


def _row(row: dict[str, Any]) -> str:
    """A row with what is trained set apart: in colour on a terminal that has it, else in brackets."""
    from bedside.lint import show
    from bedside.lint.findings import Piece

    name = f"Row {row['row']}" if "row" in row else "First row"
    note = f"; {row['note']}" if row["note"] else ""
    head = f"{name} ({row['where']}): {row['prompt_tokens']} tokens are read, {row['trained_tokens']} trained{note}"
    pieces = [Piece(**piece) for piece in row["pieces"]]
    return f"{head}\n\n{show.coloured(pieces, sys.stdout) or show.marked(pieces)}"
