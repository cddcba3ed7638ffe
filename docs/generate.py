"""Writes pages from the code: the recipe's settings, its JSON schema, the commands' help, the rules of lint and triage.

python docs/generate.py            # writes
python docs/generate.py --check    # exits 1 if a page is stale
"""

import json
import sys
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

import typer
from pydantic import BaseModel

from bedside.cli import app
from bedside.guard import rules as guard
from bedside.lint.catalogue import RULES, Rule
from bedside.recipe import Recipe

FOLDER = Path(__file__).parent
MADE = "<!-- Made by docs/generate.py from the code; do not edit. -->\n\n"
LINT = """\
# What `bedside lint` finds

`bedside lint RECIPE` renders every training row through the recipe's prompt and the model's own tokenizer, by the
functions that training itself calls, and reports what is wrong with what will really be trained. It ends with the first
row, or with `--show N` with row N, the trained tokens set apart in colour, or in brackets ⟦ ⟧ where there is none. Five
findings of each rule are told; `--json` lists up to 1,000, and counts all. The exit status is 1 if there is an error.

`bedside train` first applies all rules but those that need another pass of the model or an exported file, checks the
loss of its own first step, and refuses to train on an error. A rule whose errors you accept is named
in the recipe (`[lint] allow = ["over-max-length"]`) or on the command line (`lint.allow=[over-max-length]`), and is
told all the same. What cannot be checked on a machine, such as the tokens of llama.cpp where it is not installed, is
told as not checked.
"""


TRIAGE = """\
# What is taken for an emergency

**No clinician has reviewed these rules.** They were put together on {date} from public guidance, for research and
education. They know the emergencies below and no others: silence is no all-clear. What triage is and is not:
[decision 10](decisions/0010-guarded-answer.md).

The text of the user is read by rules, before the model is asked and whatever it answers. A sign counts unless it is
denied ("no chest pain"), past, only supposed, or asked about with no person in the sentence ("What are the signs of a
stroke?"). Numbers are read from prose ("BP 82/54", "sats 88", "temp 39.8"): mmHg, percent, breaths and beats a minute,
°C. Limits of blood pressure, pulse and breathing rate, and NEWS2, hold for adults, and are passed over where an age
below 16 is told and none of 16 or more; no rule is made for children or pregnancy. NEWS2 is added up from what is told;
what is not counts as normal.

`python benchmarks/triage.py --data FOLDER` measures what the rules see and miss; the note above has the figures.
"""


def pages() -> dict[str, str]:
    """File name → content of every generated page."""
    schema = json.dumps(Recipe.model_json_schema(), indent=2, ensure_ascii=False) + "\n"
    return {
        "reference/recipe.md": recipe_page(),
        "reference/recipe.schema.json": schema,
        "reference/commands.md": commands_page(),
        "lint.md": lint_page(),
        "triage.md": triage_page(),
    }


def recipe_page() -> str:
    """One table a section: setting, type, default, meaning."""
    fields = Recipe.model_fields.items()
    top = {name: field for name, field in fields if not _is_section(field.annotation)}
    parts = [MADE + "# Recipe reference\n\nA recipe is one TOML file. Unknown keys are refused.\n\n", _table(top)]
    for name, field in fields:
        if _is_section(field.annotation):
            section: Any = field.annotation
            parts.append(f"\n## `[{name}]`\n\n{section.__doc__}\n\n{_table(section.model_fields)}")
    return "".join(parts)


def commands_page() -> str:
    """The help of every command, as the terminal shows it at 100 columns."""
    root: Any = typer.main.get_command(app)
    context = root.context_class(root, info_name="bedside", terminal_width=100, max_content_width=100)
    parts = [MADE + "# Commands\n\n```text\n" + root.get_help(context) + "\n```\n"]
    for name, command in root.commands.items():
        inner = command.context_class(
            command, info_name=name, parent=context, max_content_width=100, terminal_width=100
        )
        parts.append(f"\n## `bedside {name}`\n\n```text\n{command.get_help(inner)}\n```\n")
    return "".join(parts)


def lint_page() -> str:
    """What each rule of `bedside lint` finds, why that hurts, and how to mend it."""
    return MADE + LINT + "".join(_rule(name, rule) for name, rule in RULES.items())


def _rule(name: str, rule: Rule) -> str:
    severity = {"error": "Error", "warning": "Warning", "either": "Error or warning"}[rule.severity]
    return (
        f"\n## `{name}`\n\n{severity}. {rule.what}\n\n**Why it hurts.** {rule.why}\n\n**How to mend it.** {rule.mend}\n"
    )


def triage_page() -> str:
    """Each rule of the triage with its signs, thresholds, words and sources."""
    known = guard.rules()
    return MADE + TRIAGE.format(date=known.date) + "".join(map(_emergency, known.rules))


def _emergency(rule: guard.Rule) -> str:
    ways = "".join(f"- {' **and** '.join(map(_part, way))}\n" for way in rule.when)
    sources = "; ".join(f"[{source}]({source.url})" for source in rule.sources)
    return (
        f"\n## `{rule.name}`: {rule.title}\n\nAny of:\n\n{ways}\n**It says.** {rule.advice}\n\n"
        f"**Why these.** {rule.basis}\n\n**Sources.** {sources}\n"
    )


def _part(part: guard.Part) -> str:
    options = " or ".join(map(str, part.options))
    if part.absent:
        return f"not {options}"
    return f"({options})" if len(part.options) > 1 else options


def _is_section(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _table(fields: dict[str, Any]) -> str:
    lines = ["| setting | type | default | meaning |", "|---|---|---|---|"]
    for name, field in fields.items():
        default = "required" if field.is_required() else f"`{json.dumps(field.default)}`"
        lines.append(f"| `{name}` | {_type(field.annotation)} | {default} | {field.description} |".replace("\n", " "))
    return "\n".join(lines) + "\n"


def _type(annotation: Any) -> str:
    if annotation is type(None):
        return "null"
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type(arguments[0])
    if origin is None:
        return getattr(annotation, "__name__", str(annotation))
    if all(isinstance(argument, str) for argument in arguments):
        return " \\| ".join(f'`"{argument}"`' for argument in arguments)
    if origin is tuple:
        return f"list of {_type(arguments[0])}"
    if origin is dict:
        return "table"
    return " \\| ".join(_type(argument) for argument in arguments)


def main() -> int:
    """Writes the pages, or with --check compares them."""
    if "--check" in sys.argv:
        stale = [name for name, text in pages().items() if (FOLDER / name).read_text(encoding="utf-8") != text]
        print("\n".join(f"docs/{name} is stale; run: make docs" for name in stale), end="")
        return bool(stale)
    for name, text in pages().items():
        (FOLDER / name).parent.mkdir(exist_ok=True)
        (FOLDER / name).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
