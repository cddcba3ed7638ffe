"""Material as a finished run writes it, small enough to read and with what a real run has: one task that is worse,
one with too few items, rows that were left out, answers that were cut."""

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bedside.data.stats import lengths
from bedside.evaluate.compare import counted, unmeasured
from bedside.evaluate.detail import detail
from bedside.files import write_json, write_jsonl, write_text
from bedside.recipe import EvaluateSection
from bedside.recipe_file import parse, to_toml
from bedside.records import Example
from bedside.report.material import Material
from bedside.text.chat import DECISIONS

RECIPE = parse(
    {
        "name": "smollm2-medical-o1",
        "data": {"source": "starter"},
        "prompt": {"style": "alpaca-think"},
        "train": {"max_steps": 48, "accumulation": 4, "schedule": "cosine"},
        "model": {"max_length": 512},
        "evaluate": {"tasks": ["likelihood", "rouge", "choice", "decision"], "generate_limit": 12, "max_tokens": 200},
    },
    "sample",
)
QUESTIONS = (
    "A 67-year-old man has had crushing central chest pain for two hours. His blood pressure is 84/56 mmHg, his "
    "jugular venous pressure is raised and his lungs are clear. How does this change the treatment of his low blood pressure?",
    "Which intravenous drug is first-line for torsades de pointes in a patient with a pulse?",
    "Is a permanent pacemaker indicated for this woman's conduction disorder?",
    "Where do most thrombi form in non-valvular atrial fibrillation, and why does this matter?",
    "What is the first step in a stable patient with a regular narrow-complex supraventricular tachycardia?",
)
REASONING = (
    "The low pressure with clear lungs and a raised venous pressure points to the right ventricle.\n\nLeft ventricular "
    "failure would give crackles, and tamponade would not explain regional ST elevation.\n\nSuch a ventricle depends "
    "on its filling, so anything that lowers preload will make the shock worse."
)
REFERENCE = (
    "This is a right ventricular infarction. Give cautious boluses of saline to keep up the preload, avoid nitrates "
    "and diuretics, and arrange urgent reperfusion."
)
BASE_ANSWER = "Chest pain can have many causes. It is important to see a doctor. " * 6
TUNED_ANSWER = (
    "The right ventricle is infarcted and depends on preload.\n\n1. Give intravenous fluid in small boluses.\n"
    "2. Avoid nitrates.\n3. Arrange reperfusion."
)


def material(**changes: Any) -> Material:
    """The sample; `changes` replace whole fields of it."""
    values: dict[str, Any] = {
        "recipe": RECIPE.model_dump(mode="json"),
        "base_name": "SmolLM2-135M-Instruct",
        "stats": stats(),
        "train": train(),
        "metrics": metrics(48),
        "base_scores": scores("base"),
        "tuned_scores": scores("tuned"),
        "comparison": comparison(),
        "examples": examples(),
        "files": files(),
        "parity": parity(),
        "created": "2025-11-22T14:03:00+00:00",
    }
    return Material(**{**values, **changes})


def stats() -> dict[str, Any]:
    specialties = (
        "cardiology",
        "respiratory",
        "neurology",
        "renal",
        "endocrine",
        "haematology",
        "infection",
        "surgery",
    )
    subjects = {f"{name}{suffix}": 38 - i for i, name in enumerate(specialties) for suffix in ("", " (paediatric)")}
    return {
        "read": 431,
        "kept": 412,
        "dropped": {"duplicate": 14, "empty answer": 5},
        "splits": {"train": 331, "validation": 40, "test": 41},
        "with_reasoning": 140,
        "labels": {"maybe": 34, "no": 52, "yes": 54},
        "labelled": {"train": 112, "validation": 14, "test": 14},
        "contamination": [{"set": "medqa <test>", "items": 72, "hit_items": 1, "rows": 2, "action": "drop"}],
        "other_labels": {"names": 0, "rows": 0, "all_counted": True},
        "subjects": dict(sorted(subjects.items(), key=lambda item: -item[1])),
        "other_subjects": {"names": 0, "rows": 0, "all_counted": True},
        "words": {
            "question": lengths([12 + (i * 37) % 61 + (i * i) % 23 for i in range(412)]),
            "context": lengths([40 + (i * 29) % 57 for i in range(140)]),
            "reasoning": lengths([70 + (i * 31) % 97 + (i * i) % 41 for i in range(140)]),
            "answer": lengths([9 + (i * 17) % 43 + (i * i) % 11 for i in range(412)]),
        },
    }


