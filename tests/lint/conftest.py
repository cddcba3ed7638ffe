"""A small world in which nothing is wrong, and the means to break one thing in it."""

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from bedside import recipe_file
from bedside.lint import check
from bedside.lint.case import Encoder
from bedside.lint.check import Subject
from bedside.lint.findings import Report
from bedside.models.locate import Base
from bedside.records import Example
from bedside.runtime.tokenizer import load_tokenizer

from ..conftest import CHATML

CASES = (
    ("Why is the pulse of a man with atrial flutter 150 a minute?", "Flutter runs at 300, and the atrioventricular node conducts every second beat.", "Conduction is two to one."),
    ("Which vitamin does a baby with haemorrhagic disease lack?", "Bleeding in a baby points to clotting factors, which the liver makes with vitamin K.", "Vitamin K."),
    ("What turns the urine of a child with a sore throat brown?", "Brown urine and a sore throat: a nephritis that follows streptococci.", "Glomerulonephritis."),
    ("How is the airway of a man with burned lips secured?", "Burned lips swell, and a swollen airway closes, so intubate early.", "Early intubation."),
    ("Which nerve does a fractured humeral shaft injure?", "Along the shaft of the humerus winds the radial nerve; fractured bone injures it.", "The radial nerve."),
    ("What lowers potassium fastest in a woman with an arrhythmia?", "Potassium moves into cells with insulin and glucose, fastest of all.", "Insulin with glucose."),
)  # fmt: skip
HELD = Example("held-1", "Which artery feeds the sinus node in most people?", "The right coronary artery.")


def example(number: int, **changes: Any) -> Example:
    question, reasoning, answer = CASES[number]
    made = Example(f"row-{number}", question, answer, reasoning=reasoning, where=f"rows.jsonl line {number + 1}")
    return replace(made, **changes)


def examples() -> list[Example]:
    return [example(number) for number in range(len(CASES))]


@dataclass(frozen=True)
class World:
    """Makes subjects; every part of them is sound unless it is named."""

    folder: Path
    sound: Path

    def base(self, template: str = CHATML) -> Path:
        """A copy of the sound model with a chat template."""
        path = self.folder / f"base-{len(list(self.folder.iterdir()))}"
        shutil.copytree(self.sound, path)
        (path / "chat_template.jinja").write_text(template)
        return path

    def subject(
        self,
        rows: list[Example] | None = None,
        base: Path | None = None,
        **sections: Any,
    ) -> Subject:
        base = base or self.sound
        settings: dict[str, Any] = {
            "model": {"base": str(base), "max_length": 512},
            "prompt": {"style": "chat", "system": ""},
        }
        settings["evaluate"] = {"tasks": ["likelihood"]}
        for name, section in sections.items():
            settings[name] = {**settings.get(name, {}), **section}
        made = recipe_file.parse({"name": "planted", **settings}, "planted")
        return Subject(made, Base(base, base.name, "0"), rows or examples(), {"the test split": [HELD]})


@pytest.fixture(scope="session")
def sound_llama(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with small random weights: it guesses evenly, so that its first loss is ln(vocabulary)."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("models") / "sound-llama"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        LlamaForCausalLM(LlamaConfig.from_pretrained(tiny_llama)).save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny_llama).save_pretrained(folder)
    assert (folder / "chat_template.jinja").read_text() == CHATML
    return folder


@pytest.fixture
def world(tmp_path: Path, sound_llama: Path, own_cache: Path) -> World:
    return World(tmp_path / "bases", sound_llama)


@pytest.fixture(autouse=True)
def _bases(tmp_path: Path) -> None:
    (tmp_path / "bases").mkdir()


def encoder(subject: Subject) -> Encoder:
    section = subject.recipe.prompt
    return Encoder(section, load_tokenizer(subject.base.folder, section), subject.recipe.model.max_length)


def lint(subject: Subject, measure_loss: bool = False) -> Report:
    return check.lint(subject, measure_loss)
