"""An Ollama Modelfile whose prompt is the recipe's, character by character.

In: the chat template that the GGUF file carries. Out: the same prompt in Go's template language. The translation knows
no model by name: it renders probe conversations, reads off what stands between the contents, and is used only if what
was written, read as Ollama reads it, gives back the very text of many other conversations. Otherwise TEMPLATE is left
out, and the file says what then holds. `problems` asks the same of any Modelfile.
Reference: https://docs.ollama.com/modelfile
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import cycle, islice

from bedside.errors import ModelError
from bedside.export.modelfile import QUOTES, Modelfile
from bedside.recipe import PromptSection
from bedside.records import Message, Role
from bedside.text.chat import Renderer, system_message
from bedside.text.prompts import NOTICE

SYSTEM = Message("system", "probe of the system")
FIRST, REPLY, SECOND = Message("user", "probe one"), Message("assistant", "its reply"), Message("user", "probe two")
TURNS: tuple[Role, Role] = ("user", "assistant")
CONTENTS = (
    "Fever since when?\n\n  Two days;\tnone today.",
    "{{ .System }} {% if x %} {{- end -}} }} {",
    'He said "no", \'yes\' and `maybe` """ \\n \\ $i',
    "Größe 1,5 µg/mL ≥ 38 °C 🩺 心臓 قلب e\u0301",
    '<|im_end|> </s> <tool_call>{"name": "x"}</tool_call> 007 3.14',
    "x",
)
"""What a template language, a Modelfile or a tokenizer might take for its own."""
CLOCK = "strftime_now"
"""A template that prints today's date would have it frozen."""
NO_TEMPLATE = """\
# No TEMPLATE: Go's template language cannot say what the chat template in the GGUF file says. Ollama 0.30 or later,
# started with OLLAMA_GO_TEMPLATE=false, reads the one in the file; any other may send a prompt that was not trained."""
NO_ADAPTER_FROM = "0.34.1"
"""The first version of Ollama that takes no ADAPTER (github.com/ollama/ollama/pull/14969)."""


def _conversations() -> list[tuple[Message, ...]]:
    """One to five turns of every content, after no system message, an empty one, and each of the contents."""
    found = []
    for turns in range(1, 6):
        for start, system in enumerate((None, "", *CONTENTS)):
            contents = islice(cycle(CONTENTS), start + turns, start + 3 * turns - 1)
            roles = islice(cycle(TURNS), 2 * turns - 1)
            opening = [] if system is None else [Message("system", system)]
            found.append((*opening, *(Message(role, text) for role, text in zip(roles, contents, strict=True))))
    return found


CONVERSATIONS = _conversations()
TOLD = (
    (
        (Message("user", " spaces \n"), Message("assistant", "\n at "), Message("user", "\tthe ends\n")),
        "White space at the ends of a message is kept, which the template in the GGUF file takes off.",
    ),
    (
        (FIRST, Message("assistant", "<think>\nOne.\n</think>\n\nTwo."), SECOND),
        "Reasoning in earlier answers is kept, which the template in the GGUF file takes out: send back answers alone.",
    ),
)
"""What Go cannot do to a content; no reason to have no template, but one to say so."""


@dataclass(frozen=True, slots=True)
class Layout:
    """What a template prints around the contents of a conversation."""

    before_system: str
    after_system: str
    without_system: str
    before_reply: str
    after_reply: str
    generation: str

    def to_go(self) -> str:
        """Ollama's template. `.System` joins all system messages, so they are passed over among `.Messages`."""
        return (
            f"{{{{ if .System }}}}{self.before_system}{{{{ .System }}}}{self.after_system}"
            f"{{{{ else }}}}{self.without_system}{{{{ end }}}}"
            "{{ range $i, $_ := .Messages }}{{ $last := eq (len (slice $.Messages $i)) 1 }}"
            f'{{{{ if eq .Role "user" }}}}{{{{ .Content }}}}'
            f"{{{{ if $last }}}}{self.generation}{{{{ else }}}}{self.before_reply}{{{{ end }}}}"
            f'{{{{ else if eq .Role "assistant" }}}}{{{{ .Content }}}}'
            f"{{{{ if not $last }}}}{self.after_reply}{{{{ end }}}}"
            "{{ end }}{{ end }}"
        )


def modelfile(
    gguf_name: str, section: PromptSection, renderer: Renderer, adds_bos: bool, stops: Sequence[str], context: int
) -> str:
    """The Modelfile beside the file `gguf_name`. `renderer` has the file's own template; `context` is tokens.

    `adds_bos` says that the runner puts the begin token before the prompt by itself, as the file's metadata tell.
    `problems` tells where Ollama would not read it as it is meant.
    """
    template = go_template(renderer, adds_bos)
    system = system_message(section)
    lines = [
        f"# {NOTICE}",
        f"# Prompt style that was trained: {section.style}, reasoning {section.reasoning}.",
        f"FROM ./{gguf_name}",
        *(
            [NO_TEMPLATE]
            if template is None
            else [*_told(template, renderer, adds_bos), f"TEMPLATE {_quoted(template)}"]
        ),
        *([f"SYSTEM {_quoted(system)}"] if system else []),
        *(f"PARAMETER stop {_quoted(stop)}" for stop in stops),
        "PARAMETER temperature 0",
        "# The model as it is: versions of Ollama have penalised repeated words unless told otherwise.",
        "PARAMETER repeat_penalty 1",
        f"PARAMETER num_ctx {context}",
    ]
    return "\n".join(lines) + "\n"


