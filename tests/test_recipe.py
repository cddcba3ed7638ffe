from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bedside import recipe, recipe_file
from bedside.errors import RecipeError
from bedside.recipe import Recipe


def write(folder: Path, text: str, name: str = "a.toml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def refusal(path: Path, *overrides: str) -> str:
    with pytest.raises(RecipeError) as caught:
        recipe_file.load(path, overrides)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("path", sorted(recipe_file.SHIPPED.glob("*.toml")), ids=lambda path: path.stem)
def test_every_shipped_recipe_is_valid_and_found_by_its_bare_name(path: Path) -> None:
    assert recipe_file.load(path.stem) == recipe_file.load(path)


def test_a_name_alone_is_a_recipe(tmp_path: Path) -> None:
    assert recipe_file.load(write(tmp_path, 'name = "x"')) == Recipe(name="x")


def test_a_byte_order_mark_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_bytes(b'\xef\xbb\xbfname = "x"\n')
    assert recipe_file.load(path).name == "x"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[train]\nrnk = 8", "unknown key 'train.rnk'; did you mean 'rank'?"),
        ("[trian]\nrank = 8", "unknown key 'trian'; did you mean 'train'?"),
        ("[prompt]\nzzz = 1", "unknown key 'prompt.zzz'; known here: style, system, reasoning"),
        ("[train]\nrank = 0", "train.rank = 0: input should be greater than or equal to 1"),
        ('[train]\nschedule = "step"', "train.schedule = 'step': input should be 'linear', 'cosine' or 'constant'"),
        ("[train]\nlr = nan", "train.lr = nan"),
        ("[train]\nlr = inf", "train.lr = inf"),
        ('[train]\nlr = "fast"', "train.lr = 'fast': input should be a valid number"),
        ("[data]\nsplit = [0.5, 0.1, 0.1]", "data.split: the shares sum to 0.7, want 1"),
        ("[data]\nsplit = [0.0, 0.5, 0.5]", "data.split: the share of train is 0"),
        ("[data]\nsplit = [0.9, 0.1]", "data.split"),
        ("[evaluate]\ntasks = []", "evaluate.tasks: no task"),
        ('[evaluate]\ntasks = ["rouge", "rouge"]', "evaluate.tasks: a task is named twice"),
        ("[export]\nquantise = []", "export.quantise: no quantisation"),
        ('[evaluate]\ntasks = ["choice-reason"]\n[prompt]\nreasoning = "none"', "'choice-reason' needs reasoning"),
        ('[evaluate]\ntasks = ["safety"]', "the task 'safety' needs safety_from"),
        ('[evaluate]\ntasks = ["choice"]\nbertscore = "x"', "bertscore is set, but 'rouge' is not among tasks"),
        ('[evaluate]\ntasks = ["vignette-direct"]', "the task 'vignette-direct' needs vignette_from, a file of cases"),
        ('[evaluate]\nvignette_from = "x.jsonl"', "'vignette-direct' is not among tasks; add it there"),
        ('[evaluate]\nsafety_from = "x.jsonl"', "'safety' is not among tasks; add it there"),
        ('[evaluate]\ntasks = ["decision-direct"]\n[data]\nsource = "flashcards"', "'decision' needs yes/no/maybe"),
        ('[evaluate]\ntasks = ["decision"]\n[data]\nsource = "flashcards"', "'decision' needs yes/no/maybe labels"),
        ("[train]\nrank = 0\nlr = 0", "(and 1 more)"),
        ("train = 5", "train = 5"),
    ],
)
def test_a_wrong_setting_is_told_in_one_line_with_file_and_key(tmp_path: Path, text: str, message: str) -> None:
    top, _, sections = text.partition("[") if text.startswith("train =") else ("", "", text)
    path = write(tmp_path, f'name = "x"\n{top}{sections}')
    said = refusal(path)
    assert said.startswith(f"{path}: ")
    assert message in said


@pytest.mark.parametrize("name", ["", "a/b", "../x", ".hidden", "a b", "x" * 101, "-x"])
def test_a_name_that_cannot_be_a_folder_is_refused(tmp_path: Path, name: str) -> None:
    assert ": name = " in refusal(write(tmp_path, f"name = '{name}'"))


