"""What near duplicates cost as rows grow, and how many are found, against brute force on the first rows.

    python benchmarks/duplicates.py [--rows 1000 10000 100000] [--threshold 0.8]

Rows are made-up case vignettes of about 90 words. One in ten is a copy of an earlier one: reordered, in capitals, or
with up to a tenth of its words replaced, so that some copies are near duplicates and some just are not. Precision
and recall look at the first rows only; since a row is compared with earlier ones alone, they are the same in any run.
"""

import argparse
import random
import re
import resource
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from tempfile import TemporaryFile
from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_array

from bedside.data.near import Near, near_duplicates
from bedside.data.shingles import shingles, words

CHECKED = 3_000
COPIES = 0.1
PARTS: dict[str, tuple[str, ...]] = {
    "who": ("man", "woman", "retired nurse", "farmer", "student", "pregnant woman", "carpenter", "bus driver", "child"),
    "place": ("the emergency department", "a clinic", "her general practice", "the ward", "a travel clinic", "triage"),
    "complaint": (
        "crushing chest pain", "a dry cough", "painless jaundice", "swelling of both legs", "sudden loss of vision",
        "burning on urination", "a thunderclap headache", "bloody diarrhoea", "night sweats", "a spreading rash",
        "shortness of breath on stairs", "double vision", "a painful red knee", "tremor at rest", "vomiting of blood",
        "numb fingers", "a lump in the neck", "fits of anger", "palpitations", "back pain that wakes the patient",
    ),
    "since": ("for two hours", "for three days", "for six weeks", "since childhood", "after a flight", "on and off"),
    "history": (
        "type 2 diabetes", "atrial fibrillation", "asthma", "gout", "coeliac disease", "sickle cell trait", "epilepsy",
        "chronic hepatitis B", "a renal transplant", "hypothyroidism", "rheumatoid arthritis", "peptic ulcer disease",
    ),
    "drug": (
        "metformin", "warfarin", "salbutamol", "allopurinol", "prednisolone", "levothyroxine", "lamotrigine",
        "amlodipine", "tacrolimus", "methotrexate", "omeprazole", "sertraline", "lithium", "ramipril", "simvastatin",
    ),
    "sign": (
        "a pansystolic murmur", "bilateral basal crackles", "shifting dullness", "a positive straight leg raise",
        "absent ankle reflexes", "spider naevi", "a fine tremor", "clubbing of the fingers", "neck stiffness",
        "a pulsatile abdominal mass", "pitting oedema", "a relative afferent pupillary defect", "tender hepatomegaly",
    ),
    "test": (
        "Serum sodium", "Haemoglobin", "Platelet count", "Serum creatinine", "C-reactive protein", "Lactate",
        "Serum potassium", "Alanine aminotransferase", "Thyroid stimulating hormone", "Ferritin", "Corrected calcium",
    ),
    "scan": (
        "Chest radiography shows a left pleural effusion", "Ultrasound shows gallstones and a dilated duct",
        "An electrocardiogram shows irregular narrow complexes", "Computed tomography shows a crescent of blood",
        "Echocardiography shows a thickened septum", "A blood film shows target cells and Howell-Jolly bodies",
        "Lumbar puncture yields cloudy fluid", "Endoscopy shows a clean-based ulcer", "Spirometry shows obstruction",
    ),
    "question": (
        "Which of the following is the most likely diagnosis?", "What is the most appropriate next step in management?",
        "Which drug should be stopped first?", "Which finding would confirm the diagnosis?",
        "What is the mechanism of the treatment of choice?", "Which complication is this patient most at risk of?",
    ),
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--threshold", type=float, default=0.8)
    arguments = parser.parse_args()
    print(f"{'rows':>8} {'seconds':>8} {'CPU s':>8} {'µs a row':>9} {'/ first line':>13} {'peak MiB':>9}", end="")
    print(f" {'bytes a further row':>20} {'found':>7} {'recall':>7} {'precision':>10}", end="")
    print(f"   (the last two of the first {CHECKED:,} rows)")
    first: Line | None = None
    with ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1) as fresh:  # a peak is a process's
        for count in arguments.rows:
            line = fresh.submit(measured, count, arguments.threshold).result()
            first = first or line
            show(line, first)
            job = fresh.submit(
                judged, line.found, min(count, CHECKED), arguments.threshold
            )  # a child starts at our peak
            recall, precision = job.result()
            print(f" {len(line.found):7,} {recall:7.3f} {precision:10.3f}", flush=True)


class Line(NamedTuple):
    """What a run took, and what it found; the peak is the process's, in bytes."""

    rows: int
    seconds: float
    cpu: float
    peak: int
    found: list[Near]


