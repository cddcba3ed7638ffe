"""`bedside export`: base and adapter → merged model → GGUF files, Modelfile and model card, with the parity check."""

from pathlib import Path

from bedside.models import locate
from bedside.recipe import Recipe
from bedside.runs import Run, Stage

PARITY_QUESTIONS = 3


def merged(recipe: Recipe) -> Stage:
    """Depends on the adapter and the base's weights."""
    outside = {"base": locate.identify(recipe.model)}
    return Stage("merged", ("model", "prompt"), ("adapter",), ("export/merge", "text"), outside)


def exported(recipe: Recipe) -> Stage:
    """Depends on the merged weights, and on everything that the model card tells."""
    reads = ("merged", "data", "adapter", "evaluation/base", "evaluation/tuned", "comparison")
    rooms = ("export", "text", "runtime/llamacpp", "runtime/hf", "models/gguf")
    return Stage("export", ("name", "export", "prompt", "serve", "seed"), reads, rooms)


def make_merged(run: Run, folder: Path) -> None:
    """Writes W + (alpha / r)·BA as a model folder."""
    from bedside.export.merge import merge

    merge(locate.resolve(run.recipe.model).folder, run.folder("adapter"), folder, run.recipe.prompt)


def make_exported(run: Run, folder: Path) -> None:
    """Writes each file, proves the first against the merged model, and describes them."""

    raise NotImplementedError
