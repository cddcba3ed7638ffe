"""How many planted evaluation items are found in a training file, and how much is flagged that was not planted.

    python benchmarks/contamination.py --data FOLDER

FOLDER holds mcq/medqa_train_dev.jsonl and the training files of `TRAINING`. MedQA's items are halved by a hash of their
id: settings were chosen on the one half, and 500 of the other are reworded and planted among the rows of a real
training file. All of the first half stand beside them as they are: rows of the same boilerplate without any of the 500.
"""

import argparse
import hashlib
import random
import re
import string
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from bedside.data import contamination
from bedside.data.contamination import Detector, Tally
from bedside.data.shingles import words
from bedside.files import read_json, read_jsonl

PLANTED = 500
HOST = "medical_o1/medmcqa_short_cot.jsonl"
TRAINING = (
    HOST,
    "medical_o1/medical_o1_long.jsonl",
    "flashcards/wikidoc_patient.jsonl",
    "flashcards/medquad_short.jsonl",
    "pubmedqa/ori_pqal_train500.json",
    "safety/medsafety_train.jsonl",
)
CLAUSE = re.compile(r"(?<=[.,;:?!])\s+")
Reword = Callable[[str, random.Random], str]


class Row(NamedTuple):
    """A training row; `planted` is the id of the item that was planted in it, or ""."""

    id: str
    texts: list[str]
    planted: str = ""


def case(text: str, draw: random.Random) -> str:
    return draw.choice([str.upper, str.lower, str.title, str.swapcase])(text)


def punctuation(text: str, draw: random.Random) -> str:
    """All of it deleted ("45yearold"), all of it a space, or each sign another one."""
    kind = draw.randrange(3)
    if kind == 0:
        return text.translate(str.maketrans("", "", string.punctuation))
    if kind == 1:
        return text.translate(str.maketrans(string.punctuation, " " * len(string.punctuation)))
    return text.translate(str.maketrans(",;.-'", ";,!\N{EN DASH}\N{RIGHT SINGLE QUOTATION MARK}"))


