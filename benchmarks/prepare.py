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
from typing import NamedTuple

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
    print(
        f"{'rows':>9} {'MB read':>8} {'seconds':>8} {'CPU s':>7} {'µs a row':>9} {'/ first line':>13} {'peak MiB':>9}",
        end="",
    )
    print(f" {'bytes a further row':>20} {'kept':>9} {'left out':>9}")
    lines: list[Line] = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.jsonl"
        for count in arguments.rows:
            with path.open("w", encoding="utf-8") as file:
                file.writelines(json.dumps(row) + "\n" for row in rows(count))
            with ProcessPoolExecutor(1, get_context("spawn")) as fresh:
                lines.append(fresh.submit(measured, count, path, arguments.near, arguments.test).result())
            show(lines[-1], lines[0])


class Line(NamedTuple):
    """What a run took; the peak is the process's, in bytes."""

    rows: int
    read: int
    seconds: float
    cpu: float
    peak: int
    kept: int


def show(line: Line, first: Line) -> None:
    """Time as a ratio to the first line's, memory as what each row beyond the first line's has added."""
    a_row, ratio = line.cpu / line.rows, line.cpu / line.rows / (first.cpu / first.rows)
    further = f"{(line.peak - first.peak) / (line.rows - first.rows):,.0f}" if line is not first else ""
    print(f"{line.rows:9,} {line.read / 1e6:8.0f} {line.seconds:8.1f} {line.cpu:7.1f} {1e6 * a_row:9.1f}", end="")
    print(
        f" {ratio:13.2f} {line.peak / 2**20:9,.0f} {further:>20} {line.kept:9,} {line.rows - line.kept:9,}", flush=True
    )


def measured(count: int, path: Path, near: float, test: float) -> Line:
    """The whole stage over one file."""
    section = DataSection(source="flashcards", path=str(path), near_duplicates=near, split=(0.9 - test, 0.1, test))
    seconds, cpu = time.perf_counter(), time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        stats = prepare.prepare(sources.read(section), section, 42, Path(folder)).statistics.to_json()
    seconds, cpu = time.perf_counter() - seconds, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return Line(count, path.stat().st_size, seconds, cpu, peak, stats["kept"])


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
