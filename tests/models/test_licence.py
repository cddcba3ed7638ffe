"""The licence of a base is what its own files say."""

from pathlib import Path

import pytest

from bedside.models import locate
from bedside.models.licence import licence
from bedside.recipe import ModelSection


@pytest.mark.parametrize(
    ("card", "expected"),
    [
        ("---\nlicense: apache-2.0\nlanguage: en\n---\n# Model", "apache-2.0"),
        ("---\r\ntags: [a]\r\nlicense: 'mit'\r\n---\r\n", "mit"),
        ("---\nlicense: other\nlicense_name: tongyi-qianwen\nlicense_link: LICENSE\n---\n", "tongyi-qianwen"),
        ("---\nlicense: other\n---\n", "other"),
        ("---\nlicense_link: LICENSE\n---\n", ""),
        ("# Model\n\nlicense: mit is what we like\n", ""),
        ("---\ntags: [a]\n---\nlicense: mit\n", ""),
        (None, ""),
    ],
)
def test_a_folder_says_it_at_the_head_of_its_card(tmp_path: Path, card: str | None, expected: str) -> None:
    if card is not None:
        (tmp_path / "README.md").write_text(card, encoding="utf-8", newline="")
    assert licence(ModelSection(base=str(tmp_path)), locate.Base(tmp_path, "model", "")) == expected


@pytest.mark.usefixtures("own_cache")
def test_a_gguf_file_says_it_in_its_metadata(tmp_path: Path) -> None:
    from gguf import GGUFWriter

    path = tmp_path / "model.gguf"
    writer = GGUFWriter(path, "llama")
    writer.add_license("cc-by-4.0")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    assert licence(ModelSection(base=str(path)), locate.Base(tmp_path, "model", "")) == "cc-by-4.0"


@pytest.mark.slow
def test_the_embedded_model_brings_its_own() -> None:
    base = locate.Base(Path("nowhere"), locate.EMBEDDED_NAME, "")
    assert licence(ModelSection(), base) == "apache-2.0"