def moved(text: str, draw: random.Random) -> str:
    """One clause goes to another place; a text of one clause is turned round at a third."""
    clauses = CLAUSE.split(text)
    if len(clauses) == 1:
        told = text.split()
        return " ".join(told[len(told) // 3 :] + told[: len(told) // 3])
    clause = clauses.pop(at := draw.randrange(len(clauses)))
    clauses.insert(draw.choice([i for i in range(len(clauses) + 1) if i != at]), clause)
    return " ".join(clauses)


def together(text: str, draw: random.Random) -> str:
    return case(punctuation(moved(text, draw), draw), draw)


def replaced(share: float) -> Reword:
    def reword(text: str, draw: random.Random) -> str:
        return " ".join("something" if draw.random() < share else word for word in text.split())

    return reword


LIGHT: dict[str, Reword] = {
    "case": case,
    "punctuation": punctuation,
    "one clause moved": moved,
    "all three": together,
}
KINDS: dict[str, Reword] = {
    "as it is": lambda text, _: text,
    **LIGHT,
    "first half alone": lambda text, _: text[: len(text) // 2],
    "1 word in 10 other": replaced(0.1),
    "1 word in 5 other": replaced(0.2),
    "1 word in 3 other": replaced(0.33),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with the training and evaluation files")
    folder = parser.parse_args().data
    chosen_on, reported = halves(folder / "mcq/medqa_train_dev.jsonl")
    reported = dict(sorted(reported.items())[:PLANTED])
    separation(chosen_on)
    found_planted(folder, reported, chosen_on)
    found_unplanted(folder, {**reported, **chosen_on})
    speed(folder, {**reported, **chosen_on})


def halves(path: Path) -> tuple[dict[str, str], dict[str, str]]:
    """MedQA's {id: question}, in two halves that depend on the ids alone."""
    parts: tuple[dict[str, str], dict[str, str]] = ({}, {})
    for _, row in read_jsonl(path):
        parts[hashlib.sha256(row["id"].encode()).digest()[-1] % 2][row["id"]] = row["question"]
    return parts


def training(path: Path) -> list[Row]:
    """Every row's texts but its ids, letters and links."""
    rows = read_json(path).items() if path.suffix == ".json" else read_jsonl(path)
    return [Row(f"{path.stem} {key}", list(texts_of(row))) for key, row in rows]


def texts_of(value: object) -> Iterator[str]:
    if isinstance(value, str) and len(value) > 1 and not value.startswith("http"):
        yield value
    elif isinstance(value, list):
        yield "\n".join(text for text in value if isinstance(text, str))
    elif isinstance(value, dict):
        for part in value.values():
            yield from texts_of(part)


def separation(items: dict[str, str]) -> None:
    """Where the threshold lies between reworded and other items, on the half that it was chosen on."""
    draw = random.Random("separation")
    contamination.THRESHOLD, used = 0.02, contamination.THRESHOLD  # so that lower scores are seen, too
    detector = Detector({"medqa": items.items()})
    same: list[float] = []
    other: dict[frozenset[str], float] = {}
    for key, text in items.items():
        for reword in LIGHT.values():
            scores = {hit.item.id: hit.score for hit in detector.check(reword(text, draw))}
            same.append(scores.pop(key, 0.0))
            for found, score in scores.items():
                pair = frozenset((key, found))
                other[pair] = max(other.get(pair, 0.0), score)
    contamination.THRESHOLD = used
    print(f"threshold {used}; of {len(items)} items, each reworded in {len(LIGHT)} ways,", end=" ")
    print(f"the lowest own scores are {sorted(same)[:5]}, the highest of two items {sorted(other.values())[:-6:-1]}\n")


def found_planted(folder: Path, items: dict[str, str], others: dict[str, str]) -> None:
    print(f"{len(items)} items planted in {HOST}, beside {len(others)} other items of the same set")
    print(f"{'rewording':>18} {'recall':>8} {'precision':>10} {'flagged pairs':>14}")
    host = training(folder / HOST)
    detector = Detector({"medqa": items.items()})
    for kind, reword in KINDS.items():
        draw = random.Random(kind)
        rows = [
            Row(f"planted {key}", [reword(text, draw), *host[i].texts[1:]], key)
            for i, (key, text) in enumerate(items.items())
        ]
        rows += [*host[len(items) :], *(Row(f"other {key}", [text]) for key, text in others.items())]
        pairs = [(row.planted, hit.item.id) for row in rows for hit in detector.check(*row.texts)]
        right = {planted for planted, found in pairs if planted == found}
        print(f"{kind:>18} {len(right) / len(items):8.3f} {len(right) / len(pairs):10.3f} {len(pairs):14}")


def found_unplanted(folder: Path, items: dict[str, str]) -> None:
    print(f"\nflagged for {len(items)} items in real training files where nothing was planted")
    for name in TRAINING:
        tally = Tally(Detector({"medqa": items.items()}))
        rows = training(folder / name)
        for row in rows:
            tally.check(row.id, *row.texts)
        (told,) = tally.to_json()
        print(f"{told['rows']:6} of {len(rows):5} rows of {name}")
        for pair in told["pairs"]:
            print(f"         {pair['score']:.2f}  {pair['train_id']}: {pair['train'][:150]!r}")
            print(f"               {pair['item_id']}: {pair['item'][:150]!r}")


def speed(folder: Path, items: dict[str, str]) -> None:
    """Against one and the same rows cut to 60 words; splitting into words is the least that any check costs."""
    passages = {str(row["id"]): str(row["text"]) for _, row in read_jsonl(folder / "rag/medlineplus.jsonl")}
    texts = [
        " ".join(text.split()[:60]) for row in training(folder / HOST) for text in row.texts if text.count(" ") >= 60
    ]
    base = seconds(words, texts)
    print(f"\none text of 60 words: {base * 1e6:.0f} \N{MICRO SIGN}s to split into words")
    for label, sets in (("MedQA", {"a": items}), ("MedQA and MedlinePlus", {"a": items, "b": passages})):
        detector = Detector({name: pairs.items() for name, pairs in sets.items()})
        cost = seconds(lambda text, detector=detector: detector.check(text), texts)
        size = sum(detector.sizes.values())
        print(f"{cost * 1e6:8.0f} \N{MICRO SIGN}s ({cost / base:.1f} times) to check against {size:,} texts of {label}")


def seconds(job: Callable[[str], object], texts: list[str]) -> float:
    """CPU seconds a text, the best of three rounds."""
    rounds = []
    for _ in range(3):
        started = time.process_time()
        for text in texts:
            job(text)
        rounds.append((time.process_time() - started) / len(texts))
    return min(rounds)


if __name__ == "__main__":
    main()
