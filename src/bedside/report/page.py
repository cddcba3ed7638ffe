"""`Material` → the text of report.html: one file without scripts that asks for nothing from anywhere.

Everything that comes from data is escaped by the template's autoescape; the only markup that passes is that of our
own plots. The same material gives the same bytes.
"""

from operator import itemgetter

from markupsafe import Markup

from bedside import plots
from bedside.metrics import paired
from bedside.recipe_file import parse, to_toml
from bedside.report import numbers, parity, settings, tasks, verdict
from bedside.report.detail import detailed
from bedside.report.lengths import WORDS, histograms
from bedside.report.material import Json, Material
from bedside.report.tasks import TaskRow
from bedside.report.template import template
from bedside.text.prompts import NOTICE

SHOWN_EXAMPLES = 3
SHOWN_SUBJECTS = 6
SHOWN_MOVED = 30


def render(material: Material) -> str:
    """The page as HTML text."""
    rows = tasks.rows(material)
    word = material.comparison["verdict"]
    return template("report.html.jinja").render(
        material=material,
        notice=NOTICE,
        rows=rows,
        word=word,
        grounds=verdict.grounds(word, rows),
        reservations=verdict.reservations(word, rows),
        forest=[(row, _difference(row)) for row in rows],
        detailed=detailed(rows, material.comparison),
        unmeasured=material.comparison.get("unmeasured"),
        curve=_curve(material.metrics),
        best=min(_held_out(material.metrics), key=itemgetter(1), default=None),
        histograms=histograms(material.stats["words"], WORDS, "words"),
        settings=settings.lines(material.recipe, material.train),
        passes=settings.passes(material.recipe, material.train),
        cut={side: _cut(material.examples, side) for side in ("base", "tuned")},
        smoothed=len(material.metrics) >= plots.SMOOTH_FROM,
        window=plots.window(len(material.metrics)),
        recipe_toml=to_toml(parse(material.recipe, "the report's recipe")),
        parity=parity.lines(material.parity),
        parity_heads=parity.HEADS,
        parity_said=parity.sentence(material.parity),
        paired=paired,
        signs=tasks.SIGNS,
        shown_examples=SHOWN_EXAMPLES,
        shown_subjects=SHOWN_SUBJECTS,
        shown_moved=SHOWN_MOVED,
    )


def _difference(row: TaskRow) -> Markup:
    compared = row.compared
    low, high = (numbers.drawn(bound, row.metric) for bound in compared["ci"])
    detectable = compared["detectable"]
    about = (
        f"{row.label}, tuned minus base: {numbers.difference(compared['difference'], row.metric)},"
        f" 95 % interval {numbers.differences(compared['ci'], row.metric)};"
        f" smallest detectable difference {numbers.size(detectable, row.metric)}"
    )
    return Markup(
        plots.difference(
            f"difference-{row.slug}",
            about,
            numbers.drawn(compared["difference"], row.metric),
            (low, high),
            None if detectable is None else numbers.drawn(detectable, row.metric),
            numbers.unit(row.metric),
        )
    )


def _curve(metrics: list[Json]) -> Markup | None:
    """The loss curve; None if no step was logged."""
    if not metrics:
        return None
    steps, loss, lr = ([row[name] for row in metrics] for name in ("step", "loss", "lr"))
    about = (
        f"Training loss over {len(steps)} logged steps, from {numbers.decimal(loss[0])} to"
        f" {numbers.decimal(loss[-1])}, with the learning rate beneath"
    )
    held_out = _held_out(metrics)
    if held_out:
        first, last = (numbers.decimal(held_out[at][1]) for at in (0, -1))
        about += f"; loss on the validation rows from {first} to {last}"
    return Markup(plots.training("training", about, steps, loss, lr, held_out))


def _held_out(metrics: list[Json]) -> list[tuple[int, float]]:
    """(step, loss on the validation rows) wherever it was computed."""
    return [(row["step"], row["validation_loss"]) for row in metrics if row.get("validation_loss") is not None]


def _cut(examples: list[Json], side: str) -> int:
    """How many of a model's answers the token limit cut."""
    return sum(one[side]["finish"] == "length" for one in examples)
