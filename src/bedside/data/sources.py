"""Which data sets are known, where they live, and how their rows are read into `Example`s.

A row without question or answer passes: whether it has one is known once it is mended. `data.columns` maps a person's
own columns onto any of the shapes in `shapes`.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from bedside.data import choices, shapes
from bedside.data.contamination import evaluated
from bedside.data.read import Row, as_list, files_of, present, read_path
from bedside.data.shapes import Columns
from bedside.errors import DataError
from bedside.files import sha256
from bedside.progress import say
from bedside.recipe import DataSection
from bedside.records import Example

STARTER = Path(__file__).parent / "starter"
HELD_OUT = STARTER / "mcq.jsonl"
TEXTS = ("question", "input", "text", "prompt", "instruction")
"""Columns with the question of an evaluation item, or with a document's text; the first that holds something."""
SPLIT_NAME = re.compile(r"(train|test|val|valid|validation|dev)(?![a-z])", re.IGNORECASE)
"""How the files of a data set begin that comes divided, as on the hub."""
SHOWN = 5
MAPPABLE = ("id", "question", "answer", "reasoning", "context", "label", "subject", "group")


@dataclass(frozen=True, slots=True)
class Source:
    """Where a data set lives by default (None: nowhere), and which column holds which field."""

    path: str | None
    columns: Mapping[str, str]
    subset: str | None = None
    parse: Callable[[Columns], Example] = shapes.plain


def read(section: DataSection) -> Iterator[Example]:
    """All examples of a recipe's source. Raises DataError naming file and row."""
    source = SOURCES[section.source]
    unknown = sorted(set(section.columns) - set(MAPPABLE) - set(source.columns))
    if unknown:
        raise DataError(f"data.columns: unknown field '{unknown[0]}'; known: {', '.join(MAPPABLE)}")
    path = _home(section.path, section.source)
    rows = read_path(path, section.subset or (source.subset if path == source.path else None))
    columns = {**source.columns, **section.columns}
    _tell_pool(path)
    for number, (where, row) in enumerate(rows):
        seen = Columns(where, row, columns, section.first_option)
        if number == 0:
            _check_mapped(seen, section.columns)
        yield source.parse(seen)


def _check_mapped(first: Columns, mapped: Mapping[str, str]) -> None:
    """A column that a person names has to be there, even for a field that rows may lack; it may hold null."""
    nested = first.row.get("context")  # as the hub has PubMedQA
    row = {**first.row, **nested} if isinstance(nested, dict) else first.row
    for field in mapped:
        Columns(first.where, row, first.columns).need(field)


def _tell_pool(path: str) -> None:
    """Files are read as one, whatever their names promise."""
    folder = Path(path).expanduser()
    names = [file.name for file in files_of(folder)] if folder.is_dir() else []
    if len({found[1].lower() for found in map(SPLIT_NAME.match, names) if found}) > 1:
        shown = ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
        say(
            f"data: {path}: {shown} are read as one pool, which data.split divides; data.test_ids keeps an official"
            " test apart"
        )


def read_choices(name: str, columns: Mapping[str, str] | None = None) -> list[Example]:
    """Multiple-choice items of a file, by a mapping of its columns, or the embedded held-out ones for "starter"."""
    path, columns = (str(HELD_OUT), {"subject": "specialty"}) if name == "starter" else (name, columns or {})
    return [choices.choice(Columns(where, row, columns)) for where, row in read_path(path, None)]


def read_texts(path: str) -> Iterator[tuple[str, str]]:
    """(id, text) of each text of each row of an evaluation set or a corpus, whatever its shape: those by which a test
    row of that shape would give itself away. Raises DataError where there is none."""
    for where, row in read_path(path, None):
        item = _item(where, {str(name).lower(): present(value) for name, value in row.items()})
        yield from ((item.id, text) for text in evaluated(item))


def _item(where: str, row: Row) -> Example:
    """A row as far as it is compared: no answer is asked of it, since published test sets may have none."""
    own_id = str(row.get("id", where))
    if row.get("messages"):
        return replace(shapes.chat(Columns(where, row, {})), id=own_id)
    question = next((text for name in TEXTS if (text := str(row.get(name) or "").strip())), "")
    if not question:
        raise DataError(f"{where}: nothing to compare in {', '.join(TEXTS)}; found: {', '.join(row)}")
    context = row.get("contexts", row.get("context"))
    if isinstance(context, dict):  # PubMedQA's own, as the hub has it
        context = context.get("contexts")
    return Example(own_id, question, "", context="\n".join(as_list(context)), options=tuple(_options(row)))


def _options(row: Row) -> Iterator[str]:
    for value in filter(None, map(row.get, ("options", "choices", *choices.MEDMCQA))):
        yield from as_list([value[letter] for letter in sorted(value)] if isinstance(value, dict) else value)


def fingerprint(path: str | None, source: str) -> dict[str, str]:
    """{name: SHA-256} of the files behind a source; a hub data set is known by its name alone."""
    home = _home(path, source)
    local = Path(home).expanduser()
    if local.is_dir():
        return {str(file): sha256(file) for file in files_of(local)}
    if local.is_file():
        return {str(local): sha256(local)}
    return {home: "hub"}


def _home(path: str | None, source: str) -> str:
    """The path that a recipe names, or else the source's own. Raises DataError if there is neither."""
    home = path or SOURCES[source].path
    if home is None:
        raise DataError(f"data.source = '{source}' needs data.path: the file with your rows")
    return home


SOURCES: dict[str, Source] = {
    "medical-o1": Source(
        "FreedomIntelligence/medical-o1-reasoning-SFT",
        {"question": "Question", "reasoning": "Complex_CoT", "answer": "Response"},
        subset="en",
    ),
    "pubmedqa": Source(
        "qiaojin/PubMedQA",
        {
            "question": "QUESTION",
            "context": "CONTEXTS",
            "sections": "LABELS",
            "label": "final_decision",
            "answer": "LONG_ANSWER",
        },
        subset="pqa_labeled",
        parse=shapes.pubmedqa,
    ),
    "flashcards": Source(
        "medalpaca/medical_meadow_medical_flashcards",
        {"instruction": "instruction", "question": "input", "answer": "output"},
        parse=shapes.flashcard,
    ),
    "meadow": Source(
        None, {"instruction": "instruction", "question": "input", "answer": "output"}, parse=shapes.instruction
    ),
    "mcq": Source(None, {"options": "options"}, parse=choices.choice),
    "chat": Source(None, {"messages": "messages"}, parse=shapes.chat),
    "starter": Source(str(STARTER / "train"), {"label": "decision", "subject": "specialty"}, parse=shapes.starter),
}
