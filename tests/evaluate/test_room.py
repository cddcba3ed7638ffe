"""What does not fit is counted and named before anything is asked."""

from dataclasses import replace
from pathlib import Path

import pytest

from bedside.errors import ContextTooLong
from bedside.evaluate.room import need, require_room
from bedside.recipe import EvaluateSection, PromptSection
from bedside.records import Example
from bedside.runtime.hf import HfBackend, load_backend

SHORT = Example("short", "Which drug?", "B. aspirin", label="B", options=("oil", "aspirin"))
LONG = replace(SHORT, id="long", question="Which drug? " * 300)
SETTINGS = EvaluateSection(max_tokens=20, answer_tokens=9)


@pytest.fixture(scope="module")
def backend(tiny_llama: Path) -> HfBackend:
    return load_backend(tiny_llama, PromptSection(style="chat", system=""))


@pytest.mark.parametrize("task", ["choice", "likelihood", "choice-direct", "choice-reason"])
def test_items_beyond_the_window_are_counted_and_named(backend: HfBackend, task):
    items = [SHORT, *(replace(LONG, id=f"long-{i}") for i in range(6))]
    with pytest.raises(ContextTooLong, match=rf"{task}: 6 of 7 items do not fit into .* window of 512") as error:
        require_room(backend, {task: items}, SETTINGS)
    assert "(long-0, long-1, long-2, long-3, long-4, …); " in str(error.value)
    assert "\n" not in str(error.value)
    require_room(backend, {task: [SHORT]}, SETTINGS)


def test_an_answer_needs_its_room_beside_the_prompt(backend: HfBackend):
    direct, reasoned = (need(backend, task, SHORT, SETTINGS) for task in ("choice-direct", "choice-reason"))
    assert reasoned - direct == 20
    assert need(backend, "choice-direct", SHORT, SETTINGS.model_copy(update={"answer_tokens": 10})) == direct + 1
