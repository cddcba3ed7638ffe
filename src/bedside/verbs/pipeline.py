"""The stages of a recipe in their order, each made only if it is not done.

data (and data/report) → adapter → evaluation/base, evaluation/tuned → comparison → merged → export → report
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bedside.errors import RunError
from bedside.progress import say
from bedside.recipe import Recipe
from bedside.recipe_file import KEPT
from bedside.runs import Run, Stage


@dataclass(frozen=True, slots=True)
class Step:
    """A stage and how it is made; `verb` is the command that ends with it."""

    verb: str
    stage: Stage
    make: Callable[[Run, Path], None]


VERBS = ("data", "train", "evaluate", "compare", "export", "report")


def steps(recipe: Recipe, until: str = "report") -> list[Step]:
    """The steps of a recipe up to the last one of a verb.

    Neither torch nor transformers is loaded: each `make` imports what it needs. Nor is anything asked of a stage beyond
    `until`, for what it depends on may not be here: rows are prepared without a base.
    """
    from bedside.verbs import compare, data, evaluate, export, report, train

    every: list[tuple[str, Callable[[Recipe], Stage], Callable[[Run, Path], None]]] = [
        ("data", data.stage, data.make),
        ("data", data.report_stage, data.make_report),
        ("train", train.stage, train.make),
        ("evaluate", partial(evaluate.stage, which="base"), evaluate.make_base),
        ("evaluate", partial(evaluate.stage, which="tuned"), evaluate.make_tuned),
        ("compare", compare.stage, compare.make),
        ("export", export.merged, export.make_merged),
        ("export", export.exported, export.make_exported),
        ("report", report.stage, report.make),
    ]
    upto = VERBS.index(until)
    return [Step(verb, stage(recipe), make) for verb, stage, make in every if VERBS.index(verb) <= upto]


def run_until(run: Run, verb: str, keep: bool = True) -> Sequence[str]:
    """Makes what is missing or stale up to the last stage of `verb`; returns the names of the stages made.

    `keep` makes this recipe the run's own; without it, and where the run has one, the run's models stay what they are.
    """
    from bedside.verbs import export, train

    made: list[str] = []
    todo = steps(run.recipe, verb)
    with run.lock():
        if any(step.verb == "train" and run.state(step.stage) != "done" for step in todo):
            train.refuse_early(run.recipe)
        for step in todo:
            _tell_if_replaced(run, step, "" if made else f"; {_by_its_own_recipe(run)} keeps the run's settings")
            if _build(run, step):
                made.append(step.stage.name)
                say(f"{step.stage.name}: done in {run.manifest(step.stage.name)['seconds']:.0f} s")
            else:
                say(f"{step.stage.name}: unchanged")
            if (keep and (made or step is todo[-1])) or not (run.path / KEPT).exists():
                run.keep_recipe()
    if VERBS.index(verb) >= VERBS.index("export"):
        export.require_parity(run)
    return made


def warn_if_stale(run: Run, verb: str) -> str | None:
    """Says on stderr, and returns, that what is about to be used was made from something else than there is now."""
    stale = next((stage for stage in _needed(steps(run.recipe, verb), verb) if run.state(stage) == "stale"), None)
    if stale is None:
        return None
    told = (
        f"{run.path}: stage '{stale.name}' is stale, {_since(run.changed(stale))}; {_by_its_own_recipe(run)} renews it"
    )
    say(told)
    return told


def _needed(passed: Sequence[Step], verb: str) -> list[Stage]:
    """The stages of a verb and those that they are made from, in their order."""
    names = {step.stage.name for step in passed if step.verb == verb}
    for step in reversed(passed):
        names.update(step.stage.reads if step.stage.name in names else ())
    return [step.stage for step in passed if step.stage.name in names]


def _tell_if_replaced(run: Run, step: Step, kept: str) -> None:
    """Says that a finished stage is about to be made anew; `kept` tells how to go on with the settings it has."""
    if run.state(step.stage) == "stale":
        changed = run.changed(step.stage)
        otherwise = kept if any(name.startswith("recipe ") for name in changed) else ""
        say(f"{step.stage.name}: made anew, {_since(changed)}{otherwise}")


def _since(changed: Sequence[str]) -> str:
    return f"changed since: {', '.join(changed) or 'a stage before it'}"


def _by_its_own_recipe(run: Run) -> str:
    return f"`bedside run {run.path / KEPT} --runs {run.path.parent}`"


def _build(run: Run, step: Step) -> bool:
    try:
        return run.build(step.stage, lambda folder: step.make(run, folder))
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and type(error).__name__ != "OutOfMemoryError":
            raise
        hint = "use train.checkpointing = 'on' or model.quantise = 'nf4', or lower model.max_length or train.batch_size"
        raise RunError(f"{step.stage.name}: out of memory; {hint}") from error
