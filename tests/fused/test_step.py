"""The fused step against transformers and peft: the same loss, the same gradients, of documents that do not meet."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedModel

from bedside.data import sources
from bedside.fused import packs, step
from bedside.fused.packs import Layout, Row, pack
from bedside.fused.stack import why_not
from bedside.fused.step import Fused
from bedside.models import locate
from bedside.recipe import DataSection, ModelSection, PromptSection, TrainSection
from bedside.runtime.device import choose
from bedside.runtime.hf import load_model, quiet_peft
from bedside.runtime.tokenizer import load_tokenizer
from bedside.train import lora
from bedside.train.batch import collate
from bedside.train.learner import summed_loss

ALL = TrainSection().targets
LENGTHS = (5, 150, 31)


def llama(**settings: object) -> PreTrainedModel:
    """A random Llama of three layers; two query heads read one key head, unless the settings say otherwise."""
    torch.manual_seed(0)
    shape = {"num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16}
    sizes = {"vocab_size": 311, "hidden_size": 48, "intermediate_size": 80, "max_position_embeddings": 512}
    config = LlamaConfig(**{**shape, **sizes, "initializer_range": 0.2, **settings})
    dtype = settings.get("dtype", torch.float32)
    return AutoModelForCausalLM.from_config(config, dtype=dtype)


def tuned(model: PreTrainedModel, **settings: object) -> PeftModel:
    """With an update that says something: B is not zero."""
    made = lora.attach(model, TrainSection(rank=4, alpha=8, **settings), seed=1)
    for name, parameter in lora.trainable(made):
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.2)
    return made


def rows(lengths: Sequence[int] = LENGTHS) -> list[Row]:
    """Rows that have nothing in common."""
    return [Row(str(n), tuple((i * 13 + n * 7) % 300 + 5 for i in range(n)), 1 + n // 3) for n in lengths]


def alike(common: int = 9) -> list[Row]:
    """Rows that begin with the same tokens; their prompts reach beyond those."""
    return [Row(row.id, (*range(50, 50 + common), *row.ids), common + row.prompt) for row in rows((2, 150, 31))]


def gradients(model: PeftModel, loss: Tensor) -> dict[str, Tensor]:
    model.zero_grad()
    loss.backward()
    return {name: p.grad.clone() for name, p in lora.trainable(model)}


def both(
    model: PeftModel, chosen: Sequence[Row], **options: bool
) -> tuple[float, float, dict[str, tuple[Tensor, Tensor]]]:
    """Loss by peft and by the fused step, and of every parameter the two gradients."""
    theirs = summed_loss(model, collate(chosen, pad=2))
    expected = gradients(model, theirs)
    ours = Fused(model, **options).summed_loss(pack(chosen, share=True))
    found = gradients(model, ours)
    return theirs.item(), ours.item(), {name: (expected[name], found[name]) for name in expected}


def assert_equal(model: PeftModel, chosen: Sequence[Row], **options: bool) -> None:
    theirs, ours, pairs = both(model, chosen, **options)
    assert ours == pytest.approx(theirs, rel=1e-5)
    for name, (expected, found) in pairs.items():
        assert found.dtype == torch.float32
        assert (found - expected).norm() <= 1e-4 * expected.norm(), name


@pytest.mark.parametrize(("query", "key"), [(4, 2), (4, 4), (6, 1)])
def test_loss_and_every_gradient_equal_pefts(query: int, key: int):
    assert_equal(tuned(llama(num_attention_heads=query, num_key_value_heads=key)), rows())


@pytest.mark.parametrize(("query", "key"), [(4, 2), (6, 1)])
@pytest.mark.parametrize("recompute", [False, True])
def test_a_beginning_that_is_computed_once_gives_every_gradient_as_if_it_were_not(
    query: int, key: int, recompute: bool
):
    chosen = alike(common=120)
    assert pack(chosen, share=True).layout.lengths[0] == 120
    assert_equal(tuned(llama(num_attention_heads=query, num_key_value_heads=key)), chosen, recompute=recompute)


@pytest.mark.parametrize("targets", [("q_proj", "v_proj"), ("k_proj",), ("o_proj", "up_proj"), ("down_proj",)])
def test_layers_without_an_update_pass_the_gradient_on(targets: tuple[str, ...]):
    assert_equal(tuned(llama(), targets=targets), rows())


@pytest.mark.parametrize(
    "settings",
    [
        {"tie_word_embeddings": True},
        {"num_hidden_layers": 1},
        {"rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 5e5}},
        {
            "rope_parameters": {
                "rope_type": "llama3",
                "factor": 8.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 64,
                "rope_theta": 5e5,
            }
        },
    ],
    ids=["tied", "one layer", "linear rope", "llama3 rope"],
)
def test_the_familys_variants_give_the_same_too(settings: dict[str, object]):
    assert_equal(tuned(llama(**settings)), rows())


def test_recomputed_activations_change_nothing():
    assert_equal(tuned(llama()), rows(), recompute=True)


def test_a_document_of_many_blocks_and_a_loss_of_many_chunks(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(step, "CHUNK", 7)
    assert_equal(tuned(llama()), rows((300, 3)))


def test_in_bf16_the_gradients_point_where_those_of_fp32_do():
    rounded, exact = tuned(llama(dtype=torch.bfloat16, initializer_range=0.1)), tuned(llama())
    exact.load_state_dict({name: value.float() for name, value in rounded.state_dict().items()})  # the same numbers
    expected = gradients(exact, summed_loss(exact, collate(rows(), pad=2)))
    found = gradients(rounded, Fused(rounded).summed_loss(pack(rows(), share=False)))
    one, other = (torch.cat([g.flatten() for g in side.values()]) for side in (expected, found))
    assert float(torch.cosine_similarity(one, other, 0)) >= 0.999


def test_in_bf16_a_likelihood_is_nearer_to_that_of_fp32_than_transformers_own():
    folder = locate.resolve(ModelSection()).folder  # a trained model, whose few large activations make the error
    tokenizer = load_tokenizer(folder, PromptSection())
    answers = [record.answer for record in islice(sources.read(DataSection()), 8)]  # of two, either may be nearer
    chosen = [Row("", tuple(tokenizer(text)["input_ids"]), 8) for text in answers]
    exact = load_model(folder, choose("fp32"))
    exactly = torch.cat([logprobs(exact, row) for row in chosen])
    assert torch.allclose(Fused(exact).logprobs(pack(chosen, share=False)), exactly, atol=1e-4)
    rounded = load_model(folder, choose("bf16"))
    theirs = torch.cat([logprobs(rounded, row) for row in chosen])
    found = Fused(rounded).logprobs(pack(chosen, share=False))
    assert (found - exactly).norm() < 0.95 * (theirs - exactly).norm()


def logprobs(model: PreTrainedModel, row: Row) -> Tensor:
    """Of the trained tokens of a row, by transformers."""
    ids = torch.tensor(row.ids)
    with torch.no_grad():
        following = model(input_ids=ids[None]).logits[0, :-1].float().log_softmax(-1)
    return following.gather(-1, ids[1:, None])[row.prompt - 1 :, 0]


@pytest.mark.parametrize("common", [0, 9])
def test_a_packed_document_does_not_feel_the_others(common: int):
    first, *others = alike(common)
    model = tuned(llama())
    step = Fused(model)

    def own_part(neighbours: Sequence[Row]) -> dict[str, Tensor]:
        """The gradient of the first document's loss when it is packed behind and before others."""
        packed = pack([*neighbours[:1], first, *neighbours[1:]], share=True)
        lengths = packed.layout.lengths if common else (0, *packed.layout.lengths)
        assert lengths[0] == common
        start = sum(lengths[:2])
        own = (packed.before_N >= start) & (packed.before_N < start + lengths[2])
        alone = replace(packed, before_N=packed.before_N[own], trained_N=packed.trained_N[own])
        return gradients(model, step.summed_loss(alone))

    changed = [replace(row, ids=(*row.ids[:common], *reversed(row.ids[common:]))) for row in others]
    one, other = own_part(others), own_part(changed)
    for name in one:
        torch.testing.assert_close(one[name], other[name], rtol=1e-5, atol=1e-6)


