"""Where the trained prompt will be rendered and tokenised again, and what comes out there.

In: the base, the recipe's prompt, training's tokenizer, and the files that a run has exported. Out: `Place`s and
`Split`s for the rules of `serving`.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

import jinja2
from transformers import PreTrainedTokenizerBase

from bedside.errors import ModelError
from bedside.files import read_json
from bedside.lint.serving import Place, Split
from bedside.models.gguf import GgufMetadata, metadata
from bedside.recipe import PromptSection
from bedside.records import Message
from bedside.runtime.libllama import File
from bedside.runtime.tokenizer import encode, renderer_of
from bedside.text import chat
from bedside.text.chat import Renderer, conversation

CONTEXT = 512
SPACE = " "
HARD_TO_SPLIT = "\n\nNa 140 mmol/L, 2.5 µg/kg·min; T₃ ≤ 0.8; β-blocker  (twice   daily)\t½ tablet — 高血压 🙂\r\n\nI'LL"
"""What tokenizers are known to disagree about: digits, signs, runs of spaces, scripts, line ends, contractions."""
Render = Callable[[Sequence[Message], bool], str]


def trained(tokenizer: PreTrainedTokenizerBase, section: PromptSection) -> Place:
    """The conversations as training prints them."""
    return _place("training", renderer_of(tokenizer).render, section)


def others(
    base: Path, gguf: Path | None, section: PromptSection, tokenizer: PreTrainedTokenizerBase, served: Sequence[Path]
) -> list[Place]:
    """The same as everything else prints them.

    `base` is the model's folder and `gguf` the file that it was made from: their own templates count where the recipe
    trains through the model's own. `served` are finished model folders and GGUF files of the run. transformers is asked
    to render Bedside's own template only: it runs a stranger's without bounds of time and memory.
    """
    bos, eos = str(tokenizer.bos_token or ""), str(tokenizer.eos_token or "")
    if section.style == "chat":
        own, found = [base, *([gguf] if gguf else [])], []
    else:
        own, found = [], [_place("transformers' own apply_chat_template", _by_transformers(tokenizer), section)]
    for path in [*own, *served]:
        if path.is_file():
            found.append(_place(str(path), _by_file(metadata(path), tokenizer), section))
        else:
            found += [_place(str(file), Renderer(text, bos, eos).render, section) for file, text in _templates(path)]
    return found


def splits(gguf: Path, tokenizer: PreTrainedTokenizerBase, texts: Iterable[str]) -> list[Split]:
    """Rendered texts as tokens of training and of llama.cpp, which puts the begin token before them by itself.

    Raises MissingExtra where llama.cpp is not installed.
    """
    about = metadata(gguf)
    taken, lead = about.bos if about.adds_bos else "", _lead(about, tokenizer)
    with closing(File(gguf, CONTEXT)) as file:
        return [
            Split(str(gguf), text, tuple(encode(tokenizer, text)), tuple(file.tokens(lead + text.removeprefix(taken))))
            for text in texts
        ]


def _lead(about: GgufMetadata, tokenizer: PreTrainedTokenizerBase) -> str:
    """The space that a file's template prints before what training's prints.

    `export.convert` writes it for SentencePiece tokenizers: with it llama.cpp arrives at the tokens of training.
    """
    theirs = chat.renderer_of(about)
    ours, printed = (_printed(it.render, [Message("user", "x")], True) for it in (renderer_of(tokenizer), theirs))
    return SPACE if printed == SPACE + ours else ""


def _place(where: str, render: Render, section: PromptSection) -> Place:
    return Place(where, tuple(_printed(render, messages, open_) for messages, open_ in _conversations(section)))


def _conversations(section: PromptSection) -> list[tuple[list[Message], bool]]:
    """(turns, whether the assistant is to speak next): a first question, a later one, a finished answer."""
    first = conversation("Why does it hurt?", section)
    asked = (Message("user", "Hello."), Message("assistant", "Good morning."))
    later = conversation("  And then?\n", section, asked)
    return [(first, True), (later, True), ([*first, Message("assistant", "Because of the nerve.")], False)]


def _printed(render: Render, messages: Sequence[Message], generation: bool) -> str:
    """The text, or that there is none: a template that refuses in training and serving alike does not differ."""
    try:
        return render(messages, generation)
    except (ModelError, jinja2.TemplateError, TypeError, ValueError, ArithmeticError, LookupError):
        return "(the template fails)"


def _by_transformers(tokenizer: PreTrainedTokenizerBase) -> Render:
    def render(messages: Sequence[Message], generation: bool) -> str:
        turns = [asdict(message) for message in messages]
        return str(tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=generation))

    return render


def _by_file(about: GgufMetadata, tokenizer: PreTrainedTokenizerBase) -> Render:
    """A GGUF file's own template, without the space that it leads with for its tokenizer's sake."""
    renderer, lead = chat.renderer_of(about), _lead(about, tokenizer)
    return lambda messages, generation: renderer.render(messages, generation).removeprefix(lead)


def _templates(folder: Path) -> Iterator[tuple[Path, str]]:
    """(file, text) of each chat template that a model folder brings."""
    jinja, config = folder / "chat_template.jinja", folder / "tokenizer_config.json"
    if jinja.is_file():
        yield jinja, jinja.read_text(encoding="utf-8")
    told = read_json(config).get("chat_template") if config.is_file() else None
    if isinstance(told, str):  # a list holds templates for tools and the like, chosen by name
        yield config, told
