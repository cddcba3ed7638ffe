"""Multiple-choice rows → `Example`: MedQA, MedMCQA, MMLU and MMLU-Pro, MedXpertQA, and files like them.

Options stand in `options` (a list, or {letter: text}), in `choices` (MMLU) or in `opa` to `opd` (MedMCQA); the answer
is an option's letter, number or text. Where a row names the right option twice, by key and by text, both are kept as
they are: `label` is the key, the letter in `answer` the text's, and lint tells where the two disagree.
Sources: arXiv:2009.13081 (MedQA), arXiv:2203.14371 (MedMCQA), arXiv:2009.03300 (MMLU), arXiv:2406.01574 (MMLU-Pro).
"""

from collections.abc import Sequence
from typing import Any, Literal

from bedside.data.read import as_list
from bedside.data.shapes import Columns
from bedside.errors import DataError
from bedside.records import Example
from bedside.text.chat import LETTERS

MEDMCQA = ("opa", "opb", "opc", "opd")
KEYS = ("answer_idx", "answer_index", "cop")
"""Columns that name the right option by letter or number: of MedQA, MMLU-Pro, MedMCQA."""
REASONING = ("reasoning", "exp", "cot_content")
Meant = Literal["key", "text", "either"]
SUBJECT = ("subject", "subject_name", "category")


def choice(row: Columns) -> Example:
    """One question with 2 to 10 options. Raises DataError where the right one cannot be told."""
    options = _options(row)
    texts = _texts(row, options)
    key = next((name for name in KEYS if row.has(name)), None)
    said = row.has("answer") or key is None
    index = _index(row, row.need("answer" if said else str(key)), texts, options, _meant(row, key))
    keyed = index if key is None else _index(row, row.need(key), texts, options, "key")
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
    if isinstance(options, str) and texts == [options.strip()]:
        raise DataError(f"{row.where}: the options are one text; want a list of 2 to {len(LETTERS)}")
    if not 2 <= len(texts) <= len(LETTERS):
        raise DataError(f"{row.where}: {len(texts)} options; want 2 to {len(LETTERS)}")
    if "" in texts:
        raise DataError(f"{row.where}: option {LETTERS[texts.index('')]} is empty")
    return texts


def _meant(row: Columns, key: str | None) -> Meant:
    """What the answer is first: MMLU has numbers for `choices`; beside a column of keys it is a text."""
    if not row.has("answer"):
        return "either" if key is None else "key"
    if key is not None:
        return "text"
    return "key" if not row.has("options") and isinstance(row.need("answer"), int) else "either"


def _index(row: Columns, answer: Any, texts: Sequence[str], options: Any, meant: Meant) -> int:
    """The place of the right option.

    The file's own letters come first; then a key is a letter or number, and all else a text, as options may be letters
    or numbers themselves (MedQA's "2" among numbers is a text). Raises DataError where a bare number may be either.
    """
    found: int | None = None
    if isinstance(answer, str | int) and not isinstance(answer, bool):
        said = str(answer).strip()
        own = sorted(options).index(said) if isinstance(options, dict) and said in options else None
        text = texts.index(said) if said in texts else None
        counted = _counted(row, said, len(texts))
        if meant == "either" and own is None and isinstance(answer, int):
            _refuse_ambiguous(row, said, text, counted)
        ways = (own, counted, text) if meant == "key" else (own, text, counted)
        found = next((way for way in ways if way is not None), None)
    if found is None:
        raise DataError(
            f"{row.where}: the answer is none of the options' letters, texts, or numbers from {row.first_option}"
            + (f" ({row.settings}first_option = 1 if they begin at 1)" if row.first_option == 0 else "")
        )
    return found


def _refuse_ambiguous(row: Columns, said: str, text: int | None, counted: int | None) -> None:
    """Of numbers among numbers nothing tells in one row whether they are texts, and rows must not differ in that."""
    if text is None or counted is None or text == counted:
        return
    raise DataError(
        f"{row.where}: the answer {said} is the text of option {LETTERS[text]} and the number of option"
        f" {LETTERS[counted]}; give the letter, or name the column answer_idx if it holds numbers"
    )


def _counted(row: Columns, said: str, options: int) -> int | None:
    """The option of a letter or a number of ours."""
    if said.isdecimal() and len(said) < 3:
        at = int(said) - row.first_option
    else:
        at = LETTERS.find(said.upper()) if len(said) == 1 else -1
    return at if 0 <= at < options else None
