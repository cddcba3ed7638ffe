"""What is told of a data set that came from the hub."""

from pathlib import Path

import pytest

from bedside.data.read import read_path
from bedside.models.hub import dataset_revision

COMMIT = "9001f285" * 5


@pytest.fixture
def cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A data set of one row as the hub's library keeps it: a folder for subset, version and commit."""
    import datasets
    from datasets.arrow_writer import ArrowWriter

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path))
    folder = tmp_path / "org___name" / "en" / "0.0.0" / COMMIT
    folder.mkdir(parents=True)
    features = datasets.Features({"question": datasets.Value("string")})
    with ArrowWriter(path=str(folder / "name-train.arrow"), features=features) as writer:
        writer.write({"question": "Why?"})
        writer.finalize()
    split = {"name": "train", "num_bytes": 4, "num_examples": 1, "dataset_name": "name"}
    datasets.DatasetInfo(
        features=features, builder_name="cache", dataset_name="name", config_name="en", version="0.0.0",
        splits={"train": split},
    ).write_to_directory(str(folder))  # fmt: skip


@pytest.mark.usefixtures("cached")
def test_the_commit_of_the_rows_that_were_read_is_known() -> None:
    assert [row for _, row in read_path("org/name", "en")] == [{"question": "Why?"}]
    assert dataset_revision("org/name", "en") == COMMIT


@pytest.mark.parametrize(("name", "subset"), [("org/other", None), ("org/name", "zh")])
@pytest.mark.usefixtures("cached")
def test_a_commit_that_cannot_be_told_is_none(name: str, subset: str | None) -> None:
    assert dataset_revision(name, subset) is None
