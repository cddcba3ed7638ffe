"""A model with its update, and one way to compute the summed loss of a batch: the fused step, or transformers and peft.

    learner = Learner(lora.attach(...), pad, settings, max_length)
    for batch in learner.batches(rows):
        (learner(batch) / trained).backward()

Both ways give the same loss and gradient; `path` and `reason` say which one it is, and why.
"""

from collections.abc import Iterator, Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from peft import PeftModel
from torch import Tensor, nn

from bedside.fused.choice import chosen, required
from bedside.fused.lanes import side_by_side
from bedside.fused.packs import Lanes, Row, in_lanes
from bedside.fused.stack import why_not
from bedside.fused.step import Fused
from bedside.recipe import TrainSection
from bedside.train.batch import IGNORED, Batch, batches
from bedside.train.lora import recompute_activations, trainable


class Learner(nn.Module):
    """Maps a batch to its summed loss in nats. Raises ModelError if the recipe asks for a step that does not hold.

    With `recompute`, activations within a layer are computed again in the backward pass rather than kept.
    """

    def __init__(
        self, model: PeftModel, pad: int, settings: TrainSection, max_length: int, *, recompute: bool = False
    ) -> None:
        super().__init__()
        self.model = model
        self.pad = pad
        self.batch_size = settings.batch_size
        self.max_length = max_length
        self.path, self.reason = required(settings, chosen(settings, why_not(model)))
        self._fused = Fused(model, recompute=recompute) if self.path == "fused" else None
        update: Any = model.peft_config["default"]  # an adapter that is gone on from brings a dropout of its own
        self._shares = self.device.type == "cpu" and not update.lora_dropout  # each row has its own mask
        self.recompute = recompute
        if recompute and not self._fused:
            recompute_activations(model)

    @property
    def trained(self) -> list[tuple[str, nn.Parameter]]:
        """Names and parameters that are trained, in a fixed order."""
        return trainable(self.model)

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.model.parameters()).device

    @property
    def in_words(self) -> str:
        """Which step computes the loss, why it is not the fused one, and whether it saves memory."""
        step = "fused step" if self.path == "fused" else f"step through transformers and peft: {self.reason}"
        return f"{step}; activations are computed again to save memory" if self.recompute else step

    @property
    def dtype(self) -> torch.dtype:
        """Type of the frozen weights; of 4-bit ones, that in which they are multiplied."""
        frozen: Any = self.model.get_base_model()
        return cast(torch.dtype, frozen.dtype)

    def batches(self, rows: Sequence[Row]) -> Iterator[Batch | Lanes]:
        """Cuts rows into what is computed at once: `batch_size` rows, or as many tokens as those may have."""
        if self._fused:
            cores = torch.get_num_threads() if self._at_once else 1
            return in_lanes(rows, self.batch_size * self.max_length, share=self._shares, cores=cores)
        return batches(rows, self.batch_size, self.pad)

    def forward(self, batch: Batch | Lanes) -> Tensor:
        """Cross-entropy in nats, summed over the trained tokens of the batch."""
        if isinstance(batch, Batch):
            return summed_loss(self.model, batch)
        assert self._fused, "lanes are the fused step's"
        parameters = [parameter for _, parameter in self.trained]
        return side_by_side(self._fused.summed_loss, batch, parameters, at_once=self._at_once)

    @property
    def _at_once(self) -> bool:
        """Whether gradients may be computed with the loss: not where that is scaled first."""
        return self._shares and self.dtype != torch.float16


def summed_loss(model: nn.Module, batch: Batch) -> Tensor:
    """Summed cross-entropy in nats over the trained tokens. Logits are made from the first trained token on only."""
    device = next(model.parameters()).device
    first = int((batch.labels_BT != IGNORED).any(0).nonzero()[0, 0])
    keep = batch.ids_BT.shape[1] - first + 1
    logits_BTV = model(
        input_ids=batch.ids_BT.to(device),
        attention_mask=batch.mask_BT.to(device),
        use_cache=False,
        logits_to_keep=keep,
    ).logits[:, :-1]
    labels_BT = batch.labels_BT[:, first:].to(device)
    return F.cross_entropy(logits_BTV.float().flatten(0, 1), labels_BT.flatten(), ignore_index=IGNORED, reduction="sum")
