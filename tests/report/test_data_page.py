"""The data report: sums that add up, what was left out and by what, plots that fit a phone, nothing from outside."""

import html
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

from bedside.data import stats as statistics_of
from bedside.data.card import card, described
from bedside.data.clean import clean
from bedside.data.sources import fingerprint, read
from bedside.data.stats import LISTED_NAMES, Statistics, token_lengths
from bedside.recipe import DataSection
from bedside.records import Example
from bedside.report.data_page import SHOWN_LABELS, SHOWN_PAIRS, render
from bedside.text.prompts import NOTICE

HOSTILE = "<script>alert(1)</script>"
VIGNETTE = "A 67-year-old man has had crushing chest pain for two hours. What should be given first?"
LABELS = ("yes", "no", "maybe")


def statistics(
    rows: int = 60, labels: tuple[str, ...] = LABELS, subjects: int = 8, reasoning: bool = True
) -> Statistics:
    found = Statistics()
    for i in range(rows):
        example = Example(
            f"row-{i}", "why " * (5 + i % 30), "so " * (3 + i % 17), "since " * (40 + i % 50) if reasoning else "",
            label=labels[i % len(labels)] if labels else "", subject=f"subject {i % subjects}" if subjects else "",
        )  # fmt: skip
        found.add(example, ("train", "train", "validation", "test")[i % 4], frozenset({"html"} if i % 9 == 0 else ()))
    for reason, times in (("near duplicate", 3), ("encoding damage", 1), ("contains an item of medqa", 2)):
        for _ in range(times):
            found.drop(reason)
    return found


def leaks(pairs: int, action: str = "drop") -> dict[str, Any]:
    found = [pair(score=1 - i / 100, train_id=f"t{i}", item_id=f"i{i}") for i in range(pairs)]
    return {"set": "medqa", "items": 1261, "rows": 2, "hit_items": 2, "action": action, "pairs": found}


def pair(**changes: Any) -> dict[str, Any]:
    texts = {"train": f"Case. {VIGNETTE} A. Aspirin", "item": VIGNETTE.upper()}
    return {"score": 0.97, "train_id": "t", "item_id": "i", **texts, **changes}


TOKENS = token_lengths([(90, 600 + 9 * i, 40) for i in range(60)], "SmolLM2-135M-Instruct", 1024)


def page(
    counted: Statistics | None = None, contamination: tuple[dict[str, Any], ...] = (leaks(2),), tokens: Any = TOKENS,
    files: tuple[dict[str, Any], ...] = ({"path": "rows.jsonl", "sha256": "5f" * 32, "bytes": 12_345},), **data: Any,
) -> str:  # fmt: skip
    stats = {**(counted or statistics()).to_json(contamination), "tokens": tokens}
    section = DataSection.model_validate({"source": "chat", "path": "rows.jsonl", **data})
    return render(stats, card("ward-7", section, stats, files))


def words(text: str) -> str:
    """The text of a page, without its style, tags, entities and no-break spaces."""
    body = re.sub(r"<[^>]+>", " ", text.partition("<body>")[2])
    return re.sub(r"\s+", " ", html.unescape(body))


def test_the_sums_stand_first_and_add_up():
    text = words(page())
    assert "66 read = 60 kept + 6 left out" in text
    assert "60 kept = 30 train + 15 validation + 15 test" in text
    places = [
        text.index(part) for part in ("66 read", "What was left out", "Lengths in words", "Contamination", "Data card")
    ]
    assert places == sorted(places)


def test_each_filter_tells_what_it_took_and_what_remained():
    text = words(page())
    assert "Encoding damage − 1 65" in text
    assert "Near duplicate data.near_duplicates = 0.8 − 3 62" in text
    assert "Contains an item of medqa data.decontaminate = 'drop' − 2 60" in text
    assert "No row was left out by empty question, empty answer," in text


