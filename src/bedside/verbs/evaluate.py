"""`bedside evaluate`: base and tuned model on the same held-out items."""

import re
import shlex
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bedside.errors import UsageError
from bedside.files import read_json, write_json
from bedside.models import locate
from bedside.progress import say
from bedside.recipe import NAME, NAME_WANTED, Recipe
from bedside.runs import MANIFEST, Run, Stage

if TYPE_CHECKING:
    from bedside.runtime.backend import Writer

OWN = ("base", "tuned")
ASKED = "asked.json"
"""Beside the scores of any model: where it was asked."""
AT_ONCE = 4
ROOMS = ("verbs/evaluate", "evaluate", "metrics", "text", "fused", "runtime", "data", "models")


def stage(recipe: Recipe, which: Literal["base", "tuned"]) -> Stage:
    """The base model's scores do not depend on the training, so they survive a change of it."""
    outside = {"base": locate.identify(recipe.model), **files(recipe), **_encoder(recipe)}
    reads = ("data", "adapter") if which == "tuned" else ("data",)
    return Stage(f"evaluation/{which}", ("model", "prompt", "evaluate", "seed"), reads, ROOMS, outside)


def files(recipe: Recipe) -> dict[str, str]:
    """{name: SHA-256} of the items that the models are judged on beside the test rows; the embedded ones are code."""
    from bedside.data.sources import fingerprint

    section, found = recipe.evaluate, dict[str, str]()
    if section.asks_choices:
        chosen = section.choice_from
        found |= {chosen: "embedded"} if chosen == "starter" else fingerprint(chosen, "mcq")
    if section.decision_from:
        found |= fingerprint(section.decision_from, "pubmedqa")
    if section.vignette_from:
        found |= fingerprint(section.vignette_from, "vignette")
    if section.safety_from:
        found |= fingerprint(section.safety_from, "mcq")
    return found


def _encoder(recipe: Recipe) -> dict[str, str]:
    """What BERTScore depends on. Raises ModelError where its folder is none."""
    folder = recipe.evaluate.bertscore
    return {"bertscore": locate.identify_folder(Path(folder).expanduser())} if folder else {}


def make_base(run: Run, folder: Path) -> None:
    """Scores the model as it was before training."""
    _make(run, folder, None, "base")


def make_tuned(run: Run, folder: Path) -> None:
    """Scores the model with its adapter."""
    _make(run, folder, run.folder("adapter"), "tuned")


def _make(run: Run, folder: Path, adapter: Path | None, which: str) -> None:
    from bedside.data import prepare
    from bedside.evaluate import tasks
    from bedside.evaluate.run import announce, evaluate
    from bedside.runtime.hf import load_backend

    recipe = run.recipe
    data = run.folder("data")
    items = tasks.select(recipe, prepare.load(data, "train"), prepare.load(data, "test"))
    if which == "base":
        announce(items, tasks.copies(recipe.evaluate))
    base = locate.resolve(recipe.model)
    name = base.name if adapter is None else f"{base.name} + {recipe.name}"
    scorer = load_backend(base.folder, recipe.prompt, adapter=adapter, name=name, quantise=recipe.model.quantise)
    evaluate(scorer, items, recipe, folder, label=which)


def score(
    recipe: str,
    overrides: Sequence[str],
    model: str,
    runs: Path,
    *,
    name: str | None = None,
    at_once: int | None = None,
    again: bool = False,
) -> dict[str, Any]:
    """Scores any model on the items of a recipe, kept in its run as `evaluation/NAME`; what `--json` prints.

    It is known by its content, wherever its file lies; of a server little can be seen, so `again` asks it anew.

    A GGUF file and a server can only be asked to write, so tasks that need likelihoods are left out, and told. Raises
    UsageError if none is left, or if the name is another model's.
    """
    from bedside.runtime import choose
    from bedside.verbs.pipeline import run_until
    from bedside.verbs.run import prepare_run

    if name is not None and not re.fullmatch(NAME, name):
        raise UsageError(f"--name {name[:60]!r}: want {NAME_WANTED}")
    run = prepare_run(recipe, overrides, runs)
    run_until(run, "data", keep=False)
    with closing(choose.speaker(model, runs, run.recipe.serve, at_once or AT_ONCE)) as writer:
        name = name or re.sub(r"[^A-Za-z0-9._-]+", "-", writer.name).strip("._-") or "model"
        sections = ("serve.context", "evaluate", "seed")
        outside = {"model": choose.identify(model, runs, writer), **files(run.recipe), **_encoder(run.recipe)}
        stage = Stage(f"evaluation/{name}", sections, ("data",), ROOMS, outside)
        _refuse_anothers(run, stage, name, model)
        with run.lock():
            made = run.build(stage, lambda folder: _score_any(run, folder, writer, name, model), again)
    if not made:
        say(f"'{name}' was scored on {run.manifest(stage.name)['created']}: nothing was asked; --again asks anew")
    say(f"kept as '{name}'; {_how_to_compare(run, name, recipe, overrides)}")
    return dict(read_json(run.folder(stage.name) / "scores.json"))


