"""An Ollama Modelfile whose prompt is the recipe's, character by character.

In: the chat template that the GGUF file carries. Out: the same prompt in Go's template language. The translation knows
no model by name: it renders probe conversations, reads off what stands between the contents, and is used only if
it then gives back the very text of further conversations. Otherwise TEMPLATE is left out and Ollama reads the template
in the GGUF file. Reference: https://docs.ollama.com/modelfile
"""

from collections.abc import Sequence
from dataclasses import dataclass

from bedside.errors import ModelError
from bedside.recipe import PromptSection
from bedside.records import Message
from bedside.text.chat import Renderer, system_message
from bedside.text.prompts import NOTICE

SYSTEM = Message("system", "probe of the system")
FIRST, REPLY, SECOND = Message("user", "probe one"), Message("assistant", "its reply"), Message("user", "probe two")
CONVERSATIONS: tuple[tuple[Message, ...], ...] = (
    (FIRST,),
    (SYSTEM, FIRST),
    (FIRST, REPLY, SECOND),
    (SYSTEM, FIRST, REPLY, SECOND, Message("assistant", "another"), Message("user", "probe three")),
)
QUOTES = '"""'
CLOCK = "strftime_now"
"""A template that prints today's date would have it frozen."""


@dataclass(frozen=True, slots=True)
class Layout:
    """What a template prints around the contents of a conversation."""

    before_system: str
    after_system: str
    without_system: str
    before_reply: str
    after_reply: str
    generation: str

    def render(self, messages: Sequence[Message]) -> str:
        """What the Go template below prints, for comparing."""
        has_system = messages[0].role == "system"
        turns = messages[1:] if has_system else messages
        text = f"{self.before_system}{messages[0].content}{self.after_system}" if has_system else self.without_system
        for turn in turns[:-1]:
            text += turn.content + (self.before_reply if turn.role == "user" else self.after_reply)
        return text + turns[-1].content + self.generation

    def can_be_quoted(self) -> bool:
        """Whether neither Go nor the Modelfile would take a part of the texts for its own."""
        texts = [getattr(self, name) for name in self.__dataclass_fields__]
        return not any(mark in text for mark in ("{{", "}}", QUOTES) for text in texts)

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
    """
    layout = recognise(renderer, renderer.bos if adds_bos else "")
    lines = [f"# {NOTICE}", f"FROM ./{gguf_name}"]
    if layout is None:
        lines.append("# No TEMPLATE: the chat template in the GGUF file is used as it is.")
    else:
        lines.append(f"TEMPLATE {_quoted(layout.to_go())}")
    if system_message(section):
        lines.append(f"SYSTEM {_quoted(system_message(section))}")
    lines += [f"PARAMETER stop {_quoted(stop)}" for stop in stops]
    lines += ["PARAMETER temperature 0", f"PARAMETER num_ctx {context}"]
    return "\n".join(lines) + "\n"


def recognise(renderer: Renderer, begin: str) -> Layout | None:
    """What the template prints around the contents; None if that does not explain every probe conversation.

    `begin` is what the runner prints by itself, and is taken off.
    """
    if CLOCK in renderer.template:
        return None
    try:
        texts = [renderer.render(messages, generation=True).removeprefix(begin) for messages in CONVERSATIONS]
    except ModelError:  # some templates refuse a system message
        return None
    layout = _read_off(texts)
    if layout is None or not layout.can_be_quoted():
        return None
    agrees = all(layout.render(messages) == text for messages, text in zip(CONVERSATIONS, texts, strict=True))
    return layout if agrees else None


def _read_off(texts: Sequence[str]) -> Layout | None:
    plain = _between(texts[0], (FIRST,))
    system = _between(texts[1], (SYSTEM, FIRST))
    turns = _between(texts[2], (FIRST, REPLY, SECOND))
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
    if QUOTES in text:
        raise ModelError("a Modelfile cannot hold three double quotes in a row; change prompt.system")
    return f"{QUOTES}{text}{QUOTES}" if "\n" in text or '"' in text else f'"{text}"'
