"""`bedside export`: base and adapter → merged model → GGUF files, Modelfile and model card, with the parity check."""

import math
from pathlib import Path
from typing import Any

from bedside.errors import CheckFailed
from bedside.files import read_json, sha256, write_json, write_text
from bedside.models import locate
from bedside.progress import say
from bedside.recipe import Recipe
from bedside.runs import Run, Stage

PARITY_QUESTIONS = 3
UNQUANTISED = ("f32", "f16", "bf16")
FP32_AND_FILE = 8
"""Bytes a parameter: the merged model in fp32, and the file in llama.cpp at most as large."""
PROOFS = ("parity", "parity_unquantised")


def merged(recipe: Recipe) -> Stage:
    """Depends on the adapter and the base's weights."""
    outside = {"base": locate.identify(recipe.model)}
    return Stage(
        "merged",
        ("model", "prompt"),
        ("adapter",),
        ("export/merge", "export/adapter", "export/tensors", "text", "runtime/hf", "runtime/tokenizer"),
        outside,
    )


def exported(recipe: Recipe) -> Stage:
    """Depends on the merged weights, and on everything that the model card tells."""
    reads = ("merged", "data", "data/report", "adapter", "evaluation/base", "evaluation/tuned", "comparison")
    runtime = ("runtime/llamacpp", "runtime/hf", "runtime/tokenizer")
    rooms = ("export", "verbs/export", "data/card", "text", *runtime, "models/gguf", "models/header", "models/licence")
    return Stage("export", ("name", "export", "prompt", "serve.context", "seed"), reads, rooms)


def make_merged(run: Run, folder: Path) -> None:
    """Writes W + (alpha / r)·BA as a model folder."""
    from bedside.export.merge import merge

    merge(locate.resolve(run.recipe.model).folder, run.folder("adapter"), folder, run.recipe.prompt)


def make_exported(run: Run, folder: Path) -> None:
    """Proves the conversion, writes each file, measures the served one, and describes them all.

    Raises CheckFailed, and leaves no stage, if the GGUF does not say what the merged model says.
    """
    from bedside.export.convert import write_gguf

    merged = run.folder("merged")
    names = {quantisation: f"{run.recipe.name}-{quantisation}.gguf" for quantisation in run.recipe.export.quantise}
    for quantisation, name in names.items():
        say(f"export: writing {name}")
        write_gguf(merged, folder / name, quantisation, run.recipe.name)
    found = _prove(run, merged, folder / next(iter(names.values())))
    files = [_file(folder / name, quantisation) for quantisation, name in names.items()]
    write_json(folder / "export.json", {"files": files, **found})
    _describe(run, folder, files, found["parity"])


def _file(path: Path, quantisation: str) -> dict[str, Any]:
    return {"path": path.name, "quantisation": quantisation, "bytes": path.stat().st_size, "sha256": sha256(path)}


def _prove(run: Run, merged: Path, served: Path) -> dict[str, Any]:
    """Parity of the served file, and of the conversion alone where the served file is quantised."""
    from bedside.data import prepare
    from bedside.evaluate import tasks
    from bedside.export import parity
    from bedside.export.convert import write_gguf
    from bedside.text.chat import user_text

    test = prepare.load(run.folder("data"), "test")
    asked = [tasks.demonstration(test, run.recipe.seed), *tasks.draw(test, PARITY_QUESTIONS, run.recipe.seed)]
    questions = list(dict.fromkeys(user_text(example) for example in asked))[:PARITY_QUESTIONS]
    lacking = _lacking_memory(merged)
    if lacking:
        say(f"export: parity was not checked: {lacking}")
        return {"parity": None}
    say(f"export: comparing {served.name} with the merged model on {len(questions)} questions")
    found: dict[str, Any] = {"parity": parity.check(merged, served, run.recipe.prompt, questions).to_json()}
    if run.recipe.export.quantise[0] not in UNQUANTISED:
        plain = served.with_name("unquantised.gguf")
        write_gguf(merged, plain, "f32", run.recipe.name)
        found["parity_unquantised"] = parity.check(merged, plain, run.recipe.prompt, questions).to_json()
        plain.unlink()
    for name, one in found.items():
        if not one["ok"]:
            raise CheckFailed(f"export: {name} failed, so nothing was exported: {one['first_difference']}")
    return found


def _lacking_memory(merged: Path) -> str:
    """What the merged model in fp32, beside the served file, needs and this machine has not; "" if it fits."""
    from bedside.export.tensors import Tensors
    from bedside.runtime.device import choose, free_memory_bytes

    entries = Tensors.of_model(merged).entries.values()
    needed = FP32_AND_FILE * sum(math.prod(entry.shape) for entry in entries)
    free = free_memory_bytes(choose("fp32"))
    return f"it needs {needed / 2**30:.0f} GiB of memory, {free / 2**30:.0f} GiB are free" if needed > free else ""


def _describe(run: Run, folder: Path, files: list[dict[str, Any]], parity: dict[str, Any] | None) -> None:
    """Writes the Modelfile and the model card."""
    from bedside.export.card import Evidence, card
    from bedside.export.ollama import modelfile
    from bedside.models.gguf import metadata
    from bedside.models.licence import licence
    from bedside.text.chat import Renderer

    about = metadata(folder / files[0]["path"])
    renderer = Renderer(about.template, about.bos, about.eos)
    context = min(run.recipe.serve.context, about.context_length)
    text = modelfile(files[0]["path"], run.recipe.prompt, renderer, about.adds_bos, [about.eos], context)
    write_text(folder / "Modelfile", text)
    base = locate.resolve(run.recipe.model)
    scores = {which: read_json(run.folder(f"evaluation/{which}") / "scores.json") for which in ("base", "tuned")}
    evidence = Evidence(
        base=base.name,
        revision=base.revision,
        licence=licence(run.recipe.model, base),
        data=read_json(run.folder("data/report") / "card.json"),
        train=read_json(run.folder("adapter") / "train.json"),
        scores={which: found["tasks"] for which, found in scores.items()},
        comparison=read_json(run.folder("comparison") / "comparison.json"),
        files=files,
        parity=parity or {},
    )
    write_text(folder / "README.md", card(run.recipe, evidence))


def result(run: Run) -> dict[str, Any]:
    """What `--json` prints."""
    folder = run.folder("export")
    found = read_json(folder / "export.json")
    for file in found["files"]:
        file["path"] = str(folder / file["path"])
    return dict(found)


def in_words(result: dict[str, Any]) -> str:
    """The same for a person."""
    lines = [
        f"{file['path']}  {file['bytes'] / 2**20:.1f} MiB  sha256 {file['sha256'][:16]}…" for file in result["files"]
    ]
    return "\n".join([*lines, *(_parity_in_words(name, result[name]) for name in PROOFS if result.get(name))])


def _parity_in_words(name: str, parity: dict[str, Any]) -> str:
    what = "served file" if name == "parity" else "before quantising"
    return (
        f"{what}: prompt tokens {'equal' if parity['tokens_equal'] else 'DIFFER'}, "
        f"{parity['agreed_tokens']} of {parity['total_tokens']} greedy tokens equal on {parity['compared']} questions, "
        f"KL {parity['kl_mean']:.2g}, top-1 agreement {parity['top1_agreement']:.3f}"
    )
