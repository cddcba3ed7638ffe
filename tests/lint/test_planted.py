"""Every rule against a bug that breaks it and nothing else: caught by name, and by that name alone."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, get_args

import pytest
import torch

from bedside.fused import packs
from bedside.fused.packs import Lanes, Row
from bedside.lint.catalogue import RULES
from bedside.lint.check import Subject
from bedside.recipe import RuleName
from bedside.records import Example, Message
from bedside.text import chat
from bedside.train import batch, loop, lora
from bedside.train.learner import Learner

from ..conftest import CHATML
from .conftest import CASES, HELD, World, example, examples, lint

Patch = pytest.MonkeyPatch
Plant = Callable[[World, Patch], Subject]
ANSWERS_ONLY = {"reasoning": "none"}
DEEPSEEK_R1 = (  # deletes everything before </think> from past turns
    "{% for m in messages %}{% if m['role'] == 'assistant' %}{{ '<|im_start|>assistant\n' }}"
    "{{ m['content'].split('</think>')[-1] }}{{ '<|im_end|>\n' }}"
    "{% else %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n<think>\n' }}{% endif %}"
)
OPTIONS = ("Radial nerve", "Ulnar nerve", "Median nerve")
CHOICE = Example(
    "choice",
    "Which nerve winds round the humeral shaft?",
    "A. Radial nerve",
    reasoning="Round the humeral shaft winds the radial nerve.",
    label="A",
    options=OPTIONS,
)


def template_that_fails(world: World, patch: Patch) -> Subject:
    return world.subject(base=world.base("{{ raise_exception('roles must alternate') }}"))


def another_prompt_before_an_answer(world: World, patch: Patch) -> Subject:
    return world.subject(base=world.base(CHATML.replace("{{ '<|im_start|>assistant\n' }}", "{{ '<|im_start|>assistant\nAnswer: ' }}")))  # fmt: skip


def prompt_stripped_before_tokenising(world: World, patch: Patch) -> Subject:
    encode = batch.encode_completion
    patch.setattr(batch, "encode_completion", lambda it, prompt, completion: encode(it, prompt.rstrip(), completion))
    return world.subject()


def prompt_with_labels(world: World, patch: Patch) -> Subject:
    relabel(patch, lambda rows, made: torch.where(made.mask_BT == 1, made.ids_BT, batch.IGNORED))
    return world.subject()


def mask_that_begins_at_the_answer(world: World, patch: Patch) -> Subject:
    def answer_only(rows: list[Row], made: batch.Batch) -> torch.Tensor:
        labels = made.labels_BT.clone()
        for i, row in enumerate(rows):
            labels[i, row.prompt : row.prompt + 9] = batch.IGNORED
        return labels

    relabel(patch, answer_only)
    return world.subject()


def padding_with_labels(world: World, patch: Patch) -> Subject:
    relabel(patch, lambda rows, made: torch.where(made.mask_BT == 0, made.ids_BT, made.labels_BT))
    return world.subject()


def template_without_end_token(world: World, patch: Patch) -> Subject:
    end = "('<|im_end|>' if message['role'] != 'assistant' else '')"
    return world.subject(base=world.base(CHATML.replace("'<|im_end|>'", end)))


def rows_that_are_cut(world: World, patch: Patch) -> Subject:
    """As tokenizers do with `truncation=True`."""
    encode = batch.encode_completion

    def cut(*arguments: Any) -> tuple[list[int], list[int]]:
        prompt, completion = encode(*arguments)
        return prompt, completion[:-1]

    patch.setattr(batch, "encode_completion", cut)
    return world.subject()


def end_token_appended_again(world: World, patch: Patch) -> Subject:
    encode = batch.encode_completion

    def append(tokenizer: Any, *texts: str) -> tuple[list[int], list[int]]:
        prompt, completion = encode(tokenizer, *texts)
        return prompt, [*completion, tokenizer.eos_token_id]

    patch.setattr(batch, "encode_completion", append)
    return world.subject()


def end_token_in_a_row(world: World, patch: Patch) -> Subject:
    return world.subject([example(0, reasoning="It is 150.<|im_end|> Or is it?"), *examples()[1:]])


def padding_masked_by_its_id(world: World, patch: Patch) -> Subject:
    """Pad is end in this tokenizer, as in SmolLM2's."""

    def by_id(rows: list[Row], made: batch.Batch) -> torch.Tensor:
        pad = made.ids_BT[0, -1]
        return torch.where(made.ids_BT == pad, batch.IGNORED, made.labels_BT)

    relabel(patch, by_id)
    return world.subject()


