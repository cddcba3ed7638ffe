"""The tokenizer of a model folder: with the recipe's template, and with the ids that training and serving agree on."""

from pathlib import Path

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from bedside.errors import ModelError, first_line
from bedside.models.control import is_control
from bedside.recipe import PromptSection
from bedside.records import Example
from bedside.text import think
from bedside.text.chat import Renderer, render_example, template_for

ENDS = {
    "<|endoftext|>",
    "<|end_of_text|>",
    "<|im_end|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|end|>",
    "<end_of_turn>",
    "<EOT>",
    "</s>",
    "<｜end▁of▁sentence｜>",
}
"""Special tokens that llama.cpp ends at, whatever the file's end token is (its `llama-vocab.cpp`)."""


def load_tokenizer(folder: Path, section: PromptSection) -> PreTrainedTokenizerBase:
    """The tokenizer with the recipe's chat template set. Raises ModelError if it cannot be read."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(folder), trust_remote_code=False)
    except Exception as error:  # the tokenizers library raises nothing narrower
        raise ModelError(f"{folder}: no usable tokenizer ({first_line(error)})") from error
    if tokenizer.eos_token is None:
        raise ModelError(f"{folder}: the tokenizer has no end token, so an answer could never end")
    tokenizer.chat_template = template_for(section, tokenizer.chat_template or "", adds_bos(tokenizer))
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def adds_bos(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether the tokenizer puts the begin token before a text by itself."""
    ids = tokenizer("x").input_ids
    return tokenizer.bos_token_id is not None and ids[:1] == [tokenizer.bos_token_id]


def renderer_of(tokenizer: PreTrainedTokenizerBase) -> Renderer:
    """The tokenizer's template with its special tokens."""
    bos, eos = str(tokenizer.bos_token or ""), str(tokenizer.eos_token or "")
    return Renderer(str(tokenizer.chat_template), bos, eos, controls(tokenizer))


def controls(tokenizer: PreTrainedTokenizerBase) -> tuple[str, ...]:
    """Texts of which the tokenizer makes control tokens."""
    added = tokenizer.added_tokens_decoder.values()
    return tuple(token.content for token in added if is_control(token.content, token.special))


def end_ids(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Ids at which a generation ends: the end token first, and whatever else llama.cpp takes for an end by its text."""
    others = [token.content for token in tokenizer.added_tokens_decoder.values() if token.special]
    texts = [str(tokenizer.eos_token), *sorted(set(others) & ENDS - {str(tokenizer.eos_token)})]
    return [tokenizer.get_vocab()[text] for text in texts]


def encode(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Token ids of rendered text: the template has printed every special token already."""
    return list(tokenizer(text, add_special_tokens=False).input_ids)


def encode_completion(tokenizer: PreTrainedTokenizerBase, prompt: str, completion: str) -> tuple[list[int], list[int]]:
    """Token ids of prompt and completion, the prompt's exactly as serving will make them.

    The whole text is tokenised at once where that leaves the prompt's tokens alone (SentencePiece would put a space
    before a completion that is tokenised by itself); where a token would reach over the border, each by itself.
    """
    prompt_ids = encode(tokenizer, prompt)
    whole = encode(tokenizer, prompt + completion)
    if whole[: len(prompt_ids)] == prompt_ids:
        return prompt_ids, whole[len(prompt_ids) :]
    return prompt_ids, encode(tokenizer, completion)


def part_lengths(tokenizer: PreTrainedTokenizerBase, example: Example, section: PromptSection) -> tuple[int, int, int]:
    """Tokens of prompt, reasoning with its tags, and answer with its end, of a row as it is trained."""
    text = render_example(example, section, renderer_of(tokenizer))
    prompt, completion = encode_completion(tokenizer, text.prompt, text.completion)
    before, closed, _ = text.completion.partition(think.CLOSE_TAG)
    reasoning = len(encode(tokenizer, before + closed)) if closed else 0
    return len(prompt), reasoning, len(completion) - reasoning
