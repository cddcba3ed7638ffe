"""Multiple-choice rows → `Example`: MedQA, MedMCQA, MMLU and MMLU-Pro, MedXpertQA, and files like them.

Options stand in `options` (a list, or {letter: text}), in `choices` (MMLU) or in `opa` to `opd` (MedMCQA); the answer
is an option's letter, number or text. Where a row names the right option twice, by key and by text, both are kept as
they are: `label` is the key, the letter in `answer` the text's, and lint tells where the two disagree.
Sources: arXiv:2009.13081 (MedQA), arXiv:2203.14371 (MedMCQA), arXiv:2009.03300 (MMLU), arXiv:2406.01574 (MMLU-Pro).
"""

from collections.abc import Sequence
from typing import Any

from bedside.data.read import as_list
from bedside.data.shapes import Columns
from bedside.errors import DataError
from bedside.records import Example
from bedside.text.chat import LETTERS

MEDMCQA = ("opa", "opb", "opc", "opd")
KEYS = ("answer_idx", "answer_index", "cop")
"""Columns that name the right option by letter or number: of MedQA, MMLU-Pro, MedMCQA."""
REASONING = ("reasoning", "exp", "cot_content")
SUBJECT = ("subject", "subject_name", "category")


def choice(row: Columns) -> Example:
    """One question with 2 to 10 options. Raises DataError where the right one cannot be told."""
    options = _options(row)
    texts = _texts(row, options)
    key = next((name for name in KEYS if row.has(name)), None)
    told = row.need("answer") if row.has("answer") or key is None else row.need(key)
    index = _index(row, told, texts, options)
    keyed = index if key is None else _index(row, row.need(key), texts, options)
    return Example(
        id=row.id(),
        question=row.text("question").strip(),
        answer=f"{LETTERS[index]}. {texts[index]}",
        reasoning=_first(row, REASONING),
        context=row.optional("context").strip(),
        label=LETTERS[keyed],
        options=tuple(texts),
        subject=_first(row, SUBJECT),
        group=row.optional("group").strip(),
        where=row.where,
    )


def _first(row: Columns, fields: Sequence[str]) -> str:
    return next((text for field in fields if (text := row.optional(field).strip())), "")


def _options(row: Columns) -> Any:
    if not row.has("options"):
        if row.has("choices"):
            return row.need("choices")
        if all(row.has(name) for name in MEDMCQA):
            return [row.need(name) for name in MEDMCQA]
    return row.need("options")


def _texts(row: Columns, options: Any) -> list[str]:
    """Texts in the order of their letters. Parquet fills up with nulls where other rows have more options."""
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


def _index(row: Columns, answer: Any, texts: Sequence[str], options: Any) -> int:
    """The letter that the file itself gives an option wins over a text, a text over a letter or number of ours."""
    if not isinstance(answer, bool):
        if isinstance(options, dict) and answer in options:
            return sorted(options).index(answer)
        text = str(answer).strip()
        if text in texts:
            return texts.index(text)
        number = (
            int(text) - row.first_option if text.isdecimal() else LETTERS.find(text.upper()) if len(text) == 1 else -1
        )
        if 0 <= number < len(texts):
            return number
    raise DataError(
        f"{row.where}: the answer is none of the options' letters, texts, or numbers from {row.first_option}"
        + (" (data.first_option = 1 if they begin at 1)" if row.first_option == 0 else "")
    )
