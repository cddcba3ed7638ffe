"""Rules over what one row says: an empty answer, a letter or a decision that contradicts itself.

Each takes a `Case` and the `Setting`, and returns what is wrong, or "". Letters are read only where they are stated as
the answer ("B. Vein", "Hence the answer is (B)"), and options also from the lettered lines of the question, so that
what cannot be read is never called wrong.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple

from bedside.data.shingles import words
from bedside.lint.case import Case, Setting
from bedside.records import Example
from bedside.text import think
from bedside.text.chat import DECISIONS, LETTERS

OPTION = re.compile(r"^\s*\(?([A-J])[.):]\s+(\S.*?)\s*$", re.MULTILINE)
OPENING = re.compile(
    r"\W*(?:(?:the )?(?:(?:correct|right|best|final) )?(?:(?:answer|option|choice)(?: is|:)|option|choice)\s*)?"
    r"\(?([A-J])\b(?:[).:]+[ \t]*(.*)|[^\w?]*$)",
    re.IGNORECASE,
)
"""What an answer may begin with: "B. Vein", "(B) Vein", "b", "Option B", "The answer is B: Vein"."""
CONCLUDED = re.compile(
    r"\b(?:(?i:answer|option|choice|ans\.?)[ \t]+(?:is|would be|should be|must be)\b[ \t]*:?"
    r"|(?i:answer|ans)[ \t]*:|(?i:ans\.):?)[ \t]*"
    r"(?:(?i:option)\s+)?\(?([A-J])(?:(?:[).,:;]+|\s+[-–—]\s|\s+\()[ \t]*(.*)|[ \t]*$|(?=\s+(?:because|since|as)\b))"
    r"|\\boxed\{\s*(?:\\text\w*\{)?\(?([A-J])(?:[).:]+\s*([^}\n]*))?\s*\}"
    r"|(?:^|[.!?:;,(]\s*|\b(?i:hence|so|thus|therefore|option|choice)\s+)\(?([A-J])\)?()"
    r" is the (?:correct|right|best) (?:answer|option|choice)\b(?!\s*\?)"
    r"|^[^\w\n]*([A-J])()\W*\Z",
    re.MULTILINE,
)
"""What an answer or a reasoning may say anywhere, in pairs of letter and text; the last, a letter alone, at its end."""
DENIED = re.compile(
    r"(?:\b(?:not|never|nor|neither|cannot|nobody|may|might|could|if|whether|think|incorrect|wrong|worst|least)\b|n't\b)"
    r"[^.,:;!?\n]*\Z",
    re.IGNORECASE,
)
"""Words that turn round, in the same clause, what is stated after them, or leave it open."""
CLAUSE = 200
"""Characters before a letter in which such a word is looked for."""
GENUS = re.compile(r"[A-J]\. ?[a-z]")
"""After "The answer is": "E. coli" is a name, and no option E."""
MARKUP = re.compile(r"[*`]+|__")


class Stated(NamedTuple):
    """A letter that is stated as the answer, where it stands, and the text behind it.

    `sure` is whether the letter is one whatever the text says: "A. Vein of some kind" may begin with a name.
    """

    letter: str
    text: str
    at: int
    sure: bool


def empty_completion(case: Case, setting: Setting) -> str:
    """Nothing is trained beside the reasoning and the end token."""
    answer = case.said.rpartition(think.CLOSE_TAG)[2].removesuffix(setting.end_text)
    return "" if answer.strip() else "the answer is empty"


def letter_contradicts_answer(case: Case, setting: Setting) -> str:
    """Letter, option text, key and the reasoning's conclusion name different options."""
    example = case.example
    options = options_of(example)
    said = [(one, _named(one, options)) for one in stated(example.answer) if one.letter in options]
    said = [(one, named) for one, named in said if named or one.sure]
    for one, named in said:
        if named and one.letter not in named:
            return f"the answer says {one.letter}, but its text {one.text!r} is option {named[0]}"
    return _against(said[-1][0].letter, example) if said else ""


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


def stated(answer: str) -> list[Stated]:
    """The letters that an answer states, in the order of the text; the last one is what it arrives at."""
    text = MARKUP.sub("", answer).strip()
    later = _concluded(text)
    opening = OPENING.match(text.partition("\n")[0])
    if opening is None or any(one.at == opening.start(1) for one in later):
        return later
    behind = opening[2] or ""
    return [Stated(opening[1].upper(), behind, opening.start(1), not behind), *later]


def _concluded(text: str) -> list[Stated]:
    """The letters that a text without markup states as the answer, wherever it does."""
    found = []
    for match in CONCLUDED.finditer(text):
        group = next(i for i in range(1, 9, 2) if match[i])
        letter, behind, at = match[group], match[group + 1] or "", match.start(group)
        if not DENIED.search(text, max(0, at - CLAUSE), at) and not GENUS.match(text, at):
            found.append(Stated(letter, behind, at, True))
    return found


def _named(said: Stated, options: Mapping[str, str]) -> list[str]:
    """The letters of the options that the text behind a letter is."""
    return [name for name, option in options.items() if words(option) == words(said.text)]


def _against(letter: str, example: Example) -> str:
    """What the key or the reasoning says of another letter than the answer's."""
    key = example.label.upper()
    if len(key) == 1 and key in LETTERS and key != letter:
        return f"the answer says {letter}, but the key says {key}"
    concluded = _concluded(MARKUP.sub("", example.reasoning))
    if concluded and concluded[-1].letter != letter:
        return f"the answer says {letter}, but the reasoning ends at {concluded[-1].letter}"
    return ""