def test_a_later_token_does_not_reach_an_earlier_loss():
    model = tuned(llama())
    step = Fused(model)
    row = rows((200,))[0]
    packed = pack([row], share=False)
    early = replace(packed, before_N=packed.before_N[:20], trained_N=packed.trained_N[:20])
    later = early.ids_T.clone()
    later[row.prompt + 25 :] = 9
    assert step.summed_loss(early).item() == step.summed_loss(replace(early, ids_T=later)).item()


def test_dropout_follows_the_models_mode_and_the_seed():
    model = tuned(llama(), dropout=0.5)
    step, packed = Fused(model), pack(rows(), share=False)

    def loss(seed: int) -> float:
        torch.manual_seed(seed)
        return step.summed_loss(packed).item()

    model.train()
    assert loss(1) == loss(1) != loss(2)
    model.eval()
    assert loss(1) == loss(2) == pytest.approx(summed_loss(model, collate(rows(), pad=2)).item(), rel=1e-5)


def test_dropout_is_one_over_what_is_kept_in_forward_and_backward():
    """With dropout the update is linear in its mask, so the mean over many masks is the update without."""
    model = tuned(llama(num_hidden_layers=1), dropout=0.2, targets=("down_proj",))
    step, packed = Fused(model), pack(rows((40,)), share=False)
    model.eval()
    exact = gradients(model, step.summed_loss(packed))
    model.train()
    torch.manual_seed(0)
    draws = [gradients(model, step.summed_loss(packed)) for _ in range(300)]
    for name, expected in exact.items():
        mean = torch.stack([draw[name] for draw in draws]).mean(0)
        assert float(torch.cosine_similarity(mean.flatten(), expected.flatten(), 0)) > 0.98, name
        assert mean.norm().item() == pytest.approx(expected.norm().item(), rel=0.1)


