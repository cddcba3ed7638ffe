"""The recipe: one frozen model, each setting declared once with its type, bounds and reason.

`recipe_file` reads it from TOML. Relative paths in a recipe are taken from the current folder, as on the command line.
"""

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

Ratio = Annotated[float, Field(strict=True, ge=0, le=1)]
Positive = Annotated[int, Field(strict=True, ge=1)]

NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"
"""What runs and scores are called: a part of a path on any system."""
NAME_WANTED = "1 to 100 letters, digits, dots, dashes and underscores, a letter or digit first"
SourceName = Literal["medical-o1", "pubmedqa", "flashcards", "meadow", "mcq", "vignette", "chat", "starter"]
TaskName = Literal[
    "choice",
    "choice-direct",
    "choice-reason",
    "decision",
    "decision-direct",
    "decision-reason",
    "vignette",
    "vignette-direct",
    "vignette-reason",
    "likelihood",
    "rouge",
    "general",
    "instructions",
    "safety",
]
Quantisation = Literal["f32", "f16", "bf16", "q8_0", "q6_k", "q5_k_m", "q4_k_m", "q4_0"]
TrackerName = Literal["wandb", "trackio", "tensorboard"]
RuleName = Literal[
    "template-fails",
    "prompt-differs",
    "prompt-trained",
    "completion-masked",
    "padding-trained",
    "end-missing",
    "end-doubled",
    "end-masked",
    "begin-doubled",
    "control-token",
    "think-unbalanced",
    "think-whitespace",
    "reasoning-removed",
    "no-reasoning",
    "reasoning-shifted",
    "text-changed",
    "over-max-length",
    "empty-completion",
    "letter-contradicts-answer",
    "label-unknown",
    "label-contradicts-answer",
    "label-contradicts-copy",
    "train-test-leak",
    "template-differs",
    "tokenizer-differs",
    "first-loss",
    "parameters-differ",
]


class Section(BaseModel):
    """What all sections share: frozen, no unknown keys, attribute docstrings as descriptions."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, protected_namespaces=(), allow_inf_nan=False
    )
    ASIDE: ClassVar[set[str]] = set()
    """Settings that change nothing of what is computed."""


class ModelSection(Section):
    """Which base model is tuned."""

    base: str = "embedded"
    """"embedded" (SmolLM2-135M-Instruct), a folder, a .gguf file, or a hub id such as "org/name"."""
    revision: str | None = None
    """Commit or tag of a hub model; null takes the one in the cache or, if there is none, the newest."""
    quantise: Literal["none", "nf4"] = "none"
    """"nf4" loads the frozen base in 4 bits (QLoRA, arXiv:2305.14314)."""
    max_length: Annotated[int, Field(strict=True, ge=16, le=1_048_576)] = 1024
    """Tokens of prompt and completion together; a longer row is left out of training, and counted."""


class DataSection(Section):
    """Which rows are read, and how they are split."""

    source: SourceName = "starter"
    """The shape of the rows: which columns hold question, reasoning and answer."""
    path: str | None = None
    """Hub id, folder, or .jsonl, .json, .csv, .parquet file; null takes the source's own."""
    subset: str | None = None
    """Configuration of a hub data set, such as a language: "en", "zh", "pqa_labeled"."""
    limit: Positive | None = None
    """Use this many rows, drawn by seed."""
    split: tuple[Ratio, Ratio, Ratio] = (0.8, 0.1, 0.1)
    """Shares of train, validation and test, which sum to 1. Training is watched on validation, and judged on test."""
    stratify: bool = False
    """Gives every label its exact share of each split; adding rows may then move a few of the old ones."""
    test_ids: str | None = None
    """File with the ids of the test rows (an official split): objects keyed by id, a list, or one id a line."""
    validation_ids: str | None = None
    """The same for validation, such as one of PubMedQA's ten folds."""
    columns: dict[str, str] = {}
    """Field of ours → column of the file, such as {question = "prompt", answer = "reply"}."""
    first_option: Literal[0, 1] = 0
    """Number of the first option where a multiple-choice file gives its answers as numbers (MedMCQA's own files: 1)."""
    on_empty: Literal["fail", "drop"] = "fail"
    """What a row without question or answer does: stop with its line number, or be left out and counted."""
    min_answer_words: Positive = 2
    """A shorter answer is left out, but for the options of multiple choice; a Chinese or Japanese sign is a word."""
    max_characters: Positive = 100_000
    """A row with more in any field is left out."""
    near_duplicates: Annotated[float, Field(strict=True, gt=0, le=1)] = 0.8
    """Of two rows that share this much of their word triples the later is left out; 1 leaves out exact copies alone."""
    decontaminate: Literal["report", "drop", "fail"] = "drop"
    """What a training row that contains an evaluation item does: be told, be left out, or stop with exit status 1."""
    against: tuple[str, ...] = ()
    """Files of further evaluation sets that no training row may contain."""
    documents: tuple[str, ...] = ()
    """Files of documents that answers are looked up in: what training rows share with them is told, never left out."""
    licence: str | None = None
    """Licence of your own rows, for the data card; the known sources bring theirs."""

    @field_validator("split")
    @classmethod
    def _sums_to_one(cls, split: tuple[float, float, float]) -> tuple[float, float, float]:
        if abs(sum(split) - 1) > 1e-6:
            raise ValueError(f"the shares sum to {sum(split):g}, want 1")
        if split[0] == 0:
            raise ValueError("the share of train is 0, so there is nothing to train on")
        return split


