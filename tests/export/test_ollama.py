import re
from pathlib import Path
from typing import Any

import pytest

from bedside.export.modelfile import Modelfile
from bedside.export.ollama import CONVERSATIONS, adapted, go_template, modelfile, problems
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
QWEN_2_5 = (
    "{% if messages[0]['role'] == 'system' %}{{ '<|im_start|>system\n' + messages[0]['content'] + '<|im_end|>\n' }}"
    "{% else %}{{ '<|im_start|>system\nYou are Qwen<|im_end|>\n' }}{% endif %}"
    "{% for m in messages %}{% if not (loop.first and m['role'] == 'system') %}"
    "{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
GEMMA = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{% set first = messages[0]['content'] + '\n\n' %}"
    "{% set turns = messages[1:] %}{% else %}{% set first = '' %}{% set turns = messages %}{% endif %}"
    "{% for m in turns %}{{ '<start_of_turn>' + ('model' if m['role'] == 'assistant' else m['role']) + '\n'"
    " + (first if loop.first else '') + m['content'] | trim + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
RECOGNISED = {
    "ChatML": CHATML,
    "SmolLM2": SMOLLM2,
    "Llama 3": LLAMA_3,
    "DeepSeek-R1": DEEPSEEK_R1,
    "Zephyr": ZEPHYR,
    "Qwen 2.5": QWEN_2_5,
    "Gemma": GEMMA,
    "alpaca-think": ALPACA,
}
SECTION = PromptSection(system="Be brief.")
ENDS = ("<|im_end|>",)
TALK = (
    Message("system", "Be brief."),
    Message("user", "Fever?\nSince when?"),
    Message("assistant", "Two days."),
    Message("user", "Pain?"),
)


@pytest.mark.parametrize("template", RECOGNISED.values(), ids=RECOGNISED)
@pytest.mark.parametrize("adds_bos", [True, False])
@pytest.mark.parametrize("messages", [TALK, TALK[1:], TALK[:2], TALK[1:2]])
def test_ollama_is_given_the_trained_prompt(template: str, adds_bos: bool, messages: tuple[Message, ...]) -> None:
    renderer = Renderer(template, "<s>", "</s>")
    written = go_template(renderer, adds_bos)
    assert written is not None
    expected = renderer.render(messages, generation=True).removeprefix("<s>" if adds_bos else "")
    assert Modelfile((("template", written),)).prompt(messages) == expected


def test_every_template_is_compared_on_many_conversations() -> None:
    assert len({message.content for messages in CONVERSATIONS for message in messages}) >= 7
    assert {sum(message.role == "user" for message in messages) for messages in CONVERSATIONS} == {1, 2, 3, 4, 5}
    assert {messages[0].role for messages in CONVERSATIONS} == {"system", "user"}
    assert Message("system", "") in {messages[0] for messages in CONVERSATIONS}


def test_the_go_template_says_the_same_in_its_own_words() -> None:
    assert go_template(Renderer(CHATML, "", "<|im_end|>"), False) == (
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
        "{{ messages[-1]['content'] + '<|im_end|>' }}",
        CHATML.replace("m['content']", "m['content'] | upper"),
        CHATML.replace("m['content']", "m['content'] | replace('Größe', 'Grösse')"),
        "{{ '{{ curly }}' }}" + CHATML,
        "{{ '\u00a0' }}" + CHATML,
        '{{ \'"""\n\' }}' + CHATML,
    ],
    ids=[
        "date",
        "refuses a system",
        "counts",
        "last only",
        "shouts",
        "mends",
        "Go's marks",
        "no-break space",
        "quotes",
    ],
)
def test_a_template_that_cannot_be_reproduced_is_left_out_and_told(template: str) -> None:
    text = modelfile("m.gguf", SECTION, Renderer(template, "", "<|im_end|>"), False, ENDS, 2048)
    assert Modelfile.parse(text).values("template") == []
    assert "# No TEMPLATE: " in text
    assert "OLLAMA_GO_TEMPLATE=false" in text


@pytest.mark.parametrize(
    ("template", "end", "told"),
    [
        (LLAMA_3, "<|eot_id|>", "White space at the ends"),
        (DEEPSEEK_R1, "<｜end▁of▁sentence｜>", "Reasoning in earlier answers"),
    ],
)
def test_what_go_cannot_do_to_a_message_is_told(template: str, end: str, told: str) -> None:
    text = modelfile("m.gguf", SECTION, Renderer(template, "<s>", end), True, [end], 2048)
    assert [line for line in text.splitlines() if line.startswith(f"# {told}")]


def test_the_modelfile_tells_notice_and_style_and_holds_the_settings() -> None:
    section = PromptSection(style="chat", system='Say "I do not know".\nAlways.')
    text = modelfile("demo-q8_0.gguf", section, Renderer(CHATML, "", "<|im_end|>"), False, ENDS, 4096)
    assert text.splitlines()[:3] == [
        f"# {NOTICE}",
        "# Prompt style that was trained: chat, reasoning think.",
        "FROM ./demo-q8_0.gguf",
    ]
    found = Modelfile.parse(text)
    assert found.last("system") == 'Say "I do not know".\nAlways.'
    assert [found.values(name) for name in ("stop", "temperature", "repeat_penalty", "num_ctx")] == [
        ["<|im_end|>"], ["0"], ["1"], ["4096"],
    ]  # fmt: skip