def show(line: Line, first: Line) -> None:
    """Time as a ratio to the first line's, memory as what each row beyond the first line's has added."""
    a_row, ratio = line.cpu / line.rows, line.cpu / line.rows / (first.cpu / first.rows)
    further = f"{(line.peak - first.peak) / (line.rows - first.rows):,.0f}" if line is not first else ""
    print(f"{line.rows:8,} {line.seconds:8.1f} {line.cpu:8.1f} {1e6 * a_row:9.1f} {ratio:13.2f}", end="")
    print(f" {line.peak / 2**20:9,.0f} {further:>20}", end="")


def measured(count: int, threshold: float) -> Line:
    """Making the rows is not counted."""
    with TemporaryFile("w+", encoding="utf-8") as file:
        file.writelines(f"{row}\n" for row in rows(count))
        file.seek(0)
        seconds, cpu = time.perf_counter(), time.process_time()
        found = list(near_duplicates(((row,) for row in file), threshold))
        seconds, cpu = time.perf_counter() - seconds, time.process_time() - cpu
    return Line(count, seconds, cpu, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, found)


def rows(count: int, seed: int = 1) -> Iterator[str]:
    """The same rows in every run; the copies are of one of the last thousand."""
    draw = random.Random(seed)
    recent: list[str] = []
    for _ in range(count):
        row = edited(draw.choice(recent), draw) if recent and draw.random() < COPIES else vignette(draw)
        recent = [*recent[-999:], row]
        yield row


def vignette(draw: random.Random) -> str:
    some = {name: draw.sample(options, min(3, len(options))) for name, options in PARTS.items()}
    number = draw.randint
    labs = "; ".join(f"{name.lower()} {number(1, 400)}" for name in some["test"][1:])
    sentences = [
        f"A {number(1, 95)}-year-old {some['who'][0]} comes to {some['place'][0]}"
        f" with {some['complaint'][0]} and {some['complaint'][1]} {some['since'][0]}.",
        f"The history holds {some['history'][0]} and {some['history'][1]},"
        f" treated with {some['drug'][0]} {number(1, 80)} mg and {some['drug'][1]}.",
        f"Blood pressure is {number(80, 200)}/{number(40, 110)} mm Hg, pulse {number(40, 160)}, temperature"
        f" {number(350, 410) / 10} degrees.",
        f"There is {some['sign'][0]}, {some['sign'][1]}, but no {some['sign'][2]};"
        f" the patient denies {some['complaint'][2]}.",
        f"{some['test'][0]} is {number(1, 400)}; {labs}.",
        f"{some['scan'][0]}, and {some['scan'][1].lower()}.",
    ]
    draw.shuffle(sentences)
    return " ".join([*sentences, some["question"][0]])


def edited(row: str, draw: random.Random) -> str:
    """A copy whose similarity lies between about 0.5 and 1."""
    kind = draw.randrange(3)
    if kind == 0:
        return row.upper().replace(",", " -").replace(".", "!")
    if kind == 1:
        first, second, *rest = re.split(r"(?<=[.!?]) ", row)
        return " ".join([second, first, *rest])
    tokens = row.split()
    for at in draw.sample(range(len(tokens)), draw.randint(1, len(tokens) // 10)):
        tokens[at] = draw.choice(PARTS["drug"])
    return " ".join(tokens)


def judged(found: list[Near], count: int, threshold: float) -> tuple[float, float]:
    """(recall, precision) over the first `count` rows of what near duplicates are by definition."""
    truth = brute_force(list(rows(count)), threshold)
    claimed = {near.later for near in found if near.later < count}
    return len(claimed & truth) / len(truth), len(claimed & truth) / len(claimed)


def brute_force(texts: list[str], threshold: float) -> set[int]:
    """Each text that reaches the threshold with an earlier kept one, by comparing all pairs."""
    sets = [shingles(words(text)) for text in texts]
    sizes = np.array([len(found) for found in sets])
    _, columns = np.unique(np.concatenate(sets), return_inverse=True)
    ones = csr_array((np.ones(len(columns)), columns, np.concatenate([[0], np.cumsum(sizes)])))
    shared = (ones @ ones.T).toarray()
    similar = shared / (sizes[:, None] + sizes[None, :] - shared) >= threshold
    dropped: set[int] = set()
    for later in range(len(texts)):
        if any(earlier not in dropped for earlier in np.flatnonzero(similar[later, :later]).tolist()):
            dropped.add(later)
    return dropped


if __name__ == "__main__":
    main()
