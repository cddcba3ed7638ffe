"""Why no training text can be made of a row: the pipeline's refusal, told under the name of a rule.

In: what the template prints for prompt and whole conversation. Out: the rule, and what is wrong.
"""

from bedside.lint.case import Refused, Setting
from bedside.lint.reasoning import LEADING, OPENED, squeezed, whitespace_fault
from bedside.recipe import RuleName


def diagnose(row: Refused, setting: Setting) -> tuple[RuleName, str]:
    """The first fault that explains the refusal."""
    if not row.full:
        return "template-fails", row.message
    if setting.reasons and squeezed(row.example.reasoning) not in squeezed(row.full):
        words = len(row.example.reasoning.split())
        return "reasoning-removed", f"the chat template drops the reasoning ({words} words) from the assistant's turn"
    if squeezed(row.example.answer) not in squeezed(row.full):
        return "text-changed", "the chat template changes or drops the answer"
    fault = _whitespace(row)
    if fault:
        return "think-whitespace", fault
    if not row.full.startswith(row.served):
        at = next((i for i, (a, b) in enumerate(zip(row.full, row.served, strict=False)) if a != b), len(row.full))
        served, trained = row.served[at : at + 24], row.full[at : at + 24]
        return "prompt-differs", f"after {at} characters the prompt is {served!r}, but {trained!r} is trained"
    if setting.end_text not in row.full[len(row.served) :]:
        ending = row.full[-24:]
        return "end-missing", f"the chat template does not print the end token {setting.end_text!r}; it ends {ending!r}"
    return "template-fails", row.message


def _whitespace(row: Refused) -> str:
    """What is wrong with the white space after a `<think>` that ends the prompt, if the two agree up to there."""
    opened = OPENED.search(row.served)
    if opened is None or not row.full.startswith(row.served[: opened.start(1)]):
        return ""
    after = LEADING.match(row.full, opened.start(1))
    return whitespace_fault(opened[1], after[0] if after else "")
