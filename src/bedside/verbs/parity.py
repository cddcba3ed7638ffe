"""`bedside parity`: whether what a run serves is what it trained; each export asks it, too."""

import importlib
import json
import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any
from urllib.request import ProxyHandler, Request, build_opener

from bedside.errors import CheckFailed, MissingExtra, ModelError, first_line
from bedside.files import read_json
from bedside.models import locate
from bedside.progress import say
from bedside.recipe import ServeSection
from bedside.records import Message
from bedside.runs import Run

if TYPE_CHECKING:
    from bedside.export.readings import Place, Reading

FP32_TWICE = 11
"""Bytes a parameter: the merged model and base with adapter in fp32, the 16-bit file, and a base in NF4 for a while."""
ROWS_OF_WORDS = 4 * 4 * 2048
"""Bytes a word of the vocabulary: fp32 log-probabilities at each token that is read at a time
(`agreement.READ_AT_ONCE`), as three models tell them, one of them twice on its way."""
TIMEOUT_S = 60
NAMES = {"adapter": "adapter", "plain": "16-bit file"}


def parity(name: str, runs: Path) -> dict[str, Any]:
    """Compares a run's export with its training anew; what `--json` prints. Raises RunError if there is none.

    A release that turns out otherwise than its card says is described anew.
    """
    from bedside.verbs.export import describe
    from bedside.verbs.pipeline import warn_if_stale
    from bedside.verbs.run import existing_run

    require_extras()
    run = existing_run(name, runs)
    warn_if_stale(run, "export")
    with run.lock():
        folder = run.folder("export")
        told = read_json(folder / "export.json")
        files = {file["quantisation"]: folder / file["path"] for file in told["files"]}
        found = prove(run, files, folder / "Modelfile")
        if found["ok"] != told["parity"]["ok"]:
            describe(run, folder, {**told, "parity": found})
    return {"run": str(run.path), **found}


def require_extras() -> None:
    """Raises MissingExtra before files are written that nothing here could compare."""
    from bedside.runtime import libllama

    libllama.library()
    try:
        for part in ("app", "run"):
            importlib.import_module(f"bedside.serve.{part}")
    except ImportError as error:
        raise MissingExtra.named("comparing the chat endpoint", "serve") from error


def prove(run: Run, files: Mapping[str, Path], modelfile: Path) -> dict[str, Any]:
    """The `parity` object of an export. What this machine has not the memory for is left out, which is said."""
    from bedside.data import prepare
    from bedside.evaluate import forgetting, tasks
    from bedside.export import parity
    from bedside.export.convert import write_gguf
    from bedside.verbs.export import nf4_precision

    merged, recipe = run.folder("merged"), run.recipe
    if lacking := lacking_memory(merged):
        say(f"parity: of token ids, templates and the merged adapter only: {lacking}")
    test = prepare.load(run.folder("data"), "test")
    rows = tasks.draw(test, len(test), recipe.seed)  # the file has them by kind
    with tempfile.TemporaryDirectory(dir=run.path, prefix=".parity.") as scratch:
        plain = files.get("f16") or Path(scratch) / "f16.gguf"
        if "f16" not in files and not lacking:
            say("parity: writing a 16-bit file to compare with")
            write_gguf(merged, plain, "f16", recipe.name)
        release = parity.Release(
            base=locate.resolve(recipe.model).folder,
            adapter=run.folder("adapter"),
            merged=merged,
            plain=plain,
            files=files,
            modelfile=modelfile,
            section=recipe.prompt,
            nf4_precision=nf4_precision(run),
            context=recipe.serve.context,
        )
        general = forgetting.general()  # where the run's own rows have no options
        questions = tasks.draw(general, len(general), recipe.seed)
        return parity.check(release, rows, recipe.parity, chat_endpoint, lacking, questions).to_json()


def require(found: dict[str, Any], where: Path) -> None:
    """Raises CheckFailed if something is served otherwise than it was trained, or if that is not known."""
    if found["ok"] is None:
        raise CheckFailed(f"{where}: not all of it was checked: {found['skipped']}")
    if not found["ok"]:
        raise CheckFailed(f"{where}: not what was trained ({faults(found)})")