class PromptSection(Section):
    """How a row becomes text; the same template trains, exports and serves."""

    style: Literal["chat", "alpaca-think"] = "chat"
    """"chat" is the model's own template; "alpaca-think" the instruction/question/response layout."""
    system: str | None = None
    """System message; null takes the style's own, "" sends none."""
    reasoning: Literal["think", "none"] = "think"
    """"think" puts the reasoning in <think>…</think> before the answer; "none" trains the answer alone."""


class TrainSection(Section):
    """LoRA (arXiv:2106.09685) and its optimiser."""

    ASIDE: ClassVar[set[str]] = {"checkpoint_every", "track"}
    rank: Annotated[int, Field(strict=True, ge=1, le=1024)] = 16
    """Rank r of the low-rank update."""
    alpha: Annotated[float, Field(strict=True, gt=0)] = 16.0
    """The update is scaled by alpha / rank."""
    dropout: Annotated[float, Field(strict=True, ge=0, lt=1)] = 0.0
    """Dropout on the input of the update."""
    targets: Annotated[tuple[str, ...], Field(min_length=1)] = (
        "q_proj",
        "k_proj",
        "v_proj",
        "o_proj",
        "gate_proj",
        "up_proj",
        "down_proj",
    )
    """Names of the linear layers that get an update."""
    lr: Annotated[float, Field(strict=True, gt=0, le=1)] = 2e-4
    """Peak learning rate."""
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    """How the learning rate falls after the warm-up."""
    warmup: Annotated[int, Field(strict=True, ge=0)] = 5
    """Steps of linear warm-up."""
    optimizer: Literal["adamw", "adamw_8bit", "adamw_8bit_paged"] = "adamw"
    """"adamw_8bit" keeps the moments in 8 bits (bitsandbytes); paged, a card's driver may move them to main memory."""
    batch_size: Positive = 1
    """Rows computed at once; the fused step packs as many rows as fit into the tokens of so many of `max_length`."""
    accumulation: Positive = 8
    """Batches a step; the loss is the mean over all trained tokens of the step."""
    epochs: Annotated[float, Field(strict=True, gt=0)] = 1.0
    """Passes over the training rows; `max_steps` takes precedence."""
    max_steps: Positive | None = None
    """Stop after this many optimiser steps."""
    weight_decay: Annotated[float, Field(strict=True, ge=0)] = 0.0
    """Decoupled weight decay of AdamW."""
    clip: Annotated[float, Field(strict=True, gt=0)] = 1.0
    """Largest norm of the gradient."""
    precision: Literal["auto", "bf16", "fp16", "fp32"] = "auto"
    """Type of the frozen base; "auto" takes bf16 where the hardware computes in it, fp16 with a loss scaler on a card
    without. The update stays fp32."""
    step: Literal["auto", "fused", "peft"] = "auto"
    """"fused" is Bedside's own step for the Llama family, "peft" any model's; "auto" takes the first that holds."""
    checkpointing: Literal["auto", "on", "off"] = "auto"
    """Computes activations again in the backward pass rather than keep them; "auto": where memory asks for it."""
    adapter: str | None = None
    """Folder of a PEFT adapter to go on from, in place of a fresh one; it brings its rank, alpha and targets."""
    strategy: Literal["ddp", "fsdp"] = "ddp"
    """What several processes share: "ddp" the rows, each with a whole model; "fsdp" the model's weights as well."""
    checkpoint_every: Positive = 10
    """Steps between checkpoints."""
    validate_every: Annotated[int, Field(strict=True, ge=0)] = 20
    """Steps between losses on the validation split, the last step included; 0 computes none."""
    validate_rows: Positive = 32
    """Validation rows at most: the first ones of the split."""
    keep: Literal["best", "last"] = "best"
    """Which update becomes the adapter: that of the smallest validation loss, where there is one, or the last."""
    patience: Annotated[int, Field(strict=True, ge=0)] = 0
    """Stop after so many validations in a row without a smaller loss; 0 goes on to the end."""
    track: tuple[TrackerName, ...] = ()
    """Where else the figures of `metrics.jsonl` go: "wandb" (offline unless WANDB_MODE says so), "trackio",
    "tensorboard"."""


