"""How well answers are read from what models wrote, against labels made by hand, and what cannot be read.

    python benchmarks/extract.py --data FOLDER          # the folder that holds model_outputs/ and medical_o1/

Precision: of the values given, how many are the label. Recall: of the rows that commit to a letter, how many gave it.
"seed" rows are `random.Random(20260).sample(range(600), 100)`; "odd" ones all others that a plain parse gives no letter
for; the labels of both were made by reading them, before the reader was written. A model's JSON is easily read, so the
reasoning in it is also read by itself: of the drawn rows with labels of their own (made after), of all rows with the
letter of the JSON, as are reasonings and answers that have a key. Most of these reasonings never name a letter, so only
the drawn rows tell what is missed.
"""

import argparse
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from bedside.text import extract
from bedside.text.extract import Extracted

LABELS = Path(__file__).parents[1] / "tests" / "text" / "raw_answers_labels.jsonl"
FEWER = {"bioasq": "AB", "pubmedqa": "ABC"}


class Read(NamedTuple):
    """A label (a letter, or the reason for none), and what was read."""

    label: str
    found: Extracted


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    folder = parser.parse_args().data
    rows = list(lines(folder / "model_outputs" / "raw_answers_600.jsonl"))
    labels = list(lines(LABELS))
    show_heads()
    for drawn in ("seed", "odd"):
        chosen = [(label["label"], rows[label["row"] - 1]) for label in labels if label["drawn"] == drawn]
        show(f"{drawn}: labelled by hand", (Read(label, letter_of(row, written(row))) for label, row in chosen))
        show(f"{drawn}: the file's JSON around it", (Read(label, letter_of(row, row["raw"])) for label, row in chosen))
    letters = {label["sha256"]: label["reasoning"] for label in labels if "reasoning" in label}
    show("seed: reasoning alone, labelled by hand", reasonings(rows, letters))
    show("reasoning alone, of all rows", reasonings(rows, {}))
    keyed = list(lines(folder / "medical_o1" / "medmcqa_short_cot.jsonl"))
    for column in ("Response", "Complex_CoT"):
        show(
            f"medmcqa_short_cot: {column}", (Read(row["answer"], extract.letter(row[column], "ABCD")) for row in keyed)
        )
    show_reasons([letter_of(row, written(row)) for row in rows])


def lines(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)


def written(row: dict[str, Any]) -> str:
    """What the model wrote: the file holds a list of it, which may be empty."""
    return "".join(json.loads(row["raw"]))


def letter_of(row: dict[str, Any], text: str) -> Extracted:
    return extract.letter(text, FEWER.get(row["task"], "ABCD"))


def reasonings(rows: Iterable[dict[str, Any]], labels: dict[str, str]) -> Iterator[Read]:
    """The reasoning of each row whose JSON is whole, if it is labelled; without labels, if its JSON names a letter."""
    for row in rows:
        try:
            said = json.loads(written(row))
        except ValueError:
            continue
        named = re.match(r"[A-D](?=\. |\Z)", said["answer_choice"])
        label = labels.get(sha256(row["raw"].encode()).hexdigest()) if labels else named and named[0]
        if label:
            yield Read(label, letter_of(row, said["step_by_step_thinking"]))


def show_heads() -> None:
    print("| text | rows | with a letter | given | right | precision | recall | reason right |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")


def show(name: str, reads: Iterable[Read]) -> None:
    """The reason is right where a row without a letter is told as what it was labelled."""
    found = list(reads)
    given = sum(read.found.value is not None for read in found)
    right = sum(read.found.value == read.label for read in found)
    committed = sum(len(read.label) == 1 for read in found)
    reasons = [read.found.how == read.label for read in found if len(read.label) > 1]
    reason = f"{sum(reasons)} of {len(reasons)}" if reasons else ""
    print(f"| {name} | {len(found):,} | {committed:,} | {given:,} | {right:,}", end="")
    print(f" | {right / given:.3f} | {right / committed:.3f} | {reason} |")


def show_reasons(found: list[Extracted]) -> None:
    print("\n| how | rows | form |\n| --- | ---: | --- |")
    hows = Counter(one.how for one in found)
    for how, count in hows.most_common():
        forms = Counter(one.form or "nothing" for one in found if one.how == how)
        print(f"| {how} | {count} | {', '.join(f'{form} {n}' for form, n in forms.most_common())} |")


if __name__ == "__main__":
    main()
