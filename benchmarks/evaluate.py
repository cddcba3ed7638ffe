"""Bedside's likelihood scoring beside lm-evaluation-harness: the same items, prompts and options, taking turns.

    python benchmarks/evaluate.py [--mcq FILE] [--pubmedqa FILE] [--items 200] [--only "options as text"] [--growth]

Needs lm-eval (0.4.13 was compared) beside the project's own dependencies. Every run is a process of its own; a few
items warm it up, then the clock runs. lm-eval gets the batch size, and the type of number, at which a few items are
fastest; bf16 is left out where the machine emulates it. Where it is not, neither side is the truth: Bedside in fp32,
which chooses as lm-eval in fp32 does, tells whose choices are its own. Items are drawn by seed. With `--growth` only
Bedside runs, on more and more items.
"""

import argparse
import json
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import train

SEED = 42
WARM_UP = 4
TRIAL = 8
BATCHES = (1, 4, 8, 16)
CLEAR = 0.05
"""Nats between the best two options from which on both must choose the same one."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--mcq", default="starter", help="multiple-choice file; else the embedded 72")
    parser.add_argument("--pubmedqa", type=Path, help="PubMedQA's labelled file")
    parser.add_argument("--items", type=int, default=200)
    parser.add_argument("--only", help="one kind: 'options as text', 'options as letters' or 'yes, no, maybe'")
    parser.add_argument("--growth", action="store_true")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        print(json.dumps(work(arguments, json.loads(arguments.worker))))
        return
    kinds = ["options as text", "options as letters", *(["yes, no, maybe"] if arguments.pubmedqa else [])]
    kinds = [kind for kind in kinds if arguments.only in (None, kind)]
    if arguments.growth:
        growth(kinds, arguments.items)
        return
    rates = train.run({"variant": "gemm"})
    dtypes = [dtype for dtype, rate in rates.items() if rate > train.EMULATED * rates["float32"]]
    print(f"types of number that this machine multiplies in: {', '.join(dtypes)}\n")
    columns = "same choice | of clear ones | Bedside as fp32, of its clear ones | lm-eval"
    print(f"| scored | items | Bedside s | lm-eval s | its setting | faster | {columns} |")
    print("| --- | ---: | ---: | ---: | --- | ---: | ---: | ---: | ---: | ---: |")
    for kind in kinds:
        print(compared(kind, arguments.items, dtypes), flush=True)


def compared(kind: str, items: int, dtypes: list[str]) -> str:
    """A line of the table."""
    trials = {}
    for dtype in dtypes:
        for batch in BATCHES:
            task = {"who": "lm-eval", "kind": kind, "items": TRIAL, "dtype": dtype, "batch": batch}
            seconds = trials[dtype, batch] = run(task)["seconds"]
            print(f"{kind}: lm-eval {dtype}, batch {batch}: {seconds:.1f} s for {TRIAL}", file=sys.stderr, flush=True)
    dtype, batch = min(trials, key=lambda setting: trials[setting])
    ours = run({"who": "bedside", "kind": kind, "items": items})
    theirs = run({"who": "lm-eval", "kind": kind, "items": items, "dtype": dtype, "batch": batch})
    again = run({"who": "bedside", "kind": kind, "items": items})
    seconds = (ours["seconds"] + again["seconds"]) / 2
    pairs = list(zip(ours["scores"], theirs["scores"], strict=True))
    exact = ours if "bfloat16" not in dtypes else run({"who": "bedside", "kind": kind, "items": items, "fp32": True})
    return (
        f"| {kind} | {items} | {ours['seconds']:.1f}, {again['seconds']:.1f} | {theirs['seconds']:.1f} |"
        f" {dtype}, batch {batch} | {theirs['seconds'] / seconds:.2f} × | {sum(map(agree, pairs))} of {len(pairs)} |"
        f" {alike(ours, theirs)} | {alike(ours, exact)} | {alike(theirs, exact)} |"
    )


def alike(found: dict[str, Any], other: dict[str, Any]) -> str:
    """On how many of the items that are clear to the other the same option is chosen."""
    clear = [pair for pair in zip(found["scores"], other["scores"], strict=True) if margin(pair[1]) > CLEAR]
    return f"{sum(map(agree, clear))} of {len(clear)}"


def margin(scores: list[float]) -> float:
    first, second = sorted(scores, reverse=True)[:2]
    return first - second


def agree(pair: tuple[list[float], list[float]]) -> bool:
    a, b = pair
    return a.index(max(a)) == b.index(max(b))


def growth(kinds: list[str], most: int) -> None:
    """Seconds of Bedside alone against items."""
    rates = train.run({"variant": "gemm"})
    dtypes = [dtype for dtype, rate in rates.items() if rate > train.EMULATED * rates["float32"]]
    print(f"types of number that this machine multiplies in: {', '.join(dtypes)}\n")
    print("| scored | items | seconds | times |\n| --- | --- | --- | --- |")
    for kind in kinds:
        counts = [most // 4, most // 2, most]
        seconds = [run({"who": "bedside", "kind": kind, "items": items})["seconds"] for items in counts]
        grown = " ".join(f"{b / a:.2f} ×" for a, b in pairwise(seconds))
        print(
            f"| {kind} | {' '.join(map(str, counts))} | {' '.join(f'{s:.1f}' for s in seconds)} | {grown} |", flush=True
        )


def run(task: dict[str, Any]) -> dict[str, Any]:
    """A task in a process of its own."""
    done = subprocess.run([sys.executable, *sys.argv, "--worker", json.dumps(task)], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{task}: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


# What follows runs in the processes.


def work(arguments: argparse.Namespace, task: dict[str, Any]) -> dict[str, Any]:
    """Log-likelihoods of every option of every item, and the seconds that they took."""
    asked = requests(arguments, task["kind"], task["items"] + WARM_UP)
    ours = task["who"] == "bedside"
    score = bedside(task.get("fp32", False)) if ours else lm_eval(task["dtype"], task["batch"])
    score(asked[:WARM_UP])
    started = time.monotonic()
    scores = score(asked[WARM_UP:])
    return {"seconds": time.monotonic() - started, "scores": scores}


def requests(arguments: argparse.Namespace, kind: str, items: int) -> list[tuple[str, list[str]]]:
    """(prompt, continuations) of each item, as `bedside evaluate` asks them of the embedded model."""
    from bedside.data.sources import read, read_choices
    from bedside.evaluate import ranked
    from bedside.evaluate.tasks import draw
    from bedside.recipe import DataSection, EvaluateSection

    recorder = Recorder()
    settings = EvaluateSection(choice_scoring="letter" if "letters" in kind else "cloze")
    if kind.startswith("options"):
        found, score = read_choices(arguments.mcq), ranked.score_choice
    else:
        found, score = list(read(DataSection(source="pubmedqa", path=str(arguments.pubmedqa)))), ranked.score_decision
    score(recorder, draw(found, items, SEED), settings, lambda n, note: None)
    return recorder.asked


class Recorder:
    """A scorer that notes what it is asked, and finds everything equally likely."""

    name = "recorder"

    def __init__(self) -> None:
        from bedside.recipe import PromptSection
        from bedside.runtime.tokenizer import load_tokenizer, renderer_of

        self.prompt = PromptSection(style="alpaca-think")
        self.tokenizer = load_tokenizer(folder(), self.prompt)
        self.renderer = renderer_of(self.tokenizer)
        self.asked: list[tuple[str, list[str]]] = []

    def prompt_text(self, messages: Any) -> str:
        return self.renderer.render(messages, generation=True)

    def likelihoods(self, asked: Any, progress: Any = None) -> list[list[Any]]:
        from bedside.runtime.backend import Likelihood

        self.asked += asked
        return [[Likelihood(0.0, 1, 1) for _ in texts] for _, texts in asked]


def folder() -> Path:
    from bedside.models import locate
    from bedside.recipe import ModelSection

    return locate.resolve(ModelSection(base="embedded")).folder


def bedside(fp32: bool) -> Any:
    """Scoring as `bedside evaluate` does it, tokenising included; in fp32, or in the type that it chooses."""
    from bedside.recipe import PromptSection
    from bedside.runtime.device import choose
    from bedside.runtime.hf import HfBackend, load_model
    from bedside.runtime.tokenizer import load_tokenizer

    section = PromptSection(style="alpaca-think")
    model = load_model(folder(), choose("fp32" if fp32 else "auto"))
    backend = HfBackend(model, load_tokenizer(folder(), section), section, "")
    return lambda asked: [[one.logprob for one in of_item] for of_item in backend.likelihoods(asked)]


def lm_eval(dtype: str, batch: int) -> Any:
    """lm-eval's own scoring of the very same tokens: its grouping of contexts, order by length, batches and padding."""
    from lm_eval.models.huggingface import HFLM

    from bedside.runtime.tokenizer import encode_completion

    model = HFLM(pretrained=str(folder()), dtype=dtype, batch_size=batch, device="cpu", trust_remote_code=False)
    tokenizer = Recorder().tokenizer

    def score(asked: list[tuple[str, list[str]]]) -> list[list[float]]:
        pairs = [
            ((prompt, text), *encode_completion(tokenizer, prompt, text)) for prompt, texts in asked for text in texts
        ]
        found = iter(model._loglikelihood_tokens(pairs, disable_tqdm=True))
        return [[next(found)[0] for _ in texts] for _, texts in asked]

    return score


if __name__ == "__main__":
    main()
