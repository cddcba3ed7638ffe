"""The stages of a recipe in their order, each made only if it is not done.

data → adapter → evaluation/base, evaluation/tuned → comparison → merged → export → report
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bedside.errors import RunError
from bedside.progress import say
from bedside.recipe import Recipe
from bedside.runs import Run, Stage


@dataclass(frozen=True, slots=True)
class Step:
    """A stage and how it is made; `verb` is the command that ends with it."""

    verb: str
    stage: Stage
    make: Callable[[Run, Path], None]


def steps(recipe: Recipe) -> list[Step]:
    """All steps of a recipe. Neither torch nor transformers is loaded: each `make` imports what it needs."""
    from bedside.verbs import compare, data, evaluate, export, report, train

    return [
        Step("data", data.stage(recipe), data.make),
        Step("train", train.stage(recipe), train.make),
        Step("evaluate", evaluate.stage(recipe, "base"), evaluate.make_base),
        Step("evaluate", evaluate.stage(recipe, "tuned"), evaluate.make_tuned),
        Step("compare", compare.stage(recipe), compare.make),
        Step("export", export.merged(recipe), export.make_merged),
        Step("export", export.exported(recipe), export.make_exported),
        Step("report", report.stage(recipe), report.make),
    ]


VERBS = ("data", "train", "evaluate", "compare", "export", "report")


def run_until(run: Run, verb: str) -> Sequence[str]:
    """Makes what is missing or stale up to the last stage of `verb`; returns the names of the stages made."""
    made = []
    with run.lock():
        for step in steps(run.recipe):
            if VERBS.index(step.verb) > VERBS.index(verb):
                break
            if _build(run, step):
                made.append(step.stage.name)
                say(f"{step.stage.name}: done in {run.manifest(step.stage.name)['seconds']:.0f} s")
            else:
                say(f"{step.stage.name}: unchanged")
            run.keep_recipe()
    return made


def warn_if_stale(run: Run, verb: str) -> str | None:
    """Says on stderr, and returns, that what is about to be used was made from something else than there is now."""
    upto = VERBS.index(verb)
    passed = (step.stage for step in steps(run.recipe) if VERBS.index(step.verb) <= upto)
    stale = next((stage for stage in passed if run.state(stage) == "stale"), None)
    if stale is None:
        return None
    changed = ", ".join(run.changed(stale)) or "a stage before it"
    renew = f"`bedside run {run.path}/recipe.toml --runs {run.path.parent}` renews it"
    told = f"{run.path}: stage '{stale.name}' is stale, changed since: {changed}; {renew}"
    say(told)
    return told


def _build(run: Run, step: Step) -> bool:
    try:
        return run.build(step.stage, lambda folder: step.make(run, folder))
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and type(error).__name__ != "OutOfMemoryError":
            raise
        hint = "lower model.max_length or train.batch_size, or use model.quantise = 'nf4'"
        raise RunError(f"{step.stage.name}: out of memory; {hint}") from error
