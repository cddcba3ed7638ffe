"""A conversation as token ids, in every place that reads it; and what a difference is called.

In: conversations and places (the training renderer, the merged folder, each GGUF file, the chat endpoint). Out: a
`Finding` for the first conversation that a place reads otherwise than training, under the name of its cause.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from bedside.export.conversations import Conversation
from bedside.files import read_json
from bedside.models.control import is_control
from bedside.models.gguf import metadata
from bedside.recipe import PromptSection
from bedside.records import Message
from bedside.runtime.choose import PROMPT_FILE
from bedside.runtime.libllama import File, common_length
from bedside.runtime.llamacpp import FOREIGN, prompt_text
from bedside.runtime.tokenizer import encode, load_tokenizer, renderer_of
from bedside.text import chat, think

TokenFault = Literal[
    "begin-doubled",
    "end-missing",
    "think-whitespace",
    "reasoning-removed",
    "system-dropped",
    "digits-joined",
    "control-token-parsed",
    "tokenizer-differs",
    "prompt-differs",
]
Fault = Literal[
    TokenFault,
    "adapter-not-merged",
    "adapter-scaled-twice",
    "adapter-differs",
    "rotary-order",
    "rope-base",
    "weights-differ",
    "quantisation-broke",
    "modelfile-differs",
    "stop-missing",
]
OF_TOKENS: frozenset[Fault] = frozenset(get_args(TokenFault))
"""Those that make other token ids."""
AROUND_TAG = re.compile(r"\s*(</?think>)\s*")
DIGITS = re.compile(r"\d{2}")


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is served otherwise than it was trained: its name, the place, and one line that shows it."""

    fault: Fault
    where: str
    detail: str

    def to_json(self) -> dict[str, Any]:
        """An entry of `findings` in the JSON of `bedside parity`."""
        return {"fault": self.fault, "where": self.where, "detail": self.detail}


@dataclass(frozen=True, slots=True)
class Reading:
    """The rendered text of a conversation and its token ids, begin token included."""

    text: str
    ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Place:
    """Somewhere that makes prompts; `read` takes a conversation as a client sends it."""

    name: str
    read: Callable[[Sequence[Message]], Reading]


@dataclass(frozen=True, slots=True)
class Trained:
    """How the recipe's model was trained to read: the base's tokenizer with the recipe's template."""

    tokenizer: PreTrainedTokenizerBase
    section: PromptSection

    def read(self, turns: Sequence[Message]) -> Reading:
        """What every other place is compared with."""
        return _read(self.tokenizer, self.section, turns)

    @property
    def controls(self) -> tuple[str, ...]:
        """Texts of the control tokens, those first that the template prints."""
        renderer = renderer_of(self.tokenizer)
        opening = renderer.render([Message("user", "x")], generation=True)
        return tuple(sorted(renderer.controls, key=lambda text: text not in opening))


def trained(base: Path, section: PromptSection) -> Trained:
    """The training renderer of a base folder."""
    return Trained(load_tokenizer(base, section), section)


def of_folder(merged: Path) -> Place:
    """The merged folder as it was saved: its own tokenizer, its own template, its own system message."""
    tokenizer = AutoTokenizer.from_pretrained(str(merged), trust_remote_code=False)
    section = PromptSection.model_validate(read_json(merged / PROMPT_FILE))
    return Place("merged model", lambda turns: _read(tokenizer, section, turns))


def of_file(path: Path, file: File) -> Place:
    """A GGUF file by itself: its own template and system message, llama.cpp's tokens."""
    about = metadata(path)
    return Place(path.name, lambda turns: reading(prompt_text(about, whole(turns, about.prompt or FOREIGN)), file))


def reading(text: str, file: File) -> Reading:
    """A text that is handed to llama.cpp."""
    return Reading(text, tuple(file.tokens(text)))


def whole(turns: Sequence[Message], section: PromptSection) -> list[Message]:
    """A client's turns as they are rendered: with the trained system message, if they bring none."""
    return chat.conversation(turns[-1].content.strip(), section, turns[:-1])


def _read(tokenizer: PreTrainedTokenizerBase, section: PromptSection, turns: Sequence[Message]) -> Reading:
    text = renderer_of(tokenizer).render(whole(turns, section), generation=True)
    return Reading(text, tuple(encode(tokenizer, text)))


def differences(ours: Trained, place: Place, conversations: Sequence[Conversation]) -> Iterator[Finding]:
    """One finding for each cause, with the first conversation that shows it."""
    seen = set[Fault]()
    for conversation in conversations:
        wanted, found = ours.read(conversation.turns), place.read(conversation.turns)
        if wanted.ids != found.ids:
            fault = _name(ours, conversation, wanted, found)
            if fault not in seen:
                yield Finding(fault, place.name, _shown(ours, conversation, wanted.ids, found.ids))
            seen.add(fault)


def _name(ours: Trained, conversation: Conversation, wanted: Reading, found: Reading) -> Fault:
    """What a difference is called; the first that explains it."""
    messages = whole(conversation.turns, ours.section)
    begin, ends = ours.tokenizer.bos_token_id, {ours.tokenizer.eos_token_id}
    added = ours.tokenizer.added_tokens_decoder.items()
    special = {i for i, token in added if is_control(token.content, token.special)}
    system = messages[0].content.strip() if messages[0].role == "system" else chat.system_message(ours.section)
    said, heard = (_plain(ours, reading.text) for reading in (wanted, found))
    earlier = [turn.content for turn in messages if turn.role == "assistant" and think.OPEN_TAG in turn.content]
    thoughts = [think.split(text, opened=False)[0] for text in earlier]
    if begin is not None and found.ids == (begin, *wanted.ids):
        return "begin-doubled"
    if system and system in wanted.text and system not in found.text:
        return "system-dropped"
    if any(thought in wanted.text and thought not in found.text for thought in thoughts):
        return "reasoning-removed"
    if said != heard and AROUND_TAG.sub(r"\1", said) == AROUND_TAG.sub(r"\1", heard):
        return "think-whitespace"
    if found.ids == tuple(token for token in wanted.ids if token not in ends):
        return "end-missing"
    if conversation.kind == "control tokens" and _count(found.ids, special) > _count(wanted.ids, special):
        return "control-token-parsed"
    if said == heard:
        return "digits-joined" if _differs_in_digits(ours, wanted.ids, found.ids) else "tokenizer-differs"
    return "prompt-differs"


def _plain(ours: Trained, text: str) -> str:
    """Without the begin token, which llama.cpp may put there, and the space that some files' templates lead with."""
    return text.removeprefix(str(ours.tokenizer.bos_token or "")).removeprefix(" ")


def _count(ids: Sequence[int], special: set[int]) -> int:
    return sum(token in special for token in ids)


def _differs_in_digits(ours: Trained, wanted: Sequence[int], found: Sequence[int]) -> bool:
    """Whether one side has several digits in one token where the first difference is."""
    at = common_length(wanted, found)
    tokens = [str(ours.tokenizer.decode([ids[at]])) for ids in (wanted, found) if at < len(ids)]
    return any(DIGITS.search(token) for token in tokens) and all(token.strip()[:1].isdigit() for token in tokens)


def _shown(ours: Trained, conversation: Conversation, wanted: Sequence[int], found: Sequence[int]) -> str:
    """The few tokens on both sides where the readings part."""
    at = common_length(wanted, found)
    texts = [repr(ours.tokenizer.decode(list(ids[at : at + 4]))) for ids in (wanted, found)]
    return f"{conversation.kind}: from token {at} on training reads {texts[0]}, this reads {texts[1]}"
