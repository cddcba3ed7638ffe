"""The frozen records that stages and rooms hand to each other; dicts live at the JSON edge only."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self

Role = Literal["system", "user", "assistant"]
Finish = Literal["stop", "length"]
ALWAYS = ("id", "question", "answer")


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class Example:
    """One question with its reference answer, in the shape that every source is read into.

    `reasoning` is the reference chain of thought, `context` the passage that the question is about, `label` the
    gold decision ("yes", "no", "maybe") or option letter, `options` the texts of options A, B, C, ….
    `history` holds earlier turns of a chat, its system message included. `group` is what must not be torn apart by a
    split beside the question itself, such as the PMID. `where` names file and row. `accepted` are the names that are
    taken as right where a diagnosis is asked for, the reference first.
    """

    id: str
    question: str
    answer: str
    reasoning: str = ""
    context: str = ""
    label: str = ""
    options: tuple[str, ...] = ()
    subject: str = ""
    history: tuple[Message, ...] = ()
    group: str = ""
    where: str = ""
    accepted: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """A dict without the empty fields, but for those that every example has."""
        found = {name: value for name, value in pairs(self) if value or name in ALWAYS}
        if self.history:
            found["history"] = [dict(pairs(turn)) for turn in self.history]
        return found

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Self:
        """The inverse of `to_json`; unknown keys are an error of ours, not of the user."""
        values = dict(row)
        for name in ("options", "accepted"):
            values[name] = tuple(row.get(name, ()))
        values["history"] = tuple(Message(**turn) for turn in row.get("history", ()))
        return cls(**values)


@dataclass(frozen=True, slots=True)
class GenerationOptions:
    """How to decode. `temperature` 0 is greedy; `max_tokens` bounds reasoning and answer together.

    `answer_tokens` of them are kept for the answer: reasoning that has not ended by then is closed. 0 keeps none.
    After `thinking_tokens` of it reasoning is closed, too: at 0 before it begins, at None when no more is left for it.

    `schema` is a JSON Schema, as JSON text, that the answer must follow; the reasoning is free. `logprobs` asks for the
    log-probability of every token of the answer, with as many of the likeliest beside it (0 to 20); None for nothing.

    `afresh` reads the whole prompt, though an earlier one began alike: what was computed with another rounds otherwise.
    """

    max_tokens: int = 512
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 42
    stop: tuple[str, ...] = ()
    answer_tokens: int = 0
    thinking_tokens: int | None = None
    schema: str = ""
    logprobs: int | None = None
    afresh: bool = False


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """A token as text with its log-probability (natural log); `top` are the likeliest there, the likeliest first."""

    token: str
    logprob: float
    top: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Delta:
    """A piece of a streamed generation: reasoning or answer text, never both; `logprobs` are of its answer's tokens."""

    reasoning: str = ""
    answer: str = ""
    logprobs: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True, slots=True)
class Generation:
    """A finished generation. `finish` is "length" when `max_tokens` cut it, which may be inside the reasoning.

    `forced` says that the reasoning did not end by itself and was closed for the sake of an answer. `logprobs` are of
    the answer's tokens, if they were asked for.
    """

    reasoning: str
    answer: str
    finish: Finish
    prompt_tokens: int
    completion_tokens: int
    forced: bool = False
    logprobs: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True, slots=True)
class Generated:
    """How a task's answers came about: those after any reasoning, those made to come by closing it, those that a limit
    cut; and the mean tokens of one, its reasoning included."""

    reasoned: int
    forced: int
    cut: int
    tokens: float


@dataclass(frozen=True, slots=True)
class Score:
    """A mean over n items with a 95 % interval; `baseline` is what a model that ignores the input gets.

    `unparsed` counts outputs from which no answer could be read, which score 0; `outcomes` says of what was written how
    often it "answered", or gave "none", "several", "truncated" or "refused"; of harmful requests, what was done with
    them (`evaluate.safety.Judged`). `generated` is None where nothing was written.
    """

    task: str
    n: int
    metric: str
    value: float
    ci: tuple[float, float]
    unparsed: int
    baseline: float | None
    seconds: float
    outcomes: Mapping[str, int] = field(default_factory=dict)
    generated: Generated | None = None


@dataclass(frozen=True, slots=True)
class Guessing:
    """A paired difference if the base had guessed wherever its answer could not be read; `p` is adjusted."""

    base: float
    difference: float
    ci: tuple[float, float]
    p: float
    detectable: float


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """Tuned minus base over the same n items; `detectable` is the smallest difference with 80 % power.

    `baseline` is what ignoring the question gets, where that is known; `above_baseline` says whether the tuned model's
    whole interval lies above it, since a model may win and still be worth nothing. `counted`: the verdict over all
    rests on this task, too. `unparsed` counts the answers of base and tuned model that could not be read, `reasoned`
    those after reasoning, `forced` those made to come by closing it. `won` and
    `lost` are the ids of the items that the tuned model has better and worse, the largest difference first.
    `identical`: the two gave the same on every item, not the same score alone. `guessing` is there where the verdict
    rests on it and not on the difference above.
    """

    task: str
    n: int
    metric: str
    base: float
    tuned: float
    difference: float
    ci: tuple[float, float]
    p: float
    p_adjusted: float
    detectable: float
    baseline: float | None
    above_baseline: bool | None
    verdict: str
    unparsed: tuple[int, int] = (0, 0)
    reasoned: tuple[int, int] = (0, 0)
    forced: tuple[int, int] = (0, 0)
    won: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()
    counted: bool = True
    identical: bool = False
    guessing: Guessing | None = None


@dataclass(frozen=True, slots=True)
class Flag:
    """An emergency that a text speaks of: the rule, its words for a person, its source, and what was found."""

    rule: str
    title: str
    advice: str
    source: str
    url: str
    matched: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a structured answer, such as "Plan", with its items."""

    name: str
    items: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a person gets for a question; null in `emergency` or `abstained` means that nobody has looked.

    `sections` are those of a structured answer, whose text is then their Markdown.
    """

    answer: str
    reasoning: str
    model: str
    usage: Mapping[str, int]
    finish: Finish
    forced: bool = False
    sections: tuple[Section, ...] = ()
    citations: tuple[str, ...] = ()
    emergency: bool | None = None
    abstained: bool | None = None
    flags: tuple[Flag, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The JSON shape of `bedside ask --json`."""
        nested = {
            "sections": [dict(pairs(one)) for one in self.sections],
            "flags": [dict(pairs(f)) for f in self.flags],
        }
        return dict(pairs(self)) | nested


def pairs(record: Any) -> Iterator[tuple[str, Any]]:
    """Field names and values of a record, without copying the values."""
    for name in record.__slots__:  # a slotted dataclass has its fields there, in their order
        yield name, getattr(record, name)
