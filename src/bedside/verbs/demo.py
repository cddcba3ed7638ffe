"""`bedside demo`: the whole pipeline on the embedded model and starter set, then one question nobody trained on."""

import shutil
import sys
from pathlib import Path
from typing import Any

from bedside.answer import answer
from bedside.data import prepare
from bedside.evaluate.tasks import demonstration
from bedside.records import Answer, GenerationOptions, Message
from bedside.runs import Run
from bedside.runtime.choose import exported
from bedside.text.chat import user_text
from bedside.text.prompts import NOTICE
from bedside.verbs import run as run_verb

MAX_TOKENS = 256


def demo(runs: Path) -> dict[str, Any]:
    """Runs the starter recipe and asks the exported file the run's demonstration question."""
    from bedside.runtime.llamacpp import LlamaCpp

    result = run_verb.run("starter", [], "report", runs)
    run = Run.open(Path(result["run"]))
    example = demonstration(prepare.load(run.folder("data"), "test"), run.recipe.seed)
    model = LlamaCpp(exported(run))
    *_, last = answer(model, [Message("user", user_text(example))], GenerationOptions(max_tokens=MAX_TOKENS))
    model.close()
    assert isinstance(last, Answer)
    return {**result, "question": example.question, "reference": example.answer, **last.to_json()}


def in_words(result: dict[str, Any]) -> str:
    """Question, reasoning set apart, answer, reference, and then the table."""
    cut = "  (cut at the token limit)" if result["finish"] == "length" else ""
    forced = ", closed at its limit" if result["forced"] else ""
    reasoning = "\n".join(f"    | {line}" for line in result["reasoning"].splitlines())
    return "\n".join(
        [
            "",
            f"Question that was not trained on:\n    {result['question']}",
            f"\nReasoning of {result['model']}{forced}:\n{reasoning or '    | (none)'}",
            f"\nAnswer:\n    {result['answer'] or '(no answer was reached)'}{cut}",
            f"\nReference:\n    {result['reference']}",
            f"\n{NOTICE}\n",
            run_verb.in_words(result),
            f"\nNext, a page for the browser: {_program()} serve {result['run']}",
        ]
    )


def _program() -> str:
    """How the command is typed here: by its path where it is not on the shell's, as after `make demo`."""
    return "bedside" if shutil.which("bedside") else sys.argv[0]
