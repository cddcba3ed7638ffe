"""What the data stage costs as rows grow: reading, mending, exact duplicates, splitting and writing.

    python benchmarks/prepare.py [--rows 10000 100000 1000000] [--near 0.8] [--test 0.1]

Rows are made-up case vignettes in JSON Lines, one in ten a copy of an earlier one; a third have something to mend.
With `--near 0.8` near duplicates are looked for, too; with `--test 0.1` a tenth of the rows are test rows, with which
the training rows are compared. Each size runs in a process of its own, whose peak is its own.
"""

import argparse
import json
import random
import resource
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from duplicates import vignette

from bedside.data import prepare, sources
from bedside.recipe import DataSection

DIRT = ("  and", " &amp; so", "\u200b", " cafe\u0301", "<br/>")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--near", type=float, default=1.0)
    parser.add_argument("--test", type=float, default=0.0)
    arguments = parser.parse_args()
    print(f"{'rows':>9} {'MB read':>8} {'seconds':>8} {'CPU s':>7} {'µs a row':>9} {'peak MiB':>9}", end="")
    print(f" {'kept':>9} {'left out':>9}")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.jsonl"
        for count in arguments.rows:
            with path.open("w", encoding="utf-8") as file:
                file.writelines(json.dumps(row) + "\n" for row in rows(count))
            with ProcessPoolExecutor(1, get_context("spawn")) as fresh:
                seconds, cpu, peak, kept, dropped = fresh.submit(
                    measured, path, arguments.near, arguments.test
                ).result()
            size = path.stat().st_size / 1e6
            print(f"{count:9,} {size:8.0f} {seconds:8.1f} {cpu:7.1f} {1e6 * cpu / count:9.1f}", end="")
            print(f" {peak:9,.0f} {kept:9,} {dropped:9,}", flush=True)


def measured(path: Path, near: float, test: float) -> tuple[float, float, float, int, int]:
    """Seconds, CPU seconds, the process's peak in MiB, rows kept and rows left out."""
    split = (0.9 - test, 0.1, test)
    section = DataSection(source="flashcards", path=str(path), near_duplicates=near, split=split)
    seconds, cpu = time.perf_counter(), time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        stats = prepare.prepare(sources.read(section), section, 42, Path(folder)).statistics.to_json()
    seconds, cpu = time.perf_counter() - seconds, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return seconds, cpu, peak, stats["kept"], stats["read"] - stats["kept"]


def rows(count: int) -> Iterator[dict[str, str]]:
    """Question and answer of about 60 words together, in the shape of the flashcards."""
    draw = random.Random(1)
    recent: list[dict[str, str]] = []
    for number in range(count):
        if recent and draw.random() < 0.1:
            yield draw.choice(recent)
            continue
        sentences = vignette(draw).split(". ")
        dirt = draw.choice(DIRT) if number % 3 == 0 else ""
        row = {
            "instruction": "Answer this question truthfully",
            "input": f"Case {number}: {'. '.join(sentences[:2])}{dirt}?",
            "output": f"{'. '.join(sentences[2:4])}.",
        }
        recent = [*recent[-99:], row]
        yield row


if __name__ == "__main__":
    main()