def test_copies_that_contradict_each_other_stand_with_both_their_places():
    counted, kept = statistics(), Example("k", f"Does {HOSTILE} work?", "Yes.", label="yes", where="rows.jsonl line 1")
    for number in range(7):
        counted.drop("copy with another label")
        counted.contradict(replace(kept, label="no", where=f"rows.jsonl line {number + 2}"), kept)
    text = page(counted)
    assert HOSTILE not in text
    assert "The first 5 of 7; dropped.jsonl has each." in words(text)
    assert "no rows.jsonl line 6 yes rows.jsonl line 1" in words(text)
    assert "rows.jsonl line 7" not in words(text)
    assert "contradict" not in words(page())


def test_what_remains_after_the_last_filter_is_what_was_kept():
    remaining = re.findall(
        r'<td class="num">([\d,]+)</td></tr>', page().partition('class="flow"')[2].partition("</table>")[0]
    )
    assert [int(number) for number in remaining] == [66, 65, 62, 60, 60]


def test_the_notice_stands_at_the_top_and_at_the_end():
    assert page().count(html.escape(NOTICE).replace("&#x27;", "&#39;")) == 2


def test_the_same_figures_give_the_same_bytes():
    assert page() == page()


def test_every_plot_is_drawn_and_described():
    text = page()
    titles = re.findall(r'<title id="[^"]*">([^<]+)</title>', text)
    assert len(titles) == text.count("<svg") == 10
    for said in (
        "Share of each label",
        "Question, words",
        "Whole row, tokens",
        "words of the reasoning",
        "longer than",
    ):
        assert any(said in title for title in titles)


def test_labels_are_shown_as_shares_and_as_rows_of_each_split():
    text = words(page())
    assert "Label train validation test All" in text
    assert "All 30 15 15 60" in text


def test_the_part_in_which_the_limit_falls_is_told():
    assert "the limit falls in the reasoning of 22, in the answer of 5" in words(page())


def test_pairs_stand_side_by_side_with_what_they_share_marked():
    text = page(contamination=(leaks(1),))
    assert f"Case. <mark>{VIGNETTE[:-1]}</mark>? A. Aspirin" in text
    assert f"<mark>{VIGNETTE.upper()[:-1]}</mark>?" in text


def test_the_worst_pairs_of_all_sets_come_first_and_the_others_fold():
    text = page(contamination=(leaks(20), {**leaks(10), "set": "starter"}))
    scores = [float(score) for score in re.findall(r"score (\d\.\d\d)", text)]
    assert scores == sorted(scores, reverse=True)
    assert len(scores) == 30
    assert f"{30 - SHOWN_PAIRS} more pairs" in text


@pytest.mark.parametrize(("action", "said"), [("drop", "left out"), ("report", "kept")])
def test_what_became_of_contaminated_rows_is_told(action: str, said: str):
    assert f"medqa 1,261 2 2 {said}" in words(page(contamination=(leaks(0, action=action),)))


def test_text_from_data_is_never_markup():
    hostile = pair(train=HOSTILE, item=HOSTILE, train_id=HOSTILE, item_id=HOSTILE)
    counted = statistics(labels=(HOSTILE, "no"), subjects=0)
    counted.add(Example("1", "Why?", "So.", subject=HOSTILE), "train", frozenset({HOSTILE}))
    counted.drop(HOSTILE)
    file = {"path": HOSTILE, "sha256": "5f" * 32, "bytes": 1}
    tokens = token_lengths([(1, 2, 3)], HOSTILE, 512)
    found = page(
        counted, ({**leaks(0), "set": HOSTILE, "pairs": [hostile]},), tokens, (file,), licence=HOSTILE, subset=HOSTILE
    )
    assert "<script" not in found
    assert found.count("&lt;script&gt;alert(1)") >= 12


@pytest.mark.parametrize(
    ("counted", "changes"),
    [
        (statistics(labels=(), subjects=0, reasoning=False), {"tokens": None, "contamination": (), "files": ()}),
        (statistics(rows=1), {"tokens": token_lengths([(1, 0, 1)], "tiny", 16)}),
        (statistics(rows=0), {"tokens": None}),
        (statistics(labels=tuple(f"label {i}" for i in range(30)), subjects=40), {}),
        (statistics(rows=700, subjects=300), {}),
    ],
    ids=["bare", "one row", "no row", "many labels", "many subjects"],
)
def test_what_the_rows_do_not_have_is_left_out(counted: Statistics, changes: dict[str, Any]):
    text = page(counted, **changes)
    assert "</html>" in text
    assert not re.search(r"\b(None|nan|Undefined)\b", words(text))
    ids = re.findall(r'\bid="([^"]*)"', text)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'aria-labelledby="([^"]*)"', text)) <= set(ids)


