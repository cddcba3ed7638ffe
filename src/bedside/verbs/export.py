"""`bedside export`: base and adapter → merged model → GGUF files, Modelfile and model card, with the parity check."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from bedside.errors import CheckFailed, ModelError
from bedside.files import read_json, sha256, write_json, write_text
from bedside.models import locate
from bedside.progress import say
from bedside.recipe import Recipe
from bedside.runs import Run, Stage

if TYPE_CHECKING:
    from bedside.export.imatrix import Importance

MERGING = ("export/merge", "export/adapter", "export/nf4", "export/pieces", "export/tensors")


def merged(recipe: Recipe) -> Stage:
    """Depends on the adapter and the base's weights."""
    outside = {"base": locate.identify(recipe.model)}
    return Stage(
        "merged",
        ("model", "prompt"),
        ("adapter",),
        (*MERGING, "text", "runtime/hf", "runtime/tokenizer"),
        outside,
    )


def exported(recipe: Recipe) -> Stage:
    """Depends on the merged weights, and on everything that the model card tells."""
    reads = ("merged", "data", "data/report", "adapter", "evaluation/base", "evaluation/tuned", "comparison")
    rooms = ("export", "verbs/export", "verbs/parity", "serve", "answer", "data", "text", "train/batch", "fused")
    sections = ("name", "export", "parity", "model", "prompt", "serve.context", "seed")
    return Stage("export", sections, reads, (*rooms, "evaluate", "runtime", "models"))


def make_merged(run: Run, folder: Path) -> None:
    """Writes W + (alpha / r)·BA as a model folder; W as training saw it, if that was in 4 bits."""
    from bedside.export.merge import merge

    base = locate.resolve(run.recipe.model).folder
    merge(base, run.folder("adapter"), folder, run.recipe.prompt, nf4_precision(run))


def nf4_precision(run: Run) -> str | None:
    """The type that a base in NF4 was trained in; None if it was not in NF4."""
    trained = run.recipe.model.quantise == "nf4"
    return str(read_json(run.folder("adapter") / "train.json")["precision"]) if trained else None


def make_exported(run: Run, folder: Path) -> None:
    """Writes the files and how each program runs them, compares them with what was trained, and describes them all.

    What is served otherwise than it was trained is marked so in the card; the command then ends with status 1.
    """
    from bedside.export.convert import write_gguf
    from bedside.verbs.parity import prove, require_extras

    require_extras()
    merged = run.folder("merged")
    names = {quantisation: f"{run.recipe.name}-{quantisation}.gguf" for quantisation in run.recipe.export.quantise}
    importance = _importance(run, merged, folder) if run.recipe.export.imatrix else None
    for quantisation, name in names.items():
        say(f"export: writing {name}")
        write_gguf(merged, folder / name, quantisation, run.recipe.name, importance)
    files = [_file(folder / name, quantisation) for quantisation, name in names.items()]
    beside = [_file(folder / name, kind) for kind, name in _write_adapter(run, folder).items()]
    _tell_how_to_run(run, folder, [*files, *beside])
    paths: dict[str, Path] = {quantisation: folder / name for quantisation, name in names.items()}
    found = {"files": files, "adapter": beside, "parity": prove(run, paths, folder / "Modelfile")}
    describe(run, folder, found)


def _write_adapter(run: Run, folder: Path) -> dict[str, str]:
    """Writes the adapter, and the base if it is wanted: {what it is: file}. None is there unless the recipe asks."""
    from bedside.export.adapter_gguf import write_adapter_gguf, write_base_gguf

    name, wanted = run.recipe.name, run.recipe.export
    if wanted.adapter == "no":
        return {}
    base = locate.resolve(run.recipe.model)
    files = {"adapter f16": f"{name}-adapter-f16.gguf"}
    say(f"export: writing {files['adapter f16']}")
    write_adapter_gguf(run.folder("adapter"), base.folder, folder / files["adapter f16"], name)
    if wanted.adapter == "with-base":
        first = wanted.quantise[0]
        files[f"base {first}"] = f"{name}-base-{first}.gguf"
        say(f"export: writing {files[f'base {first}']}")
        write_base_gguf(base.folder, folder / files[f"base {first}"], first, base.name, run.recipe.prompt)
    return files


