"""Whether every item fits into the model's window, before the first one is asked.

In: the items of each task, and a writer that can count tokens; a server's window cannot be seen. Nothing is cut, so
what does not fit is refused: counted, named, and with the setting that would help.
"""

from collections.abc import Mapping, Sequence

from bedside.errors import ContextTooLong
from bedside.evaluate import ranked, written
from bedside.evaluate.tasks import SCORED_BY, TASKS, asks
from bedside.recipe import EvaluateSection, TaskName
from bedside.records import Example
from bedside.runtime.backend import Measured, Scorer
from bedside.text import think

NAMED = 5
RANKED = {
    "choice": ranked.choice,
    "general": ranked.choice,
    "decision": ranked.decision,
    "vignette": ranked.reference,
    "likelihood": ranked.reference,
}


def require_room(writer: Measured, items: Mapping[TaskName, Sequence[Example]], settings: EvaluateSection) -> None:
    """Raises ContextTooLong for the first task with items that need more than the window."""
    for task, examples in items.items() if writer.window else ():
        needs = {item.id: need(writer, task, item, settings) for item in examples}
        over = {name: tokens for name, tokens in needs.items() if tokens > writer.window}
        if over:
            shown = ", ".join(list(over)[:NAMED]) + (", …" if len(over) > NAMED else "")
            raise ContextTooLong(
                f"{task}: {len(over)} of {len(examples)} items do not fit into {writer.name}'s window of"
                f" {writer.window} tokens, the longest needs {max(over.values())} ({shown});"
                f" {_what_to_do(writer, task)}"
            )


def need(writer: Measured, task: TaskName, item: Example, settings: EvaluateSection) -> int:
    """Tokens of an item as it is asked, with all that may be written or is scored after it."""
    if not TASKS[task].generated:
        scorer: Scorer = writer  # type: ignore[assignment]
        prompt, continuations = RANKED[asks(task)](scorer, item, settings)
        return max(writer.tokens(prompt, text) for text in continuations)
    options = (written.reasoned if "max_tokens" in SCORED_BY[task] else written.direct)(settings)
    prompt = writer.prompt_text(written.messages(writer, item))
    return writer.tokens(prompt, think.closed(prompt)) + options.max_tokens + options.answer_tokens


def _what_to_do(writer: Measured, task: TaskName) -> str:
    ways = [f"raise {writer.wider}"] if writer.wider else []
    if TASKS[task].generated:
        ways.append(f"lower evaluate.{SCORED_BY[task][0]}")
    own_rows = asks(task) in ("decision", "likelihood", "rouge")
    ways.append("leave long rows out with data.max_characters" if own_rows else "leave those items out")
    return ", or ".join(ways)