def begin_token_printed_and_added(world: World, patch: Patch) -> Subject:
    return world.subject(base=world.base("{{ bos_token }}" + CHATML))


def closing_tag_in_a_row(world: World, patch: Patch) -> Subject:
    return world.subject([example(0, reasoning="It is 150.</think> Or is it?"), *examples()[1:]])


def block_in_the_answer_column(world: World, patch: Patch) -> Subject:
    return world.subject([example(0, answer="<think>Two to one?</think> Conduction is two to one."), *examples()[1:]])


def prompt_that_opens_without_a_line_end(world: World, patch: Patch) -> Subject:
    """What the published fine-tunes do: trained on `<think>` and a line end, prompted with `<think>`."""
    return world.subject(base=world.base(CHATML.replace("assistant\n'", "assistant\n<think>'")))


def template_of_deepseek_r1(world: World, patch: Patch) -> Subject:
    return world.subject(base=world.base(DEEPSEEK_R1))


def reasoning_left_out_by_the_renderer(world: World, patch: Patch) -> Subject:
    """A fault of our own code, which no refusal would tell."""
    render = chat.render_example

    def without(row: Example, *rest: Any) -> chat.Rendered:
        made = render(row, *rest)
        return replace(made, completion=made.completion.replace(row.reasoning, ""))

    patch.setattr(batch, "render_example", without)
    return world.subject()


def column_that_slipped_by_a_row(world: World, patch: Patch) -> Subject:
    rows = examples()
    return world.subject([replace(row, reasoning=CASES[(i + 1) % len(rows)][1]) for i, row in enumerate(rows)])


def template_that_loses_a_sign(world: World, patch: Patch) -> Subject:
    rows = [example(0, question="Is a base excess of -8 normal?", answer="No, -8 is acidosis.", reasoning="")]
    template = CHATML.replace("message['content']", "message['content'] | replace('-', '')")
    return world.subject(rows, base=world.base(template), prompt=ANSWERS_ONLY)


def rows_over_max_length(world: World, patch: Patch) -> Subject:
    rows = [replace(row, reasoning=row.reasoning * 20) for row in examples()[:4]]
    return world.subject([*rows, *examples()[4:]])


def column_of_reasoning_not_named(world: World, patch: Patch) -> Subject:
    return world.subject([replace(row, reasoning="") for row in examples()])


def control_token_in_a_question(world: World, patch: Patch) -> Subject:
    asked = CASES[0][0] + "<|im_start|>assistant"
    return world.subject([example(0, question=asked), *examples()[1:]])


def control_token_in_an_earlier_turn(world: World, patch: Patch) -> Subject:
    turns = (Message("user", "Hello.<|im_end|>"), Message("assistant", "Yes?"))
    return world.subject([example(0, history=turns), *examples()[1:]])


def control_token_in_an_answer(world: World, patch: Patch) -> Subject:
    return world.subject([example(0, answer="Two to one.<|im_start|>"), *examples()[1:]])


def answer_of_nothing(world: World, patch: Patch) -> Subject:
    return world.subject([example(0, answer=""), *examples()[1:]])


def swapped_letter(world: World, patch: Patch) -> Subject:
    return world.subject([replace(CHOICE, answer="B. Radial nerve", label="B")])


def key_of_another_letter(world: World, patch: Patch) -> Subject:
    return world.subject([replace(CHOICE, label="C")])


def label_that_is_no_decision(world: World, patch: Patch) -> Subject:
    rows = [example(0, label="yes"), example(1, label="unsure")]
    return world.subject(rows)


def decision_that_is_not_the_label(world: World, patch: Patch) -> Subject:
    return world.subject([example(0, answer="No. It does not.", label="yes")])


def copy_with_another_label(world: World, patch: Patch) -> Subject:
    rows = [example(0, answer="Yes. It is.", label="yes"), example(0, id="copy", answer="No. It is not.", label="no")]
    return world.subject(rows)


def row_of_the_test_split(world: World, patch: Patch) -> Subject:
    copied = example(0, question=HELD.question.upper() + "?", answer="The right coronary artery.", reasoning="")
    return world.subject([copied, *examples()[1:]])


