"""Plots are inline SVG: deterministic, described, without ids or colours of their own, and paintable by the page."""

import re
from xml.etree import ElementTree

import pytest

from bedside import plots

SVG = "{http://www.w3.org/2000/svg}"


def loss_plot(steps: int) -> str:
    return plots.training("t", "loss", range(1, steps + 1), [3 - i / steps for i in range(steps)], [1e-4] * steps)


DRAWINGS = {
    "difference": lambda: plots.difference("d", "fell", -13.9, (-22.2, -5.6), 11.8, "percentage points"),
    "no difference": lambda: plots.difference("d", "none", 0.0, (0.0, 0.0), 0.0, "percentage points"),
    "unknown power": lambda: plots.difference("d", "one", 0.1, (0.1, 0.1), None, "nats per token"),
    "training": lambda: loss_plot(60),
    "one step": lambda: loss_plot(1),
    "learning rate of zero": lambda: plots.training("t", "loss", [1, 2], [3.0, 2.0], [0.0, 0.0]),
    "histogram": lambda: plots.histogram("h", "words", [0, 5, 10], [3, 1], 4),
}


@pytest.mark.parametrize("draw", DRAWINGS.values(), ids=DRAWINGS.keys())
class TestEveryPlot:
    def test_is_well_formed_and_says_what_it_shows(self, draw):
        root = ElementTree.fromstring(draw())
        title = root.find(f"{SVG}title")
        assert root.get("role") == "img"
        assert root.get("aria-labelledby") == title.get("id")
        assert title.text

    def test_has_the_same_bytes_each_time(self, draw):
        assert draw() == draw()

    def test_refers_to_nothing_outside_itself(self, draw):
        svg = draw()
        assert "<metadata" not in svg
        assert set(re.findall(r'href="(.)', svg)) <= {"#"}
        ids = re.findall(r' id="([^"]*)"', svg)
        assert len(ids) == len(set(ids))
        assert set(re.findall(r'(?:href="#|url\(#)([^")]*)', svg)) <= set(ids)

    def test_paints_in_the_colours_of_the_page_only(self, draw):
        bare = re.sub(r"var\(--\w+, #\w+\)", "", draw())
        assert not re.findall(r"(?:fill|stroke): #\w+", bare)


def test_two_plots_of_one_page_share_no_id():
    first, second = (set(re.findall(r' id="([^"]*)"', plots.histogram(n, n, [0, 1], [1], 0))) for n in ("a", "b"))
    assert not first & second


def test_text_stays_text_and_is_escaped():
    svg = plots.difference("d", "a < b & <script>", 1.0, (0.5, 1.5), 0.3, "<i>unit</i>")
    assert "<script>" not in svg
    assert "&lt;i&gt;unit&lt;/i&gt;" in svg


def test_a_moving_mean_is_drawn_from_31_steps_on():
    def curves(svg: str) -> int:
        return svg.count("stroke-width: 2;")

    assert curves(loss_plot(30)) == 0
    assert curves(loss_plot(31)) == 1


def test_smoothing_keeps_a_straight_line_and_its_length():
    line = [float(i) for i in range(40)]
    assert plots.smoothed(line)[2:-2] == line[2:-2]
    assert len(plots.smoothed(line)) == 40


def test_nothing_of_matplotlib_is_set_for_others():
    import matplotlib

    before = dict(matplotlib.rcParams)
    loss_plot(5)
    assert dict(matplotlib.rcParams) == before
