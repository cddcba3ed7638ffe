"""Examples → a data stage: mended, copies out, split by a stable hash, evaluation items out, counted.

Rows stream through: what is kept waits on the disk (`store`), and memory holds some 250 bytes a row, 120 more while
near duplicates are looked for, and an index of the test rows. Every row that is left out is in `dropped.jsonl` with its
reason, its place, and the row or item that it repeats (`of`): read = kept + dropped.
"""

import hashlib
import heapq
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from bedside.data.clean import Change, clean, fault
from bedside.data.contamination import Detector, Tally, evaluated, trained
from bedside.data.near import near_duplicates
from bedside.data.questions import contradict
from bedside.data.split import SPLITS, TEST, TRAIN, Assignment, Split, place
from bedside.data.stats import CONTAINS, CONTRADICTS, EXACT, NEAR, OVER_LIMIT, RELATED, Statistics
from bedside.data.store import Again, Store, line_of
from bedside.errors import CheckFailed, DataError
from bedside.files import read_jsonl
from bedside.progress import counted
from bedside.recipe import DataSection
from bedside.records import Example

CHANGES: tuple[Change, ...] = get_args(Change)
EMPTY = {"empty question": "question", "empty answer": "answer"}
OWN = "the test split"
WORK = ".work"
CHUNK = 256
Texts = Iterable[tuple[str, str]]
"""(item id, text) of an evaluation set, or of a corpus, gone through twice; an item may have several texts."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """What was counted; `contamination` has a row for each set that was compared with."""

    statistics: Statistics
    contamination: list[dict[str, Any]]


def prepare(
    examples: Iterable[Example],
    section: DataSection,
    seed: int,
    folder: Path,
    sets: Mapping[str, Texts] | None = None,
    documents: Mapping[str, Texts] | None = None,
) -> Prepared:
    """Writes `train.jsonl`, `validation.jsonl`, `test.jsonl` and `dropped.jsonl` into `folder`.

    `sets` are what no training row may contain, beside the test rows; `documents` are compared with, and no more.
    Raises DataError if a split would be empty that was asked for, CheckFailed if `decontaminate` is "fail" and a
    training row contains an evaluation item; after either the folder is as it was.
    """
    work = folder / WORK
    shutil.rmtree(work, ignore_errors=True)  # of a run that was killed
    work.mkdir()
    try:
        with ExitStack() as files:
            preparation = _Preparation(files, work, section, seed)
            preparation.read(examples)
            preparation.thin()
            prepared = preparation.write(sets or {}, documents or {})
        for path in sorted(work.iterdir()):
            path.replace(folder / path.name)
    finally:
        shutil.rmtree(work)
    return prepared


def load(folder: Path, split: Split) -> list[Example]:
    """A split of a finished data stage."""
    return [Example.from_json(row) for _, row in read_jsonl(folder / f"{split}.jsonl")]


class _Preparation:
    """One pass over the source, and then passes over what it left on the disk."""

    def __init__(self, files: ExitStack, work: Path, section: DataSection, seed: int) -> None:
        self._section = section
        self._seed = seed
        self._work = work
        self._rows = files.enter_context(Store(work / "rows"))
        self._dropped = files.enter_context((work / "dropped.jsonl").open("wb"))
        self._outputs = [files.enter_context((work / f"{split}.jsonl").open("wb")) for split in SPLITS]
        self._assignment = Assignment(section, seed)
        self._statistics = Statistics()
        self._changes = bytearray()
        self._chosen: NDArray[np.bool_] = np.empty(0, bool)

    def read(self, examples: Iterable[Example]) -> None:
        """Mends each row and keeps it unless it has a fault or was there before."""
        seen: dict[bytes, str] = {}
        numbers: dict[str, int] = {}
        replaced: list[tuple[int, int]] = []
        for chunk in _chunks(counted(examples, "data", "rows read")):
            mended = [clean(example) for example in chunk]
            faults = [fault(example, self._section) for example, _ in mended]
            identities = [_identity(example) for example, _ in mended]
            kept = []
            for (example, changes), reason, identity in zip(mended, faults, identities, strict=True):
                if reason:
                    self._refuse_empty(example, reason)
                    self._drop(example, reason)
                    continue
                first = seen.get(identity)
                if first is not None and not self._stays_beside(example, first):
                    self._drop_copy(example, EXACT, of=self._rows[numbers[first]])
                    continue
                if first is not None and not self._assignment.names(first):
                    replaced.append((numbers[first], len(self._rows)))
                seen[identity] = example.id
                self._check_id(example, numbers)
                self._rows.append(example)
                self._changes.append(sum(1 << CHANGES.index(change) for change in changes))
                kept.append(example)
            for example in kept:
                self._assignment.add(example)
        self._assignment.check_ids()
        self._chosen = np.ones(len(self._rows), bool)
        self._leave_out_copies(replaced, EXACT)
        self._leave_out((i for i in self._assignment.relatives().tolist() if self._chosen[i]), RELATED)

    def thin(self) -> None:
        """Draws `limit` rows, and leaves out what is nearly a copy of an official or an earlier one."""
        if self._section.limit is not None:
            self._draw(self._section.limit)
        if self._section.near_duplicates < 1:
            self._leave_out_copies(self._near(), NEAR)

    def _draw(self, limit: int) -> None:
        numbers = self._kept()
        rows = ((i, self._rows[i]) for i in numbers)
        places = ((place(f"limit {e.id}{e.question}", self._seed), i) for i, e in rows)
        drawn = {i for _, i in heapq.nsmallest(limit, places)}
        self._leave_out((i for i in numbers if i not in drawn), OVER_LIMIT)

    def _near(self) -> Iterator[tuple[int, int]]:
        """Numbers of rows that are nearly copies, each with that of the one that stays; official rows all stay."""
        numbers = sorted(self._kept(), key=lambda number: not self._assignment.is_official(number))
        official = sum(map(self._assignment.is_official, numbers))
        rows = (_parts(self._rows[i]) for i in counted(numbers, "data", "rows compared with each other"))
        for near in near_duplicates(rows, self._section.near_duplicates, 1, self._work, official):
            yield numbers[near.later], numbers[near.earlier]

    def _kept(self) -> list[int]:
        """Numbers of the rows that are not left out."""
        return np.flatnonzero(self._chosen).tolist()

    def _stays_beside(self, example: Example, first: str) -> bool:
        """Whether a row stays though it says what the row named `first` says: an official split stays whole."""
        return self._assignment.names(example.id) and example.id != first

    def write(self, sets: Mapping[str, Texts], documents: Mapping[str, Texts]) -> Prepared:
        """Splits what is left, takes out what contains an evaluation item, and writes the rest."""
        splits = np.where(self._chosen, self._assignment.splits(self._chosen), -1)
        own = Again(partial(self._texts, np.flatnonzero(splits == TEST)))
        found = self._decontaminate(splits, {**sets, OWN: own}, self._section.decontaminate)
        found += self._decontaminate(splits, documents, "report")
        self._check_not_empty(splits)
        for number, ((line, example), split) in enumerate(zip(self._rows.lines(), splits.tolist(), strict=True)):
            if split >= 0:
                self._outputs[split].write(line)
                self._statistics.add(example, SPLITS[split], self._changes_of(number))
        return Prepared(self._statistics, found)

    def _texts(self, numbers: NDArray[np.intp]) -> Iterator[tuple[str, str]]:
        for number in numbers.tolist():
            example = self._rows[number]
            yield from ((example.id, text) for text in evaluated(example))

    def _decontaminate(
        self, splits: NDArray[np.int8], sets: Mapping[str, Texts], action: Literal["report", "drop", "fail"]
    ) -> list[dict[str, Any]]:
        """Looks through the training rows; those that are left out have no split any more."""
        detector = Detector(sets)
        tally = Tally(detector)
        numbers = np.flatnonzero(splits == TRAIN).tolist() if any(detector.sizes.values()) else []
        for number in counted(numbers, "data", "training rows compared with other sets"):
            example = self._rows[number]
            hits = tally.check(example.id, *trained(example))
            if hits and action == "fail":
                hit = hits[0].item
                raise CheckFailed(
                    f"{example.where or example.id}: contains item '{hit.id}' of {hit.set}; take the row out, or let"
                    " data.decontaminate = 'drop' do it"
                )
            if hits and action == "drop":
                splits[number] = -1
                self._drop(example, CONTAINS + hits[0].item.set, of=hits[0].item.id)
        return [{**one, "action": action} for one in tally.to_json()]

    def _leave_out(self, numbers: Iterable[int], reason: str) -> None:
        """Rows by their numbers; an official split stays whole."""
        for number in numbers:
            if not self._assignment.is_official(number):
                self._drop(self._rows[number], reason)
                self._chosen[number] = False

    def _leave_out_copies(self, copies: Iterable[tuple[int, int]], reason: str) -> None:
        """Takes (number, number of the row that stays for it); an official split stays whole."""
        for number, stays in copies:
            if not self._assignment.is_official(number):
                self._drop_copy(self._rows[number], reason, of=self._rows[stays])
                self._chosen[number] = False

    def _drop_copy(self, example: Example, reason: str, of: Example) -> None:
        """A copy that has another label than the row that stays is no harmless one, and told apart."""
        if contradict(of, example):
            reason = CONTRADICTS
            self._statistics.contradict(example, of)
        self._drop(example, reason, _name(of))

    def _drop(self, example: Example, reason: str, of: str = "") -> None:
        self._dropped.write(line_of(example, reason, of))
        self._statistics.drop(reason)

    def _changes_of(self, number: int) -> frozenset[Change]:
        return frozenset(change for bit, change in enumerate(CHANGES) if self._changes[number] >> bit & 1)

    def _refuse_empty(self, example: Example, reason: str) -> None:
        """Of mended rows, since "&nbsp;" is no answer either."""
        if reason in EMPTY and self._section.on_empty == "fail":
            raise DataError(
                f"{example.where}: the {EMPTY[reason]} is empty; mend it, or leave such rows out with"
                " data.on_empty = 'drop'"
            )

    def _check_id(self, example: Example, numbers: dict[str, int]) -> None:
        """Scores are paired by id, so two rows with one id must not get as far as that."""
        number = numbers.setdefault(example.id, len(self._rows))
        if number != len(self._rows):
            first = self._rows[number].where
            raise DataError(f"{example.where}: id '{example.id}' is taken by {first}; give each row its own")

    def _check_not_empty(self, splits: NDArray[np.int8]) -> None:
        section, kept = self._section, int((splits >= 0).sum())
        if not kept:
            raise DataError(f"{section.path or section.source}: no usable row")
        official = {"validation": section.validation_ids, "test": section.test_ids}
        for number, (name, share) in enumerate(zip(SPLITS, section.split, strict=True)):
            if (share or official.get(name)) and not (splits == number).any():
                raise DataError(
                    f"{section.path or section.source}: {kept} rows leave split '{name}' empty at"
                    f" data.split = {list(section.split)}; use more rows or another split"
                )


def _chunks(examples: Iterable[Example]) -> Iterator[list[Example]]:
    """A few hundred at a time: each step on all of them, then the next, is a quarter faster than all steps on each."""
    rest = iter(examples)
    while chunk := list(islice(rest, CHUNK)):
        yield chunk


def _name(example: Example) -> str:
    """How a person finds the row: its place, since an id may be a hash."""
    return example.where or example.id


def _identity(example: Example) -> bytes:
    """The same for rows that say the same, whatever their case and spacing; signs count: "HLA-B27 +" is not "-"."""
    own = (example.context, example.question, *example.options, example.answer)
    texts = (*own, *(turn.content for turn in example.history))
    folded = "\0".join([" ".join(text.casefold().split()) if text else "" for text in texts])
    return hashlib.blake2b(folded.encode(), digest_size=16).digest()


def _parts(example: Example) -> tuple[str, str, str]:
    """The question, its answer, and what stands before the question: a copy is alike in all of them.

    The reasoning is left out: for one question it may be sampled many times, with the same answer.
    """
    before = "\n".join((*(turn.content for turn in example.history), example.context))
    return "\n".join((example.question, *example.options)), example.answer, before