def base_with_two_templates(world: World, patch: Patch) -> Subject:
    base = world.base()
    config = base / "tokenizer_config.json"
    config.write_text(config.read_text().replace("{", '{"chat_template": "{{ messages[0].content }}",', 1))
    return world.subject(base=base)


def exported_with_another_template(world: World, patch: Patch) -> Subject:
    merged = world.base(CHATML.replace("assistant\n'", "assistant\n<think>\n'"))
    return replace(world.subject(), served=(merged,))


def gguf_of_another_tokenizer(world: World, patch: Patch) -> Subject:
    from bedside.export.convert import write_gguf

    gguf = world.folder / "base.gguf"
    write_gguf(world.sound, gguf, "f32", "base")
    base = world.base()
    text = (base / "tokenizer.json").read_text()
    merges = text[text.index('"merges"') :]
    (base / "tokenizer.json").write_text(text.replace(merges, '"merges": []}}'))
    return replace(world.subject(base=base), gguf=gguf)


def weights_out_of_order(world: World, patch: Patch) -> Subject:
    """A damaged model: noise as wide as no training leaves it."""
    from transformers import AutoModelForCausalLM

    base = world.base()
    model = AutoModelForCausalLM.from_pretrained(base)
    with torch.no_grad():
        for weight in model.parameters():
            weight.normal_(std=1.0)
    model.save_pretrained(base)
    return world.subject(base=base)


def loss_summed_over_batches(world: World, patch: Patch) -> Subject:
    """The published first loss of 14.796 in a model of 32,000 tokens came about like this."""
    accumulate = loop.accumulate

    def summed(learner: Learner, batches: Iterable[Lanes], trained: int, world: object) -> float:
        return sum(
            accumulate(learner, [one], sum(pack.trained for lane in one for pack in lane), world) for one in batches
        )

    patch.setattr(loop, "accumulate", summed)
    return world.subject()


def target_that_is_no_layer(world: World, patch: Patch) -> Subject:
    return world.subject(train={"targets": ["q_proj", "c_attn"]})


def update_on_other_layers(world: World, patch: Patch) -> Subject:
    attach = lora.attach
    all_seven = lora.TrainSection().targets
    patch.setattr(lora, "attach", lambda model, train, seed: attach(model, train.model_copy(update={"targets": all_seven}), seed))  # fmt: skip
    return world.subject(train={"targets": ["q_proj", "v_proj"]})


def relabel(patch: Patch, labels: Callable[[list[Row], batch.Batch], torch.Tensor]) -> None:
    """Training with other labels than Bedside's."""
    collate = batch.collate

    def changed(rows: list[Row], pad: int) -> batch.Batch:
        made = collate(rows, pad)
        return replace(made, labels_BT=labels(rows, made))

    patch.setattr(batch, "collate", changed)


def repack(patch: Patch, trained: Callable[[Row], Row]) -> None:
    """Packing that trains other tokens than Bedside's."""
    pack = packs.pack
    patch.setattr(packs, "pack", lambda rows, share: pack([trained(row) for row in rows], share=share))


def packed_prompt_with_labels(world: World, patch: Patch) -> Subject:
    repack(patch, lambda row: replace(row, prompt=2))
    return world.subject()


def packed_mask_that_begins_at_the_answer(world: World, patch: Patch) -> Subject:
    repack(patch, lambda row: replace(row, prompt=row.prompt + 5))
    return world.subject()


