"""What is generated is fresh, what is shipped is valid, and what the README tells a reader to type exists."""

import importlib.util
import re
import tomllib
from pathlib import Path

import pytest

from bedside import recipe_file

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PUBLISHED = {
    "deepseek-r1-8b-medical-o1": {
        "model": {"base": "deepseek-ai/DeepSeek-R1-Distill-Llama-8B", "quantise": "nf4", "max_length": 2048},
        "prompt": {"style": "alpaca-think", "reasoning": "think"},
        "train": {
            "rank": 16, "alpha": 16, "lr": 2e-4, "schedule": "linear", "batch_size": 2, "accumulation": 4, "max_steps": 60,
            "targets": ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"),
        },
    },
    "llama3-8b-pubmedqa": {"train": {"rank": 16, "alpha": 16}, "export": {"quantise": ("q4_k_m",)}},
    "tinyllama-flashcards": {
        "model": {"max_length": 512},
        "data": {"split": (0.51, 0.30, 0.19)},
        "train": {
            "rank": 16, "alpha": 32, "dropout": 0.05, "schedule": "cosine", "warmup": 100, "epochs": 3,
            "targets": ("q_proj", "k_proj", "v_proj", "o_proj"),
        },
    },
}  # fmt: skip
TWINS = {
    "smollm2-medical-o1": "deepseek-r1-8b-medical-o1",
    "smollm2-pubmedqa": "llama3-8b-pubmedqa",
    "smollm2-flashcards": "tinyllama-flashcards",
}


def shipped() -> list[str]:
    return sorted(path.stem for path in recipe_file.SHIPPED.glob("*.toml"))


@pytest.mark.parametrize("name", shipped())
def test_every_shipped_recipe_is_valid_and_comes_back_from_its_own_text(name: str):
    loaded = recipe_file.load(name)
    assert loaded.name == ("demo" if name == "starter" else name)
    assert recipe_file.parse(tomllib.loads(recipe_file.to_toml(loaded)), "again") == loaded


def test_the_design_names_these_recipes():
    assert set(shipped()) == {"starter", *PUBLISHED, *TWINS}


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_set_up_keeps_its_published_settings(name: str):
    loaded = recipe_file.load(name)
    for section, settings in PUBLISHED[name].items():
        found = {key: getattr(getattr(loaded, section), key) for key in settings}
        assert found == settings


@pytest.mark.parametrize(("twin", "original"), TWINS.items())
def test_a_twin_reads_the_same_data_with_the_same_prompt_and_targets(twin: str, original: str):
    small, large = recipe_file.load(twin), recipe_file.load(original)
    assert small.model.base == "embedded"
    assert small.data.source == large.data.source
    assert small.prompt == large.prompt
    assert small.train.targets == large.train.targets


def test_the_reference_pages_are_fresh():
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec
    assert spec.loader
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    stale = [
        name for name, text in generate.pages().items()
        if (generate.FOLDER / name).read_text(encoding="utf-8") != text
    ]  # fmt: skip
    assert not stale, "run: make docs"


def test_every_make_word_of_the_readme_is_in_the_makefile():
    words = set(re.findall(r"^make (\S+)", README, re.MULTILINE))
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {"demo", "test"} <= words <= targets


def test_every_command_and_recipe_of_the_readme_exists():
    import typer

    from bedside.cli import app

    commands = set(typer.main.get_command(app).commands)
    named = set(re.findall(r"^bedside (\S+)", README, re.MULTILINE))
    assert named <= commands
    for run in re.findall(r"^bedside run (\S+)", README, re.MULTILINE):
        assert run in shipped()


def test_every_link_of_the_documents_leads_somewhere():
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]:
        for link in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
            assert link.startswith("http") or (page.parent / link).exists(), f"{page}: {link}"
