"""Statistics and card of the data stage → the text of its report.html: one file that asks for nothing from anywhere.

Everything that comes from rows is escaped; the only markup that passes is that of our own plots and marks. The same
figures give the same bytes.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from markupsafe import Markup

from bedside import plots
from bedside.data.stats import CONTRADICTS
from bedside.report import numbers
from bedside.report.findings import findings
from bedside.report.lengths import TOKENS, WORDS, histograms
from bedside.report.material import Json
from bedside.report.overlap import side_by_side
from bedside.report.template import template
from bedside.text.prompts import NOTICE

SHOWN_LABELS, SHOWN_SUBJECTS, SHOWN_PAIRS = 8, 12, 3


@dataclass(frozen=True, slots=True)
class Pair:
    """A training row beside the evaluation item that it contains, with the words that they share marked."""

    set: str
    score: float
    train_id: str
    item_id: str
    train: Markup
    item: Markup


def render(stats: Json, card: Json) -> str:
    """The page as HTML text."""
    tokens = stats["tokens"]
    return template("data.html.jinja").render(
        notice=NOTICE,
        stats=stats,
        card=card,
        findings=findings(stats, card),
        flow=list(_flow(stats["read"], card["filters"])),
        idle=[row for row in card["filters"] if not row["rows"]],
        balance=_balance(stats),
        label_rows=_label_rows(stats["labels_by_split"], stats["labels"]),
        shown_labels=SHOWN_LABELS,
        labelled=sum(stats["labelled"].values()),
        subjects=list(stats["subjects"].items()),
        shown_subjects=SHOWN_SUBJECTS,
        words=histograms(stats["words"], WORDS, "words"),
        scatter=_scatter(stats["reasoning_against_answer"]),
        tokens=histograms(tokens, TOKENS, "tokens") if tokens else [],
        truncation=_truncation(tokens) if tokens else None,
        pairs=_pairs(stats["contamination"]),
        shown_pairs=SHOWN_PAIRS,
        contradicts=CONTRADICTS,
    )


def _flow(read: int, filters: list[Json]) -> Iterator[Json]:
    """Each filter that took rows, with what remained after it."""
    left = read
    for row in filters:
        if row["rows"]:
            left -= row["rows"]
            yield {**row, "left": left}


def _label_rows(by_split: dict[str, dict[str, int]], labels: dict[str, int]) -> list[tuple[str, list[int], int]]:
    """(label, its rows in each split, its rows); where there are many labels, from the commonest on."""
    order = sorted(labels, key=lambda label: -labels[label]) if len(labels) > SHOWN_LABELS else labels
    return [(label, [counts[label] for counts in by_split.values()], labels[label]) for label in order]


def _balance(stats: Json) -> Markup | None:
    """Each label's share of the labelled rows of each split that has any; None without labels."""
    by_split = stats["labels_by_split"]
    shown = [label for label, _, _ in _label_rows(by_split, stats["labels"])[:SHOWN_LABELS]]
    totals = stats["labelled"]
    shares = {
        split: [100 * by_split[split][label] / total for label in shown] for split, total in totals.items() if total
    }
    if not shares:
        return None
    said = (f"{split}: " + ", ".join(f"{label} {share:.0f} %" for label, share in zip(shown, found, strict=True))
            for split, found in shares.items())  # fmt: skip
    return Markup(plots.groups("balance", f"Share of each label. {'; '.join(said)}", shown, shares, "% of the split"))


def _scatter(found: Json | None) -> Markup | None:
    if not found:
        return None
    r = found["correlation"]
    about = f"Words of the answer against words of the reasoning, {len(found['points'])} of {found['n']} rows" + (
        "" if r is None else f"; correlation {r:.2f}"
    )
    return Markup(plots.scatter("scatter", about, found["points"], "words of reasoning", "words of answer"))


def _truncation(tokens: Json) -> Markup | None:
    """How many rows each length is too short for; None if 512 tokens suffice for all."""
    longer = tokens["longer_than"]
    if not any(longer.values()):
        return None
    limits = sorted(map(int, longer))
    values = [longer[str(limit)] for limit in limits]
    notes = [f"{numbers.count(value)} ({numbers.percent(value, tokens['rows'])})" for value in values]
    about = "Rows longer than so many tokens: " + ", ".join(
        f"{limit}: {note}" for limit, note in zip(limits, notes, strict=True)
    )
    names = [numbers.count(limit) for limit in limits]
    return Markup(plots.bars("truncation", about, names, values, notes, limits.index(tokens["max_length"])))


def _pairs(contamination: list[Json]) -> list[Pair]:
    """All pairs of all sets, the most alike first."""
    found = [
        Pair(one["set"], pair["score"], pair["train_id"], pair["item_id"], *side_by_side(pair["train"], pair["item"]))
        for one in contamination
        for pair in one["pairs"]
    ]
    return sorted(found, key=lambda pair: -pair.score)
