"""Model folders that would have code run, or reach beyond themselves: through every door, with a mark that must not be."""

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from bedside.errors import ModelError
from bedside.models import folder
from bedside.models.locate import resolve
from bedside.recipe import ModelSection, PromptSection
from bedside.runtime import hf
from bedside.runtime.device import Device


class Trap:
    """Unpickled, it makes the file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


@pytest.fixture
def model(tiny_llama: Path, tmp_path: Path) -> Path:
    """A sound model folder of the test's own."""
    return Path(shutil.copytree(tiny_llama, tmp_path / "model"))


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    """What is there only if a model's code has run."""
    return tmp_path / "it ran"


def refused(model: Path) -> str:
    """The line with which both doors refuse a folder."""
    lines = []
    for open_it in (lambda: resolve(ModelSection(base=str(model))), lambda: hf.load_backend(model, PromptSection())):
        with pytest.raises(ModelError) as caught:
            open_it()
        lines.append(str(caught.value))
    assert lines[0] == lines[1]
    assert lines[0].isprintable()
    return lines[0]


def change(path: Path, **entries: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **entries}))


def test_the_trap_works(mark: Path) -> None:
    pickle.loads(pickle.dumps(Trap(mark)))
    assert mark.exists()


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "consolidated.00.pth"])
@pytest.mark.parametrize("other", [None, "training.safetensors"])
def test_pickled_weights_are_never_unpickled(model: Path, mark: Path, name: str, other: str | None) -> None:
    """Nor where a file that ends in .safetensors, but is not the model's, lies beside them."""
    (model / name).write_bytes(pickle.dumps(Trap(mark)))
    weights = model / "model.safetensors"
    if other:
        weights.rename(model / other)
    else:
        weights.unlink()
        with pytest.raises(ModelError, match="pickled weights are not loaded"):
            resolve(ModelSection(base=str(model)))
    with pytest.raises(ModelError, match="cannot be loaded"):
        hf.load_model(model, Device("cpu", torch.float32, "test"))
    assert not mark.exists()


def test_a_pickle_that_is_called_safetensors_is_never_unpickled(model: Path, mark: Path) -> None:
    (model / "model.safetensors").write_bytes(pickle.dumps(Trap(mark)))
    with pytest.raises(ModelError, match="cannot be loaded"):
        hf.load_model(model, Device("cpu", torch.float32, "test"))
    assert not mark.exists()


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_code_beside_the_weights_is_never_imported(model: Path, mark: Path, name: str) -> None:
    (model / "evil.py").write_text(f"open({str(mark)!r}, 'w').close()\n")
    change(
        model / name,
        auto_map={"AutoConfig": "evil.C", "AutoModelForCausalLM": "evil.M", "AutoTokenizer": ["evil.T", None]},
    )
    assert "(auto_map), which is never run" in refused(model)
    assert not mark.exists()


@pytest.mark.parametrize("name", ["attn_implementation", "_attn_implementation"])
def test_code_from_the_hub_is_never_fetched(model: Path, name: str) -> None:
    change(model / "config.json", **{name: "somebody/flash"})
    assert f"{name} = 'somebody/flash' is code from the hub, which is never fetched" in refused(model)


@pytest.mark.parametrize(
    "shard", ["../other/model.safetensors", "/etc/passwd", "pytorch_model.bin", "..", "", 5, "a\n.bin"]
)
def test_an_index_names_only_safetensors_files_of_its_folder(model: Path, shard: object) -> None:
    (model / folder.INDEX).write_text(json.dumps({"weight_map": {"a": "model.safetensors", "b": shard}}))
    assert "is no safetensors file of this folder" in refused(model)


@pytest.mark.parametrize("content", ["[]", "{}", '{"weight_map": []}', '{"weight_map": 5}', "5"])
def test_an_index_that_is_none_is_told(model: Path, content: str) -> None:
    (model / folder.INDEX).write_text(content)
    assert "not a model's file" in refused(model)


def test_the_shards_of_an_index_are_named_once(model: Path) -> None:
    names = {"a": "b.safetensors", "b": "a.safetensors", "c": "a.safetensors"}
    (model / folder.INDEX).write_text(json.dumps({"weight_map": names}))
    assert folder.shards(model) == ["a.safetensors", "b.safetensors"]


def test_an_adapter_among_the_weights_is_refused(model: Path) -> None:
    (model / "adapter_config.json").write_text('{"base_model_name_or_path": "https://example.org/model"}')
    assert "an adapter would be put on it unasked" in refused(model)


@pytest.mark.parametrize("layers", [10**9, -1, "many", 2.5, [1]])
def test_a_model_of_endless_layers_is_refused(model: Path, layers: object) -> None:
    change(model / "config.json", num_hidden_layers=layers)
    assert "num_hidden_layers" in refused(model)


def test_an_adapter_of_pickled_weights_is_never_unpickled(model: Path, tmp_path: Path, mark: Path) -> None:
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text(
        '{"peft_type": "LORA", "r": 4, "lora_alpha": 4, "target_modules": ["q_proj"]}'
    )
    (adapter / "adapter_model.bin").write_bytes(pickle.dumps(Trap(mark)))
    with pytest.raises(ModelError, match=r"no adapter_model.safetensors; pickled weights are not loaded"):
        hf.load_backend(model, PromptSection(), adapter=adapter)
    assert not mark.exists()


def test_a_sound_folder_is_let_through(model: Path) -> None:
    folder.check(model)
