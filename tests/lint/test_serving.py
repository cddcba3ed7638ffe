"""Templates and tokenizers beside training's: what counts as a difference, and where it is looked for."""

from pathlib import Path

from bedside.lint import places
from bedside.lint.serving import Place, Split, template_differs, tokenizer_differs
from bedside.recipe import PromptSection
from bedside.runtime.tokenizer import load_tokenizer

from ..conftest import CHATML
from .conftest import World

CHAT, ALPACA = PromptSection(style="chat"), PromptSection(style="alpaca-think")
OTHER = "{{ messages[0]['content'] }}"


def differing(base: Path, section: PromptSection, *served: Path, gguf: Path | None = None) -> list[str]:
    tokenizer = load_tokenizer(base, section)
    elsewhere = places.others(base, gguf, section, tokenizer, served)
    return [Path(finding.where).name for finding in template_differs(places.trained(tokenizer, section), elsewhere)]


def test_a_difference_is_told_with_where_the_texts_part() -> None:
    (finding,) = template_differs(Place("training", ("same", "ab<c>")), [Place("x", ("same", "ab[c]"))])
    assert finding.where == "x"
    assert "prints '[c]' after 2 characters where '<c>' is trained" in finding.message
    assert list(template_differs(Place("training", ("a",)), [Place("x", ("a",))])) == []


def test_other_tokens_are_told_once_a_file_with_their_number() -> None:
    same, other = Split("x.gguf", "a", (1, 2), (1, 2)), Split("x.gguf", "b", (1, 2, 3), (1, 9))
    (finding,) = tokenizer_differs([same, other, other])
    assert finding.where == "x.gguf"
    assert "2 of 3 texts have other tokens in llama.cpp: after 1 tokens it has [9] where [2, 3]" in finding.message


def test_a_template_of_the_base_counts_only_where_it_is_the_one_that_trains(world: World) -> None:
    base = world.base()
    config = base / "tokenizer_config.json"
    config.write_text(config.read_text().replace("{", f'{{"chat_template": "{OTHER}",', 1))
    assert differing(base, CHAT) == ["tokenizer_config.json"]
    assert differing(base, ALPACA) == []


def test_templates_that_differ_in_writing_but_print_the_same_do_not_differ(world: World) -> None:
    served = world.base(CHATML.replace("{% for", "{%- for") + "{# a note #}")
    assert differing(world.sound, CHAT, served) == []


def test_a_template_that_fails_where_training_prints_differs(world: World) -> None:
    assert differing(world.sound, CHAT, world.base("{{ raise_exception('no') }}")) == ["chat_template.jinja"]


def test_a_gguf_file_of_the_same_model_has_the_same_template_and_tokens(world: World) -> None:
    from bedside.export.convert import write_gguf

    gguf = world.folder / "same.gguf"
    write_gguf(world.sound, gguf, "f32", "same")
    assert differing(world.sound, CHAT, gguf, gguf=gguf) == []
    tokenizer = load_tokenizer(world.sound, CHAT)
    splits = places.splits(gguf, tokenizer, [places.HARD_TO_SPLIT, "<|im_start|>user\nWhy?<|im_end|>"])
    assert len(splits) == 2
    assert list(tokenizer_differs(splits)) == []
