"""A base as training saw it in NF4 (QLoRA, arXiv:2305.14314): what its 4 bits stand for.

An adapter that was trained on the rounded weights makes up for their rounding; put on the weights that were never
rounded it answers otherwise. bitsandbytes rounds on the CPU as on a card but for sums in another order.
"""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from bedside.errors import ModelError
from bedside.export.tensors import Tensors
from bedside.runtime import hf


def weights_of(folder: Path, weights: Tensors) -> frozenset[str]:
    """The weights that are in 4 bits when the folder is loaded in NF4. Raises ModelError if its files lack one."""
    names = hf.four_bit_weights(folder)
    if lacking := sorted(names - weights.entries.keys()):
        raise ModelError(f"{folder}: its files hold no '{lacking[0]}', so a base in NF4 cannot be merged")
    return names


def seen_in_training(values: NDArray[np.float32], precision: str) -> NDArray[np.float32]:
    """Values rounded to `precision` ("bfloat16"), to NF4 with double quantisation, and back, as a layer uses them."""
    from bitsandbytes.functional import dequantize_4bit, quantize_4bit

    loaded = torch.from_numpy(values).to(getattr(torch, precision))
    packed, state = quantize_4bit(loaded, compress_statistics=True, quant_type="nf4")
    seen: NDArray[np.float32] = dequantize_4bit(packed, state).float().numpy()
    return seen


def refuse_packed(folder: Path, weights: Tensors) -> None:
    """Raises ModelError if the folder stores bitsandbytes' packed weights, which no other program reads."""
    packed = [name for name in weights.entries if name.endswith(".absmax")]
    if packed:
        raise ModelError(
            f"{folder}: '{packed[0].removesuffix('.absmax')}' is stored in 4 bits (bitsandbytes); give the model's BF16"
            " or F16 weights as model.base, with model.quantise = 'nf4'"
        )