class EvaluateSection(Section):
    """What base and tuned model are compared on; never on rows that were trained on."""

    tasks: tuple[TaskName, ...] = ("likelihood", "rouge", "choice", "general", "instructions")
    """Which tasks; "decision" needs rows with a yes/no/maybe label, "vignette" and "safety" files of their own."""
    limit: Positive = 100
    """Items a task at most, drawn by seed; "general" and "instructions" are always asked whole."""
    generate_limit: Positive = 20
    """The same for "rouge" and what ends in "-direct" or "-reason": generating is slow on a CPU."""
    max_tokens: Positive = 256
    """Tokens generated an item, reasoning included."""
    answer_tokens: Positive = 96
    """Tokens that an answer gets of its own: without reasoning, or where that has filled `max_tokens`."""
    choice_from: str = "starter"
    """Multiple-choice file, or "starter" for the embedded held-out items."""
    choice_columns: dict[str, str] = {}
    """Columns of that file that have other names: {question = "stem", options = "answers", answer = "key"}."""
    choice_first_option: Literal[0, 1] = 0
    """Number of the first option where that file gives its answers as numbers."""
    choice_scoring: Literal["cloze", "letter"] = "cloze"
    """"cloze" scores the options' texts, "letter" their letters with all options in sight (arXiv:2406.08446)."""
    choice_subjects: tuple[str, ...] = ()
    """Subjects of that file that are asked, such as MMLU-Pro's ("health",); all if none is named."""
    decision_from: str = ""
    """File in PubMedQA's shape whose rows the tasks of "decision" ask; "" asks the run's own test rows."""
    decision_context: bool = True
    """Whether the abstract stands before the question of a decision, or the question alone is asked."""
    answer_sets: Annotated[float, Field(strict=True, gt=0.5, lt=1)] = 0.9
    """How often sets of answers are to hold the right one (split conformal), where likelihoods of labels are read."""
    safety_from: str = ""
    """File of harmful requests in MedSafetyBench's shape (arXiv:2403.03744), of which "safety" counts the refused."""

    vignette_from: str = ""
    """File of cases, each with its reference diagnosis, of which the tasks of "vignette" ask."""
    vignette_columns: dict[str, str] = {}
    """Columns of that file that are not `case`, `diagnosis`, `aliases`: {question = "story", answer = "icd_name"}."""
    bertscore: str = ""
    """Folder of an encoder, such as a BERT, by which the answers of "rouge" are compared as BERTScore does, too
    (arXiv:1904.09675); nothing is fetched. "" computes none."""
    bertscore_layer: Positive | None = None
    """The encoder's layer that is compared, from 1; null takes the last."""

    @property
    def asks_choices(self) -> bool:
        """Whether the items of `choice_from` are asked in any way."""
        return any(task.startswith("choice") for task in self.tasks)

    @field_validator("tasks")
    @classmethod
    def _some_task_once(cls, tasks: tuple[TaskName, ...]) -> tuple[TaskName, ...]:
        if not tasks:
            raise ValueError("no task; name at least one")
        if len(set(tasks)) < len(tasks):
            raise ValueError("a task is named twice")
        return tasks

    @model_validator(mode="after")
    def _files_and_their_tasks_come_together(self) -> Self:
        diagnoses = next((task for task in self.tasks if task.startswith("vignette")), None)
        if diagnoses and not self.vignette_from:
            raise ValueError(f"the task '{diagnoses}' needs vignette_from, a file of cases; name one, or leave it out")
        if self.vignette_from and not diagnoses:
            raise ValueError(
                "vignette_from is set, but 'vignette-direct' is not among tasks; add it there, or remove it"
            )
        if "safety" in self.tasks and not self.safety_from:
            raise ValueError(
                "the task 'safety' needs safety_from, a file of harmful requests; name one, or leave it out"
            )
        if self.safety_from and "safety" not in self.tasks:
            raise ValueError("safety_from is set, but 'safety' is not among tasks; add it there, or remove safety_from")
        decides = any(task.startswith("decision") for task in self.tasks)
        if not decides and (self.decision_from or not self.decision_context):
            name = "decision_from" if self.decision_from else "decision_context"
            raise ValueError(f"{name} is set, but 'decision' is not among tasks; add it there, or remove {name}")
        if self.choice_subjects and not self.asks_choices:
            raise ValueError("choice_subjects is set, but 'choice' is not among tasks; add it there, or remove it")
        if self.bertscore and "rouge" not in self.tasks:
            raise ValueError(
                "bertscore is set, but 'rouge' is not among tasks, whose answers it compares; add it there"
            )
        return self


