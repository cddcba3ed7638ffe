"""The report page: verdict first, nothing from data as markup, nothing from outside, the same bytes again."""

import html
import re
import tomllib
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from bedside.recipe_file import parse
from bedside.report.numbers import SPACE
from bedside.report.page import render
from bedside.text.prompts import NOTICE

from .sample import RECIPE, comparison, example, examples, material, metrics, stats


def words(page: str) -> str:
    """The text of a page, without tags and entities of quotes."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page)).replace("&#39;", "'")


def test_the_verdict_comes_before_everything_that_it_rests_on():
    page = words(render(material()))
    places = [page.index(text) for text in ("Worse", "13.9 points lower", "Differences", "431 rows", "Example answers")]
    assert places == sorted(places)


@pytest.mark.parametrize("word", ["better", "worse", "no difference shown", "underpowered"])
def test_every_verdict_is_said_in_words(word: str):
    assert word.capitalize() in words(render(material(comparison=comparison(word))))


def test_the_notice_stands_at_the_top_and_at_the_end():
    page = render(material())
    assert page.count(NOTICE.replace("'", "&#39;")) >= 2


def test_the_same_material_gives_the_same_bytes():
    assert render(material()) == render(material())


def test_text_from_data_is_never_markup():
    hostile = "<script>alert(1)</script>"
    one = example(
        "x",
        hostile,
        context=hostile,
        reference=hostile,
        tuned={"reasoning": hostile, "answer": hostile, "finish": "stop"},
    )
    page = render(material(examples=[one], base_name=hostile, stats={**stats(), "subjects": {hostile: 3}}))
    assert "<script" not in page
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 6


def test_an_answer_that_was_cut_is_marked():
    assert render(material()).count("cut at the token limit") == len(examples())


def test_outputs_without_an_answer_are_counted_beside_the_score():
    assert "base 3, tuned 1 of 12" in words(render(material()))


def test_a_baseline_stands_beside_the_scores_and_is_told_when_it_is_not_beaten():
    page = words(render(material()))
    assert "the tuned model is not shown to beat ignoring the question" in page


def test_a_better_likelihood_is_told_not_to_count():
    assert "rises with style and wording alone and does not count towards the verdict" in words(render(material()))


@pytest.mark.parametrize(
    "change",
    [
        {"stats": {**stats(), "labels": {}, "subjects": {}}},
        {"stats": {**stats(), "words": {**stats()["words"], "reasoning": None, "context": None}}},
        {"metrics": metrics(1)},
        {"metrics": []},
        {"examples": []},
        {"parity": None},
        {"files": []},
    ],
    ids=["no labels", "no reasoning", "one step", "no steps", "no examples", "no parity", "no files"],
)
def test_what_a_run_does_not_have_is_left_out(change: dict):
    page = render(material(**change))
    assert "</html>" in page
    assert "None" not in words(page)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1200])
def test_it_opens_offline_without_errors_requests_or_sideways_scrolling(
    browser: Browser, tmp_path: Path, scheme: str, width: int
):
    long = example("long", "Pneumono" * 40, reference="A very long reference. " * 200)
    (tmp_path / "report.html").write_text(render(material(examples=[*examples(), long])), encoding="utf-8")
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page = context.new_page()
    asked: list[str] = []
    errors: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: errors.append(message.text))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto((tmp_path / "report.html").as_uri())
    overflow = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    context.close()
    assert errors == []
    assert [url for url in asked if not url.startswith("file://")] == []
    assert overflow <= 0


def test_words_without_end_do_not_push_the_page_sideways(browser: Browser, tmp_path: Path):
    endless = "x" * 400
    file = {"path": f"{endless}.gguf", "quantisation": "q8_0", "bytes": 1, "sha256": "5f" * 32}
    answers = {"reasoning": endless, "answer": endless, "finish": "stop"}
    one = example(endless, endless, context=endless, reference=endless, base=answers, tuned=answers)
    counts = {**stats(), "dropped": {endless: 19}, "labels": {endless: 3}, "subjects": {endless: 3}}
    held = material(examples=[one], base_name=endless, stats=counts, files=[file])
    (tmp_path / "report.html").write_text(render(held), encoding="utf-8")
    page = browser.new_page(viewport={"width": 360, "height": 800})
    page.goto((tmp_path / "report.html").as_uri())
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    overflow = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    page.close()
    assert overflow <= 0


def test_no_id_stands_twice_and_every_label_has_its_element():
    page = render(material())
    ids = re.findall(r'\bid="([^"]*)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'aria-labelledby="([^"]*)"', page)) <= set(ids)


def test_training_tells_how_often_the_rows_were_seen():
    assert "48 steps, 0.59 passes over 324 rows" in words(render(material()))


def test_the_smallest_validation_loss_is_told_with_its_step_and_whether_it_became_the_adapter():
    told = "Diamonds are the loss on the validation rows, which are not trained on: 2.360 after step 24 is the smallest"
    assert f"{told}, and the update of that step is the adapter." in words(render(material()))
    recipe = RECIPE.model_dump(mode="json")
    recipe["train"]["keep"] = "last"
    assert f"{told}." in words(render(material(recipe=recipe)))


def test_a_training_without_validation_speaks_of_none():
    bare = [{**row, "validation_loss": None} for row in metrics(48)]
    assert "Diamonds" not in render(material(metrics=bare))


def test_rows_that_were_too_long_are_told():
    assert "7 rows were longer than 512 tokens and left out of training" in words(render(material()))


def test_answers_are_said_to_be_drawn_and_all_of_them_are_there():
    page = words(render(material()))
    assert "They were drawn, never chosen." in page
    assert all(one["question"] in page for one in examples())


def test_an_answer_that_never_came_is_told_with_its_reason():
    lost = {"reasoning": "First I think", "answer": "", "finish": "length"}
    assert "No answer: the reasoning filled all tokens." in words(
        render(material(examples=[example("a", "Why?", tuned=lost)]))
    )


def test_the_recipe_on_the_page_is_the_recipe_of_the_run():
    page = html.unescape(render(material()))
    text = page.partition("<pre>")[2].partition("</pre>")[0]
    assert parse(tomllib.loads(text), "page") == RECIPE


def test_labels_that_are_taken_for_each_other_and_confidence_are_shown():
    page = words(render(material()))
    assert "Answers in detail" in page
    assert "Expected calibration error" in page
    assert "Always yes: right, macro-F1" in page
    assert "Answer sets at level 0.9 need at least 9 calibration rows, there are 7" in page


def test_diagnoses_are_told_with_bounds_and_the_commonest():
    detail = {
        "n": 40, "unparsed": 10, "accuracy": 0.5, "strict": 0.375, "strict_ci": [0.24, 0.53], "bounds": [0.375, 0.625],
        "commonest": ["Gout", 0.2],
    }  # fmt: skip
    score = {
        "task": "vignette-direct", "n": 40, "metric": "accuracy", "value": 0.375, "ci": [0.24, 0.53], "unparsed": 10,
        "baseline": 0.2, "outcomes": {"answered": 30, "several": 6, "refused": 4}, "detail": detail,
    }  # fmt: skip
    compared = {**comparison()["tasks"][0], "task": "vignette-direct", "n": 40}
    found = material(base_scores=[score], tuned_scores=[score], comparison={**comparison(), "tasks": [compared]})
    page = words(render(found)).replace(SPACE, " ")
    assert "Diagnosis of a case, written" in page
    assert "If none or all of the others were right 37.5 to 62.5 %" in page
    assert "Several answers 6 6" in page
    assert "Always naming Gout would be right on 20.0 % of the items." in page


def test_open_answers_that_were_cut_are_counted_once_and_not_called_unanswered():
    score = {
        "task": "instructions", "n": 65, "metric": "share followed", "value": 0.1, "ci": [0.04, 0.19], "unparsed": 0,
        "baseline": None, "outcomes": {"answered": 30, "truncated": 35}, "detail": {"loosely": 0.2},
        "generated": {"reasoned": 0, "forced": 0, "cut": 35, "tokens": 45.0},
    }  # fmt: skip
    compared = {**comparison()["tasks"][0], "task": "instructions", "n": 65}
    found = material(base_scores=[score], tuned_scores=[score], comparison={**comparison(), "tasks": [compared]})
    page = words(render(found)).replace(SPACE, " ")
    assert "Cut at the token limit 35 35" in page
    assert "Cut before an answer" not in page
    assert "a line around it forgiven 20.0 % 20.0 %" in page


def test_items_won_and_lost_are_listed_and_escaped():
    page = render(material())
    assert "<code>case-1</code>" in page
    assert "<code>case-&lt;3&gt;</code>" in page


def test_an_example_stands_beside_its_nearest_training_row():
    assert "Nearest training row: 31.0 % of the words" in words(render(material())).replace(SPACE, " ")


def test_what_was_not_measured_is_said():
    assert "Whether it still declines harmful requests" in words(render(material()))


def test_bertscore_stands_beside_with_its_signature_and_is_never_counted():
    text = words(render(material()))
    assert "BERTScore, F1 0.690 (0.660 to 0.730) 0.690 (0.660 to 0.730)" in text
    assert "BERTScore F1 differs by +0.030 (−0.010 to +0.060, n = 12)" in text
    assert "never counted. encoder:toy|layer:2" in text
    bare = material(comparison={**comparison(), "bertscore": None})
    assert "BERTScore F1 differs" not in words(render(bare))


def test_wording_is_told_with_its_lengths_and_at_the_same_length():
    page = words(render(material())).replace(SPACE, " ")
    assert "Made to answer, its reasoning closed 5 5" in page
    assert "nearer to the reference on 7 of 12 items, the base's on 4; at the same length it would be on 55.0 %" in page
