"""The data card says what is known, invents no licence, and its rows add up."""

from pathlib import Path
from typing import Any

import pytest

from bedside.data import clean, prepare
from bedside.data.card import FILTERS, NOT_STATED, card, contaminated, described, markdown
from bedside.data.origins import ORIGINS, UNCHECKED
from bedside.data.sources import SOURCES, fingerprint
from bedside.data.stats import Statistics
from bedside.recipe import DataSection
from bedside.records import Example
from bedside.text.prompts import NOTICE

FOUND = {"set": "medqa", "items": 1261, "rows": 14, "hit_items": 12, "action": "drop", "pairs": []}


def stats(*dropped: str, contamination: tuple[dict[str, Any], ...] = ()) -> dict[str, Any]:
    statistics = Statistics()
    statistics.add(Example("1", "Why?", "Because."), "train", frozenset({"html", "unicode"}))
    for reason in dropped:
        statistics.drop(reason)
    return statistics.to_json(contamination)


def made(counted: dict[str, Any] | None = None, **data: Any) -> dict[str, Any]:
    section = DataSection.model_validate({"source": "chat", "path": "mine.jsonl", **data})
    return card("ward-7", section, counted or stats(), [])


def from_its_home(source: str) -> dict[str, Any]:
    return card("x", DataSection.model_validate({"source": source}), stats(), [])


@pytest.mark.parametrize(
    ("source", "licence", "paper"),
    [
        ("medical-o1", "Apache-2.0", "2412.18925"),
        ("pubmedqa", "MIT", "1909.06146"),
        ("flashcards", "cc", "2304.08247"),
        ("starter", "Apache-2.0", ""),
    ],
)
def test_a_published_set_brings_its_licence_and_citation(source: str, licence: str, paper: str) -> None:
    found = from_its_home(source)
    assert found["licence"].split()[0] == licence
    assert paper in found["citation"]
    assert found["made"]


def test_every_known_set_is_one_that_can_be_read() -> None:
    assert set(ORIGINS) == {source.path for source in SOURCES.values()} - {None}


@pytest.mark.parametrize("source", ["medical-o1", "pubmedqa", "flashcards", "mcq", "chat"])
def test_a_file_in_the_shape_of_a_published_set_has_no_licence_but_the_one_stated(source: str) -> None:
    assert made(source=source)["licence"] == NOT_STATED
    assert made(source=source)["citation"] == made(source=source)["title"] == ""
    assert made(source=source, licence="CC BY-SA 4.0")["licence"] == "CC BY-SA 4.0"


def test_rows_of_unknown_origin_are_said_to_be_unchecked_and_unlicensed() -> None:
    limits = made()["limits"]
    assert limits[0] == UNCHECKED
    assert any("licence is not stated" in limit for limit in limits)
    assert not any("licence" in limit for limit in made(licence="MIT")["limits"])


def test_rows_that_were_compared_with_nothing_are_said_to_be_so() -> None:
    said = "These rows were not compared with any evaluation set."
    assert said in made()["limits"]
    assert said not in made(stats(contamination=(FOUND,)))["limits"]


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({}, "medqa: 12 of its 1,261 items found in 14 training rows, left out"),
        ({"action": "report", "rows": 1}, "medqa: 12 of its 1,261 items found in 1 training row, kept"),
        ({"hit_items": 0, "rows": 0}, "medqa: none of its 1,261 items is in the training rows"),
    ],
)
def test_each_set_is_one_line(change: dict[str, Any], line: str) -> None:
    assert contaminated({**FOUND, **change}) == line


def test_each_filter_stands_with_its_setting_and_what_it_took() -> None:
    dropped = ("near duplicate", "near duplicate", "contains an item of medqa", "answer of fewer than 5 words", "odd")
    filters = made(stats(*dropped), near_duplicates=0.7, min_answer_words=5)["filters"]
    found = {row["reason"]: (row["setting"], row["rows"]) for row in filters}
    assert found["near duplicate"] == ("data.near_duplicates = 0.7", 2)
    assert found["contains an item of medqa"] == ("data.decontaminate = 'drop'", 1)
    assert found["answer of fewer than 5 words"] == ("data.min_answer_words = 5", 1)
    assert found["odd"] == ("", 1)
    assert found["over data.max_characters"] == ("data.max_characters = 100,000", 0)
    assert sum(row["rows"] for row in filters) == len(dropped)


def test_a_limit_that_is_not_set_is_no_filter() -> None:
    assert prepare.OVER_LIMIT not in [row["reason"] for row in made()["filters"]]
    assert {"reason": prepare.OVER_LIMIT, "setting": "data.limit = 7", "rows": 0} in made(limit=7)["filters"]


@pytest.mark.parametrize(
    ("question", "answer"), [("", "Yes it is."), ("Why?", ""), ("Why so?", "Why so?"), ("Why?", "no\ufffd way"), ("Q " * 99, "A b.")]
)  # fmt: skip
def test_no_reason_of_the_cleaning_is_a_stranger(question: str, answer: str) -> None:
    reason = clean.fault(Example("1", question, answer), DataSection(max_characters=100))
    assert reason in FILTERS


def test_rows_add_up() -> None:
    rows = made(stats("duplicate", "empty answer"))["rows"]
    assert rows["read"] == rows["kept"] + rows["left_out"] == 3
    assert rows["kept"] == sum(rows["splits"].values())


def test_changes_are_told_in_words() -> None:
    assert {"change": "HTML tags and entities resolved", "rows": 1} in made()["changed"]


def test_files_are_described_by_path_hash_and_size(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("{}\n")
    digests = fingerprint(str(path), "chat")
    assert described(digests) == [{"path": str(path), "sha256": digests[str(path)], "bytes": 3}]
    assert described({"org/name": "hub"}) == []


def test_embedded_files_are_named_without_the_place_of_the_installation() -> None:
    section = DataSection(source="starter")
    files = described(fingerprint(section.path, section.source))
    assert sorted(file["path"] for file in files) == [
        "starter/train/cases.jsonl", "starter/train/flashcards.jsonl", "starter/train/judgements.jsonl",
    ]  # fmt: skip
    assert "site-packages" not in (text := markdown(card("demo", section, stats(), files)))
    assert "/src/" not in text


def test_subset_and_revision_stand_beside_the_hub_id() -> None:
    found = card("x", DataSection(source="pubmedqa"), stats(), [], "9001f285")
    assert "`qiaojin/PubMedQA`, subset `pqa_labeled`, revision `9001f285`" in markdown(found)


def test_the_document_holds_everything_that_the_card_does() -> None:
    digests = [{"path": "mine|own.jsonl", "sha256": "5f" * 32, "bytes": 1234}]
    section = DataSection(source="chat", path="mine|own.jsonl", licence="ours\nalone")
    text = markdown(card("ward-7", section, stats("duplicate", contamination=(FOUND,)), digests))
    for said in (
        "# Data of ward-7", f"> {NOTICE}", "- Licence: ours alone", "2 read = 1 kept + 1 left out", "train 1",
        "| duplicate |  | 1 |", "- HTML tags and entities resolved: 1", contaminated(FOUND), "1,234", "5f" * 32, UNCHECKED,
    ):  # fmt: skip
        assert said in text
    assert r"`mine\|own.jsonl`" in text


def test_a_section_without_content_has_no_head() -> None:
    text = markdown(made())
    assert "## Files" not in text
    assert "## Contamination" not in text
