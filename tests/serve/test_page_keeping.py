"""What the page counts, invents, keeps and passes on: composer, generated cases, settings, history, feedback, theme."""

import json
import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from bedside.runtime.scripted import ScriptedBackend
from bedside.serve.feedback import Feedback
from bedside.text.prompts import SPECIALTIES

from .conftest import PATIENCE_S, EndlessSpeaker, FailingSpeaker, Serving
from .test_page import REPLY, article, ask

QUESTION = "What raises the JVP?"
KEPT = "Object.entries(localStorage).filter(([, value]) => value.includes('JVP')).length"


def open_dialog(page: Page, name: str) -> None:
    page.get_by_role("button", name=name, exact=True).click()
    expect(page.get_by_role("dialog")).to_be_visible()


def change(page: Page, **values: str) -> None:
    open_dialog(page, "Settings")
    for name, value in values.items():
        page.locator(f"#settings [name={name}]").fill(value)
    page.get_by_role("button", name="Done", exact=True).click()


def keep_history(page: Page, on: bool) -> None:
    open_dialog(page, "Settings")
    page.get_by_label("Keep the history on this computer").set_checked(on)
    page.get_by_role("button", name="Done", exact=True).click()


def test_characters_are_counted_at_once_and_tokens_after_a_pause(serving: Serving, page: Page) -> None:
    with serving(ScriptedBackend([])) as url:
        page.goto(url)
        page.get_by_label("Your question").press_sequentially("one two")
        expect(page.get_by_text("7 characters, 2 tokens")).to_be_visible()
        page.get_by_label("Your question").fill("")
        expect(page.get_by_text("0 characters")).to_be_visible()


def test_an_example_is_put_into_the_box_and_not_sent(serving: Serving, page: Page) -> None:
    speaker = ScriptedBackend([])
    with serving(speaker) as url:
        page.goto(url)
        expect(page.get_by_text("invented, of no real patient")).to_be_visible()
        page.get_by_role("button", name="A vomiting baby").click()
        expect(page.get_by_label("Your question")).to_have_value(page.locator("#examples .start").nth(3).inner_text())
        expect(page.get_by_label("Your question")).to_be_focused()
    assert speaker.asked == []


def test_an_example_does_not_destroy_what_was_typed(serving: Serving, page: Page) -> None:
    with serving(ScriptedBackend([])) as url:
        page.goto(url)
        box = page.get_by_label("Your question")
        box.press_sequentially("My own case")
        page.get_by_role("button", name="A vomiting baby").click()
        expect(box).not_to_have_value("My own case")
        box.press("Control+z")
        expect(box).to_have_value("My own case")


def test_a_reload_keeps_what_was_typed_and_the_open_conversation(serving: Serving, page: Page) -> None:
    with serving(ScriptedBackend([REPLY])) as url:
        page.goto(url)
        ask(page, QUESTION)
        expect(article(page).locator(".voices")).to_have_attribute("aria-busy", "false")
        page.get_by_label("Your question").fill("And then?")
        page.reload()
        expect(page.get_by_label("Your question")).to_have_value("And then?")
        expect(article(page)).to_contain_text(REPLY[1])
        page.get_by_role("button", name="New conversation").click()
        page.get_by_label("Your question").fill("")
        page.reload()
        expect(page.get_by_role("article")).to_have_count(0)
        expect(page.get_by_label("Your question")).to_have_value("")


def test_a_case_that_is_cut_off_is_called_so(serving: Serving, page: Page) -> None:
    done = {"type": "done", "answer": {"answer": "A man with", "finish": "length"}}
    events = f"data: {json.dumps(done)}\n\ndata: [DONE]\n\n"
    with serving(ScriptedBackend([])) as url:
        page.route("**/v1/case", lambda route: route.fulfill(content_type="text/event-stream", body=events))
        page.goto(url)
        page.get_by_role("button", name="Generate").click()
        expect(page.get_by_role("alert")).to_contain_text("The case reached its token limit")
        expect(page.get_by_label("Your question")).to_have_value("A man with")


