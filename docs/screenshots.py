"""Draws the page for docs/ and for whoever changes it: every state at three widths in both themes.

    python docs/screenshots.py FOLDER        # everything, to look at
    python docs/screenshots.py               # the three that the README shows, into docs/

A script speaks instead of a model, so that the pictures show the page and not what a model happens to say. Needs
Debian's chromium.
"""

import json
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from bedside.recipe import ServeSection
from bedside.runtime.scripted import ScriptedBackend
from bedside.serve.app import create_app
from bedside.serve.run import Server, listen, url_of

DOCS = Path(__file__).parent
WIDTHS = {360: 740, 768: 1024, 1440: 900}
THEMES = ("dark", "light")
REASONING = (
    "A swollen left calf, the pill and a long flight point to a deep vein thrombosis, and pleuritic pain with a fast "
    "pulse to an embolism. By the Wells score this is likely, so a D-dimer would not help: imaging is next. A clear "
    "chest X-ray makes pneumonia and pneumothorax less likely and does not speak against it."
)
CARDS = json.dumps(
    {
        "Diagnosis": ["Pulmonary embolism from a thrombosis of the left leg"],
        "Differential": ["Pneumonia with pleurisy", "Pneumothorax", "Musculoskeletal chest pain"],
        "Plan": [
            "CT pulmonary angiography today, after a pregnancy test",
            "Start anticoagulation while waiting, unless it is contraindicated",
            "Stop the combined pill and discuss other contraception",
        ],
        "Red flags": ["Falling blood pressure or syncope", "Rising need for oxygen"],
        "What is missing": ["Bleeding risk, renal function and weight", "Thromboses in the patient or her family"],
    }
)
ANAPHYLAXIS = json.dumps(
    {
        "Diagnosis": ["Anaphylaxis to peanut"],
        "Differential": ["Severe asthma attack", "Angioedema without an allergy"],
        "Plan": [
            "Adrenaline into the muscle of the outer thigh now, again after five minutes if he is no better",
            "Lay him flat with raised legs, call for help, give oxygen and fluid into a vein",
        ],
        "Red flags": ["Hoarse voice: the airway may close", "Low blood pressure"],
        "What is missing": ["Earlier reactions and asthma", "Tryptase in the first hours"],
    }
)
"""As the Resuscitation Council UK's guideline of 2021 has it; nobody should copy a dose from a picture."""
REASONING_ANAPHYLAXIS = (
    "Hives, swollen lips, wheezing and a low blood pressure within minutes of a known allergen are anaphylaxis. "
    "Adrenaline comes before anything else."
)
BASE = json.dumps(
    {
        "Diagnosis": ["Pulmonary embolism"],
        "Differential": ["Pneumonia", "Asthma"],
        "Plan": ["D-dimer", "CT pulmonary angiography if it is raised"],
        "Red flags": ["Low blood pressure"],
        "What is missing": ["Earlier thromboses"],
    }
)
TEXT = (
    "The likeliest explanation is a **pulmonary embolism**.\n\n"
    "1. CT pulmonary angiography\n2. Anticoagulation meanwhile\n\nAsk about bleeding before you start."
)


@contextmanager
def served(*replies: tuple[str, str], base: bool = False) -> Iterator[str]:
    """The page's address, before a model that answers with `replies`."""
    speakers = [ScriptedBackend(replies * 2, name="demo")]
    if base:
        speakers.append(ScriptedBackend([("A young woman with chest pain after a flight.", BASE)], name="demo-base"))
    settings = ServeSection(port=0)
    server = Server(create_app(speakers, settings))
    with listen(settings, None) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        yield url_of(listener)
        server.should_exit = True
        thread.join()


def ask(page: Page, example: str) -> None:
    """Sends an example case and waits for the answers."""
    page.get_by_role("button", name=example).click()
    page.get_by_role("button", name="Send").click()
    page.get_by_role("button", name="Send").wait_for()


def empty(page: Page) -> None:
    """Before anything is asked."""
    page.wait_for_timeout(200)


def cards(page: Page) -> None:
    """A structured answer."""
    ask(page, "Breathless after a flight")


def answer(page: Page) -> None:
    """The same, with what is above the cards scrolled away."""
    cards(page)
    page.locator(".thought").evaluate("element => element.scrollIntoView()")


def unfolded(page: Page) -> None:
    """The same with its reasoning open, further down."""
    ask(page, "Breathless after a flight")
    page.locator("summary").click()
    page.mouse.wheel(0, 2000)


def emergency(page: Page) -> None:
    """Triage found something."""
    ask(page, "Hives after a biscuit")


def compared(page: Page) -> None:
    """Base against tuned."""
    page.get_by_label("Base against tuned").check()
    ask(page, "Breathless after a flight")


def settings(page: Page) -> None:
    """The dialog of the settings."""
    page.get_by_role("button", name="Settings").click()


def history(page: Page) -> None:
    """The dialog of past conversations."""
    ask(page, "Breathless after a flight")
    page.get_by_role("button", name="New conversation").click()
    ask(page, "Always cold and tired")
    page.get_by_role("button", name="History").click()


def feedback(page: Page) -> None:
    """The dialog of a comment."""
    ask(page, "Breathless after a flight")
    page.get_by_role("button", name="Bad answer").click()


SCENES: dict[Callable[[Page], None], tuple[tuple[str, str], bool]] = {
    empty: ((REASONING, CARDS), False),
    cards: ((REASONING, CARDS), False),
    answer: ((REASONING, CARDS), False),
    unfolded: ((REASONING, TEXT), False),
    emergency: ((REASONING_ANAPHYLAXIS, ANAPHYLAXIS), False),
    compared: ((REASONING, CARDS), True),
    settings: ((REASONING, CARDS), True),
    history: ((REASONING, CARDS), False),
    feedback: ((REASONING, CARDS), False),
}


def draw(page: Page, scene: Callable[[Page], None], path: Path) -> None:
    """One picture."""
    said, base = SCENES[scene]
    with served(said, base=base) as url:
        page.goto(url)
        page.get_by_text("Model: demo").wait_for()
        scene(page)
        page.wait_for_timeout(300)
        page.screenshot(path=path)


def main(folder: Path | None) -> None:
    """All pictures into a folder, or the README's into docs/."""
    wanted = {(360, "dark", answer), (768, "light", emergency), (1440, "dark", compared)}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for width, height in WIDTHS.items():
            for theme in THEMES:
                for scene in SCENES:
                    if folder is None and (width, theme, scene) not in wanted:
                        continue
                    name = f"page-{width}.png" if folder is None else f"{scene.__name__}-{width}-{theme}.png"
                    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=theme)
                    draw(context.new_page(), scene, (folder or DOCS) / name)
                    context.close()
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
