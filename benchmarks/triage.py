"""How often the triage of `bedside.guard` sees an emergency, and how often it sees one in a question about a topic.

    python benchmarks/triage.py --data FOLDER [--show HALF|NAME]

FOLDER holds safety/triage_vignettes.jsonl (clinicaflow, synthetic, 160 rows), mcq/medqa_train_dev.jsonl and
flashcards/. A vignette is written out as prose first. Its half is chosen by a hash of its id: the rules were mended on
the half "dev"; of the other only the rates were looked at. Most rows of both had been read when the words were
gathered, so the other half is no unseen test. Only five of the 160 need no escalation, so precision says little there:
what the rules raise without need is told by the questions about topics. "In scope" are vignettes of the categories that
the rules know; bleeding from the gut, syncope and obstetrics are not among them.
"""

import argparse
import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from bedside.files import read_jsonl
from bedside.guard import reading
from bedside.guard.rules import rules
from bedside.guard.triage import triage
from bedside.metrics.paired import wilson

SCOPE = {"cardiopulmonary", "neurologic", "hypoxemia", "hemodynamic", "sepsis"}
VITALS = {
    "heart_rate": "HR {}",
    "temperature_c": "temp {} °C",
    "spo2": "SpO2 {} %",
    "respiratory_rate": "RR {}",
}
Row = Mapping[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--show", choices=["dev", "other", "flashcards", "medqa"])
    chosen = parser.parse_args()
    rows = read(chosen.data / "safety/triage_vignettes.jsonl")
    asked = questions(chosen.data)
    print(f"| {'what':44} | flagged | of | rate | 95 % interval |\n|{' --- |' * 5}")
    for half in ("dev", "other"):
        vignettes(half, [row for row in rows if half_of(row) == half])
    for name, texts in asked.items():
        told(name, sum(bool(triage(text)) for text in texts), len(texts))
    for name, texts in asked.items():
        print(f"\n{name}, by rule:", dict(Counter(flag.rule for text in texts for flag in triage(text)).most_common()))
    if chosen.show in ("dev", "other"):
        missed([row for row in rows if half_of(row) == chosen.show])
    elif chosen.show:
        texts = [text for name, some in asked.items() if name.startswith(chosen.show) for text in some]
        for text in texts:
            for flag in triage(text):
                print(f"\n{flag.rule} {flag.matched}: {text}")


def vignettes(half: str, rows: list[Row]) -> None:
    needed = [row for row in rows if row["labels"]["gold_escalation_required"]]
    scope = [row for row in needed if SCOPE & set(row["labels"]["gold_red_flag_categories"])]
    critical = [row for row in scope if row["labels"]["gold_risk_tier"] == "critical"]
    raised = [row for row in rows if triage(prose(row))]
    told(f"{half}: sensitivity, all", hits(needed), len(needed))
    told(f"{half}: sensitivity, in scope", hits(scope), len(scope))
    told(f"{half}: sensitivity, in scope and critical", hits(critical), len(critical))
    told(f"{half}: precision", sum(row in needed for row in raised), len(raised))
    told(f"{half}: flagged though routine", hits(row for row in rows if row not in needed), len(rows) - len(needed))


def hits(rows: Iterable[Row]) -> int:
    return sum(bool(triage(prose(row))) for row in rows)


def missed(rows: Iterable[Row]) -> None:
    for row in rows:
        text, labels = prose(row), row["labels"]
        if bool(triage(text)) != labels["gold_escalation_required"]:
            print(f"\n{labels['gold_risk_tier']} {labels['gold_red_flag_categories']}: {text}")
            print(f"  {reading.read(text, rules())}")


def told(name: str, flagged: int, n: int) -> None:
    low, high = wilson(flagged, n)
    print(f"| {name:44} | {flagged} | {n} | {flagged / n:.3f} | {low:.3f} to {high:.3f} |")


def half_of(row: Row) -> str:
    return "dev" if hashlib.sha256(str(row["id"]).encode()).digest()[0] % 2 else "other"


def prose(row: Row) -> str:
    """A vignette as somebody would type it."""
    said = row["input"]
    person = said["demographics"]
    text = f"{person['age']}-year-old {person['sex']}. {said['chief_complaint'].rstrip('.')}. {said['history']}"
    vitals = [form.format(said["vitals"][name]) for name, form in VITALS.items() if name in said["vitals"]]
    systolic, diastolic = (said["vitals"].get(f"{name}_bp") for name in ("systolic", "diastolic"))
    if systolic:
        vitals.insert(0, f"BP {systolic}/{diastolic}" if diastolic else f"systolic BP {systolic}")
    return f"{text} {', '.join(vitals)}.".strip()


def read(file: Path) -> list[Row]:
    return [row for _, row in read_jsonl(file)]


def questions(data: Path) -> dict[str, list[str]]:
    files = [data / "flashcards" / name for name in ("wikidoc_patient.jsonl", "medquad_short.jsonl")]
    cards = [str(row["input"]) for file in files for row in read(file)]
    medqa = [str(row["question"]) for row in read(data / "mcq/medqa_train_dev.jsonl")]
    people = rules().topic.person
    return {
        "flashcards: questions about a topic": sorted(set(cards)),
        "medqa: without a person in it": [text for text in medqa if not people.search(text.casefold())],
        "medqa: with a person, many of them acutely ill": [text for text in medqa if people.search(text.casefold())],
    }


if __name__ == "__main__":
    main()