def _importance(run: Run, merged: Path, folder: Path) -> "Importance":
    """How much each column of the weights matters on training rows drawn by seed, kept beside the files."""
    from bedside.data import prepare
    from bedside.evaluate import tasks
    from bedside.export import imatrix
    from bedside.runtime.tokenizer import load_tokenizer
    from bedside.train import batch
    from bedside.verbs.parity import lacking_memory

    recipe = run.recipe
    if lacking := lacking_memory(merged):
        raise ModelError(f"export.imatrix: {lacking}; turn it off, or export on a larger machine")
    examples = tasks.draw(prepare.load(run.folder("data"), "train"), imatrix.ROWS, recipe.seed)
    say(f"export: measuring what the layers' inputs are on {len(examples)} training rows")
    encoded = batch.encode(examples, recipe.prompt, load_tokenizer(merged, recipe.prompt), recipe.model.max_length)
    found = imatrix.measure(merged, [row.ids for row in encoded.rows], recipe.data.source)
    found.write(folder / "imatrix.gguf")
    return found


def _file(path: Path, quantisation: str) -> dict[str, Any]:
    return {"path": path.name, "quantisation": quantisation, "bytes": path.stat().st_size, "sha256": sha256(path)}


def describe(run: Run, folder: Path, found: dict[str, Any]) -> None:
    """Writes what was found of an export, and the model card with the evidence that it cites."""
    from bedside.export import release
    from bedside.export.card import Evidence, card

    write_json(folder / "export.json", found)
    stages = {name: run.folder(name) for name in ("adapter", "evaluation/base", "evaluation/tuned", "comparison")}
    stages["data"] = run.folder("data/report")
    files = [*found["files"], *found["adapter"]]
    told = {"base": _base(run.recipe), "files": files, "parity": found["parity"]}
    release.take_evidence(folder, run.recipe, stages, told)
    named = release.listed(folder)
    write_text(folder / release.CARD, card(Evidence.read(folder), named))
    release.seal(folder, named)


def _base(recipe: Recipe) -> dict[str, Any]:
    """The base model as the card tells it; `id` is its name on the hub, None for a folder of one's own."""
    from bedside.models.licence import licence

    base = locate.resolve(recipe.model)
    known = locate.EMBEDDED_ID if base.name == locate.EMBEDDED_NAME else base.name
    return {
        "name": base.name,
        "id": known if locate.HUB_ID.fullmatch(known) else None,
        "revision": base.revision,
        "licence": licence(recipe.model, base),
    }


def _tell_how_to_run(run: Run, folder: Path, files: list[dict[str, Any]]) -> None:
    """Writes RUN.md and the Modelfile; for an adapter another Modelfile, and the template that a base's file lacks."""
    from bedside.export.ollama import adapted, modelfile
    from bedside.export.running import OWN_BASE, TEMPLATE, Release, notes
    from bedside.models.gguf import metadata
    from bedside.text.chat import renderer_of

    served = files[0]["path"]
    named = {file["quantisation"].split()[0]: file["path"] for file in files}
    about = metadata(folder / served)
    renderer = renderer_of(about)
    context = min(run.recipe.serve.context, about.context_length)
    text = modelfile(served, run.recipe.prompt, renderer, about.adds_bos, [about.eos], context)
    write_text(folder / "Modelfile", text)
    adapter, base = named.get("adapter", ""), named.get("base", "")
    if adapter:
        write_text(folder / "Modelfile.adapter", adapted(text, base or OWN_BASE, adapter))
        write_text(folder / TEMPLATE, about.template)
    model = locate.resolve(run.recipe.model).name
    release = Release(
        run.recipe.name, served, run.recipe.prompt, context, about.adds_bos, model, adapter, base,
        composes=about.normaliser == "NFC",
    )  # fmt: skip
    write_text(folder / "RUN.md", notes(release))


def require_parity(run: Run) -> None:
    """Raises CheckFailed if the finished export serves something else than was trained."""
    from bedside.verbs.parity import faults

    folder = run.folder("export")
    found = read_json(folder / "export.json")["parity"]
    if found["ok"] is False:
        raise CheckFailed(
            f"{folder}: not what was trained ({faults(found)}), so the release is marked as unverified;"
            " `bedside parity` shows where"
        )


def result(run: Run) -> dict[str, Any]:
    """What `--json` prints."""
    folder = run.folder("export")
    found = read_json(folder / "export.json")
    for file in [*found["files"], *found["adapter"]]:
        file["path"] = str(folder / file["path"])
    return dict(found)


def in_words(result: dict[str, Any]) -> str:
    """The same for a person."""
    from bedside.verbs import parity

    lines = [
        f"{file['path']}  {file['bytes'] / 2**20:.1f} MiB  sha256 {file['sha256'][:16]}…"
        for file in [*result["files"], *result["adapter"]]
    ]
    how = f"how to run it: {Path(result['files'][0]['path']).with_name('RUN.md')}"
    return "\n".join([*lines, how, parity.in_words(result["parity"])])