def adapted(text: str, base_name: str, adapter_name: str) -> str:
    """The same Modelfile with the base's file and the adapter's in the place of the merged one."""
    before, after = text.split(f"FROM ./{Modelfile.parse(text).last('from').removeprefix('./')}\n")
    note = f"# For Ollama before {NO_ADAPTER_FROM}; later versions take no ADAPTER, and llama-server does."
    return f"{before}{note}\nFROM ./{base_name}\nADAPTER ./{adapter_name}\n{after}"


def problems(
    text: str,
    renderer: Renderer,
    section: PromptSection,
    stops: Sequence[str],
    adds_bos: bool = False,
    context: int | None = None,
    served: str | None = None,
) -> list[str]:
    """What Ollama would do otherwise than was trained if it was given this Modelfile, a line each; none if nothing.

    `renderer` has the template that was trained; `adds_bos` says that the runner adds the begin token by itself;
    `context`, if it matters, is tokens, and `served` the file beside it. What is compared are the prompts of many
    conversations, not words of templates.
    """
    try:
        found = Modelfile.parse(text)
    except ModelError as error:
        return [str(error)]
    told = [f"{name.upper()} changes the prompt" for name in ("message", "parser", "renderer") if found.values(name)]
    told += ["ADAPTER changes the weights"] if found.values("adapter") else []
    if served is not None and found.values("from") != [f"./{served}"]:
        told.append(f"FROM is {', '.join(found.values('from'))}, wanted ./{served}")
    if found.values("template"):
        told += _prompt_problems(found, renderer, adds_bos)
    elif go_template(renderer, adds_bos) is not None:
        told.append("TEMPLATE is missing, so that Ollama chooses one by itself")
    if found.last("system") != system_message(section):
        told.append(f"SYSTEM is {found.last('system')!r}, trained was {system_message(section)!r}")
    told += [
        f"PARAMETER stop lacks {stop!r}, which ends an answer" for stop in stops if stop not in found.values("stop")
    ]
    if not any(stop in _tail(renderer) for stop in found.values("stop")):
        told.append(f"PARAMETER stop holds nothing of what ends an answer, {_tail(renderer)!r}")
    if context is not None and found.last("num_ctx") != str(context):
        told.append(f"PARAMETER num_ctx is {found.last('num_ctx') or 'missing'}, wanted {context}")
    return told


def go_template(renderer: Renderer, adds_bos: bool) -> str | None:
    """The template in Go's words; None if they do not give every conversation as the template does."""
    if CLOCK in renderer.template:
        return None
    try:
        layout = _read_off(renderer, adds_bos)
        if layout is None:
            return None
        written = layout.to_go()
        read = Modelfile.parse(f"FROM x\nTEMPLATE {QUOTES}{written}{QUOTES}\n")
        return None if _prompt_problems(read, renderer, adds_bos) else written
    except ModelError:  # some templates refuse a system message
        return None


def _prompt_problems(found: Modelfile, renderer: Renderer, adds_bos: bool) -> list[str]:
    """The first conversation whose prompt is another one, if any is."""
    alone = Modelfile((("template", found.last("template")),))
    for messages in CONVERSATIONS:
        try:
            printed, trained = alone.prompt(messages), _trained(renderer, messages, adds_bos)
        except ModelError as error:
            return [f"TEMPLATE cannot be compared: {error}"]
        if printed != trained:
            return [f"TEMPLATE prints {_around(printed, trained)}, trained was {_around(trained, printed)}"]
    return []


def _trained(renderer: Renderer, messages: Sequence[Message], adds_bos: bool) -> str:
    """The prompt of the template itself. An empty system message is none (`chat.conversation`).

    Ollama has no way to take a control token in a user's text for text, so that is left out here, and told in RUN.md.
    """
    said = [message for message in messages if message.role != "system" or message.content]
    return replace(renderer, controls=()).render(said, generation=True).removeprefix(renderer.bos if adds_bos else "")


def _told(template: str, renderer: Renderer, adds_bos: bool) -> list[str]:
    alone = Modelfile((("template", template),))
    return [f"# {note}" for messages, note in TOLD if alone.prompt(messages) != _trained(renderer, messages, adds_bos)]


def _tail(renderer: Renderer) -> str:
    """What the template prints behind an answer; "" if it prints no answer at all."""
    try:
        return renderer.render([FIRST, REPLY], generation=False).rpartition(REPLY.content)[2]
    except ModelError:
        return ""


def _around(text: str, other: str) -> str:
    """A few characters of a text about the first that is not the other's."""
    place = next((i for i, pair in enumerate(zip(text, other, strict=False)) if pair[0] != pair[1]), len(other))
    return repr(text[max(place - 20, 0) : place + 10])


def _read_off(renderer: Renderer, adds_bos: bool) -> Layout | None:
    conversations = ((FIRST,), (SYSTEM, FIRST), (FIRST, REPLY, SECOND))
    plain, system, turns = (_between(_trained(renderer, messages, adds_bos), messages) for messages in conversations)
    if plain is None or system is None or turns is None:
        return None
    return Layout(
        before_system=system[0],
        after_system=system[1],
        without_system=plain[0],
        before_reply=turns[1],
        after_reply=turns[2],
        generation=plain[1],
    )


def _between(text: str, messages: Sequence[Message]) -> list[str] | None:
    """The text before, between and after the contents; None if one of them is not there."""
    pieces = []
    for message in messages:
        piece, found, text = text.partition(message.content)
        if not found:
            return None
        pieces.append(piece)
    return [*pieces, text]


def _quoted(text: str) -> str:
    """A value as a Modelfile takes it: in three quotes where it has lines or quotes of its own."""
    return f"{QUOTES}{text}{QUOTES}" if "\n" in text or '"' in text else f'"{text}"'
