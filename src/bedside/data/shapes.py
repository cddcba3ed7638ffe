"""One row of each known shape → `Example`, through a mapping of columns.

Shapes: FreedomIntelligence/medical-o1-reasoning-SFT (arXiv:2412.18925), qiaojin/PubMedQA in its own file shape and in
the hub's (arXiv:1909.06146), medalpaca's Medical Meadow flashcards and its other sets (arXiv:2304.08247), chat
`messages`, and the embedded starter set. Multiple choice has a module of its own, `choices`.
"""

import difflib
import hashlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from bedside.data.read import Row, as_list, present
from bedside.errors import DataError
from bedside.records import Example, Message
from bedside.text import think
from bedside.text.chat import DECISIONS

PUBMEDQA_HUB = {
    "id": "pubid",
    "question": "question",
    "context": "contexts",
    "sections": "labels",
    "label": "final_decision",
    "answer": "long_answer",
}
NO_TEXT = {bool: "true or false", list: "a list", dict: "an object", bytes: "bytes"}


class Columns:
    """One row seen through a column mapping; a column that is lacking is named, with those that were found.

    Where no column has a name exactly, the one that differs from it in case alone is meant. `settings` begins the names
    of the settings `columns` and `first_option` of these rows; "" where they have none.
    """

    def __init__(
        self, where: str, row: Row, columns: Mapping[str, str], first_option: int = 0, settings: str = "data."
    ) -> None:
        self.where = where
        self.row = row
        self.columns = columns
        self.first_option = first_option
        self.settings = settings

    def need(self, field: str) -> Any:
        """The value of a field's column. Raises DataError if the row has no such column."""
        column = self._column(field)
        if column not in self.row:
            raise self._lacks(field)
        return present(self.row[column])

    def _lacks(self, field: str) -> DataError:
        column = self.columns.get(field, field)
        names = [" ".join(str(name).split()) for name in self.row]
        near = difflib.get_close_matches(column, names, 1)
        hint = f"did you mean '{near[0]}'? " if near else ""
        found = ", ".join(names) or "none"
        mend = f"map yours in {self.settings}columns" if self.settings else "rename yours: this file's cannot be mapped"
        return DataError(f"{self.where}: no column '{column}' for {field}; {hint}found: {found} ({mend})")

    def value(self, field: str) -> Any:
        """What a field's column holds; None if there is no such column, or nothing in it."""
        return present(self.row.get(self._column(field)))

    def _column(self, field: str) -> str:
        """The row's own name for a field's column."""
        column = self.columns.get(field, field)
        if column in self.row:
            return column
        alike = [name for name in self.row if name.casefold() == column.casefold()]
        return alike[0] if len(alike) == 1 else column

    def text(self, field: str) -> str:
        """A needed field as text, null as ""."""
        return self._as_text(field, self.need(field))

    def has(self, field: str) -> bool:
        """Whether the row has a field's column, and something in it."""
        return self.value(field) is not None

    def id(self) -> str:
        """The row's own id, or a hash of all that it holds."""
        return self.optional("id").strip() or hashlib.sha256(repr(self.row).encode()).hexdigest()[:12]

    def optional(self, field: str) -> str:
        """A field that a row may lack."""
        return self._as_text(field, self.value(field))

    def _as_text(self, field: str, value: Any) -> str:
        """A number is text, since a CSV file cannot tell the two apart; what has parts is not."""
        if isinstance(value, str):
            return value
        kind = next((kind for types, kind in NO_TEXT.items() if isinstance(value, types)), None)
        if kind:
            raise DataError(f"{self.where}: column '{self._column(field)}' holds {kind}, wanted text")
        return "" if value is None else str(value)


def plain(row: Columns) -> Example:
    """A column a field: medical-o1, and a person's own columns."""
    return Example(
        id=row.id(),
        question=row.text("question").strip(),
        answer=row.text("answer").strip(),
        reasoning=row.optional("reasoning").strip(),
        context=row.optional("context").strip(),
        label=row.optional("label").strip().lower(),
        subject=row.optional("subject").strip(),
        group=row.optional("group").strip(),
        where=row.where,
    )


