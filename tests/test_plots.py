"""Plots are inline SVG: deterministic, described, and paintable by the page."""

import xml.etree.ElementTree as ET

import pytest

from bedside import plots

DRAWN = {
    "difference": lambda: plots.difference("d", "A < B", -13.9, (-22.2, -5.6), 11.8, "percentage points"),
    "no detectable": lambda: plots.difference("d", "same", 0.0, (0.0, 0.0), None, "nats"),
    "training": lambda: plots.training("t", "loss", list(range(1, 50)), [3 - i / 50 for i in range(49)], [1e-4] * 49),
    "one step": lambda: plots.training("t", "loss", [1], [3.0], [1e-4]),
    "histogram": lambda: plots.histogram("h", "words", [0, 10, 20], [3, 4], 11),
}


@pytest.mark.parametrize("name", DRAWN)
def test_a_plot_is_well_formed_described_and_the_same_again(name: str):
    drawing = DRAWN[name]()
    root = ET.fromstring(drawing)
    assert root.get("role") == "img"
    assert root[0].tag.endswith("title")
    assert root[0].text
    assert drawing == DRAWN[name]()
    assert "var(--" in drawing


def test_text_of_the_description_is_escaped():
    assert "A &lt; B" in DRAWN["difference"]()


def test_smoothing_starts_at_the_first_value_and_keeps_a_constant():
    assert plots.smoothed([2.0, 2.0, 2.0]) == pytest.approx([2.0, 2.0, 2.0])
    assert plots.smoothed([5.0, 1.0])[0] == 5.0
    assert 1.0 < plots.smoothed([5.0, 1.0])[1] < 5.0
