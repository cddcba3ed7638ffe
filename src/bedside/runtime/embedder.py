"""Texts → vectors, by a folder in the layout of sentence-transformers: transformers, pooling, normalisation.

`modules.json` names the steps, `1_Pooling/config.json` how a text's vectors become one, `sentence_bert_config.json` how
long a text may be (https://sbert.net, "Creating Custom Models"). Weights are read from safetensors, and no code is.
"""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any

from bedside.errors import ContextTooLong, ModelError, first_line
from bedside.files import read_json
from bedside.models.folder import check

BATCH = 32
STEPS = ("Transformer", "Pooling", "Normalize")
POOLINGS = {
    "pooling_mode_cls_token": "first",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_max_tokens": "largest",
    "pooling_mode_lasttoken": "last",
}


class Embedder:
    """A model that turns texts into vectors of `size` numbers; its weights are read when the first text comes.

    Raises ModelError where the folder is none that sentence-transformers wrote, or wants a step that is not known here.
    """

    def __init__(self, folder: Path) -> None:
        self.name = folder.name
        steps = dict(map(_step, _json(folder / "modules.json", list)))
        if unknown := [kind for kind in steps if kind not in STEPS]:
            raise ModelError(f"{folder}: modules.json wants the step {unknown[0]}; known are {', '.join(STEPS)}")
        if any(Path(path).name != path for path in steps.values()):
            raise ModelError(f"{folder}: modules.json names a path outside of the folder")
        self._folder = folder / steps.get("Transformer", "")
        check(self._folder)
        self._normalised = "Normalize" in steps
        pooling = _json(folder / steps.get("Pooling", "1_Pooling") / "config.json", dict)
        modes = [mode for mode, on in pooling.items() if mode.startswith("pooling_mode") and on]
        if len(modes) != 1 or modes[0] not in POOLINGS:
            raise ModelError(
                f"{folder}: pooling by {' and '.join(modes) or 'nothing'}; want one of {', '.join(POOLINGS)}"
            )
        self._pooling = POOLINGS[modes[0]]
        about = folder / "sentence_bert_config.json"
        told = _json(about, dict) if about.is_file() else {}
        self._longest = told.get("max_seq_length")
        self._lower = bool(told.get("do_lower_case"))
        self.size = int(_json(self._folder / "config.json", dict).get("hidden_size", 0))
        self._lock = Lock()

    def embed(self, texts: Sequence[str]) -> tuple[list[list[float]], list[int]]:
        """Of each text its vector and how many tokens it has, special ones included. Raises ContextTooLong.

        Nothing is cut, as it is elsewhere: a vector would stand for the beginning of its text only.
        """
        with self._lock:  # loading once, and a batch at a time: each takes all cores
            tokenizer, _ = self._loaded
            rows = [tokenizer(text.lower() if self._lower else text).input_ids for text in texts]
            self._need_room([len(row) for row in rows])
            order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
            found: dict[int, list[float]] = {}
            for start in range(0, len(order), BATCH):
                chosen = order[start : start + BATCH]
                found |= zip(chosen, self._vectors([rows[i] for i in chosen]), strict=True)
        return [found[i] for i in range(len(rows))], [len(row) for row in rows]

    @cached_property
    def _loaded(self) -> tuple[Any, Any]:
        """Tokenizer and model, in fp32."""
        import torch
        from transformers import AutoConfig, AutoModel, AutoTokenizer, logging

        logging.disable_progress_bar()
        try:
            tokenizer = AutoTokenizer.from_pretrained(str(self._folder), trust_remote_code=False)
            model, told = AutoModel.from_pretrained(
                str(self._folder),
                config=AutoConfig.from_pretrained(str(self._folder), trust_remote_code=False),
                dtype=torch.float32,
                use_safetensors=True,
                trust_remote_code=False,
                output_loading_info=True,
            )
        except Exception as error:  # what a library meets in a file that is not what it seems has no common name
            raise ModelError(f"{self._folder}: cannot be loaded ({first_line(error)})") from error
        missing = sorted(key for key in told["missing_keys"] if not key.startswith("pooler."))  # which nobody reads
        if missing:
            raise ModelError(f"{self._folder}: cannot be loaded (its weights lack {missing[0]})")
        return tokenizer, model.eval()

    def _need_room(self, lengths: Sequence[int]) -> None:
        longest = self._longest or getattr(self._loaded[1].config, "max_position_embeddings", 0)
        for number, length in enumerate(lengths, 1):
            if longest and length > longest:
                raise ContextTooLong(f"text {number} has {length} tokens, {self.name} reads {longest}; split it")

    def _vectors(self, rows: Sequence[Sequence[int]]) -> list[list[float]]:
        import torch

        tokenizer, model = self._loaded
        width = max(map(len, rows))
        ids_BT = torch.tensor([[*row, *[tokenizer.pad_token_id or 0] * (width - len(row))] for row in rows])
        mask_BT = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
        with torch.inference_mode():
            hidden_BTD = model(input_ids=ids_BT, attention_mask=mask_BT).last_hidden_state
            vectors_BD = self._pooled(hidden_BTD, mask_BT)
            if self._normalised:
                vectors_BD = torch.nn.functional.normalize(vectors_BD, dim=-1)
        return vectors_BD.tolist()  # type: ignore[no-any-return]

    def _pooled(self, hidden_BTD: Any, mask_BT: Any) -> Any:
        real_BT1 = mask_BT[..., None]
        match self._pooling:
            case "first":
                return hidden_BTD[:, 0]
            case "last":
                return hidden_BTD[range(len(hidden_BTD)), mask_BT.sum(1) - 1]
            case "largest":
                return hidden_BTD.masked_fill(real_BT1 == 0, float("-inf")).amax(1)
            case _:
                return (hidden_BTD * real_BT1).sum(1) / real_BT1.sum(1)


def _json(path: Path, kind: type[dict[str, Any]] | type[list[Any]]) -> Any:
    if path.is_file() and isinstance(value := read_json(path), kind):
        return value
    raise ModelError(f"{path.parent}: no {path.name} as sentence-transformers writes it")


def _step(step: Any) -> tuple[str, str]:
    """The class of sentence-transformers that a step is of, by the last part of its name, and its path."""
    found = step if isinstance(step, dict) else {}
    return str(found.get("type", "")).rpartition(".")[2], str(found.get("path", ""))
