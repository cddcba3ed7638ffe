"""The report's plots: numbers in, inline SVG text out, the same bytes for the same numbers.

Each function takes numbers in the unit that they are shown in, a `name` that is unique on the page, and what a
reader who cannot see the plot is told. Colours are CSS variables of the page (each with a fallback), so one drawing
serves light, dark and paper; text stays text. The page's style sheet names the variables in `PAINT`.
"""

import io
import math
import re
from collections.abc import Sequence
from html import escape

from bedside.errors import MissingExtra

try:
    from matplotlib import rc_context
    from matplotlib.axes import Axes
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure
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
BAND = 0.16
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


def training(name: str, about: str, steps: Sequence[int], loss: Sequence[float], lr: Sequence[float]) -> str:
    """Loss at every logged step with the learning rate beneath; a moving average is added from 31 steps on."""
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


def histogram(name: str, about: str, edges: Sequence[float], counts: Sequence[float], median: float) -> str:
    """Counts in given bins, the median marked with a line."""
    figure = Figure(figsize=(4.2, 1.75))
    axes = figure.add_axes((0.09, 0.29, 0.88, 0.66))
    axes.bar(edges[:-1], counts, width=edges[1] - edges[0], align="edge", color=MARK, alpha=0.75, linewidth=0)
    axes.axvline(median, color=INK, linewidth=1.2, linestyle=(0, (3, 2)))
    axes.set_xlim(edges[0], edges[-1])
    _plain(axes)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    axes.set_xlabel("words", color=MUTED, fontsize=9.5)
    return _svg(figure, name, about)


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


def _svg(figure: Figure, name: str, about: str) -> str:
    """The drawing as an element of the page: no prologue, no date, ids that only this plot has, and a description."""
    figure.patch.set_visible(False)
    content = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
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


def _signed(x: float) -> str:
    return "0" if math.isclose(x, 0, abs_tol=1e-12) else f"{x:+g}".replace("-", "\N{MINUS SIGN}")


def _scientific(x: float) -> str:
    if x == 0:
        return "0"
    digits, exponent = f"{x:.1e}".split("e")
    return f"{digits.removesuffix('.0')}e{int(exponent)}".replace("-", "\N{MINUS SIGN}")