def test_no_system_message_gives_no_system_line() -> None:
    text = modelfile("m.gguf", PromptSection(system=""), Renderer(CHATML, "", "<|im_end|>"), False, ENDS, 2048)
    assert Modelfile.parse(text).values("system") == []


def test_base_and_adapter_get_the_same_prompt() -> None:
    text = modelfile("m.gguf", SECTION, Renderer(CHATML, "", "<|im_end|>"), False, ENDS, 2048)
    both = adapted(text, "base.gguf", "adapter.gguf")
    found = Modelfile.parse(both)
    assert (found.values("from"), found.values("adapter")) == (["./base.gguf"], ["./adapter.gguf"])
    assert found.prompt(TALK[1:2]) == Modelfile.parse(text).prompt(TALK[1:2])
    assert "before 0.34.1" in both


FAULTS = {
    "a stop is missing": ('PARAMETER stop "<|im_end|>"\n', "", "stop lacks '<|im_end|>'"),
    "a stop is another": ('stop "<|im_end|>"', 'stop "</s>"', "stop holds nothing of what ends an answer"),
    "a space behind <think>": (
        "<think>\n",
        "<think> \n",
        r"TEMPLATE prints .*<think> \\n'.* trained was .*<think>\\n'",
    ),
    "a line behind <think>": ("<think>\n", "<think>\n\n", "TEMPLATE prints"),
    "no line behind <think>": ("<think>\n{{", "<think>{{", "TEMPLATE prints"),
    "Go takes the line away": ("<think>\n{{ else", "<think>\n{{- else", "TEMPLATE prints"),
    "the system message is dropped": ('SYSTEM "Be brief."\n', "", "SYSTEM is ''"),
    "the system message is another": ("Be brief.", "Be long.", "SYSTEM is 'Be long.', trained was 'Be brief.'"),
    "the template drops the system": ("{{ .System }}", "", "TEMPLATE prints"),
    "another end of turn": ("<|im_end|>\n<|im_start|>user", "\n<|im_start|>user", "TEMPLATE prints"),
    "no template": ("TEMPLATE ", "LICENSE ", "TEMPLATE is missing"),
    "words of Go that are unknown": ("{{ .Content }}", "{{ json .Content }}", "TEMPLATE cannot be compared"),
    "another context": ("num_ctx 2048", "num_ctx 512", "num_ctx is 512, wanted 2048"),
    "no context": ("PARAMETER num_ctx 2048\n", "", "num_ctx is missing"),
    "a turn of its own": ("PARAMETER num_ctx", "MESSAGE user Hello\nPARAMETER num_ctx", "MESSAGE changes the prompt"),
    "a doubled begin token": ('TEMPLATE """', 'TEMPLATE """<s>', "TEMPLATE prints"),
    "no model": ("FROM ./m.gguf\n", "", "no FROM line"),
    "an open quote": ('{{ end }}"""', "{{ end }}", "a quote is not closed"),
    "an unknown instruction": ("FROM ", "FORM ", "is no instruction"),
}


@pytest.mark.parametrize(("written", "instead", "named"), FAULTS.values(), ids=FAULTS)
def test_a_planted_fault_is_named(written: str, instead: str, named: str) -> None:
    renderer = Renderer(
        "{{ bos_token }}" + CHATML.replace("assistant\n'", "assistant\n<think>\n'"), "<s>", "<|im_end|>"
    )
    assert renderer.render(TALK[1:2], generation=True).endswith("assistant\n<think>\n")
    text = modelfile("m.gguf", SECTION, renderer, True, ENDS, 2048)
    assert problems(text, renderer, SECTION, ENDS, adds_bos=True, context=2048) == []
    assert written in text
    found = problems(text.replace(written, instead), renderer, SECTION, ENDS, adds_bos=True, context=2048)
    assert any(re.search(named, problem) for problem in found), found


@pytest.mark.parametrize("system", ["thé\u202f?", "a bell\a", "a carriage\rreturn", 'three """\nquotes'])
def test_a_system_message_that_ollama_would_change_is_told(system: str) -> None:
    section, renderer = PromptSection(system=system), Renderer(CHATML, "", "</s>")
    text = modelfile("m.gguf", section, renderer, False, ["</s>"], 2048)
    assert problems(text, renderer, section, ["</s>"])


def test_a_begin_token_that_the_runner_does_not_add_stays() -> None:
    written = go_template(Renderer(LLAMA_3, "<s>", "</s>"), adds_bos=False)
    assert written is not None
    assert written.startswith("{{ if .System }}<s>")


def test_the_template_of_an_exported_file_is_recognised(tiny_llama: Path, tmp_path: Path, own_cache: Any) -> None:
    from bedside.export.convert import write_gguf
    from bedside.models.gguf import metadata

    write_gguf(tiny_llama, tmp_path / "m.gguf", "f16", "tiny")
    said = metadata(tmp_path / "m.gguf")
    assert go_template(Renderer(said.template, said.bos, said.eos), said.adds_bos) is not None
