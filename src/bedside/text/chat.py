"""Messages ↔ text through one Jinja chat template: the same for training, GGUF and asking.

Templates come from strangers (hub models, GGUF files), so they run in `sandbox`.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache

import jinja2

from bedside.errors import ModelError
from bedside.models.gguf import GgufMetadata
from bedside.recipe import PromptSection
from bedside.records import Example, Message
from bedside.text import prompts, think
from bedside.text.sandbox import Program, compile_template

LETTERS = "ABCDEFGHIJ"
DECISIONS = ("yes", "no", "maybe")
JOINER = "\u2060"
"""A sign that is not seen, has no width and breaks no line (Unicode's WORD JOINER)."""
_ENDS = r"\n\r\v\f\x85\u2028\u2029"
LINE_START = rf"(?<![^{_ENDS}])[^\S{_ENDS}]*"
"""The start of a line, of whatever Unicode ends one with, and the space there."""


@dataclass(frozen=True, slots=True)
class Renderer:
    """A chat template with the special tokens that it may print.

    `controls` are the texts of which the tokenizer makes control tokens. Only the template may print them: typed by
    somebody into a question, one could end that turn and begin another, so there it is broken by a `JOINER`. So are
    the headings of "alpaca-think" at the start of a line, where the template parts its turns by them.
    """

    template: str
    bos: str
    eos: str
    controls: tuple[str, ...] = ()

    def render(self, messages: Sequence[Message], generation: bool) -> str:
        """The conversation as text; `generation` adds what stands before the assistant's next turn.

        Earlier turns of the assistant are text like the user's, since a client sends them: in training too, so that a
        prompt is the same there. What is trained, a last turn without `generation`, is printed as it is.
        """
        trained = messages[-1:] if not generation and messages and messages[-1].role == "assistant" else []
        read = messages[: len(messages) - len(trained)]
        turns = [asdict(message) for message in (*map(self._as_text, read), *trained)]
        try:
            return _compile(self.template).render(
                messages=turns,
                bos_token=self.bos,
                eos_token=self.eos,
                add_generation_prompt=generation,
                tools=None,
                documents=None,
            )
        except jinja2.TemplateError as error:
            raise ModelError(f"chat template: {error}; choose prompt.style = 'alpaca-think' to use another") from error

    def _as_text(self, message: Message) -> Message:
        content = message.content
        meant = (think.OPEN_TAG, think.CLOSE_TAG) if message.role == "assistant" else ()
        for token in self.controls:
            if token in content and token not in meant:
                content = content.replace(token, _broken(token))
        for heading in prompts.ALPACA_HEADINGS:
            if heading in content and heading in self.template:
                content = re.sub(f"({LINE_START}){heading}", rf"\g<1>{_broken(heading)}", content)
        return replace(message, content=content)


def _broken(text: str) -> str:
    return text[0] + JOINER + text[1:]


def renderer_of(file: GgufMetadata) -> Renderer:
    """A GGUF file's own template with its special tokens."""
    return Renderer(file.template, file.bos, file.eos, file.controls)


@dataclass(frozen=True, slots=True)
class Rendered:
    """Text of one training row: the prompt as it will be served, and the completion that is trained."""

    prompt: str
    completion: str


def template_for(section: PromptSection, model_template: str, adds_bos: bool) -> str:
    """The template of a prompt style. Raises ModelError if "chat" is asked of a model without a template."""
    if section.style == "chat":
        if not model_template:
            raise ModelError("the base model has no chat template; use prompt.style = 'alpaca-think'")
        return model_template
    return prompts.ALPACA_TEMPLATE.format(
        # Jinja would read the escapes of a character beyond U+FFFF as two halves of a surrogate pair.
        system=json.dumps(system_message(section), ensure_ascii=False),
        preamble=json.dumps(prompts.ALPACA_PREAMBLE[section.reasoning]),
        bos="bos_token + " if adds_bos else "",
        opening="<think>\\n" if section.reasoning == "think" else "",
    )


def system_message(section: PromptSection) -> str:
    """The system message that every conversation of this recipe starts with; "" means none."""
    if section.system is not None:
        return section.system
    return prompts.CHAT_SYSTEM[section.reasoning] if section.style == "chat" else prompts.ALPACA_SYSTEM


def user_text(example: Example) -> str:
    """The user's turn: context, question, lettered options, and what kind of answer is wanted."""
    parts = [example.context, example.question]
    if example.options:
        parts[-1] += "\n" + "\n".join(f"{LETTERS[i]}. {text}" for i, text in enumerate(example.options))
        parts[-1] += "\n" + prompts.CHOOSE
    elif example.label in DECISIONS:
        parts[-1] += "\n" + prompts.DECIDE
    elif example.accepted:
        parts[-1] += "\n" + prompts.DIAGNOSE
    return "\n\n".join(part for part in parts if part)


def conversation(question: str, section: PromptSection, history: Sequence[Message] = ()) -> list[Message]:
    """System message, earlier turns, and the question.

    System messages in the history take precedence; they are joined at the front, where every template wants them.
    """
    own = [message.content for message in history if message.role == "system"]
    system = "\n\n".join(own) if own else system_message(section)
    opening = [Message("system", system)] if system else []
    return [*opening, *(message for message in history if message.role != "system"), Message("user", question)]


def render_example(example: Example, section: PromptSection, renderer: Renderer) -> Rendered:
    """Prompt and completion of a training row.

    The completion is what the template prints for the assistant's turn after the prompt, up to and including its
    first end token. A row without reasoning gets an empty `<think>` block as part of its prompt: whether to reason is
    the prompt's to say, and a model that is trained to close the block at once would stop reasoning at all.

    Raises ModelError where the template prints another prompt in training than in serving, drops the reasoning (as
    DeepSeek-R1's own does), or never ends the turn.
    """
    messages = conversation(user_text(example), section, example.history)
    content = think.wrap(example.reasoning, example.answer) if section.reasoning == "think" else example.answer.strip()
    prompt = renderer.render(messages, generation=True)
    full = renderer.render([*messages, Message("assistant", content)], generation=False)
    completion = _completion(prompt, full, content, renderer.eos)
    if section.reasoning == "think" and not example.reasoning.strip():
        block = think.closed(prompt)
        return Rendered(prompt + block, completion.removeprefix(block))
    return Rendered(prompt, completion)


def _completion(prompt: str, full: str, content: str, eos: str) -> str:
    """What follows the prompt up to the end of the turn. Raises ModelError if that is not what was to be trained."""
    instead = "use prompt.style = 'alpaca-think'"
    if not full.startswith(prompt):
        raise ModelError(f"chat template: the training text does not begin with the prompt that is served; {instead}")
    completion = full[len(prompt) :]
    tail = content.removeprefix(think.OPEN) if prompt.endswith(think.OPEN) else content
    if not completion.startswith(tail):
        raise ModelError(f"chat template: it changes or drops the reasoning or the answer; {instead}")
    ended = completion.find(eos, len(tail)) if eos else -1
    if ended < 0:
        raise ModelError(
            f"chat template: the answer does not end with the end token {eos!r}, so the model would never learn to"
            f" stop; {instead}"
        )
    return completion[: ended + len(eos)]


@lru_cache(maxsize=16)
def _compile(template: str) -> Program:
    return compile_template(template)