def test_a_case_is_invented_by_specialty_and_difficulty_into_the_box(serving: Serving, page: Page) -> None:
    speaker = ScriptedBackend([("", "A 60-year-old woman faints.")])
    with serving(speaker) as url:
        page.goto(url)
        assert page.get_by_label("Specialty").locator("option").all_inner_texts() == list(SPECIALTIES)
        page.get_by_label("Specialty").select_option("neurology")
        page.get_by_label("Difficulty").select_option("hard")
        page.get_by_role("button", name="Generate a case").click()
        expect(page.get_by_label("Your question")).to_have_value("A 60-year-old woman faints.")
        expect(page.get_by_text("The case is written.")).to_be_attached()
    assert "neurology: an uncommon condition" in speaker.asked[0][-1].content


def test_escape_stops_a_case_that_is_being_invented(serving: Serving, page: Page, endless: EndlessSpeaker) -> None:
    with serving(endless) as url:
        page.goto(url)
        page.get_by_role("button", name="Generate a case").click()
        expect(page.get_by_label("Your question")).to_have_value(re.compile("^word word"))
        expect(page.get_by_label("Your question")).to_be_focused()
        expect(page.get_by_label("Your question")).not_to_be_editable()
        page.keyboard.press("Escape")
        assert endless.closed.acquire(timeout=PATIENCE_S)
        expect(page.get_by_role("button", name="Send")).to_be_visible()
        expect(page.get_by_label("Your question")).to_be_editable()


def test_settings_are_sent_with_the_next_answer_and_outlive_the_page(serving: Serving, page: Page) -> None:
    speaker = ScriptedBackend([REPLY, REPLY])
    with serving(speaker) as url:
        page.goto(url)
        change(page, temperature="0.5", max_tokens="200", thinking_budget="50", system="Be brief.")
        page.reload()
        ask(page, QUESTION)
        expect(article(page)).to_contain_text(REPLY[1])
        open_dialog(page, "Settings")
        page.get_by_role("button", name="Defaults").click()
        page.keyboard.press("Escape")
        page.get_by_role("button", name="Regenerate").click()
        expect(article(page)).to_contain_text(REPLY[1])
        expect(article(page).locator(".voices")).to_have_attribute("aria-busy", "false")
    changed, default = speaker.options
    assert (changed.temperature, changed.max_tokens, changed.thinking_tokens) == (0.5, 200, 50)
    assert (default.max_tokens, default.thinking_tokens) == (1024, None)
    assert speaker.asked[0][0].content == "Be brief."
    assert speaker.asked[1][0].content != "Be brief."


def test_a_value_out_of_range_is_not_taken(serving: Serving, page: Page) -> None:
    speaker = ScriptedBackend([REPLY])
    with serving(speaker) as url:
        page.goto(url)
        open_dialog(page, "Settings")
        page.get_by_label("Temperature", exact=True).fill("9")
        page.keyboard.press("Escape")
        ask(page, QUESTION)
        expect(article(page)).to_contain_text(REPLY[1])
    assert speaker.options[0].temperature == 0


def test_the_other_model_is_chosen_in_the_settings(serving: Serving, page: Page) -> None:
    tuned, base = ScriptedBackend([], name="demo"), ScriptedBackend([REPLY], name="demo-base")
    with serving(tuned, base) as url:
        page.goto(url)
        open_dialog(page, "Settings")
        page.get_by_label("Model", exact=True).select_option("demo-base")
        page.keyboard.press("Escape")
        expect(page.get_by_text("Model: demo-base")).to_be_visible()
        ask(page, QUESTION)
        expect(article(page)).to_contain_text(REPLY[1])


