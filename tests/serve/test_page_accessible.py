"""The page for everybody: axe-core finds nothing in any state, and everything works at 360 pixels and by keyboard."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from bedside.runtime.scripted import ScriptedBackend
from bedside.text.prompts import NOTICE

from .conftest import EndlessSpeaker, Serving
from .test_page import article, ask
from .test_page_answers import ANAPHYLAXIS, CARDS

THEMES = ("dark", "light")
TEXT = (
    "It is full.",
    "## Causes\n\n1. *Heart* failure, see [this](https://example.org/)\n\n> quoted\n\n`code`\n\n|a|b|\n|-|-|\n|1|2|",
)


def answered(page: Page) -> None:
    ask(page, "What raises the JVP?")
    expect(article(page).first.locator(".voices")).to_have_attribute("aria-busy", "false")


def empty(page: Page) -> None:
    expect(page.get_by_text("Model: demo")).to_be_visible()


def with_answer(page: Page) -> None:
    answered(page)
    article(page).locator("summary").first.click()


def with_emergency(page: Page) -> None:
    ask(page, ANAPHYLAXIS)
    expect(article(page).locator(".voices")).to_have_attribute("aria-busy", "false")


def with_comparison(page: Page) -> None:
    page.get_by_label("Base against tuned").check()
    answered(page)


def with_error(page: Page) -> None:
    page.route("**/v1/answer", lambda route: route.abort())
    ask(page, "What raises the JVP?")
    expect(page.get_by_role("alert")).to_be_visible()


def with_settings(page: Page) -> None:
    page.get_by_role("button", name="Settings").click()


def with_history(page: Page) -> None:
    answered(page)
    page.get_by_role("button", name="History").click()


def with_feedback(page: Page) -> None:
    answered(page)
    page.get_by_role("button", name="Good answer").first.click()


def faults(page: Page) -> list[dict[str, Any]]:
    """What axe-core holds against the page as it stands, best practices included."""
    found: list[dict[str, Any]] = Axe().run(page).response["violations"]
    return [{fault["id"]: [node["target"] for node in fault["nodes"]]} for fault in found]


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize(
    "state",
    [empty, with_answer, with_emergency, with_comparison, with_error, with_settings, with_history, with_feedback],
)
def test_axe_finds_nothing(serving: Serving, page: Page, state: Callable[[Page], None], theme: str) -> None:
    page.emulate_media(color_scheme=theme)
    with serving(*(ScriptedBackend([CARDS], name=name) for name in ("demo", "demo-base"))) as url:
        page.goto(url)
        state(page)
        assert faults(page) == []


@pytest.mark.parametrize("theme", THEMES)
def test_axe_finds_nothing_in_rendered_text_and_while_it_streams(serving: Serving, page: Page, theme: str) -> None:
    page.emulate_media(color_scheme=theme)
    with serving(ScriptedBackend([TEXT])) as url:
        page.goto(url)
        ask(page, "What raises the JVP?")
        expect(article(page).locator("td").first).to_be_visible()
        assert faults(page) == []
    with serving(EndlessSpeaker(thinking=True)) as url:
        page.goto(url)
        ask(page, "What raises the JVP?")
        expect(page.get_by_text("Reasoning: thinking")).to_be_visible()
        assert faults(page) == []


def test_axe_finds_nothing_where_a_key_is_asked_for(serving: Serving, page: Page) -> None:
    with serving(ScriptedBackend([]), api_key="a-key-of-the-ward") as url:
        page.goto(url)
        expect(page.get_by_role("dialog")).to_be_visible()
        assert faults(page) == []


def test_axe_would_find_something(serving: Serving, page: Page) -> None:
    with serving(ScriptedBackend([])) as url:
        page.goto(url)
        page.evaluate("document.querySelector('label[for=question]').remove()")
        assert [list(fault) for fault in faults(page)] != []


@pytest.mark.parametrize("width", [360, 768, 1440])
def test_nothing_overflows_in_any_width(serving: Serving, page: Page, width: int) -> None:
    long = "x" * 300
    reply = (long, json.dumps({"Diagnosis": [long], "Plan": [long]}))
    with serving(*(ScriptedBackend([reply], name=name) for name in (f"demo{'y' * 80}", "base"))) as url:
        page.set_viewport_size({"width": width, "height": 640})
        page.goto(url)
        page.get_by_label("Two models side by side").check()
        ask(page, "z" * 300)
        expect(article(page).locator(".voices")).to_have_attribute("aria-busy", "false")
        article(page).locator("summary").first.click()
        assert page.evaluate("document.documentElement.scrollWidth") == width
        expect(page.get_by_text(NOTICE)).to_be_in_viewport()


def test_an_answer_can_be_had_and_used_by_keyboard_alone(serving: Serving, page: Page) -> None:
    with serving(ScriptedBackend([CARDS], name="demo")) as url:
        page.goto(url)
        page.keyboard.type("What raises the JVP?")
        page.keyboard.press("Enter")
        expect(article(page).locator(".voices")).to_have_attribute("aria-busy", "false")
        expect(page.get_by_label("Your question")).to_be_focused()
        visited = []
        for _ in range(9):  # back from the question over everything that the answer offers
            page.keyboard.press("Shift+Tab")
            visited.append(
                page.evaluate("document.activeElement.textContent.trim() || document.activeElement.ariaLabel")
            )
            outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
            assert outline == "solid"
        offered = ["Bad answer", "Good answer", "Regenerate", "JSON", "Markdown", "Print", "Copy answer"]
        assert visited[:7] == offered
        assert visited[7].startswith("Reasoning")
        assert visited[8].startswith("Theme")


def test_what_streams_is_in_no_live_region(serving: Serving, page: Page, endless: EndlessSpeaker) -> None:
    with serving(endless) as url:
        page.goto(url)
        ask(page, "What raises the JVP?")
        expect(article(page).locator(".answer")).to_contain_text("word")
        assert page.locator(":is([aria-live]:not([aria-live=off]), [role=log], [role=status]) article").count() == 0
        assert page.locator("[role=status]").inner_text() == "The model is thinking."


def test_nothing_moves_for_those_who_want_no_motion(serving: Serving, page: Page) -> None:
    moving = "document.getAnimations().length"
    with serving(EndlessSpeaker(thinking=True)) as url:
        page.goto(url)
        page.emulate_media(reduced_motion="no-preference")
        ask(page, "What raises the JVP?")
        expect(page.get_by_text("Reasoning: thinking")).to_be_visible()
        assert page.evaluate(moving) == 1
        page.emulate_media(reduced_motion="reduce")
        assert page.evaluate(moving) == 0
