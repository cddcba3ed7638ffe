"""Nothing is found with a tokenizer of any kind that can be exported."""

from dataclasses import replace

import pytest

from ..export.conftest import (  # noqa: F401 - fixtures
    gpt_2_tokenizer,
    llama_3_tokenizer,
    save_llama,
    save_model,
    sentencepiece_tokenizer,
)
from .conftest import World, example, examples, lint

LLAMA_3 = (  # the layout of Llama 3's: a begin token, and every text trimmed
    "{{ bos_token }}{% for m in messages %}{{ '<h>' + m['role'] + '</h>\n\n' + m['content'] | trim + eos_token }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<h>assistant</h>\n\n' }}{% endif %}"
)
HARD = "β-blocker 2.5 mg  twice, ≤ 3 days; 高血压 🙂\n\n- then 10 mg"


@pytest.mark.parametrize("kind", ["gpt_2", "llama_3", "sentencepiece"])
@pytest.mark.parametrize("style", ["chat", "alpaca-think"])
def test_a_sound_model_of_every_kind_is_clean_beside_its_own_gguf_file(
    request: pytest.FixtureRequest, world: World, kind: str, style: str
) -> None:
    from bedside.export.convert import write_gguf

    save = request.getfixturevalue("save_llama")
    base = save(request.getfixturevalue(f"{kind}_tokenizer"))
    gguf = world.folder / "base.gguf"
    write_gguf(base, gguf, "f32", "base")
    rows = [*examples(), example(0, id="hard", answer=HARD), example(1, id="plain", reasoning="")]
    subject = world.subject(rows, base=base, prompt={"style": style}, model={"max_length": 4096})
    report = lint(replace(subject, gguf=gguf, served=(base, gguf) if style == "chat" else ()))
    assert (report.errors, report.warnings) == ((), ())
    assert "tokenizer-differs" not in {one.rule for one in report.not_checked}


@pytest.mark.parametrize("reasoning", ["think", "none"])
def test_a_template_that_trims_its_texts_is_clean(world: World, reasoning: str) -> None:
    rows = [*examples(), example(0, id="hard", answer=f"\n {HARD} ")]
    report = lint(world.subject(rows, base=world.base(LLAMA_3), prompt={"reasoning": reasoning}))
    assert (report.errors, report.warnings) == ((), ())