def test_the_model_itself_stays_whole_and_shares_its_memory():
    model = tuned(llama()).eval()
    ids = torch.tensor([rows()[1].ids])
    with torch.no_grad():
        before = model(input_ids=ids).logits
        step = Fused(model)
        torch.testing.assert_close(model(input_ids=ids).logits, before)
    q = model.get_base_model().model.layers[0].self_attn.q_proj.base_layer.weight
    assert q.data_ptr() == step.layers[0].qkv.weight.data_ptr()


def test_packing_counts_positions_from_the_start_of_each_document():
    packed = pack([Row("a", (7, 8, 9), 1), Row("b", (4, 5), 1)], share=True)
    assert packed.ids_T.tolist() == [7, 8, 9, 4, 5]
    assert packed.positions_T.tolist() == [0, 1, 2, 0, 1]
    assert packed.before_N.tolist() == [0, 1, 3]
    assert packed.trained_N.tolist() == [8, 9, 5]
    assert (packed.trained, packed.layout) == (3, Layout((3, 2), (-1, -1)))


def test_what_rows_begin_with_is_packed_once(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(packs, "WORTH", 2)
    packed = pack([Row("a", (1, 2, 3, 4, 5), 4), Row("b", (1, 2, 3, 6, 7, 8), 3)], share=True)
    assert packed.layout.lengths[0] == 2, "the last token of a prompt predicts the answer, so it is every row's own"
    assert packed.ids_T.tolist() == [1, 2, 3, 4, 5, 3, 6, 7, 8]
    assert packed.positions_T.tolist() == [0, 1, 2, 3, 4, 2, 3, 4, 5]
    assert packed.before_N.tolist() == [3, 5, 6, 7]
    assert packed.trained_N.tolist() == [5, 6, 7, 8]
    assert packed.layout == Layout((2, 3, 4), (-1, 0, 0))
    assert pack([Row("a", (1, 2, 3, 4, 5), 4)], share=True).layout == Layout((5,), (-1,))


def test_what_some_rows_begin_with_is_a_branch_and_what_saves_little_is_none(monkeypatch: pytest.MonkeyPatch):
    chosen = [Row(str(i), ids, 5) for i, ids in enumerate([
        (1, 2, 3, 4, 9, 10), (7, 2, 3, 4, 5, 6), (1, 2, 3, 4, 9, 11), (1, 2, 8, 4, 5, 6), (1, 2, 3, 4, 5, 12),
    ])]  # fmt: skip
    monkeypatch.setattr(packs, "WORTH", 4)
    packed = pack(chosen, share=True)
    assert packed.layout == Layout((2, 2, 2, 2, 2, 4, 6), (-1, 0, 1, 1, 1, 0, -1))
    assert packed.ids_T.tolist() == [1, 2, 3, 4, 9, 10, 9, 11, 5, 12, 8, 4, 5, 6, 7, 2, 3, 4, 5, 6]
    assert packed.positions_T.tolist() == [0, 1, 2, 3, 4, 5, 4, 5, 4, 5, 2, 3, 4, 5, 0, 1, 2, 3, 4, 5]
    assert packed.trained_N.tolist() == [10, 6, 11, 6, 12], "in the order of the rows"
    assert packed.ids_T[packed.before_N].tolist() == [9, 5, 9, 5, 5]
    monkeypatch.setattr(packs, "WORTH", 5)
    assert pack(chosen, share=True).layout == Layout((2, 4, 4, 4, 4, 6), (-1, 0, 0, 0, 0, -1))


@pytest.mark.parametrize(("query", "key"), [(4, 2), (6, 1)])
def test_branches_give_every_gradient_as_if_nothing_were_shared(query: int, key: int):
    draw = torch.Generator().manual_seed(4)

    def said(count: int) -> tuple[int, ...]:
        return tuple(torch.randint(3, 100, (count,), generator=draw).tolist())

    stem, left, right = said(30), said(90), said(25)
    beginnings = [stem + left + said(3), stem + right, said(70), stem + left + said(20), stem + right, stem + left]
    chosen = [Row(str(i), ids + said(6 + i), len(ids)) for i, ids in enumerate(beginnings)]
    packed = pack(chosen, share=True)
    assert len(packed.layout.lengths) == len(chosen) + 3
    assert len(packed.ids_T) < sum(len(row.ids) for row in chosen) - 200
    assert_equal(tuned(llama(num_attention_heads=query, num_key_value_heads=key)), chosen)


def test_where_the_step_does_not_hold_it_says_why(tiny_llama: Path):
    from transformers import Qwen2Config

    assert why_not(tuned(llama())) is None
    qwen = Qwen2Config(vocab_size=99, hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2)
    assert "the family 'qwen2', not of Llama's" in str(why_not(tuned(AutoModelForCausalLM.from_config(qwen))))
    assert "biases" in str(why_not(tuned(llama(attention_bias=True))))
    dynamic = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}
    assert "'dynamic'" in str(why_not(tuned(llama(rope_parameters=dynamic))))
    whole = tuned(llama())
    whole.get_base_model().model.norm.weight.requires_grad_(True)
    assert "norm.weight' is trained whole" in str(why_not(whole))


def test_an_update_that_is_no_plain_lora_is_left_to_peft():
    from peft import LoraConfig, get_peft_model

    with quiet_peft():
        model = get_peft_model(llama(), LoraConfig(r=2, target_modules=["q_proj"], use_dora=True))
    assert why_not(model) == "the update has use_dora"


@pytest.mark.parametrize("target", ["lm_head", "embed_tokens"])
def test_an_update_of_the_head_or_the_words_is_left_to_peft(target: str):
    """The fused step reads these two as they are, and would leave the update out."""
    config = LoraConfig(r=4, target_modules=["q_proj", target], task_type="CAUSAL_LM")
    with quiet_peft():
        model = get_peft_model(llama(), config)
    assert target in str(why_not(model))


def test_a_four_bit_base_is_left_to_peft(tiny_llama: Path):
    pytest.importorskip("bitsandbytes")
    from bedside.runtime.device import Device
    from bedside.runtime.hf import load_model

    model = load_model(tiny_llama, Device("cpu", torch.float32, "test"), quantise="nf4")
    assert "the base is quantised" in str(why_not(tuned(model)))
