"""The report's plots: numbers in, inline SVG text out, the same bytes for the same numbers.

Each function takes numbers in the unit that they are shown in, a `name` that is unique on the page, and what a
reader who cannot see the plot is told. Colours are CSS variables of the page (each with a fallback), so one drawing
serves light, dark and paper; text stays text. The page's style sheet names the variables in `PAINT`.
"""

import io
import math
import re
import warnings
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any
from unicodedata import east_asian_width

from bedside.errors import MissingExtra

try:
    from matplotlib import rc_context
    from matplotlib.axes import Axes
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure
    from matplotlib.text import Text
    from matplotlib.ticker import FuncFormatter, MaxNLocator
except ImportError as missing:
    raise MissingExtra.named("the report's plots", "report") from missing

INK, MUTED, RULE, MARK = "#010203", "#010204", "#010205", "#010206"
PAINT = {
    INK: "var(--ink, #1c2430)",
    MUTED: "var(--muted, #56606e)",
    RULE: "var(--rule, #c9d0d9)",
    MARK: "var(--mark, #0b5c9e)",
}
"""Colours that are drawn with → what the SVG says instead; near-blacks that no colour map yields."""
SMOOTH_FROM = 31
BAND, PALE, FULL = 0.16, 0.4, 0.75
SERIES = ((MARK, 0.95), (MARK, PALE), (MUTED, 0.7))
LEGEND: dict[str, Any] = {
    "frameon": False, "fontsize": 9.5, "labelcolor": INK, "handlelength": 0.9, "handletextpad": 0.5,
    "columnspacing": 1.4, "borderaxespad": 0,
}  # fmt: skip
NO_DATE = {"Date": None, "Creator": None, "Format": None, "Type": None}
FONT_FAMILY = re.compile(r"font-family: [^;\"]*;? ?")


def difference(name: str, about: str, value: float, ci: Sequence[float], detectable: float | None, unit: str) -> str:
    """One paired difference on its own scale: interval, point, the zero line, and the band of ±`detectable`."""
    reach = 1.15 * max(abs(value), *map(abs, ci), detectable or 0.0) or 1.0
    figure = Figure(figsize=(3.7, 1.35))
    axes = figure.add_axes((0.05, 0.47, 0.90, 0.37))
    if detectable:
        axes.axvspan(-detectable, detectable, color=MUTED, alpha=BAND, linewidth=0)
    axes.axvline(0, color=INK, linewidth=1)
    axes.plot(ci, (0, 0), color=MARK, linewidth=2.2, marker="|", markersize=9, markeredgewidth=2.2)
    axes.plot([value], [0], color=MARK, marker="D", markersize=6.5)
    axes.set_xlim(-reach, reach)
    axes.set_ylim(-1, 1)
    axes.set_yticks([])
    _plain(axes, bottom_only=True)
    axes.xaxis.set_major_locator(MaxNLocator(5, symmetric=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: _signed(x)))
    axes.set_xlabel(unit, color=MUTED, fontsize=9.5)
    for text, x, side in (("tuned worse", 0.0, "left"), ("tuned better", 1.0, "right")):
        axes.text(x, 1.12, text, transform=axes.transAxes, ha=side, color=MUTED, fontsize=9)
    return _svg(figure, name, about)