class ExportSection(Section):
    """Which files leave the run."""

    quantise: tuple[Quantisation, ...] = ("q8_0",)
    """One GGUF file for each; the first one is served."""
    adapter: Literal["no", "alone", "with-base"] = "no"
    """Also writes the adapter as a small GGUF file, for those who hold a GGUF file of the base; "with-base" writes that
    one, too, in the first quantisation and with the trained prompt."""
    imatrix: bool = False
    """Quantise by an importance matrix from training rows: where few bits are left, those go to the columns with large
    inputs (llama.cpp, tools/imatrix/README.md). Needs the merged model in memory; changes nothing of f32 to q8_0."""

    @field_validator("quantise")
    @classmethod
    def _some_file(cls, quantise: tuple[Quantisation, ...]) -> tuple[Quantisation, ...]:
        if not quantise:
            raise ValueError("no quantisation; name at least one, such as 'q8_0'")
        return quantise


class ParitySection(Section):
    """How far what is served may be from what was trained; `bedside parity` fails beyond it."""

    tokens: Annotated[int, Field(strict=True, ge=1, le=256)] = 64
    """Tokens by which each of the 64 conversations is continued greedily."""
    texts: Positive = 12
    """Held-out rows at most, along which the released files are compared with the merged model."""
    items: Positive = 24
    """Held-out rows with options or a decision at most, and then questions of "general", of which answers that change
    are counted."""
    max_kl_exact: Annotated[float, Field(gt=0)] = 1e-3
    """Mean Kullback-Leibler divergence, in nats a token, of adapter and 16-bit file from the merged model."""
    max_kl: Annotated[float, Field(gt=0)] = 0.1
    """The same of a released file; SmolLM2's "q4_k_m" has 0.07, its "q8_0" 0.005."""
    min_top1: Ratio = 0.8
    """Share of places at which a released file's likeliest token is the merged model's."""
    max_perplexity_ratio: Annotated[float, Field(ge=1)] = 1.1
    """Perplexity of a released file over the merged model's, on the held-out rows."""
    max_flips: Ratio = 0.2
    """Share of items that a released file answers otherwise."""


