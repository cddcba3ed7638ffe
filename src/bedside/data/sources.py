"""Which data sets are known, where they live, and how their rows are read into `Example`s.

A row without question or answer passes: whether it has one is known once it is mended. `data.columns` maps a person's
own columns onto any of the shapes in `shapes`.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bedside.data import choices, shapes
from bedside.data.contamination import evaluated
from bedside.data.read import Located, Row, as_list, files_of, present, read_path
from bedside.data.shapes import Columns
from bedside.errors import DataError
from bedside.files import sha256
from bedside.progress import say
from bedside.recipe import DataSection
from bedside.records import Example
from bedside.text.diagnosis import levelled

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
    _refuse_unknown("data.", section.columns, source)
    path = _home(section.path, section.source)
    rows = read_path(path, section.subset or (source.subset if path == source.path else None))
    _tell_pool(path)
    yield from _parsed(rows, source, section.columns, section.first_option, "data.")


def _refuse_unknown(settings: str, mapped: Mapping[str, str], source: Source) -> None:
    known = dict.fromkeys((*MAPPABLE, *source.columns))
    if unknown := sorted(set(mapped) - set(known)):
        raise DataError(f"{settings}columns: unknown field '{unknown[0]}'; known: {', '.join(known)}")


def _parsed(
    rows: Iterable[Located], source: Source, mapped: Mapping[str, str], first_option: int, settings: str
) -> Iterator[Example]:
    for number, (where, row) in enumerate(rows):
        seen = Columns(where, row, {**source.columns, **mapped}, first_option, settings)
        if number == 0:
            _check_mapped(seen, mapped)
        yield source.parse(seen)


def _check_mapped(first: Columns, mapped: Mapping[str, str]) -> None:
    """A column that a person names has to be there, even for a field that rows may lack; it may hold null."""
    nested = first.row.get("context")  # as the hub has PubMedQA
    row = {**first.row, **nested} if isinstance(nested, dict) else first.row
    for field in mapped:
        Columns(first.where, row, first.columns, settings=first.settings).need(field)


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


def read_choices(name: str, columns: Mapping[str, str] | None = None, first_option: int = 0) -> list[Example]:
    """Multiple-choice items of a file, by a mapping of its columns, or the embedded held-out ones for "starter".

    Raises DataError where there is none, or where some could not be answered, with their lines.
    """
    path, columns = (str(HELD_OUT), {"subject": "specialty"}) if name == "starter" else (name, columns or {})
    items = _judged_by(path, "mcq", "evaluate.choice_", columns, first_option)
    _refuse("the question is empty", [item for item in items if not item.question])
    _refuse("two options have the same text", [item for item in items if len(set(item.options)) < len(item.options)])
    return items


def read_vignettes(path: str, columns: Mapping[str, str]) -> list[Example]:
    """Cases of a file, by a mapping of its columns.

    Raises DataError where there is none, or where a case or its diagnosis has no word, with their lines.
    """
    items = _judged_by(path, "vignette", "evaluate.vignette_", columns)
    _refuse("the case is empty", [item for item in items if not item.question])
    _refuse("the diagnosis has no word", [item for item in items if not levelled(item.answer)])
    return items


def read_decisions(path: str) -> list[Example]:
    """The rows of a file in PubMedQA's shape that have a decision. Raises DataError where none has one."""
    labelled = [item for item in _judged_by(path, "pubmedqa", "evaluate.decision_", {}) if item.label]
    if not labelled:
        raise DataError(f"{path}: no row has a decision (final_decision: yes, no or maybe)")
    _refuse("the question is empty", [item for item in labelled if not item.question])
    return labelled


def _judged_by(
    path: str, shape: str, settings: str, columns: Mapping[str, str], first_option: int = 0
) -> list[Example]:
    """The items of a file by which models are judged; `settings` is how its own in the recipe begin."""
    source = SOURCES[shape]
    _refuse_unknown(settings, columns, source)
    items = list(_parsed(read_path(path, None), source, columns, first_option, settings))
    if not items:
        raise DataError(f"{path}: holds no row")
    return items


def _refuse(reason: str, items: Sequence[Example]) -> None:
    if items:
        more = [item.where.rpartition(" ")[2] for item in items[1 : SHOWN + 1]]
        also = f" (also {', '.join(more)}{', …' if len(items) > SHOWN + 1 else ''})" if more else ""
        raise DataError(f"{items[0].where}: {reason}{also}; mend or remove it")


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
    "vignette": Source(None, {"question": "case", "answer": "diagnosis", "aliases": "aliases"}, parse=shapes.vignette),
    "chat": Source(None, {"messages": "messages"}, parse=shapes.chat),
    "starter": Source(str(STARTER / "train"), {"label": "decision", "subject": "specialty"}, parse=shapes.starter),
}