def train() -> dict[str, Any]:
    return {
        "steps": 48, "first_loss": 2.913, "final_loss": 2.187, "tokens_per_s": 231.4, "peak_memory_gib": 2.74,
        "trainable_parameters": 4_884_480, "total_parameters": 139_399_488, "rows": 324, "rows_too_long": 7,
        "trained_tokens": 24_310, "seconds": 1388.2, "precision": "bf16", "device": "cpu",
    }  # fmt: skip


def metrics(steps: int) -> list[dict[str, Any]]:
    return [
        {
            "step": step,
            "loss": 2.12 + 0.8 * math.exp(-step / 11) + 0.12 * math.sin(step * step * 1.7),
            "lr": 2e-4 * min(step / 6, (1 + math.cos(math.pi * step / steps)) / 2),
            "grad_norm": 0.8,
            "tokens": 620 * step,
            "seconds": 28.5 * step,
            "validation_loss": 2.24 + 0.7 * math.exp(-step / 9) + (step / 90) ** 2 if step % 8 == 0 else None,
        }
        for step in range(1, steps + 1)
    ]


def scores(side: str) -> list[dict[str, Any]]:
    tuned = side == "tuned"
    table = [
        ("choice", 72, "accuracy", 0.3056 if tuned else 0.4444, 0.11, 0, 0.25),
        ("decision", 14, "accuracy", 0.5 if tuned else 0.4286, 0.23, 0, 0.4286),
        ("likelihood", 41, "log-likelihood per token", -2.197 if tuned else -2.861, 0.12, 0, None),
        ("rouge", 12, "ROUGE-L F1", 0.214 if tuned else 0.187, 0.051, 1 if tuned else 3, None),
    ]
    return [
        {
            "task": task, "n": n, "metric": metric, "value": value, "ci": [value - half, value + half],
            "unparsed": unparsed, "baseline": baseline, "seconds": 31.0, "outcomes": {},
            "generated": {"reasoned": 9, "forced": 5, "cut": 3, "tokens": 71.5} if task == "rouge" else None,
            "detail": labelled(n, value) if task == "decision" else worded() if task == "rouge" else None,
        }
        for task, n, metric, value, half, unparsed, baseline in table
    ]  # fmt: skip


def labelled(n: int, value: float) -> dict[str, Any]:
    """Decisions of which the given share is right, the others "maybe"; those that are right are surer."""
    items, rows = [], []
    for i in range(n):
        gold, right = DECISIONS[i % 2], i < round(n * value)
        chosen = gold if right else "maybe"
        items.append(Example(str(i), "Does it work?", "", label=gold))
        chances = {name: (-0.2 - 0.01 * i if right else -0.7) if name == chosen else -2.0 for name in DECISIONS}
        rows.append({"id": str(i), "score": float(right), "chosen": chosen, "gold": gold, "scores": chances})
    found = detail("decision", items, rows, seed=42, settings=EvaluateSection())
    assert found is not None
    return json.loads(json.dumps(asdict(found)))


def worded() -> dict[str, Any]:
    bleu = {"score": 4.2, "ci": [2.1, 7.9], "n": 12, "signature": "nrefs:1|case:mixed"}
    meaning = {
        "precision": 0.71, "recall": 0.68, "f1": 0.69, "f1_ci": [0.66, 0.73], "n": 12, "cut": 1, "signature": "encoder:toy|layer:2",
    }  # fmt: skip
    return {
        "rouge_1": 0.31, "rouge_2": 0.08, "rouge_l": 0.21, "bleu": bleu, "bertscore": meaning,
        "exact_match": 0.0, "names_reference": 0.08, "words": [41.5, 63.2],
    }  # fmt: skip


def comparison(verdict: str = "worse") -> dict[str, Any]:
    table = [
        ("choice", 72, "accuracy", 0.4444, 0.3056, [-0.2222, -0.0556], 0.0063, 0.0189, 0.118, "worse"),
        ("decision", 14, "accuracy", 0.4286, 0.5, [-0.2143, 0.3571], 1.0, 1.0, 0.412, "underpowered"),
        ("likelihood", 41, "log-likelihood per token", -2.861, -2.197, [0.571, 0.762], 0.0001, 0.0004, 0.14, "better"),
        ("rouge", 12, "ROUGE-L F1", 0.187, 0.214, [-0.031, 0.088], 0.402, 0.804, 0.086, "underpowered"),
    ]
    names = ("task", "n", "metric", "base", "tuned", "ci", "p", "p_adjusted", "detectable", "verdict")
    rows = [dict(zip(names, row, strict=True)) for row in table]
    moved = {"won": ["case-1"], "lost": ["case-2", "case-<3>"]}
    tasks = [{**row, "difference": row["tuned"] - row["base"], **moved} for row in rows]
    won = {"n": 12, "won": 7, "lost": 4, "raw": 0.625, "controlled": 0.55, "ci": [0.31, 0.77], "p": 0.68}
    meaning = {
        "n": 12,
        "base": 0.66,
        "tuned": 0.69,
        "difference": 0.03,
        "ci": [-0.01, 0.06],
        "signature": "encoder:toy|layer:2",
    }
    return {
        "verdict": verdict, "tasks": with_counts(tasks), "win_rate": won, "bertscore": meaning, "left_out": [],
        "unmeasured": unmeasured([row["task"] for row in rows]),
    }  # fmt: skip


