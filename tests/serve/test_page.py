"""Asking on the page, in a real browser: Debian's chromium, driven by playwright."""

import pytest
from playwright.sync_api import Locator, Page, expect

from bedside.records import Message
from bedside.runtime.scripted import ScriptedBackend
from bedside.text.prompts import NOTICE, SECTIONS

from .conftest import PATIENCE_S, EndlessSpeaker, Serving

REPLY = ("The right atrium is full.", "Right heart failure.")
KEY = "a-key-of-the-ward"


def ask(page: Page, text: str) -> None:
    page.get_by_label("Your question").fill(text)
    page.keyboard.press("Enter")


def typed(message: Message) -> str:
    """What a person typed: a structured answer is asked for in one more paragraph."""
    return message.content.removesuffix(f"\n\n{SECTIONS}")


def article(page: Page, number: int = 0) -> Locator:
    return page.get_by_role("article").nth(number)


def test_it_shows_model_and_disclaimer_before_anything_is_asked(serving: Serving, page: Page) -> None:
    with serving(ScriptedBackend([])) as url:
        page.goto(url)
        expect(page.get_by_text("Model: scripted")).to_be_visible()
        expect(page.get_by_text(NOTICE)).to_be_in_viewport()
        expect(page.get_by_label("Your question")).to_be_focused()


def test_it_streams_an_answer_with_its_reasoning_folded_away(serving: Serving, page: Page) -> None:
    with serving(ScriptedBackend([REPLY])) as url:
        page.goto(url)
        ask(page, "What raises the JVP?")
        expect(article(page).locator(".answer")).to_have_text(REPLY[1])
        expect(page.get_by_text(REPLY[0])).to_be_hidden()
        article(page).locator("summary").click()
        expect(page.get_by_text(REPLY[0])).to_be_visible()
        expect(page.get_by_text("The answer is complete.")).to_be_attached()
        expect(article(page).locator(".voices")).to_have_attribute("aria-busy", "false")


def test_the_disclaimer_stays_in_sight_of_a_long_answer(serving: Serving, page: Page) -> None:
    with serving(ScriptedBackend([("", "line\n\n" * 200)])) as url:
        page.goto(url)
        ask(page, "Say much.")
        expect(page.get_by_role("button", name="Copy answer")).to_be_visible()
        expect(page.get_by_text(NOTICE)).to_be_in_viewport()
        page.get_by_role("button", name="Copy answer").scroll_into_view_if_needed()
        expect(page.get_by_text(NOTICE)).to_be_in_viewport()


def test_while_it_thinks_it_says_so_and_for_how_long(serving: Serving, page: Page) -> None:
    with serving(EndlessSpeaker(thinking=True)) as url:
        page.goto(url)
        ask(page, "What raises the JVP?")
        expect(page.get_by_text("Reasoning: thinking… 1 s")).to_be_visible()
        page.keyboard.press("Escape")
        expect(page.get_by_text("Follow-up questions will not refer to this one.")).to_be_visible()


def test_even_injected_markup_could_reach_nobody(serving: Serving, page: Page) -> None:
    """The policy is a second wall: what a bug of ours might let in is refused by the browser."""
    image = """<img src=/healthz onerror="document.title='owned'">"""
    with serving(ScriptedBackend([])) as url:
        page.goto(url)
        with page.expect_console_message(lambda line: "Content Security Policy" in line.text):
            page.evaluate("html => document.body.insertAdjacentHTML('beforeend', html)", image)
        page.evaluate("document.images[0].decode().catch(() => null)")
        expect(page).to_have_title("Bedside")


def test_stop_keeps_what_was_said_and_stops_the_model(serving: Serving, page: Page, endless: EndlessSpeaker) -> None:
    with serving(endless) as url:
        page.goto(url)
        ask(page, "Say much.")
        expect(article(page).locator(".answer")).to_contain_text("word word")
        page.get_by_role("button", name="Stop").click()
        expect(page.get_by_text("Stopped. What stands here is incomplete.")).to_be_visible()
        assert endless.closed.acquire(timeout=PATIENCE_S)
        expect(page.get_by_role("button", name="Send")).to_be_visible()
        expect(page.get_by_label("Your question")).to_be_focused()


def test_a_follow_up_brings_the_conversation_and_a_new_one_does_not(serving: Serving, page: Page) -> None:
    speaker = ScriptedBackend([REPLY, ("", "Backward failure."), ("", "Yes.")])
    with serving(speaker) as url:
        page.goto(url)
        for number, question in enumerate(["What raises the JVP?", "Why?"]):
            ask(page, question)
            expect(article(page, number).locator(".voices")).to_have_attribute("aria-busy", "false")
        page.get_by_label("Your question").fill("Is it")
        page.get_by_role("button", name="New conversation").click()
        expect(page.get_by_role("article")).to_have_count(0)
        expect(page.get_by_label("Your question")).to_have_value("Is it")
        ask(page, "Is it serious?")
        expect(page.get_by_text("Yes.")).to_be_visible()
    said = [[typed(message) for message in asked[1:]] for asked in speaker.asked]
    assert said == [
        ["What raises the JVP?"],
        ["What raises the JVP?", REPLY[1], "Why?"],
        ["Is it serious?"],
    ]