def flashcard(row: Columns) -> Example:
    """The instruction ("Answer this question truthfully") is the same in every row, so the input is the question."""
    example = plain(row)
    return example if example.question else replace(example, question=row.optional("instruction").strip())


def instruction(row: Columns) -> Example:
    """The other sets of Medical Meadow: the instruction says what is wanted of the input, so it stands before it."""
    example = plain(row)
    asked = (row.text("instruction").strip(), example.question)
    return replace(example, question="\n\n".join(part for part in asked if part))


def pubmedqa(row: Columns) -> Example:
    """The answer starts with the decision, so that the decision is what is learnt first; LONG_ANSWER explains it.

    The unlabelled subset has no decision; its answer is the explanation alone. The group is the PMID.
    """
    hub = isinstance(row.row.get("context"), dict)
    own = row.columns if not hub else {**row.columns, **PUBMEDQA_HUB}
    row = Columns(row.where, {**row.row, **row.row["context"]} if hub else row.row, own)
    label = row.optional("label").strip().lower()
    if row.has("label") and label not in DECISIONS:
        raise DataError(f"{row.where}: the label is no decision; want one of {', '.join(DECISIONS)}")
    parts, heads = as_list(row.need("context")), as_list(row.value("sections"))
    if len(heads) != len(parts):
        heads = [""] * len(parts)
    explanation = row.text("answer").strip()
    return Example(
        id=row.id(),
        question=row.text("question").strip(),
        answer=decided(label, explanation) if explanation else "",
        subject=row.optional("subject").strip(),
        group=row.optional("group").strip() or row.optional("id"),
        context="\n".join(f"{head}: {part}" if head else part for head, part in zip(heads, parts, strict=True)),
        label=label,
        where=row.where,
    )


def vignette(row: Columns) -> Example:
    """A case with its reference diagnosis, which is the label, too, and the other names that are taken as right."""
    name = row.text("answer").strip()
    aliases = [alias.strip() for alias in as_list(row.value("aliases"))]
    return Example(
        id=row.id(),
        question=row.text("question").strip(),
        answer=name,
        reasoning=row.optional("reasoning").strip(),
        label=name,
        subject=row.optional("subject").strip(),
        group=row.optional("group").strip(),
        where=row.where,
        accepted=tuple(filter(None, (name, *aliases))),
    )


def chat(row: Columns) -> Example:
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
    said = messages[-1].content
    headless = think.CLOSE_TAG in said and think.OPEN_TAG not in said  # R1's own form: its template opens the block
    reasoning, answer = think.split(said, opened=headless)
    return Example(
        id=row.id(),
        question=messages[-2].content.strip(),
        answer=answer,
        reasoning=reasoning,
        context=row.optional("context").strip(),
        label=row.optional("label").strip().lower(),
        subject=row.optional("subject").strip(),
        history=tuple(messages[:-2]),
        group=row.optional("group").strip(),
        where=row.where,
    )


def _said(content: Any) -> str:
    """The text of a turn; one that only calls a tool has null. Raises TypeError for anything else."""
    if not isinstance(content, str | None):
        raise TypeError(content)
    return content or ""


def starter(row: Columns) -> Example:
    """Cases with reasoning, flashcards, and judgements with context and decision."""
    label = row.optional("label")
    answer = row.text("answer")
    return Example(
        id=row.text("id"),
        question=row.text("question"),
        answer=decided(label, answer),
        reasoning=row.optional("reasoning"),
        context=row.optional("context"),
        label=label,
        subject=row.text("subject"),
        group=row.optional("group"),
        where=f"starter {row.text('id')}",
    )


def decided(label: str, explanation: str) -> str:
    """An answer whose first word is the decision, where there is one."""
    return f"{label.capitalize()}. {explanation}" if label else explanation
