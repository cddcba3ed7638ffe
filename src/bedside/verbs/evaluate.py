"""`bedside evaluate`: base and tuned model on the same held-out items."""

from pathlib import Path
from typing import Any, Literal

from bedside.files import read_json
from bedside.models import locate
from bedside.recipe import Recipe
from bedside.runs import Run, Stage

ROOMS = (
    "verbs/evaluate",
    "evaluate",
    "metrics",
    "text",
    "fused",
    "runtime/hf",
    "runtime/tokenizer",
    "runtime/device",
    "data",
    "models",
)


def stage(recipe: Recipe, which: Literal["base", "tuned"]) -> Stage:
    """The base model's scores do not depend on the training, so they survive a change of it."""
    outside = {"base": locate.identify(recipe.model), **choices(recipe)}
    reads = ("data", "adapter") if which == "tuned" else ("data",)
    return Stage(f"evaluation/{which}", ("model", "prompt", "evaluate", "seed"), reads, ROOMS, outside)


def choices(recipe: Recipe) -> dict[str, str]:
    """{name: SHA-256} of the multiple-choice items that the models are judged on; the embedded ones are code."""
    from bedside.data.sources import fingerprint

    chosen = recipe.evaluate.choice_from
    if "choice" not in recipe.evaluate.tasks:
        return {}
    return {chosen: "embedded"} if chosen == "starter" else fingerprint(chosen, "mcq")


def make_base(run: Run, folder: Path) -> None:
    """Scores the model as it was before training."""
    _make(run, folder, None, "base")


def make_tuned(run: Run, folder: Path) -> None:
    """Scores the model with its adapter."""
    _make(run, folder, run.folder("adapter"), "tuned")


def _make(run: Run, folder: Path, adapter: Path | None, which: str) -> None:
    from bedside.data import prepare
    from bedside.evaluate import tasks
    from bedside.evaluate.run import evaluate
    from bedside.runtime.hf import load_backend

    recipe = run.recipe
    data = run.folder("data")
    items = tasks.select(recipe, prepare.load(data, "train"), prepare.load(data, "test"))
    base = locate.resolve(recipe.model)
    name = base.name if adapter is None else f"{base.name} + {recipe.name}"
    scorer = load_backend(base.folder, recipe.prompt, adapter=adapter, name=name, quantise=recipe.model.quantise)
    evaluate(scorer, items, recipe, folder, label=which)


def result(run: Run) -> dict[str, Any]:
    """What `--json` prints: the tuned model's scores, and the base's beside them."""
    tuned = read_json(run.folder("evaluation/tuned") / "scores.json")
    return {**tuned, "base": read_json(run.folder("evaluation/base") / "scores.json")}


def in_words(result: dict[str, Any]) -> str:
    """The same for a person."""
    lines = []
    for scores in (result["base"], result):
        lines.append(scores["model"])
        for task in scores["tasks"]:
            low, high = task["ci"]
            note = f", {task['unparsed']} without an answer" if task["unparsed"] else ""
            what = f"  {task['task']:<10} {task['metric']:<24} {task['value']:8.4f}"
            lines.append(f"{what}  [{low:.4f}, {high:.4f}]  n {task['n']}{note}")
    return "\n".join(lines)
