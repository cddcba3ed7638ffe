"""BERTScore by a tiny encoder, beside what its authors' package says of the same folder."""

import json
import shutil
from dataclasses import astuple
from pathlib import Path

import pytest

from bedside.errors import ModelError
from bedside.metrics.bertscore import Encoder, averaged, overlaps

WINDOW = 24
"""Tokens that the tiny encoder reads."""
PAIRS = [
    ("The pressure of the vein is raised.", "A raised pressure in the vein"),
    ("heart fails", "the lung is low and the heart fails with fluid in the lung"),
    ("Fluid in the lung", "fluid in the lung"),
]


# bert_score.score of bert-score 0.3.13 over this folder, with num_layers = 1 and 2: precision, recall, F1 of each pair
GOLDEN = {
    1: [(0.86826, 0.71954, 0.78694), (0.82713, 0.99967, 0.90525), (1.0, 1.0, 1.0)],
    2: [(0.99508, 0.91468, 0.95319), (0.99719, 0.99942, 0.9983), (1.0, 1.0, 1.0)],
}


@pytest.mark.parametrize("layer", GOLDEN)
def test_figures_are_those_of_the_reference_implementation(tiny_bert: Path, layer: int) -> None:
    found = Encoder(tiny_bert, layer).overlaps(*zip(*PAIRS, strict=True))
    assert [astuple(one)[:3] for one in found] == [pytest.approx(golden, abs=2e-5) for golden in GOLDEN[layer]]


def test_reference_and_answer_in_turn_exchange_precision_and_recall(tiny_bert: Path) -> None:
    first, second = PAIRS[0]
    (one,), (other,) = (Encoder(tiny_bert, 1).overlaps([a], [b]) for a, b in ((first, second), (second, first)))
    assert (one.precision, one.recall, one.f1) == pytest.approx((other.recall, other.precision, other.f1), abs=2e-6)


@pytest.mark.parametrize("pair", [("the heart", ""), (" \n", "the heart"), ("", "")])
def test_a_text_without_a_word_has_nothing_in_common(tiny_bert: Path, pair: tuple[str, str]) -> None:
    (found,) = Encoder(tiny_bert, None).overlaps([pair[0]], [pair[1]])
    assert astuple(found) == (0.0, 0.0, 0.0, False)


def test_what_is_beyond_the_window_is_not_read_and_counted(tiny_bert: Path) -> None:
    long = "the heart fails " * WINDOW
    found = Encoder(tiny_bert, None).overlaps(
        ["the heart", long, long], ["the heart", "the heart", long + " and a vein"]
    )
    assert [one.cut for one in found] == [False, True, True]
    assert found[2].f1 == pytest.approx(1.0)


def test_the_signature_tells_encoder_layer_and_window(tiny_bert: Path) -> None:
    found = Encoder(tiny_bert, None).signature
    assert found.startswith("encoder:tiny-bert|sha256:")
    assert found.endswith(f"|layer:2|window:{WINDOW}|idf:no|rescaled:no")
    assert found != Encoder(tiny_bert, 1).signature


def test_rows_keep_each_pair_and_are_averaged_with_an_interval(tiny_bert: Path) -> None:
    rows = overlaps(str(tiny_bert), 1, *zip(*PAIRS, strict=True))
    assert json.loads(json.dumps(rows)) == rows
    found = averaged(rows, seed=1)
    assert (found.n, found.cut) == (3, 0)
    assert found.f1 == pytest.approx((0.78694 + 0.90525 + 1) / 3, abs=2e-5)
    assert found.f1_ci[0] < found.f1 < found.f1_ci[1]


def test_a_layer_that_the_encoder_has_not_is_told(tiny_bert: Path) -> None:
    with pytest.raises(ModelError, match=r"evaluate.bertscore_layer = 3, but the encoder has 2 layers"):
        Encoder(tiny_bert, 3)


def test_a_folder_whose_weights_are_of_another_model_is_refused(tiny_bert: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_bert, tmp_path / "half")
    config = json.loads((tiny_bert / "config.json").read_text())
    (tmp_path / "half" / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 3}))
    with pytest.raises(
        ModelError, match=r"half: cannot be used for evaluate.bertscore \(its weights lack encoder.layer.2"
    ):
        Encoder(tmp_path / "half", None)
    (tmp_path / "half" / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="half: cannot be loaded as an encoder"):
        Encoder(tmp_path / "half", None)
