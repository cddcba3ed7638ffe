"""BERTScore: how much of a reference's meaning an answer has, word by word, in the eyes of an encoder (Zhang 2020).

In: pairs of texts, and the folder of an encoder, from which alone it is read. Out: precision, recall and F1 of each
pair, with a signature that says how they came about: figures compare only where it is the same. Each token of the one
text is matched with the token of the other whose contextual embedding is nearest by cosine (arXiv:1904.09675, section
3). As in the authors' `bert-score`, the tokens that the encoder adds are not averaged over, but can be matched with; no
token weighs more for being rare (idf), and nothing is rescaled with a baseline, which only some encoders have.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bedside.errors import MissingExtra, ModelError, first_line
from bedside.files import digest, sha256
from bedside.metrics.paired import Interval, mean_interval
from bedside.models.folder import check, shards

if TYPE_CHECKING:
    from torch import Tensor

BATCH = 16
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Overlap:
    """Of one pair: means of cosines, in practice in [0, 1]. `cut` says that a text was longer than the window."""

    precision: float
    recall: float
    f1: float
    cut: bool


@dataclass(frozen=True, slots=True)
class BertScore:
    """Means over n pairs, and the 95 % bootstrap interval of F1; `cut` counts pairs of which only the beginning was
    read, since the encoder's window is no longer."""

    precision: float
    recall: float
    f1: float
    f1_ci: Interval
    n: int
    cut: int
    signature: str


@dataclass(frozen=True, slots=True)
class Embedded:
    """A text's unit vectors, and which of its tokens are its own."""

    vectors_TD: "Tensor"
    own_T: "Tensor"
    cut: bool


class Encoder:
    """A folder with an encoder in Hugging Face's layout, read at one of its layers, counted from 1."""

    def __init__(self, folder: Path, layer: int | None) -> None:
        self._model, self._tokenizer = _load(folder)
        layers = int(self._model.config.num_hidden_layers)
        if layer is not None and layer > layers:
            raise ModelError(f"{folder}: evaluate.bertscore_layer = {layer}, but the encoder has {layers} layers")
        self._layer = layer or layers
        self._window = _window(self._tokenizer, self._model.config)
        weights = digest([sha256(folder / name) for name in shards(folder)])[:12]
        told = {"encoder": folder.resolve().name, "sha256": weights, "layer": self._layer, "window": self._window}
        self.signature = "|".join(f"{name}:{value}" for name, value in told.items()) + "|idf:no|rescaled:no"

    def overlaps(self, references: Sequence[str], candidates: Sequence[str]) -> list[Overlap]:
        """One for each pair; a text without a word has nothing in common with any."""
        texts = sorted({text.strip() for text in (*references, *candidates)} - {""}, key=lambda text: (len(text), text))
        known = dict(zip(texts, self._embedded(texts), strict=True))
        pairs = zip(references, candidates, strict=True)
        return [_overlap(known.get(reference.strip()), known.get(said.strip())) for reference, said in pairs]

    def _embedded(self, texts: Sequence[str]) -> Iterator[Embedded]:
        import torch

        for start in range(0, len(texts), BATCH):
            batch = self._tokenizer(
                list(texts[start : start + BATCH]),
                padding=True,
                truncation=True,
                max_length=self._window,
                return_special_tokens_mask=True,
                return_tensors="pt",
            )
            special_BT = batch.pop("special_tokens_mask").bool()
            with torch.inference_mode():
                states_BTD = self._model(**batch, output_hidden_states=True).hidden_states[self._layer]
            units_BTD = torch.nn.functional.normalize(states_BTD, dim=-1)
            there_BT = batch["attention_mask"].bool()
            for i, encoding in enumerate(batch.encodings):
                own_T = ~special_BT[i][there_BT[i]]
                yield Embedded(units_BTD[i][there_BT[i]], own_T, bool(encoding.overflowing))


def overlaps(folder: str, layer: int | None, references: Sequence[str], candidates: Sequence[str]) -> list[Row]:
    """What a row keeps of each pair: its `Overlap`, and the signature. Raises ModelError, MissingExtra."""
    encoder = _encoder(folder, layer)
    return [{**asdict(one), "signature": encoder.signature} for one in encoder.overlaps(references, candidates)]


def averaged(rows: Sequence[Row], seed: int) -> BertScore:
    """The means of what `overlaps` gave of all items."""
    precision, recall, f1 = (sum(row[name] for row in rows) / len(rows) for name in ("precision", "recall", "f1"))
    _, ci = mean_interval([row["f1"] for row in rows], seed)
    return BertScore(precision, recall, f1, ci, len(rows), sum(row["cut"] for row in rows), rows[0]["signature"])


def _overlap(reference: Embedded | None, candidate: Embedded | None) -> Overlap:
    if reference is None or candidate is None:
        return Overlap(0.0, 0.0, 0.0, cut=False)
    cosines_CR = candidate.vectors_TD @ reference.vectors_TD.T
    precision = float(cosines_CR.max(1).values[candidate.own_T].mean())
    recall = float(cosines_CR.max(0).values[reference.own_T].mean())
    both = precision + recall
    f1 = 2 * precision * recall / both if both > 0 else 0.0
    return Overlap(round(precision, 6), round(recall, 6), round(f1, 6), reference.cut or candidate.cut)


@cache
def _encoder(folder: str, layer: int | None) -> Encoder:
    return Encoder(Path(folder).expanduser(), layer)


def _load(folder: Path) -> tuple[Any, Any]:
    """Model and tokenizer; safetensors only, no remote code, nothing from the hub."""
    try:
        import transformers
        from transformers import AutoModel, AutoTokenizer
    except ImportError as error:
        raise MissingExtra.named("BERTScore", "eval") from error
    check(folder)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    offline = {"local_files_only": True, "trust_remote_code": False}
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(folder), add_prefix_space=True, **offline)
        model, found = AutoModel.from_pretrained(
            str(folder), use_safetensors=True, dtype="float32", output_loading_info=True, **offline
        )
    except Exception as error:  # what a library meets in a file that is not what it seems has no common name
        raise ModelError(f"{folder}: cannot be loaded as an encoder ({first_line(error)})") from error
    missing = sorted(name for name in found["missing_keys"] if "pooler" not in name)  # of no layer that is read
    if missing or model.config.is_encoder_decoder:
        lacks = f"its weights lack {missing[0]}" if missing else "it has a decoder, too"
        raise ModelError(f"{folder}: cannot be used for evaluate.bertscore ({lacks}); name the folder of an encoder")
    return model.eval(), tokenizer


def _window(tokenizer: Any, config: Any) -> int:
    """Tokens that a text may have; where the tokenizer does not say, positions but for the two that RoBERTa keeps."""
    positions = int(config.max_position_embeddings)
    stated = int(tokenizer.model_max_length)
    return stated if stated <= positions else positions - 2
