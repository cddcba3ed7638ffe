from pathlib import Path
from typing import Any

import pytest

from bedside.errors import ModelError
from bedside.export.ollama import CONVERSATIONS, modelfile, recognise
from bedside.recipe import PromptSection
from bedside.records import Message
from bedside.text.chat import Renderer, template_for
from bedside.text.prompts import NOTICE

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
SMOLLM2 = (
    "{% for m in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are SmolLM<|im_end|>\n' }}{% endif %}"
    "{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
LLAMA_3 = (
    "{% for m in messages %}{% set text = '<|start_header_id|>' + m['role'] + '<|end_header_id|>\n\n'"
    " + m['content'] | trim + '<|eot_id|>' %}{{ (bos_token if loop.first else '') + text }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
DEEPSEEK_R1 = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'system' %}{{ m['content'] }}"
    "{% elif m['role'] == 'user' %}{{ '<｜User｜>' + m['content'] }}"
    "{% else %}{{ '<｜Assistant｜>' + m['content'].split('</think>')[-1] + '<｜end▁of▁sentence｜>' }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<｜Assistant｜><think>\n' }}{% endif %}"
)
ZEPHYR = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>\n' + m['content'] + eos_token + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)
ALPACA = template_for(PromptSection(style="alpaca-think"), "", adds_bos=True)
RECOGNISED = {
    "ChatML": CHATML,
    "SmolLM2": SMOLLM2,
    "Llama 3": LLAMA_3,
    "DeepSeek-R1": DEEPSEEK_R1,
    "Zephyr": ZEPHYR,
    "alpaca-think": ALPACA,
}
TALK = (
    Message("system", "Be brief."),
    Message("user", "Fever?\nSince when?"),
    Message("assistant", "Two days."),
    Message("user", "Pain?"),
)


@pytest.mark.parametrize("template", RECOGNISED.values(), ids=RECOGNISED)
@pytest.mark.parametrize("messages", [TALK, TALK[1:], TALK[:2], TALK[1:2]])
def test_a_recognised_template_is_reproduced(template: str, messages: tuple[Message, ...]) -> None:
    renderer = Renderer(template, "<s>", "</s>")
    layout = recognise(renderer, begin="<s>")
    assert layout is not None
    assert layout.render(messages) == renderer.render(messages, generation=True).removeprefix("<s>")


def test_the_go_template_says_the_same_in_its_own_words() -> None:
    layout = recognise(Renderer(CHATML, "", "<|im_end|>"), begin="")
    assert layout is not None
    assert layout.to_go() == (
        "{{ if .System }}<|im_start|>system\n{{ .System }}<|im_end|>\n<|im_start|>user\n"
        "{{ else }}<|im_start|>user\n{{ end }}"
        "{{ range $i, $_ := .Messages }}{{ $last := eq (len (slice $.Messages $i)) 1 }}"
        '{{ if eq .Role "user" }}{{ .Content }}'
        "{{ if $last }}<|im_end|>\n<|im_start|>assistant\n{{ else }}<|im_end|>\n<|im_start|>assistant\n{{ end }}"
        '{{ else if eq .Role "assistant" }}{{ .Content }}{{ if not $last }}<|im_end|>\n<|im_start|>user\n{{ end }}'
        "{{ end }}{{ end }}"
    )


@pytest.mark.parametrize(
    "template",
    [
        "{{ strftime_now('%Y') }}" + CHATML,
        "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}" + CHATML,
        "{{ messages | length }} " + CHATML,
        "{{ messages[-1]['content'] }}",
        CHATML.replace("m['content']", "m['content'] | upper"),
        "{{ '{{ curly }}' }}" + CHATML,
    ],
    ids=["date", "refuses a system message", "counts", "last only", "changes the text", "Go's own marks"],
)
def test_a_template_that_cannot_be_reproduced_is_left_to_the_file(template: str) -> None:
    text = modelfile("m.gguf", PromptSection(), Renderer(template, "", "</s>"), False, ["</s>"], 2048)
    assert "TEMPLATE " not in text.replace("# No TEMPLATE", "")
    assert "# No TEMPLATE: the chat template in the GGUF file is used" in text


def test_the_modelfile_begins_with_the_notice_and_holds_the_settings() -> None:
    section = PromptSection(style="chat", system='Say "I do not know".')
    text = modelfile("demo-q8_0.gguf", section, Renderer(CHATML, "", "<|im_end|>"), False, ["<|im_end|>"], 4096)
    lines = text.splitlines()
    assert lines[0] == f"# {NOTICE}"
    assert lines[1] == "FROM ./demo-q8_0.gguf"
    assert 'SYSTEM """Say "I do not know"."""' in lines
    assert lines[-3:] == ['PARAMETER stop "<|im_end|>"', "PARAMETER temperature 0", "PARAMETER num_ctx 4096"]


def test_no_system_message_gives_no_system_line() -> None:
    text = modelfile("m.gguf", PromptSection(system=""), Renderer(CHATML, "", "</s>"), False, [], 2048)
    assert "\nSYSTEM" not in text


def test_three_quotes_in_the_system_message_are_refused() -> None:
    with pytest.raises(ModelError, match=r"prompt\.system"):
        modelfile("m.gguf", PromptSection(system='"""'), Renderer(CHATML, "", "</s>"), False, [], 2048)


def test_a_begin_token_that_the_runner_does_not_add_stays() -> None:
    layout = recognise(Renderer(LLAMA_3, "<s>", "</s>"), begin="")
    assert layout is not None
    assert layout.before_system.startswith("<s>")


def test_the_template_of_an_exported_file_is_recognised(tiny_llama: Path, tmp_path: Path, own_cache: Any) -> None:
    from bedside.export.convert import write_gguf
    from bedside.models.gguf import metadata

    write_gguf(tiny_llama, tmp_path / "m.gguf", "f16", "tiny")
    said = metadata(tmp_path / "m.gguf")
    renderer = Renderer(said.template, said.bos, said.eos)
    layout = recognise(renderer, said.bos if said.adds_bos else "")
    assert layout is not None
    assert [layout.render(messages) for messages in CONVERSATIONS] == [
        renderer.render(messages, generation=True) for messages in CONVERSATIONS
    ]
