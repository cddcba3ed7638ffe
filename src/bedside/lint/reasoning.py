"""Rules over the text of one row: `<think>` blocks, and whether the words of the row came through.

Each but `no_reasoning`, which is about all rows, takes a `Case` and the `Setting`, and returns what is wrong, or "".
Texts are compared without white space and
in one Unicode form, since tokenizers may change both.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence

from bedside.lint.case import Case, Setting
from bedside.lint.findings import Finding
from bedside.recipe import PromptSection
from bedside.records import Example
from bedside.text import think
from bedside.text.chat import JOINER, user_text

TAG = re.compile(r"</?think>")
OPENED = re.compile(r"<think>(\s*)$")
BLOCK = re.compile(r"<think>\s*(?:</think>\s*)?$")
LEADING = re.compile(r"\s*")


def think_unbalanced(case: Case, setting: Setting) -> str:
    """The assistant's turn has anything but one block, or none at all."""
    block = BLOCK.search(case.served)
    tags = TAG.findall((block[0] if block else "") + case.said)
    if tags in ([], [think.OPEN_TAG, think.CLOSE_TAG]):
        return ""
    return f"the answer's tags are {' '.join(tags)}; want one {think.OPEN_TAG} and then one {think.CLOSE_TAG}"


def think_whitespace(case: Case, setting: Setting) -> str:
    """White space after an opening tag is another in the row than in the prompt that is served."""
    opened = OPENED.search(case.served)
    if opened is None:
        return ""
    more = LEADING.match(case.said)
    trained = opened[1] + (more[0] if more else "")
    return whitespace_fault(opened[1], trained)


def whitespace_fault(served: str, trained: str) -> str:
    """What is wrong with the white space after `<think>` in prompt and training text; "" if it is ours in both."""
    wanted = think.OPEN.removeprefix(think.OPEN_TAG)
    if served == trained == wanted:
        return ""
    return f"the prompt ends {think.OPEN_TAG + served!r}, but {think.OPEN_TAG + trained!r} is trained"


def reasoning_removed(case: Case, setting: Setting) -> str:
    """A row brings reasoning, its prompt leaves room for it, and it is not in the training text."""
    reasoning = case.example.reasoning
    if not reasoning.strip() or not setting.reasons or squeezed(reasoning) in squeezed(case.said):
        return ""
    return f"the reasoning ({len(reasoning.split())} words) is not in the training text"


def no_reasoning(trained: Sequence[Example], section: PromptSection) -> Iterator[Finding]:
    """One finding if the recipe trains reasoning and no row that is trained has any."""
    if section.reasoning != "think" or not trained or any(row.reasoning.strip() for row in trained):
        return
    message = f"none of the {len(trained)} rows has reasoning, so that no <think> block is trained"
    yield Finding("no-reasoning", "warning", 'prompt.reasoning = "think"', message)


def text_changed(case: Case, setting: Setting) -> str:
    """Question or answer did not come through template and tokenizer."""
    for what, text, where in (
        ("question", user_text(case.example), case.served),
        ("answer", case.example.answer, case.said),
    ):
        if squeezed(text) not in squeezed(where):
            return f"the {what} is not in the training text as it stands in the row"
    return ""


def squeezed(text: str) -> str:
    """Text without white space and without what breaks a control token's text, in Unicode's form NFKC."""
    return "".join(unicodedata.normalize("NFKC", text).replace(JOINER, "").split())