def training(
    name: str,
    about: str,
    steps: Sequence[int],
    loss: Sequence[float],
    lr: Sequence[float],
    held_out: Sequence[tuple[int, float]] = (),
) -> str:
    """Loss at every logged step with the learning rate beneath; a moving average is added from 31 steps on.

    `held_out` are (step, loss on the validation rows), drawn as diamonds.
    """
    figure = Figure(figsize=(4.5, 3.5))
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3.4, 1))
    figure.subplots_adjust(left=0.16, right=0.97, top=0.97, bottom=0.14, hspace=0.16)
    many = len(steps) >= SMOOTH_FROM
    upper.plot(
        steps, loss, color=MARK, marker="o", markersize=2.4 if many else 4, linestyle="none" if many else "-",
        linewidth=1.4, alpha=0.4 if many else 1,
    )  # fmt: skip
    if many:
        upper.plot(steps, smoothed(loss), color=MARK, linewidth=2)
    if held_out:
        upper.plot(*zip(*held_out, strict=True), color=INK, linestyle="none", marker="D", markersize=4.5)
    lower.plot(steps, lr, color=MUTED, linewidth=1.6, marker="o" if len(steps) == 1 else None, markersize=4)
    lower.set_ylim(0, 1.15 * max(lr) or 1)
    lower.set_yticks(sorted({0.0, max(lr)}))
    lower.yaxis.set_major_formatter(FuncFormatter(lambda x, _: _scientific(x)))
    lower.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    if len(steps) == 1:
        lower.set_xlim(steps[0] - 1, steps[0] + 1)
    for axes, label in ((upper, "loss"), (lower, "learning rate")):
        _plain(axes)
        axes.set_ylabel(label, color=MUTED, fontsize=9.5)
    figure.align_ylabels()
    lower.set_xlabel("optimiser step", color=MUTED, fontsize=9.5)
    return _svg(figure, name, about)


def histogram(name: str, about: str, lengths: Mapping[str, Any], unit: str) -> str:
    """The bins of `data.stats.lengths`, with lines at the median (dashed) and at the mean (dotted).

    A wider last bin is drawn as wide as the others, but paler; its mark says from where on it counts.
    """
    edges, counts = lengths["histogram"]["edges"], lengths["histogram"]["counts"]
    width = edges[1] - edges[0]
    is_open = edges[-1] - edges[-2] > width
    figure = Figure(figsize=(3.9, 1.75))
    axes = figure.add_axes((0.12, 0.29, 0.84, 0.66))
    starts = [edge - 0.5 for edge in edges]  # lengths are whole: a bin of width 1 stands over its number
    drawn = axes.bar(starts[:-1], counts, width=0.94 * width, align="edge", color=MARK, alpha=FULL, linewidth=0)
    if is_open:
        drawn[-1].set_alpha(PALE)
    for at, dashes in ((lengths["median"], (4, 2)), (lengths["mean"], (1, 1.5))):
        axes.axvline(at, color=INK, linewidth=1.3, linestyle=(0, dashes))
    _plain(axes)
    axes.set_xlim(-0.5, starts[-2] + width)
    last = 0.85 * edges[-2] if is_open else edges[-1]
    ticks = {
        tick: _count(tick) for tick in MaxNLocator(5, integer=True).tick_values(0, edges[-2] + width) if tick <= last
    }
    if is_open:
        ticks[edges[-2]] = f"{_count(edges[-2])}+"
    axes.set_xticks(list(ticks), list(ticks.values()))
    axes.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: _count(y)))
    axes.set_xlabel(unit, color=MUTED, fontsize=9.5)
    return _svg(figure, name, about)


def groups(name: str, about: str, labels: Sequence[str], series: Mapping[str, Sequence[float]], unit: str) -> str:
    """For each label one bar a series, three series at most, named in their order above the plot."""
    names = [_short(label) for label in labels]
    left = 0.07 + 0.0145 * max(map(_columns, names))
    figure, axes = _rows(len(labels), each=0.2 + 0.14 * len(series), above=0.3, beneath=0.45, left=left)
    thick = 0.8 / len(series)
    for i, ((title, values), (colour, alpha)) in enumerate(zip(series.items(), SERIES, strict=False)):
        at = [row + (i - (len(series) - 1) / 2) * thick for row in range(len(labels))]
        axes.barh(at, values, height=0.9 * thick, color=colour, alpha=alpha, linewidth=0, label=title)
    axes.set_yticks(range(len(labels)), names)
    axes.set_xlabel(unit, color=MUTED, fontsize=9.5)
    figure.legend(loc="upper left", bbox_to_anchor=(left - 0.02, 1.0), ncols=len(series), **LEGEND)
    return _svg(figure, name, about)


