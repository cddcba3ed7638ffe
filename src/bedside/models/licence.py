"""Under which licence a base model stands, as far as its own files say: no licence is guessed.

A GGUF file names it in its metadata (`general.license`), a folder or hub model at the head of its model card
(https://huggingface.co/docs/hub/model-cards#model-card-metadata).
"""

import re
from pathlib import Path

from bedside.models.gguf import metadata
from bedside.models.locate import Base, gguf_of
from bedside.recipe import ModelSection

HEAD = re.compile(r"---\r?\n(.*?)\r?\n---", re.DOTALL)
NAMED = re.compile(r"""^license(?:_name)?:[ \t]*["']?([\w.+-]+)""", re.MULTILINE)


def licence(section: ModelSection, base: Base) -> str:
    """The licence in the hub's spelling ("apache-2.0"); "" where the model names none."""
    gguf = gguf_of(section)
    return metadata(gguf).licence if gguf else _of_card(base.folder / "README.md")


def _of_card(path: Path) -> str:
    """What the head of a model card says; "other" only where it gives that no name."""
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    head = HEAD.match(text)
    named = NAMED.findall(head[1]) if head else []
    return next((name for name in named if name != "other"), "other" if named else "")