def _how_to_compare(run: Run, name: str, recipe: str, overrides: Sequence[str]) -> str:
    compare = f"`bedside compare {run.path.name}:base {run.path.name}:{name}` compares it"
    if (run.path / "evaluation/base" / MANIFEST).is_file():
        return compare
    command = shlex.join(["bedside", "evaluate", recipe, *overrides])
    return f"once `{command}` has scored the base, {compare}"


def _refuse_anothers(run: Run, stage: Stage, name: str, model: str) -> None:
    """Raises UsageError if the name is that of the run's own models, or of another model's scores.

    What is another one at the same place takes the place of the scores, and that is told.
    """
    if name in OWN:
        raise UsageError(f"--model {model}: '{name}' is what the run's own model is called; choose a --name")
    if run.state(stage) == "missing" or run.manifest(stage.name)["inputs"].get("model") == stage.outside["model"]:
        return
    beside = run.folder(stage.name) / ASKED
    asked = read_json(beside)["model"] if beside.is_file() else model
    if asked != model:
        raise UsageError(f"--model {model}: the scores of {asked} are called '{name}'; choose a --name")
    say(f"{model}: another model than when '{name}' was scored; it is scored anew")


def _score_any(run: Run, folder: Path, writer: "Writer", name: str, model: str) -> None:
    from bedside.data import prepare
    from bedside.evaluate import tasks
    from bedside.evaluate.run import announce, evaluate

    data = run.folder("data")
    items = tasks.select(run.recipe, prepare.load(data, "train"), prepare.load(data, "test"))
    if not hasattr(writer, "likelihoods"):
        left = ", ".join(task for task in items if not tasks.TASKS[task].generated)
        items = {task: found for task, found in items.items() if tasks.TASKS[task].generated}
        if not items:
            raise UsageError(
                f"{name}: it can only write, and {left} need likelihoods; add 'choice-direct' to the tasks"
            )
        if left:
            say(f"{name}: left out, since it can only write and they need likelihoods: {left}")
    announce(items, tasks.copies(run.recipe.evaluate))
    evaluate(writer, items, run.recipe, folder, label=name)
    write_json(folder / ASKED, {"model": model})


def result(run: Run) -> dict[str, Any]:
    """What `--json` prints: the tuned model's scores, and the base's beside them."""
    tuned = read_json(run.folder("evaluation/tuned") / "scores.json")
    return {**tuned, "base": read_json(run.folder("evaluation/base") / "scores.json")}


def in_words(result: dict[str, Any]) -> str:
    """The same for a person."""
    lines = []
    for scores in filter(None, (result.get("base"), result)):
        lines.append(scores["model"])
        for task in scores["tasks"]:
            low, high = task["ci"]
            note = "".join(f"; {said}" for said in _said(task))
            what = f"  {task['task']:<15} {task['metric']:<24} {task['value']:8.4f}"
            lines.append(f"{what}  [{low:.4f}, {high:.4f}]  n {task['n']}{note}")
    return "\n".join(lines)


def _said(task: dict[str, Any]) -> Iterator[str]:
    """What stands beside a score: what needs no question, what became of the answers, and how they came about."""
    if task["baseline"] is not None:
        yield f"ignoring the question {task['baseline']:.4f}"
    if other := ", ".join(f"{count} {how}" for how, count in task["outcomes"].items() if how != "answered"):
        yield other
    if task["generated"] and task["generated"]["forced"]:
        yield f"{task['generated']['forced']} made to answer, their reasoning closed"
