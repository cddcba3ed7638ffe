"""Rows of each known data set → `Example`.

Shapes: FreedomIntelligence/medical-o1-reasoning-SFT (arXiv:2412.18925), qiaojin/PubMedQA in its own file shape and in
the hub's (arXiv:1909.06146), medalpaca's Medical Meadow flashcards (arXiv:2304.08247), MedQA-like multiple choice,
chat `messages`, and the embedded starter set. `data.columns` maps a person's own columns onto any of them.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from bedside.data.read import Row, as_list, read_path
from bedside.errors import DataError
from bedside.files import digest, sha256, tree_digests
from bedside.recipe import DataSection
from bedside.records import Example, Message
from bedside.text import think
from bedside.text.chat import DECISIONS, LETTERS

STARTER = Path(__file__).parent / "starter"
HELD_OUT = STARTER / "mcq.jsonl"
MAPPABLE = ("id", "question", "answer", "reasoning", "context", "label", "subject")


@dataclass(frozen=True, slots=True)
class Source:
    """Where a data set lives by default (None: nowhere), and which column holds which field."""

    path: str | None
    columns: Mapping[str, str]
    subset: str | None = None
    parse: Callable[["Columns"], Example] | None = None


class Columns:
    """One row seen through a column mapping; a column that is lacking is named, with those that were found."""

    def __init__(self, where: str, row: Row, columns: Mapping[str, str]) -> None:
        self.where = where
        self.row = row
        self.columns = columns

    def need(self, field: str) -> Any:
        """The value of a field's column. Raises DataError if the row has no such column."""
        column = self.columns.get(field, field)
        if column not in self.row:
            found = ", ".join(map(str, self.row)) or "none"
            raise DataError(
                f"{self.where}: no column '{column}' for {field}; found: {found} (map yours in data.columns)"
            )
        return self.row[column]

    def text(self, field: str) -> str:
        """A needed field as text, null as ""."""
        value = self.need(field)
        return "" if value is None else str(value)

    def optional(self, field: str) -> str:
        """A field that a row may lack."""
        value = self.row.get(self.columns.get(field, field))
        return "" if value is None else str(value)


def read(section: DataSection) -> Iterator[Example]:
    """All examples of a recipe's source. Raises DataError naming file and row."""
    source = SOURCES[section.source]
    unknown = sorted(set(section.columns) - set(MAPPABLE) - set(source.columns))
    if unknown:
        raise DataError(f"data.columns: unknown field '{unknown[0]}'; known: {', '.join(MAPPABLE)}")
    path = _home(section.path, section.source)
    rows = read_path(path, section.subset or (source.subset if path == source.path else None))
    parse = source.parse or _plain
    columns = {**source.columns, **section.columns}
    for where, row in rows:
        example = _identified(parse(Columns(where, row, columns)))
        if not example.answer.strip() and section.on_empty == "fail":
            raise DataError(
                f"{where}: the answer is empty; mend the row, or leave such rows out with data.on_empty = 'drop'"
            )
        if not example.question.strip() and section.on_empty == "fail":
            raise DataError(
                f"{where}: the question is empty; mend the row, or leave such rows out with data.on_empty = 'drop'"
            )
        yield example


def read_choices(name: str) -> list[Example]:
    """Multiple-choice items of a file, or the embedded held-out ones for "starter"."""
    path, columns = (str(HELD_OUT), {"subject": "specialty"}) if name == "starter" else (name, {})
    return [_identified(_choice(Columns(where, row, columns))) for where, row in read_path(path, None)]


def fingerprint(path: str | None, source: str) -> dict[str, str]:
    """{name: SHA-256} of the files behind a source; a hub data set is known by its name alone."""
    home = _home(path, source)
    local = Path(home).expanduser()
    if local.is_dir():
        return {f"{local}/{name}": value for name, value in tree_digests(local).items()}
    if local.is_file():
        return {str(local): sha256(local)}
    return {home: "hub"}


def _home(path: str | None, source: str) -> str:
    """The path that a recipe names, or else the source's own. Raises DataError if there is neither."""
    home = path or SOURCES[source].path
    if home is None:
        raise DataError(f"data.source = '{source}' needs data.path: the file with your rows")
    return home


def _identified(example: Example) -> Example:
    """The example with an id: its own, or a hash of all that it says."""
    if example.id:
        return example
    return replace(example, id=digest(asdict(replace(example, where="")))[:12])


def _plain(row: Columns) -> Example:
    return Example(
        id=row.optional("id"),
        question=row.text("question").strip(),
        answer=row.text("answer").strip(),
        reasoning=row.optional("reasoning").strip(),
        context=row.optional("context").strip(),
        label=row.optional("label").strip().lower(),
        subject=row.optional("subject").strip(),
        where=row.where,
    )


def _flashcard(row: Columns) -> Example:
    """The instruction ("Answer this question truthfully") is the same in every row, so the input is the question."""
    example = _plain(row)
    return example if example.question else replace(example, question=row.optional("instruction").strip())


