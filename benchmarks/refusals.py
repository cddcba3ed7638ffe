"""How often the rules of `bedside.evaluate.safety` are wrong about whether an answer refuses.

    python benchmarks/refusals.py --data FOLDER [--xstest FOLDER]

FOLDER of --data holds safety/medsafety_train.jsonl and the files of `ANSWERS`. Positives: its 900 safe answers, of
which 100 drawn by seed were read and labelled by hand (refusals_labels.jsonl). Nearly all begin alike, so they are
judged again without their apology, and without their first sentence, when a lecture is left. Negatives: answers to
questions that nobody would refuse, and the starter set's. Models' own answers to requests of that file, drawn by seed,
are in refusals_smollm2.jsonl: the first 72 tokens of SmolLM2-135M-Instruct (Q4_1, greedy), labelled by hand before they
were judged; one rule was written after the first forty ("seen"), none after the others. FOLDER of --xstest holds
model_completions/ of github.com/paul-rottger/exaggerated-safety (Röttger 2023, arXiv:2308.01263, CC BY 4.0), labelled
by people; openings of 40 of its rows were seen before the rules were settled.
"""

import argparse
import csv
import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from bedside.data import sources
from bedside.evaluate.safety import judge, refuses, requests
from bedside.files import read_jsonl
from bedside.metrics.paired import wilson
from bedside.recipe import DataSection

HERE = Path(__file__).parent
TRICKY = HERE.parent / "tests" / "evaluate" / "answers_to_judge.jsonl"
SMOLLM2 = HERE / "refusals_smollm2.jsonl"
LABELS = HERE / "refusals_labels.jsonl"
ANSWERS = {
    "flashcards/wikidoc_patient.jsonl": "output",
    "flashcards/medquad_short.jsonl": "output",
    "medical_o1/medical_o1_long.jsonl": "Response",
    "medical_o1/medmcqa_short_cot.jsonl": "Response",
}
Labelled = tuple[str, bool]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--xstest", type=Path)
    chosen = parser.parse_args()
    safe = [item.answer for item in requests(str(chosen.data / "safety/medsafety_train.jsonl"))]
    plain = list(negatives(chosen.data))
    print(f"| {'answers':47} | refusals | others | precision | recall |\n|{' --- |' * 5}")
    row("written to be tricky (the rules were chosen on them)", tricky())
    row("100 labelled by hand, and the others", [*labelled(safe), *plain])
    row("all 900 safe answers, and the others", [*((text, True) for text in safe), *plain])
    row("the 900 without their apology", [*((unapologetic(text), True) for text in safe), *plain])
    row("the 900 without their first sentence", [(rest, True) for text in safe if (rest := lecture(text))])
    row("SmolLM2-135M, seen when the rules were made", generated(seen=True))
    row("SmolLM2-135M, not seen", generated(seen=False))
    if chosen.xstest:
        for file in sorted(chosen.xstest.glob("*completions*.csv")):
            row(file.stem, list(xstest(file)))
    print("\nrules that spoke:", dict(Counter(judge(text).how for text in safe).most_common()))


def row(name: str, answers: Iterable[Labelled]) -> None:
    """One line of the table, with Wilson's intervals."""
    counts = Counter((refuses(text), refused) for text, refused in answers)
    hits, false, missed = counts[True, True], counts[True, False], counts[False, True]
    print(
        f"| {name:47} | {hits + missed} | {false + counts[False, False]} "
        f"| {share(hits, hits + false)} | {share(hits, hits + missed)} |"
    )


def share(hits: int, n: int) -> str:
    low, high = wilson(hits, n)
    return f"{hits}/{n} = {hits / n:.3f} ({low:.3f} to {high:.3f})"


def tricky() -> list[Labelled]:
    return [(row["text"], row["label"] == "refused") for _, row in read_jsonl(TRICKY)]


def generated(seen: bool) -> list[Labelled]:
    return [(row["answer"], row["label"] == "refused") for _, row in read_jsonl(SMOLLM2) if row["seen"] == seen]


def labelled(safe: list[str]) -> Iterator[Labelled]:
    """The hand-labelled answers, found by row and proved to be the same by hash."""
    for _, label in read_jsonl(LABELS):
        text = safe[label["row"] - 1]
        if hashlib.sha256(text.encode()).hexdigest()[:16] != label["sha256"]:
            raise SystemExit(f"{LABELS}: row {label['row']} is not the answer that was labelled; use the same file")
        yield text, label["label"] == "refused"


def negatives(folder: Path) -> Iterator[Labelled]:
    for name, column in ANSWERS.items():
        yield from ((str(row[column]), False) for _, row in read_jsonl(folder / name))
    yield from ((example.answer, False) for example in sources.read(DataSection(source="starter")))


def unapologetic(text: str) -> str:
    rest = re.sub(r"^I'm sorry, but ", "", text)
    return rest[:1].upper() + rest[1:]


def lecture(text: str) -> str:
    """What follows the first sentence; "" if nothing does."""
    return "".join(re.split(r"(?<=[.!?])\s+", text, maxsplit=1)[1:])


def xstest(path: Path) -> Iterator[Labelled]:
    """A partial refusal is no refusal, as in the score."""
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            yield row["completion"], row["final_label"] == "2_full_refusal"


if __name__ == "__main__":
    main()
