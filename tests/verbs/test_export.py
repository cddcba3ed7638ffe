"""Settings of the export that change what the stages compute."""

import shutil
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from bedside import cli
from bedside.errors import MissingExtra
from bedside.export.adapter import updates
from bedside.export.nf4 import seen_in_training
from bedside.export.tensors import Tensors
from bedside.files import read_json
from bedside.recipe import Recipe
from bedside.runs import Run
from bedside.runtime import libllama
from bedside.verbs.export import make_exported, make_merged, merged
from tests.verbs.conftest import Place

NAME = "model.layers.1.self_attn.q_proj.weight"


def test_a_base_in_4_bits_is_merged_as_it_was_trained(place: Place, tiny_llama: Path, tmp_path: Path) -> None:
    settings = ["model.quantise='nf4'", "train.max_steps=1", "train.accumulation=1", "train.lr=0.1", "train.warmup=0"]
    assert cli.run(["train", str(place.recipe), *settings, "--runs", str(tmp_path)]) == 0
    run, base = Run.open(tmp_path / "tiny"), Tensors.of_model(tiny_llama)
    assert run.build(merged(run.recipe), partial(make_merged, run))
    adapter = run.folder("adapter")
    seen = seen_in_training(base.read(NAME), read_json(adapter / "train.json")["precision"])
    change = updates(adapter, base)[NAME].delta()(slice(None))
    found = load_file(run.folder("merged") / "model.safetensors")[NAME]
    assert change.any()
    assert torch.equal(found, torch.from_numpy(seen + change))
    assert not torch.allclose(found, torch.from_numpy(base.read(NAME) + change), atol=1e-3)


@pytest.mark.parametrize("absent", ["bedside.serve.app", "xllamacpp"])
def test_what_parity_needs_is_asked_for_before_a_file_is_written(
    absent: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if absent == "xllamacpp":
        monkeypatch.setattr(libllama, "library", libllama.library.__wrapped__)
        monkeypatch.setattr(libllama, "library_file", lambda: None)
    else:
        monkeypatch.setitem(sys.modules, absent, None)
    with pytest.raises(MissingExtra, match=r"comparing .* pip install 'bedside"):
        make_exported(Run(tmp_path, Recipe(name="a")), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_importance_matrix_is_kept_beside_the_files(
    done: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(done.runs, tmp_path / "runs")
    wide = ["parity.max_kl=9", "parity.min_top1=0", "parity.max_perplexity_ratio=9", "parity.max_flips=1"]
    settings = ["export.imatrix=true", "export.quantise=['q4_0']", *wide]  # four bits of a model this small say little
    assert cli.run(["export", str(done.recipe), *settings, "--runs", str(tmp_path / "runs")]) == 0
    assert "inputs are on 27 training rows" in capsys.readouterr().err
    names = {path.name for path in (tmp_path / "runs/tiny/export").iterdir()}
    assert {"imatrix.gguf", "tiny-q4_0.gguf"} <= names