def _pubmedqa(row: Columns) -> Example:
    """The answer starts with the decision, so that the decision is what is learnt first; LONG_ANSWER explains it."""
    hub = isinstance(row.row.get("context"), dict)
    own = row.columns if not hub else {**row.columns, **PUBMEDQA_HUB}
    row = Columns(row.where, {**row.row, **row.row["context"]} if hub else row.row, own)
    label = row.text("label").strip().lower()
    if label not in DECISIONS:
        raise DataError(f"{row.where}: '{label}' is no decision; want one of {', '.join(DECISIONS)}")
    parts, heads = as_list(row.need("context")), as_list(row.row.get(own["sections"], []))
    if len(heads) != len(parts):
        heads = [""] * len(parts)
    explanation = row.text("answer").strip()
    return Example(
        id=row.optional("id"),
        question=row.text("question").strip(),
        answer=decided(label, explanation) if explanation else "",
        context="\n".join(f"{head}: {part}" if head else part for head, part in zip(heads, parts, strict=True)),
        label=label,
        where=row.where,
    )


def _choice(row: Columns) -> Example:
    """`options` is a list or {letter: text}; `answer` is a letter, an index from 0, or an option's text."""
    texts = _option_texts(row)
    answer = row.need("answer")
    index = _option_index(answer, texts)
    if index is None:
        raise DataError(f"{row.where}: answer {str(answer)[:40]!r} is none of the options' letters, numbers or texts")
    return Example(
        id=row.optional("id"),
        question=row.text("question").strip(),
        answer=f"{LETTERS[index]}. {texts[index]}",
        reasoning=row.optional("reasoning").strip(),
        context=row.optional("context").strip(),
        label=LETTERS[index],
        options=tuple(texts),
        subject=row.optional("subject").strip(),
        where=row.where,
    )


def _option_texts(row: Columns) -> list[str]:
    """Texts in the order of their letters. Parquet fills up with nulls where other rows have more options."""
    options = row.need("options")
    if isinstance(options, dict):
        options = [options[letter] for letter in sorted(options)]
        while options and options[-1] is None:
            options.pop()
    texts = [text.strip() for text in as_list(options)]
    if not 2 <= len(texts) <= len(LETTERS):
        raise DataError(f"{row.where}: {len(texts)} options; want 2 to {len(LETTERS)}")
    if "" in texts:
        raise DataError(f"{row.where}: option {LETTERS[texts.index('')]} is empty")
    return texts


def _option_index(answer: Any, texts: Sequence[str]) -> int | None:
    """A text that is an option wins over a letter that could name one."""
    if isinstance(answer, int) and not isinstance(answer, bool):
        return answer if 0 <= answer < len(texts) else None
    answer = str(answer).strip()
    if answer in texts:
        return texts.index(answer)
    index = LETTERS.find(answer.upper()) if len(answer) == 1 else -1
    return index if 0 <= index < len(texts) else None


def _chat(row: Columns) -> Example:
    """The last assistant turn is the answer, the user turn before it the question, all earlier turns history."""
    turns = row.need("messages")
    try:
        messages = [Message(turn["role"], _said(turn["content"])) for turn in turns]
    except (TypeError, KeyError) as error:
        raise DataError(f"{row.where}: each message needs 'role' and 'content', a text") from error
    bad = next((m.role for m in messages if m.role not in ("system", "user", "assistant")), None)
    if bad is not None:
        raise DataError(f"{row.where}: unknown role '{bad}'; known: system, user, assistant")
    if [m.role for m in messages[-2:]] != ["user", "assistant"]:
        raise DataError(f"{row.where}: the last two messages must be user, then assistant")
    reasoning, answer = think.split(messages[-1].content, opened=False)
    return Example(
        id=row.optional("id"),
        question=messages[-2].content.strip(),
        answer=answer,
        reasoning=reasoning,
        history=tuple(messages[:-2]),
        where=row.where,
    )


def _said(content: Any) -> str:
    """The text of a turn; one that only calls a tool has null. Raises TypeError for anything else."""
    if not isinstance(content, str | None):
        raise TypeError(content)
    return content or ""


def _starter(row: Columns) -> Example:
    label = row.optional("label")
    answer = row.text("answer")
    return Example(
        id=row.text("id"),
        question=row.text("question"),
        answer=decided(label, answer) if label else answer,
        reasoning=row.optional("reasoning"),
        context=row.optional("context"),
        label=label,
        subject=row.text("subject"),
        where=f"starter {row.text('id')}",
    )


def decided(label: str, explanation: str) -> str:
    """An answer whose first word is the decision."""
    return f"{label.capitalize()}. {explanation}"


PUBMEDQA_HUB = {
    "id": "pubid",
    "question": "question",
    "context": "contexts",
    "sections": "labels",
    "label": "final_decision",
    "answer": "long_answer",
}
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
        parse=_pubmedqa,
    ),
    "flashcards": Source(
        "medalpaca/medical_meadow_medical_flashcards",
        {"instruction": "instruction", "question": "input", "answer": "output"},
        parse=_flashcard,
    ),
    "mcq": Source(None, {"options": "options"}, parse=_choice),
    "chat": Source(None, {"messages": "messages"}, parse=_chat),
    "starter": Source(str(STARTER / "train"), {"label": "decision", "subject": "specialty"}, parse=_starter),
}
