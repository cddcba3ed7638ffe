"""Rules over what one row says: an empty answer, a letter or a decision that contradicts itself.

Each takes a `Case` and the `Setting`, and returns what is wrong, or "". Letters are read only where they are stated as
the answer ("B. Vein", "The answer is (B)"), and options also from the lettered lines of the question, so that what
cannot be read is never called wrong.
"""

import re

from bedside.data.shingles import words
from bedside.lint.case import Case, Setting
from bedside.records import Example
from bedside.text import think
from bedside.text.chat import DECISIONS, LETTERS

OPTION = re.compile(r"^\s*\(?([A-J])[.):]\s+(\S.*?)\s*$", re.MULTILINE)
STATED = re.compile(
    r"\W*(?:(?:the )?(?:(?:correct|right|best|final) )?(?:answer|option|choice)(?: is|:)\s*)?"
    r"\(?([A-J])\b(?:[).:]+\s*(.*)|\W*$)",
    re.IGNORECASE,
)
CONCLUDED = re.compile(
    r"\b(?:answer|option|choice) (?:is|would be|should be|must be):? (?:option )?\(?([A-J])(?:[).,:;]|$)", re.MULTILINE
)


def empty_completion(case: Case, setting: Setting) -> str:
    """Nothing is trained beside the reasoning and the end token."""
    answer = case.said.rpartition(think.CLOSE_TAG)[2].removesuffix(setting.end_text)
    return "" if answer.strip() else "the answer is empty"


def letter_contradicts_answer(case: Case, setting: Setting) -> str:
    """Letter, option text, key and the reasoning's conclusion name different options."""
    example = case.example
    options = options_of(example)
    letter, text = stated(example.answer)
    named = [name for name, option in options.items() if words(option) == words(text)]
    if letter not in options or not (named or not text):
        return ""
    if named and letter not in named:
        return f"the answer says {letter}, but its text {text!r} is option {named[0]}"
    key = example.label.upper()
    if len(key) == 1 and key in LETTERS and key != letter:
        return f"the answer says {letter}, but the key says {key}"
    concluded = CONCLUDED.findall(example.reasoning)
    if concluded and concluded[-1] != letter:
        return f"the answer says {letter}, but the reasoning ends at {concluded[-1]}"
    return ""


def label_unknown(case: Case, setting: Setting) -> str:
    """The label is none of those that the row could have."""
    label, options = case.example.label, case.example.options
    known = tuple(LETTERS[: len(options)]) if options else DECISIONS if setting.decides else ()
    if not label or not known or label in known:
        return ""
    return f"the label is {label!r}; known: {', '.join(known)}"


def label_contradicts_answer(case: Case, setting: Setting) -> str:
    """The answer begins with another decision than the label."""
    label = case.example.label.casefold()
    first = next(iter(words(case.example.answer)), "")
    if label not in DECISIONS or first not in DECISIONS or first == label:
        return ""
    return f"the label is {label!r}, but the answer begins {case.example.answer[:20]!r}"


def options_of(example: Example) -> dict[str, str]:
    """Letter → text of the options, which may also stand as lettered lines in the question; {} if there are none."""
    if example.options:
        return dict(zip(LETTERS, example.options, strict=False))
    found = OPTION.findall(example.question)
    letters = "".join(letter for letter, _ in found)
    return dict(found) if len(letters) > 1 and LETTERS.startswith(letters) else {}


def stated(answer: str) -> tuple[str, str]:
    """(letter, text behind it) that an answer states at its beginning; ("", "") if it states none."""
    match = STATED.match(answer.strip().partition("\n")[0])
    return (match[1].upper(), match[2] or "") if match else ("", "")
