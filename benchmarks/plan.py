"""What `bedside plan` says beside what `bedside train` then measures: peak memory and time, a fresh process each.

    python benchmarks/plan.py [--case 256 1024 2048 nf4 peft checkpointing] [--steps 3]

Rows are made-up case vignettes that all but fill `model.max_length`, on the embedded model, one row a step. Time is
planned with `--calibrate`, immediately before the training that it is compared with.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from duplicates import vignette

from bedside.models import locate
from bedside.recipe import ModelSection, PromptSection
from bedside.runtime.tokenizer import encode, load_tokenizer

PROMPT_TOKENS = 60
CASES: dict[str, dict[str, Any]] = {
    "256": {"model.max_length": 256},
    "1024": {"model.max_length": 1024},
    "2048": {"model.max_length": 2048},
    "nf4": {"model.max_length": 1024, "model.quantise": "nf4"},
    "nf4, kept": {"model.max_length": 1024, "model.quantise": "nf4", "train.checkpointing": "off"},
    "peft": {"model.max_length": 1024, "train.step": "peft"},
    "checkpointing": {"model.max_length": 2048, "train.checkpointing": "on"},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--case", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--steps", type=int, default=3)
    arguments = parser.parse_args()
    print("| case | step | planned GiB | peak GiB | ratio | planned s | took s | ratio | load |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for case in arguments.case:
        with tempfile.TemporaryDirectory() as folder:
            planned, trained = measured(Path(folder), CASES[case], arguments.steps)
        memory = planned["memory_gib"] / trained["peak_memory_gib"]
        seconds = planned["seconds_estimate"] / trained["seconds"]
        print(f"| {case} | {planned['step']} | {planned['memory_gib']:.2f} | {trained['peak_memory_gib']:.2f}", end="")
        print(f" | {memory:.2f} | {planned['seconds_estimate']:.1f} | {trained['seconds']:.1f}", end="")
        print(f" | {seconds:.2f} | {os.getloadavg()[0]:.1f} |", flush=True)


def measured(folder: Path, case: dict[str, Any], steps: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """What was planned for a case, and what training it gave."""
    write_rows(folder / "rows.jsonl", case["model.max_length"])
    settings = {
        "data.source": "flashcards",
        "data.path": folder / "rows.jsonl",
        "data.split": [0.5, 0.25, 0.25],
        "data.near_duplicates": 1.0,
        "prompt.reasoning": "none",
        "train.batch_size": 1,
        "train.accumulation": 1,
        "train.max_steps": steps,
        "train.validate_every": 0,
        "evaluate.tasks": ["likelihood"],
        **case,
    }
    overrides = [f"{name}={json.dumps(value, default=str)}" for name, value in settings.items()]
    bedside("data", overrides, folder)
    return bedside("plan", [*overrides, "--calibrate"], folder), bedside("train", overrides, folder)


def bedside(command: str, arguments: list[str], runs: Path) -> dict[str, Any]:
    """A command's JSON, from a process of its own."""
    line = [sys.executable, "-m", "bedside", command, "smollm2-flashcards", *arguments, "--runs", str(runs), "--json"]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(line)}\n{done.stderr[-2000:]}")
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def write_rows(path: Path, max_length: int) -> None:
    """A dozen rows whose prompt and answer have about as many tokens as they may."""
    tokenizer = load_tokenizer(locate.resolve(ModelSection()).folder, PromptSection())
    draw = random.Random(1)
    rows = []
    for number in range(12):
        text = " ".join(vignette(draw) for _ in range(max_length // 40))
        ids = encode(tokenizer, text)[: max_length - PROMPT_TOKENS]
        answer = tokenizer.decode(ids)
        rows.append({"instruction": "Answer", "input": f"What is known of case {number}?", "output": answer})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


if __name__ == "__main__":
    main()