def test_the_box_grows_with_its_text_and_is_low_again_under_a_conversation(serving: Serving, page: Page) -> None:
    height = "document.getElementById('question').offsetHeight"
    with serving(ScriptedBackend([REPLY])) as url:
        page.goto(url)
        before = page.evaluate(height)
        page.get_by_label("Your question").fill("line\n" * 6)
        assert page.evaluate(height) > before
        page.keyboard.press("Enter")
        expect(article(page).locator(".voices")).to_have_attribute("aria-busy", "false")
        assert page.evaluate(height) < before


def test_shift_enter_starts_a_line_and_an_empty_question_is_not_sent(serving: Serving, page: Page) -> None:
    speaker = ScriptedBackend([REPLY])
    with serving(speaker) as url:
        page.goto(url)
        ask(page, "  ")
        page.get_by_label("Your question").fill("one")
        page.keyboard.press("Shift+Enter")
        page.keyboard.type("two")
        page.keyboard.press("Enter")
        expect(page.get_by_text(REPLY[1])).to_be_visible()
    assert [typed(asked[-1]) for asked in speaker.asked] == ["one\ntwo"]


def test_when_the_server_is_gone_it_says_so_and_keeps_the_question(serving: Serving, page: Page) -> None:
    with serving(ScriptedBackend([])) as url:
        page.goto(url)
        expect(page.get_by_text("Model: scripted")).to_be_visible()
    ask(page, "Anybody there?")
    expect(page.get_by_role("alert")).to_contain_text("The server cannot be reached.")
    expect(page.get_by_label("Your question")).to_have_value("Anybody there?")
    expect(page.get_by_role("article")).to_have_count(0)


def test_when_the_server_goes_in_the_middle_the_part_is_marked(
    serving: Serving, page: Page, endless: EndlessSpeaker
) -> None:
    with serving(endless) as url:
        page.goto(url)
        ask(page, "Say much.")
        expect(article(page).locator(".answer")).to_contain_text("word")
    expect(page.get_by_text("The connection broke off. What stands here is incomplete.")).to_be_visible()
    expect(page.get_by_role("alert")).to_contain_text("The server cannot be reached.")


@pytest.mark.parametrize(
    ("status", "code", "headers", "line"),
    [
        (429, "server_busy", {"Retry-After": "7"}, "The model is busy with other questions. Try again in 7 seconds."),
        (400, "context_length_exceeded", {}, "The conversation is too long for this model."),
        (500, "internal_error", {}, "The server refused: the reason."),
    ],
)
def test_a_refusal_is_told_in_a_line(
    serving: Serving, page: Page, status: int, code: str, headers: dict[str, str], line: str
) -> None:
    error = {"error": {"message": "the reason", "type": "x", "param": None, "code": code}}
    with serving(ScriptedBackend([])) as url:
        page.goto(url)
        page.route("**/v1/answer", lambda route: route.fulfill(status=status, json=error, headers=headers))
        ask(page, "What raises the JVP?")
        expect(page.get_by_role("alert")).to_contain_text(line)
        expect(page.get_by_label("Your question")).to_have_value("What raises the JVP?")


@pytest.mark.parametrize("right", [KEY, "schlüssel-\u200bder-Ł-station"])
def test_the_key_is_asked_for_and_a_wrong_one_is_asked_for_again(serving: Serving, page: Page, right: str) -> None:
    with serving(ScriptedBackend([REPLY]), api_key=right) as url:
        page.goto(url)
        for key in ("wrong", right):
            expect(page.get_by_role("dialog")).to_be_visible()
            page.get_by_label("Key", exact=True).fill(key)
            page.keyboard.press("Enter")
        expect(page.get_by_text("Model: scripted")).to_be_visible()
        expect(page.get_by_role("dialog")).to_be_hidden()
        ask(page, "What raises the JVP?")
        expect(page.get_by_text(REPLY[1])).to_be_visible()


def test_nothing_overflows_a_narrow_telephone(serving: Serving, page: Page) -> None:
    with serving(ScriptedBackend([("x" * 300, "y" * 300)])) as url:
        page.set_viewport_size({"width": 360, "height": 640})
        page.goto(url)
        ask(page, "z" * 300)
        expect(page.get_by_role("button", name="Copy answer")).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") == 360
        expect(page.get_by_text(NOTICE)).to_be_in_viewport()
