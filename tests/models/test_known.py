"""Where a base's shape is read: a folder, the hub's cache, a GGUF file, the facts; never by fetching."""

import json
from pathlib import Path

import pytest

from bedside.errors import ModelError
from bedside.models import known
from bedside.models.shapes import shape_of
from bedside.recipe import ModelSection


def found(base: str | Path) -> known.Known:
    return known.find(ModelSection(base=str(base)))


def refusal(base: str | Path) -> str:
    with pytest.raises(ModelError) as caught:
        found(base)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_embedded_model_is_known_without_its_file() -> None:
    base = found("embedded")
    assert (base.name, base.shape.parameters, base.source) == ("SmolLM2-135M-Instruct", 134_515_008, "known")


@pytest.mark.parametrize("name", ["meta-llama/Meta-Llama-3-8B", "META-LLAMA/meta-llama-3-8b"])
def test_a_well_known_model_is_found_by_its_id_in_any_case(name: str) -> None:
    base = found(name)
    assert base.shape.parameters == 8_030_261_248
    assert (base.here, base.stored_bytes) == (False, 2)


def test_a_folder_is_read(tiny_llama: Path) -> None:
    base = found(tiny_llama)
    assert (base.name, base.shape.layers, base.shape.hidden, base.here) == ("tiny-llama", 2, 64, True)
    assert base.stored_bytes == 4


def test_a_folder_with_nothing_but_a_configuration_will_do(tiny_llama: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text((tiny_llama / "config.json").read_text())
    base = found(tmp_path)
    assert base.shape == found(tiny_llama).shape
    assert not base.here


def test_the_type_on_disk_is_read_in_both_spellings(tiny_llama: Path, tmp_path: Path) -> None:
    config = json.loads((tiny_llama / "config.json").read_text())
    for field in ("dtype", "torch_dtype"):
        (tmp_path / "config.json").write_text(json.dumps({**config, "dtype": None, field: "bfloat16"}))
        assert found(tmp_path).stored_bytes == 2


def test_a_gguf_file_has_the_shape_of_the_folder_it_was_made_of(tiny_llama: Path, tmp_path: Path) -> None:
    pytest.importorskip("gguf")
    from bedside.export.convert import write_gguf

    write_gguf(tiny_llama, tmp_path / "tiny.gguf", "f32", "tiny")
    base = found(tmp_path / "tiny.gguf")
    assert base.shape == found(tiny_llama).shape
    assert base.name == "tiny"


def test_a_configuration_in_the_hub_cache_comes_before_the_facts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_llama: Path
) -> None:
    from huggingface_hub import constants

    folder = tmp_path / "models--HuggingFaceTB--SmolLM2-135M" / "snapshots" / ("0" * 40)
    folder.mkdir(parents=True)
    (folder.parents[1] / "refs").mkdir()
    (folder.parents[1] / "refs" / "main").write_text("0" * 40)
    (folder / "config.json").write_text((tiny_llama / "config.json").read_text())
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    assert found("HuggingFaceTB/SmolLM2-135M").shape == found(tiny_llama).shape


def test_an_unknown_model_is_told_with_the_line_that_fetches_its_configuration() -> None:
    said = refusal("nobody/no-such-model")
    assert "its shape is not known here" in said
    assert "hf download nobody/no-such-model config.json --local-dir FOLDER" in said


@pytest.mark.parametrize("base", ["./gone", "/gone/model", "gone", "~/gone", "a/b/c"])
def test_a_missing_folder_is_told_with_what_a_base_may_be(base: str) -> None:
    assert "no such folder; model.base takes 'embedded', a folder, a .gguf file or a hub id" in refusal(base)


def test_a_folder_without_configuration_and_a_missing_or_broken_file_are_told(tmp_path: Path) -> None:
    pytest.importorskip("gguf")
    assert refusal(tmp_path) == f"{tmp_path}: no config.json; want a model folder in Hugging Face's layout"
    assert "no such GGUF file" in refusal(tmp_path / "gone.gguf")
    (tmp_path / "broken.gguf").write_bytes(b"GGUF" + b"\0" * 64)
    assert "not a whole GGUF file" in refusal(tmp_path / "broken.gguf")


def test_the_matrices_of_a_file_hold_all_but_the_norms(tiny_llama: Path) -> None:
    shape = shape_of(json.loads((tiny_llama / "config.json").read_text()), "test")
    matrices = sum(rows * columns for _, (rows, columns) in shape.tensors())
    assert shape.parameters - matrices == (2 * shape.layers + 1) * shape.hidden