def test_escape_closes_a_dialog_and_does_not_stop_the_answer(
    serving: Serving, page: Page, endless: EndlessSpeaker
) -> None:
    with serving(endless) as url:
        page.goto(url)
        ask(page, QUESTION)
        expect(article(page)).to_contain_text("word")
        open_dialog(page, "Settings")
        page.keyboard.press("Escape")
        expect(page.get_by_role("dialog")).to_be_hidden()
        expect(page.get_by_role("button", name="Stop")).to_be_visible()
        expect(page.get_by_role("button", name="Settings")).to_be_focused()
        page.keyboard.press("Escape")
        assert endless.closed.acquire(timeout=PATIENCE_S)


def test_the_history_ends_with_the_tab_unless_it_is_to_be_kept(serving: Serving, page: Page) -> None:
    with serving(ScriptedBackend([REPLY])) as url:
        page.goto(url)
        ask(page, QUESTION)
        expect(article(page).locator(".voices")).to_have_attribute("aria-busy", "false")
        assert page.evaluate(KEPT) == 0
        keep_history(page, on=True)
        assert page.evaluate(KEPT) == 1
        other = page.context.new_page()
        other.goto(url)
        open_dialog(other, "History")
        expect(other.get_by_role("button", name=QUESTION).first).to_be_visible()
        keep_history(page, on=False)
        assert page.evaluate(KEPT) == 0
        open_dialog(page, "History")
        expect(page.get_by_role("button", name=QUESTION).first).to_be_visible()


def test_a_setting_that_is_changed_in_one_tab_holds_in_the_other(serving: Serving, page: Page) -> None:
    with serving(ScriptedBackend([REPLY])) as url:
        page.goto(url)
        keep_history(page, on=True)
        other = page.context.new_page()
        other.goto(url)
        keep_history(page, on=False)
        expect(other.get_by_label("Keep the history on this computer")).not_to_be_checked()
        change(other, max_tokens="200")
        assert page.evaluate("JSON.parse(localStorage['bedside-settings']).keep") is False
        ask(other, QUESTION)
        expect(article(other).locator(".voices")).to_have_attribute("aria-busy", "false")
        assert page.evaluate(KEPT) == 0
        expect(page.locator("#settings [name=max_tokens]")).to_have_value("200")


def test_a_conversation_is_opened_again_and_goes_on(serving: Serving, page: Page) -> None:
    speaker = ScriptedBackend([REPLY, ("", "Yes.")])
    with serving(speaker) as url:
        page.goto(url)
        ask(page, QUESTION)
        expect(article(page).locator(".voices")).to_have_attribute("aria-busy", "false")
        page.get_by_role("button", name="New conversation").click()
        open_dialog(page, "History")
        page.locator(".opener").click()
        expect(article(page).locator(".question")).to_have_text(QUESTION)
        expect(article(page)).to_contain_text(REPLY[1])
        article(page).locator("summary").click()
        expect(article(page)).to_contain_text(REPLY[0])
        ask(page, "Is it serious?")
        expect(article(page, 1)).to_contain_text("Yes.")
        open_dialog(page, "History")
        expect(page.locator(".opener")).to_have_count(1)
    assert [message.content for message in speaker.asked[1][1:3]] == [QUESTION, REPLY[1]]


def test_one_conversation_is_deleted_or_all_are_cleared(serving: Serving, page: Page) -> None:
    with serving(ScriptedBackend([REPLY] * 3)) as url:
        page.goto(url)
        for number in range(3):
            ask(page, f"{QUESTION} {number}")
            expect(article(page).locator(".voices")).to_have_attribute("aria-busy", "false")
            page.get_by_role("button", name="New conversation").click()
        open_dialog(page, "History")
        page.get_by_role("button", name=f"Delete: {QUESTION} 1").click()
        expect(page.locator(".opener .title")).to_have_text([f"{QUESTION} 2", f"{QUESTION} 0"])
        page.get_by_role("button", name="Clear all").click()
        page.get_by_role("button", name="Clear all 2: press again").click()
        expect(page.get_by_text("Nothing yet.")).to_be_visible()
        assert page.evaluate("JSON.stringify(sessionStorage).includes('JVP')") is False