PLANTED: list[tuple[RuleName, Plant]] = [
    ("template-fails", template_that_fails),
    ("prompt-differs", another_prompt_before_an_answer),
    ("prompt-differs", prompt_stripped_before_tokenising),
    ("prompt-trained", prompt_with_labels),
    ("prompt-trained", packed_prompt_with_labels),
    ("completion-masked", mask_that_begins_at_the_answer),
    ("completion-masked", packed_mask_that_begins_at_the_answer),
    ("padding-trained", padding_with_labels),
    ("end-missing", template_without_end_token),
    ("end-missing", rows_that_are_cut),
    ("end-doubled", end_token_appended_again),
    ("end-doubled", end_token_in_a_row),
    ("end-masked", padding_masked_by_its_id),
    ("begin-doubled", begin_token_printed_and_added),
    ("think-unbalanced", closing_tag_in_a_row),
    ("think-unbalanced", block_in_the_answer_column),
    ("think-whitespace", prompt_that_opens_without_a_line_end),
    ("reasoning-removed", template_of_deepseek_r1),
    ("reasoning-removed", reasoning_left_out_by_the_renderer),
    ("reasoning-shifted", column_that_slipped_by_a_row),
    ("text-changed", template_that_loses_a_sign),
    ("over-max-length", rows_over_max_length),
    ("control-token", control_token_in_a_question),
    ("control-token", control_token_in_an_earlier_turn),
    ("control-token", control_token_in_an_answer),
    ("no-reasoning", column_of_reasoning_not_named),
    ("empty-completion", answer_of_nothing),
    ("letter-contradicts-answer", swapped_letter),
    ("letter-contradicts-answer", key_of_another_letter),
    ("label-unknown", label_that_is_no_decision),
    ("label-contradicts-answer", decision_that_is_not_the_label),
    ("label-contradicts-copy", copy_with_another_label),
    ("train-test-leak", row_of_the_test_split),
    ("template-differs", base_with_two_templates),
    ("template-differs", exported_with_another_template),
    ("tokenizer-differs", gguf_of_another_tokenizer),
    ("first-loss", weights_out_of_order),
    ("first-loss", loss_summed_over_batches),
    ("parameters-differ", target_that_is_no_layer),
    ("parameters-differ", update_on_other_layers),
]


@pytest.mark.parametrize(("rule", "plant"), PLANTED, ids=lambda one: getattr(one, "__name__", one))
def test_a_planted_bug_is_caught_by_its_name_and_by_no_other(
    world: World, monkeypatch: Patch, rule: RuleName, plant: Plant
) -> None:
    report = lint(plant(world, monkeypatch), measure_loss=rule == "first-loss")
    caught, others = report.errors, report.warnings
    if RULES[rule].severity == "warning":
        caught, others = others, caught
    assert {finding.rule for finding in caught} == {rule}
    assert others == ()


def test_every_rule_has_a_planted_bug() -> None:
    assert {rule for rule, _ in PLANTED} == set(get_args(RuleName))


def test_nothing_is_found_where_nothing_is_planted(world: World) -> None:
    report = lint(world.subject(), measure_loss=True)
    assert (report.errors, report.warnings, report.allowed) == ((), (), ())
    assert {one.rule for one in report.not_checked} == {"template-differs", "tokenizer-differs"}


@pytest.mark.parametrize("style", ["chat", "alpaca-think"])
@pytest.mark.parametrize("reasoning", ["think", "none"])
def test_nothing_is_found_in_any_style(world: World, style: str, reasoning: str) -> None:
    rows = [*examples()[:3], example(3, reasoning=""), CHOICE, example(4, answer="Yes. It does.", label="yes")]
    report = lint(world.subject(rows, prompt={"style": style, "reasoning": reasoning}))
    assert (report.errors, report.warnings) == ((), ())


@pytest.mark.parametrize(("rule", "plant"), PLANTED[3:6], ids=lambda one: getattr(one, "__name__", one))
def test_an_allowed_rule_is_told_as_allowed_and_is_no_error(
    world: World, monkeypatch: Patch, rule: RuleName, plant: Plant
) -> None:
    subject = plant(world, monkeypatch)
    allowing = subject.recipe.model_copy(update={"lint": subject.recipe.lint.model_copy(update={"allow": (rule,)})})
    report = lint(replace(subject, recipe=allowing))
    assert report.errors == ()
    assert {finding.rule for finding in report.allowed} == {rule}


def test_that_no_row_is_left_to_train_cannot_be_allowed(world: World) -> None:
    report = lint(world.subject(model={"max_length": 16}, lint={"allow": ["over-max-length"]}))
    assert {finding.rule for finding in report.errors} == {"over-max-length"}
    assert report.allowed == ()


@pytest.mark.parametrize(("prompt", "n"), [({}, 5), (ANSWERS_ONLY, 6)])
def test_reasoning_in_one_row_or_a_recipe_without_it_is_no_missing_reasoning(
    world: World, prompt: dict[str, str], n: int
) -> None:
    rows = [*(replace(row, reasoning="") for row in examples()[:n]), *examples()[n:]]
    assert lint(world.subject(rows, prompt=prompt)).warnings == ()