def test_of_many_labels_and_subjects_the_commonest_are_shown_and_the_others_counted():
    many = statistics(rows=700, labels=tuple(f"label {i}" for i in range(70)), subjects=300)
    text = words(page(many))
    assert f"The {SHOWN_LABELS} commonest of 70 labels." in text
    assert f"And 20 other labels, in {20 * 10} rows." in text
    assert f"And {300 - LISTED_NAMES} other subjects, in {700 - LISTED_NAMES * 3} rows." in text
    assert "All 350 175 175 700" in text


def test_free_text_for_a_label_is_told_as_at_least_so_many_labels(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(statistics_of, "COUNTED_NAMES", 60)
    text = words(page(statistics(rows=80, labels=tuple(f"label {i}" for i in range(80)))))
    assert f"The {SHOWN_LABELS} commonest of 60 labels or more." in text
    assert "And at least 10 other labels, in 30 rows." in text


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_it_opens_offline_without_errors_requests_or_sideways_scrolling(
    browser: Browser, tmp_path: Path, scheme: str, width: int
):
    endless = "x" * 300
    pairs = [pair(train=endless, item=endless, train_id=endless, item_id=endless)]
    big = statistics(labels=(endless, "no", "否" * 40))
    text = page(
        big, ({**leaks(0), "set": endless, "items": 10**9, "pairs": pairs},), path=f"{endless}.jsonl", licence=endless
    )
    (tmp_path / "report.html").write_text(text, encoding="utf-8")
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    opened = context.new_page()
    asked: list[str] = []
    errors: list[str] = []
    opened.on("request", lambda request: asked.append(request.url))
    opened.on("console", lambda message: errors.append(message.text))
    opened.on("pageerror", lambda error: errors.append(str(error)))
    opened.goto((tmp_path / "report.html").as_uri())
    opened.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    overflow = opened.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    context.close()
    assert errors == []
    assert [url for url in asked if not url.startswith("file://")] == []
    assert overflow <= 0


@pytest.mark.parametrize("width", [360, 1280])
def test_the_text_of_every_plot_is_large_enough_and_inside_its_figure(browser: Browser, tmp_path: Path, width: int):
    (tmp_path / "report.html").write_text(page(), encoding="utf-8")
    opened = browser.new_page(viewport={"width": width, "height": 800})
    opened.goto((tmp_path / "report.html").as_uri())
    opened.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    boxes = opened.evaluate(
        """[...document.querySelectorAll('.plot text')].map(text => {
            const box = text.getBoundingClientRect(), plot = text.ownerSVGElement.getBoundingClientRect()
            return [text.textContent, box.height, box.left - plot.left, plot.right - box.right]
        })"""
    )
    opened.close()
    assert len(boxes) > 80
    assert [text for text, height, left, right in boxes if "words of" not in text and height < 10] == []
    assert [text for text, height, left, right in boxes if min(left, right) < -2] == []


@pytest.mark.parametrize(
    ("source", "path"),
    [
        ("medical-o1", "medical_o1/medical_o1_long.jsonl"),
        ("pubmedqa", "pubmedqa/ori_pqal_train500.json"),
        ("mcq", "mcq/medqa_train_dev.jsonl"),
    ],
)
def test_a_real_file_has_its_page(shared_data: Path, source: str, path: str):
    section = DataSection.model_validate({"source": source, "path": str(shared_data / path)})
    counted = Statistics()
    for example in read(section):
        mended, changes = clean(example)
        counted.add(mended, "train", changes)
    stats = {**counted.to_json(), "tokens": None}
    files = described(fingerprint(section.path, section.source))
    text = words(render(stats, card("real", section, stats, files)))
    assert f"{stats['read']:,} read = {stats['kept']:,} kept + 0 left out" in text
    assert files[0]["sha256"] in text