def faults(found: dict[str, Any]) -> str:
    """The names of what is served otherwise, each once."""
    return ", ".join(dict.fromkeys(finding["fault"] for finding in found["findings"]))


@contextmanager
def chat_endpoint(path: Path) -> Iterator["Place"]:
    """The chat endpoint of `bedside serve`, asked over HTTP; what it hands to llama.cpp is noted and not computed."""
    from bedside.export.readings import Place, reading
    from bedside.runtime.libllama import File
    from bedside.serve.app import create_app
    from bedside.serve.run import Server, listen, url_of

    settings = ServeSection(port=0, requests_per_minute=0)
    with listen(settings) as listener, closing(_noting(path)) as speaker, closing(File(path, 16)) as file:
        server = Server(create_app([speaker], settings))
        thread = Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        url = url_of(listener)

        def read(turns: Sequence[Message]) -> "Reading":
            _post(f"{url}v1/chat/completions", turns)
            return reading(speaker.noted, file)

        try:
            yield Place("chat endpoint", read)
        finally:
            server.should_exit = True
            thread.join()


def _noting(path: Path) -> Any:
    """A speaker that notes the prompt which it would have given llama.cpp, and answers at once: one go."""
    from bedside.runtime.llamacpp import LlamaCpp
    from bedside.runtime.reading import Piece
    from bedside.text.think import CLOSE_TAG

    class Noting(LlamaCpp):
        noted = ""

        def _opened(self, path: Path, slots: int, threads: int) -> None:
            """Nothing: no weights are needed to note a prompt."""

        def _stream_text(self, prompt: str, options: Any) -> Any:
            self.noted = prompt
            yield Piece(f"{CLOSE_TAG}noted", 1, 0, "stop")

    return Noting(path, context=512)


def _post(url: str, turns: Sequence[Message]) -> None:
    body = {"messages": [{"role": turn.role, "content": turn.content} for turn in turns]}
    request = Request(url, data=json.dumps(body).encode(), headers={"Content-Type": "application/json"})
    try:  # a proxy must not be asked for a loopback address
        build_opener(ProxyHandler({})).open(request, timeout=TIMEOUT_S).close()
    except OSError as error:
        raise ModelError(f"parity: the chat endpoint does not answer ({first_line(error)})") from error


def lacking_memory(merged: Path) -> str:
    """What the comparison needs and this machine has not; "" if it fits."""
    from bedside.export.tensors import Tensors
    from bedside.runtime.device import choose, free_memory_bytes

    entries = Tensors.of_model(merged).entries.values()
    widest = max(entry.shape[0] for entry in entries)  # the vocabulary
    needed = FP32_TWICE * sum(math.prod(entry.shape) for entry in entries) + ROWS_OF_WORDS * widest
    free = free_memory_bytes(choose("fp32"))
    return f"it needs {needed / 2**30:.0f} GiB of memory, {free / 2**30:.0f} GiB are free" if needed > free else ""


def in_words(result: dict[str, Any]) -> str:
    """The same for a person."""
    left = f", {result['left_out']} left out: too long, or refused by the template" if result["left_out"] else ""
    ids = "equal" if result["tokens_equal"] else "DIFFER"
    greedy = {True: "agree", False: "PART", None: "not compared"}[result["greedy_equal"]]
    lines = [
        f"{result['compared']} conversations{left}: token ids {ids}, greedy continuations {greedy}",
        *(_line(name, found) for name, found in result["measured"].items()),
    ]
    lines += [f"{finding['fault']}: {finding['where']}: {finding['detail']}" for finding in result["findings"]]
    verdict = {True: "ok", False: "FAILED", None: f"checked in part: {result['skipped']}"}[result["ok"]]
    return "\n".join([*lines, f"parity: {verdict}"])


def _line(name: str, found: dict[str, Any]) -> str:
    items = f", {found['flips']} of {found['items']} answers changed" if found["items"] else ""
    return (
        f"  {NAMES.get(name, name):<12} KL {found['kl_mean']:.2g}, top-1 agreement {found['top1_agreement']:.3f},"
        f" perplexity × {found['perplexity_ratio']:.3f} over {found['places']} places{items}"
    )
