"""`bedside compare`: base against tuned, or a run against another, item by item."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bedside.errors import UsageError
from bedside.files import read_json, read_jsonl, write_json
from bedside.recipe import Recipe
from bedside.runs import MANIFEST, Run, Stage
from bedside.text.numbers import probability


def stage(recipe: Recipe) -> Stage:
    """Depends on the two evaluations, the rows that were trained on and the seed of the bootstrap."""
    reads = ("data", "evaluation/base", "evaluation/tuned")
    rooms = ("evaluate", "metrics", "data")
    return Stage("comparison", ("seed",), reads, rooms=rooms)


def make(run: Run, folder: Path) -> None:
    """Compares the tuned model with its base, and finds what was trained that is most like the examples shown."""
    from bedside.data import prepare
    from bedside.evaluate.compare import compare
    from bedside.evaluate.nearest import nearest

    found = compare(run.folder("evaluation/base"), run.folder("evaluation/tuned"), run.recipe.seed)
    write_json(folder / "comparison.json", found)
    shown = _answered(run)
    items = [item for item in prepare.load(run.folder("data"), "test") if item.id in shown]
    beside = nearest(items, prepare.load(run.folder("data"), "train"))
    write_json(folder / "nearest.json", {name: asdict(row) for name, row in beside.items()})


def _answered(run: Run) -> set[str]:
    """Ids of the held-out rows for which the report shows what both models wrote."""
    path = run.folder("evaluation/tuned") / "rouge.jsonl"
    return {row["id"] for _, row in read_jsonl(path)} if path.exists() else set()


def compare(first: str, second: str | None, runs: Path) -> dict[str, Any]:
    """A run's tuned model against its base or, with `second`, against that run's tuned model.

    "RUN:NAME" is the evaluation of that name in a run, such as "demo:base", or what `evaluate --model` called it.
    Raises DataError if the two were not scored on the same items, UsageError if only one such is named.
    """
    from bedside.evaluate.compare import compare as paired
    from bedside.verbs.pipeline import warn_if_stale

    run, here = _evaluation(first, runs)
    if second is None and here:
        raise UsageError(f"'{first}': against what? Name a second evaluation, such as '{run.path.name}:base'")
    other, there = (run, "tuned") if second is None else _evaluation(second, runs)
    here, there = here or ("base" if second is None else "tuned"), there or "tuned"
    own = [one for one, name in ((run, here), (other, there)) if name in ("base", "tuned")]
    told = [warn_if_stale(one, "evaluate") for one in dict.fromkeys(own)]
    names = (here, there) if run.path == other.path else (Path(first).name, Path(second or "").name)
    found = paired(run.folder(f"evaluation/{here}"), other.folder(f"evaluation/{there}"), run.recipe.seed, names)
    return {**found, "stale": [warning for warning in told if warning is not None]}


def _evaluation(named: str, runs: Path) -> tuple[Run, str]:
    """A run and the name of one of its evaluations, "" if none is named."""
    from bedside.runtime.choose import find_run
    from bedside.verbs.run import existing_run

    name, _, which = named.rpartition(":")
    if name and find_run(named, runs) is None:
        run = existing_run(name, runs)
        there = sorted(path.parent.name for path in run.path.glob(f"evaluation/*/{MANIFEST}"))
        if which not in there:
            raise UsageError(f"'{named}': no such evaluation; there are: {', '.join(there) or 'none'}")
        return run, which
    return existing_run(named, runs), ""


def result(run: Run) -> dict[str, Any]:
    """What `--json` prints."""
    return dict(read_json(run.folder("comparison") / "comparison.json"))


def in_words(result: dict[str, Any]) -> str:
    """A table with intervals, what it does not say, and the verdict last."""
    first, second = result["names"]
    width = max(8, len(first), len(second))
    head = f"{'task':<15} {'n':>4} {'detects':>8} {first:>{width}} {second:>{width}} {'difference':>11}"
    head += f"  {'95 % interval':<18} {'p adj.':>7} {'baseline':>9} {'won':>5} {'lost':>5}"
    longer = max(len(first), len(second))
    models = [f"{first:<{longer}}  {result['base']}", f"{second:<{longer}}  {result['tuned']}"]
    lines = [*models, "", head, *(_line(task, width) for task in result["tasks"])]
    lines += [f"{'left out':<15} {reason}" for reason in result["left_out"]]
    notes = list(_notes(result))
    if notes:
        lines += ["", *notes]
    stale = [f"STALE    {warning}" for warning in result.get("stale", [])]
    return "\n".join([*lines, "", f"Verdict: {result['verdict']}", *stale])


def _notes(result: dict[str, Any]) -> Iterator[str]:
    """What the table does not say of itself."""
    from bedside.evaluate.tasks import TASKS, nothing_to_lose

    tasks, (first, second) = result["tasks"], result["names"]
    base_model, tuned_model = {"base": "the base"}.get(first, first), {"tuned": "the tuned model"}.get(second, second)
    same = " and ".join(task["task"] for task in tasks if task["identical"])
    if same:
        yield f"On {same} the two gave the same on every item: their outputs are identical."
    for task in tasks:
        base, tuned = task["unparsed"]
        if base or tuned:
            unread = f"{first} {base}, {second} {tuned} of {task['n']}"
            yield f"On {task['task']} answers that could not be read score 0: {unread}."
        if guessing := task["guessing"]:
            low, high = guessing["ci"]
            difference = f"{guessing['difference']:+.3f} [{low:+.3f}, {high:+.3f}], p {probability(guessing['p'])}"
            yield f"There {base_model} is taken to guess ({guessing['base']:.3f}); the finding rests on {difference}."
    below = " and ".join(task["task"] for task in tasks if task["above_baseline"] is False)
    if below:
        yield f"On {below} {tuned_model} is not shown to beat ignoring the question (baseline)."
    low = " and ".join(task["task"] for task in tasks if nothing_to_lose(task["task"], task["base"], task["baseline"]))
    if low:
        yield f"On {low} {base_model} does so badly that there was little to lose: that nothing was lost says little."
    if not any(TASKS[task["task"]].role == "right" for task in tasks):
        yield "No task that tells right from wrong was compared, so nothing can be called better."
    if meaning := result["bertscore"]:
        low, high = meaning["ci"]
        means = f"{first} {meaning['base']:.3f}, {second} {meaning['tuned']:.3f}"
        difference = f"{meaning['difference']:+.3f} [{low:+.3f}, {high:+.3f}]"
        how = f"n {meaning['n']}, {meaning['signature']}"
        yield f"BERTScore F1, which is never counted: {means}, difference {difference} ({how})."
    for task in tasks:
        yield from _came_about(task, first, second)
    if result["unmeasured"]:
        yield "Not measured:"
        yield from (f"- {sentence}" for sentence in result["unmeasured"])
    if not result["same_prompt"]:
        yield "The two were asked in different prompts; the difference is one of model and prompt together."


def _came_about(task: dict[str, Any], first: str, second: str) -> Iterator[str]:
    """Where answers that should come after reasoning did not, or only when they were made to."""
    n, forced, reasoned = task["n"], task["forced"], task["reasoned"]
    if any(forced):
        said = f"{first} {forced[0]}, {second} {forced[1]} of {n}"
        yield f"On {task['task']} reasoning filled its tokens and was closed before the answer: {said}."
    if task["task"].endswith("-reason") and min(reasoned) < n:
        said = f"{first} {reasoned[0]}, {second} {reasoned[1]} of {n}"
        yield f"On {task['task']} there was reasoning before the answer on: {said}."


def _line(task: dict[str, Any], width: int) -> str:
    interval = f"[{task['ci'][0]:+.3f}, {task['ci'][1]:+.3f}]"
    baseline = "-" if task["baseline"] is None else f"{task['baseline']:.3f}"
    means = f"{task['base']:>{width}.3f} {task['tuned']:>{width}.3f} {task['difference']:>+11.3f}"
    found = f"{probability(task['p_adjusted']):>7} {baseline:>9} {len(task['won']):>5} {len(task['lost']):>5}"
    not_counted = "" if task["counted"] else ", not counted"
    detects = f"{task['detectable']:.3f}" if task["detectable"] else "-"  # nothing was seen of how much items differ
    what = f"{task['task']:<15} {task['n']:>4} {detects:>8}"
    return f"{what} {means}  {interval:<18} {found}  {task['verdict']}{not_counted}"