def bars(name: str, about: str, labels: Sequence[str], values: Sequence[float], notes: Sequence[str], own: int) -> str:
    """One bar a label with its note at the end; the one at index `own` is set apart."""
    figure, axes = _rows(len(labels), each=0.3, above=0.05, beneath=0.05, left=0.15)
    reach = max(*values, 1e-9)
    for row, (value, note) in enumerate(zip(values, notes, strict=True)):
        axes.barh(row, value, height=0.66, color=MARK, alpha=FULL if row == own else PALE, linewidth=0)
        axes.text(value + 0.02 * reach, row, note, va="center", color=INK, fontsize=9.5)
    axes.set_xlim(0, 1.55 * reach)
    axes.set_yticks(range(len(labels)), labels)
    axes.get_yticklabels()[own].set_fontweight("bold")
    axes.set_xticks([])
    axes.spines["bottom"].set_visible(False)
    return _svg(figure, name, about)


def scatter(name: str, about: str, points: Sequence[Sequence[float]], across: str, up: str) -> str:
    """Points of which each is pale, so that many upon another show; an axis begins at 0 unless all lie far from it."""
    figure = Figure(figsize=(3.9, 2.7))
    axes = figure.add_axes((0.15, 0.19, 0.81, 0.77))
    x, y = ([point[i] for point in points] for i in (0, 1))
    axes.plot(x, y, color=MARK, linestyle="none", marker="o", markersize=3.6, alpha=PALE, markeredgewidth=0)
    _plain(axes)
    for axis, values in ((axes.xaxis, x), (axes.yaxis, y)):
        axis.set_major_locator(MaxNLocator(5, integer=True))
        axis.set_major_formatter(FuncFormatter(lambda value, _: _count(value)))
        lowest, highest = min(values), max(*values, 1)
        axis.set_view_interval(0.9 * lowest if lowest > highest / 2 else 0, 1.05 * highest, ignore=True)
    axes.set_xlabel(across, color=MUTED, fontsize=9.5)
    axes.set_ylabel(up, color=MUTED, fontsize=9.5)
    return _svg(figure, name, about)