def test_the_history_is_bounded(serving: Serving, page: Page) -> None:
    with serving(ScriptedBackend([REPLY])) as url:
        page.goto(url)
        old = [{"id": str(number), "title": "old", "time": 0, "turns": []} for number in range(30)]
        page.evaluate("text => sessionStorage.setItem('bedside-history', text)", json.dumps(old))
        ask(page, QUESTION)
        expect(article(page).locator(".voices")).to_have_attribute("aria-busy", "false")
        open_dialog(page, "History")
        expect(page.locator(".opener")).to_have_count(30)
        expect(page.locator(".opener .title").first).to_have_text(QUESTION)


def test_a_browser_that_keeps_nothing_still_answers(serving: Serving, page: Page) -> None:
    refused = "Object.defineProperty(window, '{}', {{ get() {{ throw new DOMException('no', 'SecurityError'); }} }})"
    for area in ("localStorage", "sessionStorage"):
        page.add_init_script(refused.format(area))
    with serving(ScriptedBackend([REPLY])) as url:
        page.goto(url)
        page.get_by_role("button", name="Theme").click()
        ask(page, QUESTION)
        expect(article(page)).to_contain_text(REPLY[1])


@pytest.mark.parametrize("along", [False, True], ids=["comment", "text-along"])
def test_a_thumb_goes_with_a_comment_and_with_the_text_only_if_that_is_ticked(
    serving: Serving, page: Page, tmp_path: Path, along: bool
) -> None:
    path = tmp_path / "feedback.jsonl"
    with serving(ScriptedBackend([REPLY]), app={"feedback": Feedback(path)}) as url:
        page.goto(url)
        ask(page, QUESTION)
        page.get_by_role("button", name="Bad answer").click()
        page.get_by_label("Comment").fill("Too short.")
        page.get_by_label("Send question and answer along").set_checked(along)
        page.get_by_role("button", name="Send feedback").click()
        expect(page.get_by_role("dialog")).to_be_hidden()
        expect(page.get_by_role("button", name="Bad answer")).to_have_attribute("aria-pressed", "true")
        page.reload()
        expect(page.get_by_role("button", name="Bad answer")).to_have_attribute("aria-pressed", "true")
    [said] = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    text = {"question": QUESTION, "answer": REPLY[1]} if along else {}
    assert said.pop("id").startswith("answer-")
    assert said.pop("time")
    assert said == {"rating": "down", "model": "scripted", "comment": "Too short.", **text}


def test_a_server_that_takes_no_feedback_is_told_of(serving: Serving, page: Page) -> None:
    with serving(ScriptedBackend([REPLY])) as url:
        page.goto(url)
        ask(page, QUESTION)
        page.get_by_role("button", name="Good answer").click()
        page.get_by_role("button", name="Send feedback").click()
        expect(page.get_by_role("dialog").get_by_role("alert")).to_have_text("This server takes no feedback.")


def test_the_theme_follows_the_system_until_one_is_chosen_which_lasts(serving: Serving, page: Page) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    dark, light = "rgb(15, 23, 42)", "rgb(248, 250, 252)"
    with serving(ScriptedBackend([])) as url:
        page.goto(url)
        for scheme, colour in (("dark", dark), ("light", light)):
            page.emulate_media(color_scheme=scheme)
            assert page.evaluate(ground) == colour
        page.get_by_role("button", name="Theme: auto").click()
        page.reload()
        expect(page.get_by_role("button", name="Theme: dark")).to_be_visible()
        assert page.evaluate(ground) == dark


def test_a_case_that_cannot_be_invented_says_why(serving: Serving, page: Page) -> None:
    with serving(FailingSpeaker(RuntimeError("a bug"))) as url:
        page.goto(url)
        page.get_by_role("button", name="Generate a case").click()
        expect(page.get_by_role("alert")).to_contain_text("The server refused")
        expect(page.get_by_role("button", name="Generate a case")).to_be_enabled()
