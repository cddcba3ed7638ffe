"""RUN.md: its commands are words that the programs know, and the files and the prompt are the release's own."""

import json
import re
import subprocess
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any
from urllib.request import ProxyHandler, build_opener

import pytest

from bedside.export.running import Release, notes
from bedside.recipe import PromptSection
from bedside.text.prompts import NOTICE

PLAIN = Release("demo", "demo-q8_0.gguf", PromptSection(), 2048, False, "org/base")
ALONE = replace(PLAIN, adapter="demo-adapter-f16.gguf")
WITH_BASE = replace(ALONE, base="demo-base-q8_0.gguf", adds_bos=True)


def _commands(text: str, program: str) -> list[str]:
    blocks = re.findall(r"^```console\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line.split()[0] == program]


def test_every_program_is_told_with_the_files_own_names() -> None:
    text = notes(PLAIN)
    assert text.startswith(f"# Running demo\n\n> {NOTICE}\n")
    assert [len(_commands(text, program)) for program in ("bedside", "ollama", "ln", "llama-server")] == [2, 2, 1, 1]
    assert "./demo-q8_0.gguf --ctx-size 2048 " in _commands(text, "llama-server")[0]
    assert "adapter" not in text


@pytest.mark.parametrize(
    ("section", "told"),
    [
        (PromptSection(style="alpaca-think"), "prompt style `alpaca-think`, reasoning `think`"),
        (PromptSection(reasoning="none", system=""), "No system message was trained: send none."),
        (PromptSection(system="Sois bref."), "```\nSois bref.\n```"),
    ],
)
def test_the_trained_prompt_is_stated(section: PromptSection, told: str) -> None:
    text = notes(replace(PLAIN, section=section))
    assert told in text
    assert ("`</think>`" in text) == (section.reasoning == "think")


def test_where_training_composed_characters_it_is_said_that_other_programs_do_not() -> None:
    assert "NFC" not in notes(PLAIN)
    assert "Compose what you send them" in notes(replace(PLAIN, composes=True))


def test_an_adapter_is_run_on_the_base_with_the_trained_template_and_begin_token() -> None:
    alone, both = notes(ALONE), notes(WITH_BASE)
    (_, on_own), (_, on_ours) = (_commands(text, "llama-server") for text in (alone, both))
    assert "--model ./base.gguf --lora ./demo-adapter-f16.gguf " in on_own
    assert "--chat-template-file ./chat_template.jinja" in on_own
    assert on_own.endswith("add_bos_token=bool:false")
    assert "`base.gguf` stands for a GGUF file of org/base" in alone
    assert "--model ./demo-base-q8_0.gguf --lora ./demo-adapter-f16.gguf " in on_ours
    assert on_ours.endswith("add_bos_token=bool:true")
    assert "stands for" not in both


def test_llama_cpp_knows_every_option_that_is_told() -> None:
    """The installed llama.cpp carries the server's own options as texts."""
    import xllamacpp

    library = next(Path(xllamacpp.__file__).parent.glob("xllamacpp*.so")).read_bytes()
    options = {
        word for line in _commands(notes(ALONE), "llama-server") for word in line.split() if word.startswith("--")
    }
    assert {"--ctx-size", "--jinja", "--lora", "--host"} <= options
    for option in sorted(options):
        assert b"\0" + option.encode() + b"\0" in library, option
    assert b"\0--no-such-option\0" not in library


def test_the_commands_for_lm_studio_make_its_folders(tmp_path: Path) -> None:
    (tmp_path / "demo-q8_0.gguf").write_text("weights")
    commands = [line for program in ("mkdir", "ln") for line in _commands(notes(PLAIN), program)]
    told = subprocess.run(["sh", "-ec", "\n".join(commands)], cwd=tmp_path, env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}, check=True)  # fmt: skip
    assert told.returncode == 0
    assert (tmp_path / ".lmstudio/models/bedside/demo/demo-q8_0.gguf").samefile(tmp_path / "demo-q8_0.gguf")


@pytest.mark.parametrize("style", ["chat", "alpaca-think"])
def test_llama_server_renders_the_trained_prompt_on_the_base_that_is_written(
    tiny_llama: Path, tmp_path: Path, own_cache: Path, style: Any
) -> None:
    import xllamacpp

    from bedside.export.adapter_gguf import write_base_gguf
    from bedside.models.gguf import metadata
    from bedside.runtime.llamacpp import opened
    from bedside.runtime.tokenizer import load_tokenizer, renderer_of
    from bedside.text.chat import conversation

    section = PromptSection(style=style, system="Be brief.")
    write_base_gguf(tiny_llama, tmp_path / "base.gguf", "f16", "tiny", section)
    assert metadata(tmp_path / "base.gguf").prompt == section
    messages = conversation("Fever?", section)
    parameters = xllamacpp.CommonParams()
    parameters.hostnames, parameters.port = ["127.0.0.1"], 0
    server = opened(tmp_path / "base.gguf", parameters)
    body = json.dumps({"messages": [asdict(message) for message in messages]}).encode()
    with build_opener(ProxyHandler({})).open(f"{server.listening_address}/apply-template", body) as reply:
        told = json.load(reply)
    assert told["prompt"] == renderer_of(load_tokenizer(tiny_llama, section)).render(messages, generation=True)