def test_a_missing_name_is_asked_for(tmp_path: Path) -> None:
    assert refusal(write(tmp_path, "seed = 1")).endswith("'name' is missing; add it")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"name = ", "not TOML: "),
        (b'name = "\xff"', "not UTF-8 text (byte 8)"),
        (b"name = 'a'\nname = 'b'", "not TOML: "),
    ],
)
def test_a_file_that_is_no_toml_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "a.toml"
    path.write_bytes(content)
    assert refusal(path).startswith(f"{path}: {message}")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("startr", "did you mean 'starter'?"),
        ("starter.toml", "did you mean 'starter'?"),
        ("zzzzzz", "shipped recipes: "),
    ],
)
def test_an_unknown_recipe_gets_a_hint(name: str, hint: str) -> None:
    with pytest.raises(RecipeError, match="no such recipe") as caught:
        recipe_file.load(name)
    assert hint in str(caught.value)


def test_a_file_in_the_current_folder_comes_before_a_shipped_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, 'name = "mine"', "starter")
    assert recipe_file.load("starter").name == "mine"


def test_a_run_folder_stands_for_the_recipe_that_it_keeps(tmp_path: Path) -> None:
    write(tmp_path, 'name = "demo"', "recipe.toml")
    assert recipe_file.load(tmp_path).name == "demo"


@pytest.mark.parametrize(
    ("override", "section", "key", "value"),
    [
        ("train.lr=1e-4", "train", "lr", 1e-4),
        ("train.max_steps=null", "train", "max_steps", None),
        ("prompt.system=", "prompt", "system", ""),
        ('prompt.system="a = b"', "prompt", "system", "a = b"),
        ("data.path=C:/my rows.csv", "data", "path", "C:/my rows.csv"),
        ("data.split=[0.6, 0.2, 0.2]", "data", "split", (0.6, 0.2, 0.2)),
        ("data.columns.question=prompt", "data", "columns", {"question": "prompt"}),
        (" train.rank = 4 ", "train", "rank", 4),
        ("evaluate.tasks=['rouge']", "evaluate", "tasks", ("rouge",)),
    ],
)
def test_an_override_sets_one_key(override: str, section: str, key: str, value: Any) -> None:
    assert getattr(getattr(recipe_file.load("starter", [override]), section), key) == value


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.lr", "want section.key=value"),
        ("=3", "want section.key=value"),
        ("name.first=x", "'name' is no section"),
        ("train.rnk=3", "did you mean 'rank'?"),
        ("train.rank=many", "train.rank = 'many'"),
    ],
)
def test_a_wrong_override_is_told_in_one_line(override: str, message: str) -> None:
    assert message in refusal(Path("starter"), override)


def test_later_overrides_win() -> None:
    assert recipe_file.load("starter", ["seed=1", "seed=2"]).seed == 2


def test_a_label_column_of_ones_own_makes_decisions_possible() -> None:
    values = {
        "name": "x",
        "data": {"source": "flashcards", "columns": {"label": "verdict"}},
        "evaluate": {"tasks": ["decision"]},
    }
    assert recipe_file.parse(values, "x").evaluate.tasks == ("decision",)


PRINTED = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


@settings(max_examples=60)
@given(
    system=st.none() | PRINTED.filter(str.isprintable),
    path=st.none() | PRINTED,
    columns=st.dictionaries(PRINTED, PRINTED, max_size=3),
    lr=st.floats(1e-12, 1),
    steps=st.none() | st.integers(1, 10**12),
)
def test_every_recipe_reads_back_from_its_own_toml(
    tmp_path_factory: pytest.TempPathFactory,
    system: str | None,
    path: str | None,
    columns: dict[str, str],
    lr: float,
    steps: int | None,
) -> None:
    values = {
        "name": "x",
        "prompt": {"system": system},
        "data": {"path": path, "columns": columns},
        "train": {"lr": lr, "max_steps": steps},
    }
    whole = Recipe.model_validate(values)
    assert recipe_file.load(write(tmp_path_factory.mktemp("toml"), recipe_file.to_toml(whole))) == whole


def test_a_recipe_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Recipe(name="x").seed = 3  # type: ignore[misc]


def test_every_setting_has_a_reason() -> None:
    sections = [Recipe, *(f.annotation for f in Recipe.model_fields.values())]
    models = [section for section in sections if isinstance(section, type) and issubclass(section, recipe.Section)]
    bare = [
        f"{model.__name__}.{name}"
        for model in models
        for name, field in model.model_fields.items()
        if not field.description and not (model is Recipe and field.annotation in models)
    ]
    assert bare == []
