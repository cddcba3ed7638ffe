"""RUN.md: how the files of a release are run, each program with the prompt that was trained.

In: what a release is made of. Out: Markdown with commands that can be pasted where the files lie. Sources: llama.cpp's
`tools/server/README.md`, https://docs.ollama.com/modelfile, https://lmstudio.ai/docs/app/advanced/import-model.
"""

from dataclasses import dataclass

from bedside.export.ollama import NO_ADAPTER_FROM
from bedside.recipe import PromptSection
from bedside.text import think
from bedside.text.chat import system_message
from bedside.text.prompts import NOTICE

TEMPLATE = "chat_template.jinja"
"""The trained template beside an adapter: the base's own file carries another."""
OWN_BASE = "base.gguf"
"""What a base's file is called that is not part of the release."""


@dataclass(frozen=True, slots=True)
class Release:
    """Names of files, and how they are prompted. `adapter` is "" where there is none, `base` where it is not included.

    `context` is tokens; `adds_bos` says that the runner adds the begin token by itself, `composes` that the tokenizer
    composes characters (NFC) first, which llama.cpp does not do.
    """

    name: str
    gguf: str
    section: PromptSection
    context: int
    adds_bos: bool
    base_model: str
    adapter: str = ""
    base: str = ""
    composes: bool = False


def notes(release: Release) -> str:
    """The whole file."""
    sections = {
        "Bedside": _bedside(release),
        "Ollama": _ollama(release),
        "LM Studio": _lm_studio(release),
        "llama-server": _llama_server(release),
        f"On {release.base_model} with the adapter": _adapter(release) if release.adapter else [],
    }
    lines = [f"# Running {release.name}", "", f"> {NOTICE}", "", *_prompt(release.section), *_spelling(release)]
    for title, said in sections.items():
        lines += ["", f"## {title}", "", *said] if said else []
    return "\n".join(lines) + "\n"


def _prompt(section: PromptSection) -> list[str]:
    system = system_message(section)
    lines = [
        f"Trained was prompt style `{section.style}`, reasoning `{section.reasoning}`. The GGUF file has the template."
    ]
    if section.reasoning == "think":
        lines.append(f"Reasoning comes first and ends with `{think.CLOSE_TAG}`; the answer is what follows.")
    if not system:
        return [*lines, "No system message was trained: send none."]
    fence = "`" * 3
    return [*lines, "The system message that was trained, where a program asks for one:", "", fence, system, fence]


def _spelling(release: Release) -> list[str]:
    if not release.composes:
        return []
    return [
        "",
        "Bedside composes characters (Unicode NFC) before it splits a text, as training did; other programs do not."
        " Compose what you send them: an accent that is a character of its own gives tokens that were never trained.",
    ]


def _bedside(release: Release) -> list[str]:
    return _commands(f'bedside ask ./{release.gguf} "What is a raised JVP?"', f"bedside serve ./{release.gguf}")


def _ollama(release: Release) -> list[str]:
    return [
        *_commands(f"ollama create {release.name} -f Modelfile", f"ollama run {release.name}"),
        "",
        "The Modelfile holds template, system message, stops and context; a request's own system message goes first.",
        "A control token that somebody types is one to Ollama, LM Studio and llama-server; to Bedside it is text.",
    ]


def _lm_studio(release: Release) -> list[str]:
    folder = f"~/.lmstudio/models/bedside/{release.name}"
    return [
        "Models lie in `PUBLISHER/MODEL/FILE.gguf`; a hard link takes no space:",
        "",
        *_commands(f"mkdir -p {folder}", f"ln ./{release.gguf} {folder}/ || cp ./{release.gguf} {folder}/"),
        "",
        f"It takes the template from the file. Set temperature 0 and context {release.context}"
        + (", and the system message above." if system_message(release.section) else ", and no system message."),
    ]


def _llama_server(release: Release) -> list[str]:
    return [
        *_commands(f"llama-server --model ./{release.gguf} {_served(release)}"),
        "",
        "Any program or web page on the machine may ask it; give it a key that they do not know in the environment:",
        "`LLAMA_API_KEY=$(openssl rand -hex 16)`. It sends no system message by itself.",
    ]


def _served(release: Release) -> str:
    return f"--ctx-size {release.context} --jinja --reasoning-format none --temp 0 --host 127.0.0.1 --port 8080"


def _adapter(release: Release) -> list[str]:
    """With the base's own file, whose template and begin token are the base's."""
    both = f"--model ./{release.base or OWN_BASE} --lora ./{release.adapter}"
    told = "true" if release.adds_bos else "false"
    begin = f"--override-kv tokenizer.ggml.add_bos_token=bool:{told}"
    own = (
        f"`{OWN_BASE}` stands for a GGUF file of {release.base_model} that you have, and that Bedside has not checked."
    )
    return [
        *([] if release.base else [own, ""]),
        *_commands(f"llama-server {both} {_served(release)} --chat-template-file ./{TEMPLATE} {begin}"),
        "",
        f"`Modelfile.adapter` is the same for Ollama before {NO_ADAPTER_FROM}, which later takes no adapters.",
    ]


def _commands(*lines: str) -> list[str]:
    return ["```console", *lines, "```"]
