"""Run folder → `Material`: reads what the finished stages have written, and computes nothing."""

from pathlib import Path
from typing import Any

from bedside.errors import RunError
from bedside.files import read_json, read_jsonl
from bedside.report.material import Json, Material
from bedside.runs import MANIFEST, Run

STAGES = ("data/report", "adapter", "evaluation/base", "evaluation/tuned", "comparison", "export")


def collect(run_folder: Path) -> Material:
    """Everything the report shows. Raises RunError that names the first stage that is not there."""
    run = Run.open(run_folder)
    for stage in STAGES:
        run.folder(stage)
    base = _json(run, "evaluation/base", "scores.json")
    tuned = _json(run, "evaluation/tuned", "scores.json")
    export = _json(run, "export", "export.json")
    return Material(
        recipe=run.recipe.model_dump(mode="json"),
        base_name=base["model"],
        stats=_json(run, "data/report", "stats.json"),
        train=_json(run, "adapter", "train.json"),
        metrics=[row for _, row in read_jsonl(_file(run, "adapter", "metrics.jsonl"))],
        base_scores=base["tasks"],
        tuned_scores=tuned["tasks"],
        comparison=_json(run, "comparison", "comparison.json"),
        examples=_examples(run) if "rouge" in run.recipe.evaluate.tasks else [],
        files=export["files"],
        parity=export.get("parity"),
        created=_json(run, "comparison", MANIFEST)["created"],
    )


def _examples(run: Run) -> list[Json]:
    """Base and tuned answers to the same question, in the order in which they were drawn.

    Raises RunError if the two models did not answer the same questions.
    """
    base, tuned = (_answers(run, side) for side in ("base", "tuned"))
    beside = _json(run, "comparison", "nearest.json")
    if base.keys() != tuned.keys():
        odd = sorted(base.keys() ^ tuned.keys())[0]
        raise RunError(
            f"{run.path}: question '{odd}' was answered by one model only;"
            " delete the folder 'evaluation' there and run `bedside run` again"
        )
    return [{**_pair(row, tuned[key]), "nearest": beside.get(key)} for key, row in base.items()]


def _pair(base: Json, tuned: Json) -> Json:
    asked = {name: base.get(name, "") for name in ("id", "question", "context", "reference", "reference_reasoning")}
    said = {
        side: {name: row[name] for name in ("reasoning", "answer", "finish")}
        for side, row in (("base", base), ("tuned", tuned))
    }
    return {**asked, **said, "rouge_base": base["score"], "rouge_tuned": tuned["score"]}


def _answers(run: Run, side: str) -> dict[str, Json]:
    return {row["id"]: row for _, row in read_jsonl(_file(run, f"evaluation/{side}", "rouge.jsonl"))}


def _json(run: Run, stage: str, name: str) -> Any:
    return read_json(_file(run, stage, name))


def _file(run: Run, stage: str, name: str) -> Path:
    """A file that a finished stage must hold."""
    path = run.folder(stage) / name
    if not path.is_file():
        raise RunError(f"{path}: not there, so stage '{stage}' is incomplete; delete its folder and run it again")
    return path
