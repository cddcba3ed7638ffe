"""Plots are inline SVG: deterministic, described, without ids or colours of their own, and paintable by the page."""

import re
from xml.etree import ElementTree

import pytest

from bedside import plots
from bedside.data.stats import lengths

SVG = "{http://www.w3.org/2000/svg}"


def loss_plot(steps: int) -> str:
    return plots.training("t", "loss", range(1, steps + 1), [3 - i / steps for i in range(steps)], [1e-4] * steps)


BINS = [
    {"confidence": 0.4, "accuracy": 0.5, "ci": (0.2, 0.8)},
    {"confidence": 0.9, "accuracy": 0.7, "ci": (0.4, 0.9)},
]
RISK = {"coverage": [0.2, 0.6, 1.0], "risk": [0.0, 0.3, 0.4]}
DRAWINGS = {
    "difference": lambda: plots.difference("d", "fell", -13.9, (-22.2, -5.6), 11.8, "percentage points"),
    "no difference": lambda: plots.difference("d", "none", 0.0, (0.0, 0.0), 0.0, "percentage points"),
    "unknown power": lambda: plots.difference("d", "one", 0.1, (0.1, 0.1), None, "nats per token"),
    "training": lambda: loss_plot(60),
    "one step": lambda: loss_plot(1),
    "validation": lambda: plots.training("t", "loss", [1, 2], [3.0, 2.0], [1e-4, 1e-4], [(2, 2.5)]),
    "learning rate of zero": lambda: plots.training("t", "loss", [1, 2], [3.0, 2.0], [0.0, 0.0]),
    "histogram": lambda: plots.histogram("h", "words", lengths([1, 2, 2, 9]), "words"),
    "open histogram": lambda: plots.histogram("h", "words", lengths([1, 2] * 99 + [5000]), "words"),
    "one length": lambda: plots.histogram("h", "words", lengths([3]), "words"),
    "groups": lambda: plots.groups("g", "labels", ["yes", "否" * 30], {"train": [60, 40], "test": [0, 100]}, "%"),
    "one group": lambda: plots.groups("g", "labels", ["yes"], {"train": [100]}, "%"),
    "bars": lambda: plots.bars("b", "longer", ["512", "1,024"], [7, 0], ["7 (1 %)", "0"], 1),
    "bars of zero": lambda: plots.bars("b", "longer", ["512"], [0], ["0"], 0),
    "scatter": lambda: plots.scatter("s", "lengths", [[1, 2], [30, 4]], "across", "up"),
    "reliability": lambda: plots.reliability("r", "sure", {"Base": BINS, "Tuned": BINS[:1]}),
    "risk": lambda: plots.risk("k", "wrong", {"Base": RISK, "Tuned": {"coverage": [1.0], "risk": [0.0]}}),
    "one point": lambda: plots.scatter("s", "lengths", [[0, 0]], "across", "up"),
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
    first, second = (
        set(re.findall(r' id="([^"]*)"', plots.histogram(n, n, lengths([1]), "words"))) for n in ("a", "b")
    )
    assert not first & second


def test_text_stays_text_and_is_escaped():
    svg = plots.difference("d", "a < b & <script>", 1.0, (0.5, 1.5), 0.3, "<i>unit</i>")
    assert "<script>" not in svg
    assert "&lt;i&gt;unit&lt;/i&gt;" in svg


def test_the_last_bin_of_an_open_histogram_says_from_where_it_counts():
    assert ">10+<" in plots.histogram("h", "h", lengths([*range(10)] * 50 + [5000]), "words")
    assert "+<" not in plots.histogram("h", "h", lengths([*range(10)] * 50), "words")


def test_a_long_name_is_shortened_by_the_columns_that_it_takes():
    def drawn(label: str) -> str:
        return plots.groups("g", "g", [label, "yes"], {"train": [50, 50]}, "%")

    assert ">not enough in…<" in drawn("not enough information")
    assert ">否否否否否否…<" in drawn("否" * 9)


def test_a_bar_is_drawn_for_each_label_of_each_series():
    svg = plots.groups("g", "g", ["yes", "no"], {"train": [60, 40], "validation": [50, 50], "test": [70, 30]}, "%")
    assert [svg.count(f">{name}<") for name in ("train", "validation", "test", "yes", "no")] == [1] * 5
    assert svg.count("clip-path") == 6


def test_a_moving_mean_is_drawn_from_31_steps_on():
    def curves(svg: str) -> int:
        return svg.count("stroke-width: 2;")

    assert curves(loss_plot(30)) == 0
    assert curves(loss_plot(31)) == 1


def test_a_diamond_is_drawn_for_each_validation():
    def diamonds(*held_out: tuple[int, float]) -> int:
        svg = plots.training("t", "loss", [1, 2, 3], [3.0, 2.0, 1.0], [1e-4] * 3, held_out)
        return len(re.findall(r"<use [^>]*style=\"fill: var\(--ink", svg))

    assert diamonds((1, 3.1), (3, 2.9)) == diamonds() + 2


def test_smoothing_keeps_a_straight_line_and_its_length():
    line = [float(i) for i in range(40)]
    assert plots.smoothed(line)[2:-2] == line[2:-2]
    assert len(plots.smoothed(line)) == 40


def test_nothing_of_matplotlib_is_set_for_others():
    import matplotlib

    before = dict(matplotlib.rcParams)
    loss_plot(5)
    assert dict(matplotlib.rcParams) == before


def test_dollars_in_a_label_are_text_and_no_formula():
    assert "$5_$10" in plots.groups("g", "g", ["$5_$10", "x"], {"train": [60, 40]}, "%")