def reliability(name: str, about: str, sides: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """Accuracy against confidence, a point a bin with its interval; on the diagonal a model is right as often as sure.

    `sides` are the bins of `metrics.calibration.reliability` by model, two at most: the first hollow, the second full.
    """
    figure, axes = _square()
    axes.plot((0, 1), (0, 1), color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
    for (title, bins), hollow in zip(sides.items(), (True, False), strict=False):
        colour = MUTED if hollow else MARK
        for one in bins:
            axes.plot((one["confidence"],) * 2, one["ci"], color=colour, linewidth=3.2 if hollow else 1.2, alpha=FULL)
        x, y = ([one[key] for one in bins] for key in ("confidence", "accuracy"))
        (points,) = axes.plot(x, y, color=colour, linestyle="none", marker="o", label=title)
        points.set_markersize(8 if hollow else 5)
        points.set_markerfacecolor("none" if hollow else colour)
    return _svg(_in_shares(figure, axes, "confidence of the choice", "share right"), name, about)


def risk(name: str, about: str, sides: Mapping[str, Mapping[str, Any]]) -> str:
    """The share of wrong answers among the surest, against how many of them are given.

    `sides` are `metrics.calibration.RiskCoverage` by model, two at most: the first pale, the second full.
    """
    figure, axes = _square()
    for (title, one), colour, width in zip(sides.items(), (MUTED, MARK), (3.2, 1.6), strict=False):
        axes.plot(one["coverage"], one["risk"], color=colour, linewidth=width, drawstyle="steps-post", label=title)
    return _svg(_in_shares(figure, axes, "share answered, the surest first", "share wrong"), name, about)


def smoothed(values: Sequence[float]) -> list[float]:
    """The mean of the steps around each step, as many as `window` says; at both ends of those that are there.

    Centred, since a trailing average lags behind a falling loss.
    """
    half = window(len(values)) // 2
    around = [values[max(0, i - half) : i + half + 1] for i in range(len(values))]
    return [sum(near) / len(near) for near in around]


def window(steps: int) -> int:
    """Steps that a smoothed point covers: about a twentieth of them, odd, and five at least."""
    return 2 * max(2, steps // 40) + 1


def _plain(axes: Axes, bottom_only: bool = False) -> None:
    """No box, no background, a light grid along the values."""
    axes.patch.set_visible(False)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(MUTED)
    axes.tick_params(colors=MUTED, labelcolor=INK, labelsize=9.5, length=3)
    axes.tick_params(axis="y", length=0)
    axes.set_axisbelow(True)
    if not bottom_only:
        axes.grid(axis="y", color=RULE, linewidth=0.7)


def _square() -> tuple[Figure, Axes]:
    figure = Figure(figsize=(3.9, 3.2))
    return figure, figure.add_axes((0.14, 0.16, 0.82, 0.72))


def _in_shares(figure: Figure, axes: Axes, across: str, up: str) -> Figure:
    """Both axes from 0 to 100 %, with the names of what is drawn above."""
    _plain(axes)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_view_interval(-0.02, 1.02, ignore=True)
        axis.set_major_locator(MaxNLocator(5))
        axis.set_major_formatter(FuncFormatter(lambda x, _: f"{100 * x:.0f} %"))
    axes.set_xlabel(across, color=MUTED, fontsize=9.5)
    axes.set_ylabel(up, color=MUTED, fontsize=9.5)
    figure.legend(loc="upper left", bbox_to_anchor=(0.12, 1.0), ncols=2, **LEGEND)
    return figure


def _rows(number: int, each: float, above: float, beneath: float, left: float) -> tuple[Figure, Axes]:
    """Axes whose height follows the number of rows, the first on top: inches, but for the share `left` of the names."""
    height = above + each * number + beneath
    figure = Figure(figsize=(3.9, height))
    axes = figure.add_axes((left, beneath / height, 0.97 - left, each * number / height))
    _plain(axes, bottom_only=True)
    axes.set_ylim(number - 0.5, -0.5)
    return figure, axes


def _svg(figure: Figure, name: str, about: str) -> str:
    """The drawing as an element of the page: no prologue, no date, ids that only this plot has, and a description."""
    figure.patch.set_visible(False)
    content = io.StringIO()
    for text in figure.findobj(Text):
        text.set_parse_math(False)  # a label with two dollars is no formula
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": name}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # the reader's browser has the fonts that this machine lacks
        FigureCanvasSVG(figure).print_svg(content, metadata=NO_DATE)
    drawing = content.getvalue()
    drawing = drawing[drawing.index("</defs>") + len("</defs>") :]  # the first holds a style for every element
    drawing = FONT_FAMILY.sub("", re.sub(r'<g id="[^"]*"', "<g", drawing))
    for drawn, said in PAINT.items():
        drawing = drawing.replace(drawn, said)
    width, height = (round(72 * inches, 2) for inches in figure.get_size_inches())
    return (
        f'<svg class="plot" xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
        f' viewBox="0 0 {width:g} {height:g}" role="img" aria-labelledby="{escape(name)}-about">'
        f'<title id="{escape(name)}-about">{escape(about)}</title>{drawing}'
    )


def _short(text: str, most: int = 14) -> str:
    """The text, or as much of it as `most` columns take."""
    if _columns(text) <= most:
        return text
    while _columns(text) >= most:
        text = text[:-1]
    return text + "\N{HORIZONTAL ELLIPSIS}"


def _columns(text: str) -> int:
    """How wide a text is: a Chinese or Japanese sign takes two columns."""
    return sum(1 + (east_asian_width(sign) in "WF") for sign in text)


def _count(x: float) -> str:
    return f"{x / 1000:g}k" if x >= 10_000 else f"{x:,.0f}"


def _signed(x: float) -> str:
    return "0" if math.isclose(x, 0, abs_tol=1e-12) else f"{x:+g}".replace("-", "\N{MINUS SIGN}")


def _scientific(x: float) -> str:
    if x == 0:
        return "0"
    digits, exponent = f"{x:.1e}".split("e")
    return f"{digits.removesuffix('.0')}e{int(exponent)}".replace("-", "\N{MINUS SIGN}")
