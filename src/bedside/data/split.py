"""Which split each row stands in: by a hash, so that adding rows moves none, unless one links two that were apart.

A row's place in [0, 1) depends on its group (such as a PMID) or else its question, and on the seed. Rows that share a
question or a group stand together, whatever links them: the smallest place among them counts. An official split is
taken from files of ids instead, and has the rows that they name and no other. With `stratify` every label gets its
exact share, at the price that the borders, and with them a few rows, may move when rows are added.
"""

import hashlib
import json
import re
import unicodedata
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from bedside.errors import DataError
from bedside.files import not_utf8, read_json
from bedside.progress import say
from bedside.recipe import DataSection
from bedside.records import Example

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
TRAIN, VALIDATION, TEST = range(3)
NOT_WORD = re.compile(r"[\W_]+")


def place(text: str, seed: int) -> float:
    """A number in [0, 1) that depends on text and seed alone."""
    return int.from_bytes(hashlib.sha256(f"{seed}\0{text}".encode()).digest()[:7]) / 2**56


def normalised(text: str) -> str:
    """Text in which case, punctuation, spacing and Unicode's compatibility forms no longer differ.

    Every sign is punctuation here, unlike in `shingles.words`: what only a sign tells apart had better stand in one
    split than in two.
    """
    return " ".join(NOT_WORD.split(unicodedata.normalize("NFKC", text).casefold())).strip()


class Assignment:
    """Gathers what decides about each row, 36 bytes a row, and then gives all their splits at once."""

    def __init__(self, section: DataSection, seed: int) -> None:
        self._section = section
        self._seed = seed
        self._test = read_ids(section.test_ids) if section.test_ids else frozenset()
        self._validation = read_ids(section.validation_ids) if section.validation_ids else frozenset()
        self._places, self._questions, self._groups = array("d"), array("q"), array("q")
        self._labels, self._named = array("i"), array("b")
        self._codes: dict[str, int] = {}

    def add(self, example: Example) -> None:
        """The next row."""
        question = normalised(example.question)
        group = f"group {example.group}" if example.group else question
        self._places.append(place(group, self._seed))
        self._questions.append(_key(question))
        self._groups.append(_key(group) if example.group else self._questions[-1])
        self._labels.append(self._codes.setdefault(example.label, len(self._codes)))
        self._named.append(
            TEST if example.id in self._test else VALIDATION if example.id in self._validation else TRAIN
        )

    def names(self, id_: str) -> bool:
        """Whether a file of ids names this one."""
        return id_ in self._test or id_ in self._validation

    def is_official(self, number: int) -> bool:
        """Whether a file of ids names the row, so that it must not be drawn away or thinned out."""
        return self._named[number] != TRAIN

    def check_ids(self) -> None:
        """Says how many ids of each file no row has. Raises DataError where a file names none of the rows."""
        validation = self._validation - self._test
        files = ((self._section.test_ids, self._test, TEST), (self._section.validation_ids, validation, VALIDATION))
        for path, ids, split in files:
            found = self._named.count(split)
            if path and not found:
                raise DataError(f"{path}: none of its ids is the id of a row")
            if found < len(ids):
                say(f"data: {path}: {len(ids) - found:,} of its {len(ids):,} ids are in no usable row")

    def relatives(self) -> NDArray[np.intp]:
        """Numbers of the rows that no file of ids names, but that questions and groups link with one that is named.

        In the official split they would be strangers, and in any other a leak.
        """
        official = self._named_splits() != TRAIN
        if not official.any():
            return np.empty(0, np.intp)
        groups = self._together()
        return np.flatnonzero(np.isin(groups, groups[official]) & ~official)

    def splits(self, chosen: NDArray[np.bool_]) -> NDArray[np.int8]:
        """The split of every row as an index into SPLITS; only `chosen` rows count for the shares of `stratify`."""
        places, groups = np.array(self._places), self._together()
        lowest = np.full(groups.max(initial=-1) + 1, 1.0)
        np.minimum.at(lowest, groups, places)
        at = lowest[groups]
        if self._section.stratify:
            at = _ranked(at, groups, np.array(self._labels), chosen)
        shares = self._shares()
        found = np.where(at < shares[0], TRAIN, np.where(at < shares[0] + shares[1], VALIDATION, TEST)).astype(np.int8)
        named = self._named_splits()
        return np.where(named == TRAIN, found, named)

    def _shares(self) -> tuple[float, float]:
        """Of train and validation; where files name the others, train and validation divide what is left."""
        train, validation, _ = self._section.split
        if self._section.validation_ids:
            return (1.0, 0.0) if self._section.test_ids else (train / (1 - validation or 1), 0.0)
        return (train / (train + validation), 1.0) if self._section.test_ids else (train, validation)

    def _named_splits(self) -> NDArray[np.int8]:
        """Where a file of ids says that each row stands; `TRAIN` for those that none names."""
        return np.array(self._named, dtype=np.int8)

    def _together(self) -> NDArray[np.int32]:
        """Numbers of the groups of rows that questions and groups link."""
        _, questions = np.unique(np.array(self._questions), return_inverse=True)
        keys, groups = np.unique(np.array(self._groups), return_inverse=True)
        n = len(keys) + (questions.max(initial=-1) + 1)
        links = coo_matrix((np.ones(len(groups), np.int8), (groups, questions + len(keys))), shape=(n, n))
        components = connected_components(links, directed=False)[1]
        return np.asarray(components[groups], np.int32)


def read_ids(path: str) -> frozenset[str]:
    """The ids of a file: the keys of a JSON object, a JSON list, or one a line. Raises DataError if there is none."""
    ids = frozenset(_ids(Path(path).expanduser()))
    if not ids:
        raise DataError(f"{path}: no ids in this file")
    return ids


def _ids(path: Path) -> Iterator[str]:
    if path.suffix == ".json":
        names = read_json(path)
        if not isinstance(names, list | dict):
            raise DataError(f"{path}: wanted a list of ids, or objects keyed by id")
        for name in names:
            yield name if isinstance(name, str) else json.dumps(name)
        return
    try:
        yield from (line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip())
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except UnicodeDecodeError as error:
        raise not_utf8(path) from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read as ids ({error.strerror})") from error


def _key(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), signed=True)


def _ranked(
    at: NDArray[np.float64], groups: NDArray[np.int32], labels: NDArray[np.int32], chosen: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Each group's place among the groups of its label, evenly spaced; a group has the label of its first row."""
    ranked = at.copy()
    rows = np.flatnonzero(chosen)
    heads, first = np.unique(groups[rows], return_index=True)
    label_of_head = labels[rows[first]]
    place_of_head = at[rows[first]]
    spaced = np.empty(len(heads))
    for label in np.unique(label_of_head):
        mine = np.flatnonzero(label_of_head == label)
        spaced[mine[np.argsort(place_of_head[mine], kind="stable")]] = (np.arange(len(mine)) + 0.5) / len(mine)
    ranked[rows] = spaced[np.searchsorted(heads, groups[rows])]
    return ranked