class ServeSection(Section):
    """The page and the API."""

    host: str = "127.0.0.1"
    """Address to listen on; anything but loopback is open to the network."""
    port: Annotated[int, Field(strict=True, ge=0, le=65535)] = 8000
    """Port; 0 takes a free one."""
    context: Annotated[int, Field(strict=True, ge=256)] = 4096
    """Tokens of context that each conversation gets."""
    threads: Annotated[int, Field(strict=True, ge=0)] = 0
    """Threads of llama.cpp; 0 takes all cores. They spin while they wait, so leave some out beside other heavy work."""
    max_tokens: Positive = 1024
    """Tokens of an answer unless the request asks for fewer."""
    queue: Annotated[int, Field(strict=True, ge=0)] = 8
    """Requests that may wait while all slots are taken; one more is told to come back later."""
    wait_s: Annotated[float, Field(gt=0)] = 120.0
    """Seconds that a request may wait so."""
    answer_s: Annotated[float, Field(gt=0)] = 600.0
    """Seconds that an answer may take; then it is broken off."""
    embedder: str = ""
    """Folder of a model in the layout of sentence-transformers, for /v1/embeddings; "" for none."""
    names: tuple[str, ...] = ()
    """Host names that it answers to beside its own, such as that of a TLS proxy before it; they demand a key."""
    keys: str = "auto"
    """File of the API keys' hashes; "auto" is `bedside/keys` below XDG_CONFIG_HOME."""
    requests_per_minute: Annotated[int, Field(strict=True, ge=0)] = 300
    """Requests that each key, or without one each address, may send in a minute; 0 sets no limit."""
    grace_s: Annotated[float, Field(ge=0)] = 30.0
    """Seconds in which running answers may end after Ctrl-C."""
    audit: str = "auto"
    """Folder of the audit log; "auto" is `bedside/audit` below XDG_STATE_HOME, "" keeps none."""
    feedback: str = "auto"
    """File of what people say of answers; "auto" is `bedside/feedback.jsonl` below XDG_STATE_HOME, "" takes none."""


class LintSection(Section):
    """What `bedside lint` finds wrong, and training goes on with all the same."""

    allow: tuple[RuleName, ...] = ()
    """Rules whose errors stop neither lint nor training; they are still told."""

    @field_validator("allow", mode="before")
    @classmethod
    def _without_quotes(cls, allow: Any) -> Any:
        """A shell takes the quotes off `lint.allow=["first-loss"]`, so that a text arrives."""
        return [name.strip() for name in allow.strip("[]").split(",")] if isinstance(allow, str) else allow


class Recipe(Section):
    """A whole experiment."""

    name: Annotated[str, Field(pattern=NAME)]
    """Name of the run and of its folder: letters, digits, dot, dash, underscore."""
    seed: Annotated[int, Field(strict=True, ge=0, lt=2**31)] = 42
    """Seeds the split, the order of rows, the initial adapter, dropout and the bootstrap."""
    model: ModelSection = ModelSection()
    data: DataSection = DataSection()
    prompt: PromptSection = PromptSection()
    lint: LintSection = LintSection()
    train: TrainSection = TrainSection()
    evaluate: EvaluateSection = EvaluateSection()
    export: ExportSection = ExportSection()
    parity: ParitySection = ParitySection()
    serve: ServeSection = ServeSection()

    @model_validator(mode="after")
    def _sections_fit_each_other(self) -> Self:
        if self.data.split[2] == 0:
            raise ValueError("data.split: the share of test is 0, so nothing could be compared")
        if self.train.patience and not self.train.validate_every:
            raise ValueError("train.patience: with train.validate_every = 0 there is no validation loss to wait for")
        if self.model.quantise != "none" and self.train.step == "fused":
            raise ValueError("train.step: 'fused' does not hold for a quantised base (model.quantise); use 'auto'")
        if self.model.quantise != "none" and self.export.adapter != "no":
            raise ValueError(
                "export.adapter: an adapter of a base in 4 bits does not fit the base's own weights; use 'no'"
            )
        labelled = ("pubmedqa", "starter")
        if self.prompt.reasoning == "none" and (odd := next((t for t in self.evaluate.tasks if "-reason" in t), None)):
            raise ValueError(f"evaluate.tasks: '{odd}' needs reasoning, and prompt.reasoning is 'none'; use '-direct'")
        decides = any(task.startswith("decision") for task in self.evaluate.tasks)
        if decides and self.data.source not in labelled and "label" not in self.data.columns:
            raise ValueError(
                f"evaluate.tasks: 'decision' needs yes/no/maybe labels, which source '{self.data.source}' has not;"
                ' map a column with data.columns = {label = "…"}'
            )
        return self
