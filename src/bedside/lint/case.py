"""One example → what training makes of it: rendered, tokenised, masked and padded by training's own functions.

Beside that stands the prompt as serving renders and tokenises it, found on a way of its own, so that the two can be
compared. A row is a `Case`, or `Overlong` (left out of training), or `Refused` (no training text can be made of it).
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from transformers import PreTrainedTokenizerBase

from bedside.errors import DataError, ModelError
from bedside.fused import packs
from bedside.fused.packs import Row
from bedside.recipe import PromptSection
from bedside.records import Example, Message
from bedside.runtime.tokenizer import controls, encode, part_lengths, renderer_of
from bedside.text import think
from bedside.text.chat import conversation, user_text
from bedside.train import batch

UNBOUNDED = 2**62
Part = Literal["prompt", "reasoning", "answer"]


@dataclass(frozen=True, slots=True)
class Setting:
    """What all rows share.

    The tokens that begin a text (None: there is none), end an answer and fill up a batch; whether the reasoning is
    trained; whether labels are decisions; the texts of which the tokenizer makes control tokens.
    """

    begin: int | None
    end: int
    end_text: str
    pad: int
    reasons: bool
    decides: bool
    controls: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Case:
    """A row as it is trained.

    `ids` and `labels` come out of the batch and `padding` holds the labels of the filling behind them. `served` is the
    prompt that serving sends, `said` the text of all tokens after it.
    """

    example: Example
    row: Row
    served: str
    served_ids: tuple[int, ...]
    ids: tuple[int, ...]
    labels: tuple[int, ...]
    padding: tuple[int, ...]
    said: str

    @property
    def trained(self) -> int:
        """Number of trained tokens."""
        return sum(label != batch.IGNORED for label in self.labels)

    @property
    def completion(self) -> tuple[int, ...]:
        """Token ids after the prompt that is served."""
        return self.ids[len(self.served_ids) :]


@dataclass(frozen=True, slots=True)
class Overlong:
    """A row that is left out; `cut` is what a cut at `model.max_length` would have gone through."""

    case: Case
    cut: Part


@dataclass(frozen=True, slots=True)
class Refused:
    """A row of which no training text can be made; `served` and `full` are "" where the template itself fails."""

    example: Example
    served: str
    full: str
    message: str


@dataclass(frozen=True, slots=True)
class Encoder:
    """How rows become tokens: the recipe's prompt, the model's tokenizer with the recipe's template, the bound."""

    section: PromptSection
    tokenizer: PreTrainedTokenizerBase
    max_length: int

    def setting(self, decides: bool) -> Setting:
        """What all rows share; the end token exists, or `load_tokenizer` would have refused the tokenizer."""
        it = self.tokenizer
        reasons = self.section.reasoning == "think"
        return Setting(
            begin=it.bos_token_id,
            end=int(it.eos_token_id),
            end_text=str(it.eos_token),
            pad=int(it.pad_token_id),
            reasons=reasons,
            decides=decides,
            controls=controls(it),
        )

    def decode(self, ids: Sequence[int]) -> str:
        """The text of tokens, special ones included."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False))


def cases(examples: Iterable[Example], encoder: Encoder) -> Iterator[Case | Overlong | Refused]:
    """What training makes of each example, one at a time."""
    return (case_of(example, encoder) for example in examples)


def case_of(example: Example, encoder: Encoder) -> Case | Overlong | Refused:
    """What training makes of an example."""
    try:
        row, fits = _row(example, encoder)
    except ModelError as error:
        return _refused(example, encoder, str(error))
    served = served_prompt(example, encoder)
    served_ids = tuple(encode(encoder.tokenizer, served))
    ids, labels, padding = _labelled(row, int(encoder.tokenizer.pad_token_id))
    said = encoder.decode(ids[len(served_ids) :])
    case = Case(example, row, served, served_ids, ids, labels, padding, said)
    return case if fits else Overlong(case, _cut(case, encoder))


def served_prompt(example: Example, encoder: Encoder) -> str:
    """The prompt as serving renders it, closed like an answer without reasoning where the row has none."""
    messages = conversation(user_text(example), encoder.section, example.history)
    prompt = renderer_of(encoder.tokenizer).render(messages, generation=True)
    skips = encoder.section.reasoning == "think" and not example.reasoning.strip()
    return prompt + (think.closed(prompt) if skips else "")


def _row(example: Example, encoder: Encoder) -> tuple[Row, bool]:
    """The row, and whether it fits. Raises ModelError where the template cannot be trained through."""
    section, tokenizer = encoder.section, encoder.tokenizer
    try:
        return batch.encode([example], section, tokenizer, encoder.max_length).rows[0], True
    except DataError:  # of one row none is left: it is too long
        return batch.encode([example], section, tokenizer, UNBOUNDED).rows[0], False


def _labelled(row: Row, pad: int) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Ids, labels, and labels of the padding of a row that stands in a batch with one that is a token longer.

    Labels are those of the padded batch, unless the packed one trains something else than the row says.
    """
    longer = Row(row.id, (*row.ids, pad), row.prompt)
    made = batch.collate([row, longer], pad)
    labels = made.labels_BT[0].tolist()
    n = len(row.ids)
    packed = _packed_labels(longer, row)
    meant = (*([batch.IGNORED] * row.prompt), *row.ids[row.prompt :])
    return tuple(made.ids_BT[0, :n].tolist()), tuple(labels[:n]) if packed == meant else packed, tuple(labels[n:])


def _packed_labels(first: Row, row: Row) -> tuple[int, ...]:
    """Labels of a row that is packed behind another one that begins alike."""
    made = packs.pack([first, row], share=True)
    labels = [batch.IGNORED] * len(row.ids)
    others = range(len(made.ids_T) - made.layout.lengths[-1])  # the first row's, or before both
    for before, token in zip(made.before_N.tolist(), made.trained_N.tolist(), strict=True):
        if before not in others:
            labels[int(made.positions_T[before]) + 1] = token
    return tuple(labels)


def _cut(case: Case, encoder: Encoder) -> Part:
    """Where the first token beyond the limit stands, as the data report counts it."""
    prompt, reasoning, _ = part_lengths(encoder.tokenizer, case.example, encoder.section)
    limit = encoder.max_length
    return "prompt" if prompt > limit else "reasoning" if prompt + reasoning > limit else "answer"


def _refused(example: Example, encoder: Encoder, message: str) -> Refused:
    """What the template prints, as far as it prints anything."""
    renderer = renderer_of(encoder.tokenizer)
    messages = conversation(user_text(example), encoder.section, example.history)
    reasons = encoder.section.reasoning == "think"
    content = think.wrap(example.reasoning, example.answer) if reasons else example.answer.strip()
    try:
        served = renderer.render(messages, generation=True)
        full = renderer.render([*messages, Message("assistant", content)], generation=False)
    except ModelError:
        return Refused(example, "", "", message)
    return Refused(example, served, full, message)