def with_counts(tasks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    counts = counted([row["task"] for row in tasks], [row["verdict"] for row in tasks])
    return [{**row, "counted": one} for row, one in zip(tasks, counts, strict=True)]


def examples() -> list[dict[str, Any]]:
    return [
        example(f"case-{i}", question, context="She takes no drugs." * (i == 2)) for i, question in enumerate(QUESTIONS)
    ]


def example(id_: str, question: str, **changes: Any) -> dict[str, Any]:
    values = {
        "id": id_,
        "question": question,
        "context": "",
        "reference": REFERENCE,
        "reference_reasoning": REASONING,
        "base": {"reasoning": "", "answer": BASE_ANSWER.strip(), "finish": "length"},
        "tuned": {"reasoning": REASONING, "answer": TUNED_ANSWER, "finish": "stop"},
        "nearest": {"id": "train-7", "question": "What swells?", "answer": "The leg.", "overlap": 0.31},
        "rouge_base": 0.112,
        "rouge_tuned": 0.318,
    }
    return {**values, **changes}


def files() -> list[dict[str, Any]]:
    return [
        {
            "path": "gguf/smollm2-medical-o1-q8_0.gguf",
            "quantisation": "q8_0",
            "bytes": 144_811_904,
            "sha256": "5f" * 32,
        },
        {
            "path": "gguf/smollm2-medical-o1-q4_k_m.gguf",
            "quantisation": "q4_k_m",
            "bytes": 105_454_144,
            "sha256": "a3" * 32,
        },
    ]


def parity(**changes: Any) -> dict[str, Any]:
    served = {"kl_mean": 3.97e-3, "top1_agreement": 0.956}
    measured = {
        "adapter": agreement(kl_mean=1.2e-7),
        "plain": agreement(),
        "q8_0": agreement(**served, perplexity_ratio=1.004, items=24, flips=1),
    }
    found = {"ok": True, "tokens_equal": True, "greedy_equal": True, **served, "compared": 64, "left_out": 0}
    return {**found, "findings": [], "measured": measured, **changes}


def agreement(**changes: Any) -> dict[str, Any]:
    found = {"places": 3_412, "kl_mean": 4.8e-6, "top1_agreement": 1.0, "top1_ties": 0, "perplexity_ratio": 1.0}
    return {**found, "items": 0, "flips": 0, "first_difference": None, **changes}


def write_run(folder: Path) -> Material:
    """Writes the sample as the stages of a run; returns what `collect` should read back."""
    sample = material()
    write_text(folder / "recipe.toml", to_toml(RECIPE))
    for stage in ("data", "adapter", "evaluation/base", "evaluation/tuned", "comparison", "export"):
        write_json(folder / stage / "manifest.json", {"stage": stage, "created": sample.created})
    write_json(folder / "data/report.manifest.json", {"stage": "data/report", "created": sample.created})
    write_json(folder / "data/stats.json", sample.stats)
    write_json(folder / "adapter/train.json", sample.train)
    write_jsonl(folder / "adapter/metrics.jsonl", sample.metrics)
    for side, tasks in (("base", sample.base_scores), ("tuned", sample.tuned_scores)):
        write_json(folder / f"evaluation/{side}/scores.json", {"model": sample.base_name, "tasks": tasks})
        write_jsonl(folder / f"evaluation/{side}/rouge.jsonl", [answered(one, side) for one in sample.examples])
    write_json(folder / "comparison/comparison.json", sample.comparison)
    write_json(folder / "comparison/nearest.json", {one["id"]: one["nearest"] for one in sample.examples})
    write_json(folder / "export/export.json", {"files": sample.files, "parity": sample.parity})
    return sample


def answered(one: dict[str, Any], side: str) -> dict[str, Any]:
    asked = {name: one[name] for name in ("id", "question", "context", "reference", "reference_reasoning")}
    return {**asked, **one[side], "score": one[f"rouge_{side}"]}
