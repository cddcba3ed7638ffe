"""Base and LoRA adapter → one model folder in Hugging Face's layout.

In: a base folder and a PEFT folder. Out: W + scale·B·A (arXiv:2106.09685, section 4.1) computed in fp32 and rounded
once to the base's own type; sharded as the base is, its tokenizer carrying the recipe's chat template, and
`bedside.json` with the prompt section. The shards are copied and the changed tensors written over their own bytes,
so one tensor at a time is in memory, whatever the model's size.
"""

import shutil
from pathlib import Path

from bedside.export.adapter import Update, updates
from bedside.export.tensors import INDEX, Tensors, require_finite, to_bytes
from bedside.files import disk_errors, write_json
from bedside.recipe import PromptSection
from bedside.runtime.choose import PROMPT_FILE
from bedside.runtime.tokenizer import load_tokenizer

COPIED = (INDEX, "config.json", "generation_config.json")


def merge(base: Path, adapter: Path, target: Path, section: PromptSection) -> None:
    """Writes the merged model to `target`. Raises ModelError, naming the tensor, if adapter and base do not fit."""
    weights = Tensors.of_model(base)
    changes = updates(adapter, weights)
    tokenizer = load_tokenizer(base, section)
    with disk_errors(target):
        target.mkdir(parents=True, exist_ok=True)
        for file in [*weights.files, *(base / name for name in COPIED if (base / name).is_file())]:
            shutil.copyfile(file, target / file.name)
        for name, change in changes.items():
            _write_over(weights, name, change, target)
        tokenizer.save_pretrained(target)
    write_json(target / PROMPT_FILE, section.model_dump(mode="json"))


def _write_over(weights: Tensors, name: str, change: Update, target: Path) -> None:
    """Puts the changed tensor in the place of the base's: same type and shape, so the same bytes of the file."""
    entry = weights.entries[name]
    merged = weights.read(name) + change.delta()
    require_finite(merged, name, target)
    with (target / entry.file.name).open("r+b") as file:
        file.seek(entry.start)
        file.write(to_bytes(merged, entry.dtype))
