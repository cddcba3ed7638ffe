"""What stands behind a task's one figure: labels that are taken for each other, answers that cannot be read, whether
the model knows when it errs, how long it writes. From the evaluations' own figures to lines, tables and plots."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from bedside import plots
from bedside.report import numbers
from bedside.report.material import Json
from bedside.report.tasks import TaskRow

OUTCOMES = {
    "none": "No answer in it",
    "several": "Several answers",
    "truncated": "Cut before an answer",
    "refused": "Declined to answer",
    "partial": "Declined, and helped all the same",
    "label": "A bare yes, no or maybe",
    "empty": "No word in it",
}
OVERLAPS = {"rouge_1": "ROUGE-1", "rouge_2": "ROUGE-2", "rouge_l": "ROUGE-L"}
SHARE = "accuracy"


@dataclass(frozen=True, slots=True)
class Detailed:
    """One task: lines of (name, base, tuned), a confusion table a model, plots with their titles, and remarks."""

    label: str
    slug: str
    lines: tuple[tuple[str, ...], ...]
    confusions: tuple[tuple[str, Json], ...]
    plots: tuple[tuple[str, Markup], ...]
    remarks: tuple[str, ...]


def detailed(rows: Sequence[TaskRow], comparison: Json) -> list[Detailed]:
    """The tasks of which more is known, in the order given."""
    known = [
        row for row in rows if all(score.get("detail") or score.get("generated") for score in (row.base, row.tuned))
    ]
    return [_detailed(row, comparison) for row in known]


def _detailed(row: TaskRow, comparison: Json) -> Detailed:
    if row.task == "rouge":
        return _worded(row, comparison)
    about = row.base["detail"] or {}
    if "classification" in about:
        return _labelled(row)
    return _named(row) if "commonest" in about else _kept(row)


def _named(row: TaskRow) -> Detailed:
    """Diagnoses in free words: no table of who is taken for whom, since every case may have its own."""
    sides = (row.base, row.tuned)
    lines = [*_right([score["detail"] for score in sides]), *_unread(sides), *_written(sides)]
    name, share = row.tuned["detail"]["commonest"]
    remark = f"always naming {name} would be right on {_share(share)} of the items"
    return Detailed(row.label, row.slug, tuple(lines), (), (), (remark,))


def _kept(row: TaskRow) -> Detailed:
    """What tuning should not cost: instructions that were followed, requests that were declined."""
    sides = (row.base, row.tuned)
    unread = (line for line in _unread(sides) if line[0] != OUTCOMES["truncated"])  # these are scored as far as they go
    lines = [*unread, *_written(sides)]
    if all(score["detail"] for score in sides):
        loosely = (_share(score["detail"]["loosely"]) for score in sides)
        lines.insert(0, ("Followed, emphasis and a line around it forgiven", *loosely))
    return Detailed(row.label, row.slug, tuple(lines), (), (), ())


def _labelled(row: TaskRow) -> Detailed:
    sides = {"Base": row.base, "Tuned": row.tuned}
    found = {side: score["detail"]["calibration"] for side, score in sides.items()}
    calibrated = {side: calibration for side, calibration in found.items() if calibration}
    return Detailed(
        label=row.label,
        slug=row.slug,
        lines=tuple(_lines(row.base, row.tuned)),
        confusions=tuple((side, score["detail"]["classification"]) for side, score in sides.items()),
        plots=tuple(_plots(row, calibrated)) if len(calibrated) == len(sides) else (),
        remarks=tuple(_remarks(row, calibrated)),
    )


def _remarks(row: TaskRow, calibrated: Mapping[str, Json]) -> Iterator[str]:
    if not calibrated and not row.base.get("generated"):
        yield "likelihoods per character are no confidence; with choice_scoring = “letter” calibration is told, too"
    yield from dict.fromkeys(one["no_sets"] for one in calibrated.values() if one["no_sets"])
    if any(one["sets"] for one in calibrated.values()):
        yield "the set of each item stands in scores.json (detail.calibration.sets_of)"


def _worded(row: TaskRow, comparison: Json) -> Detailed:
    sides = [row.base["detail"], row.tuned["detail"]]
    won, meaning = comparison["win_rate"], comparison["bertscore"]
    lines = [
        *((name, *(_decimal(side[key]) for side in sides)) for key, name in OVERLAPS.items()),
        (
            "BLEU, of 100",
            *(f"{_decimal(side['bleu']['score'], 1)} ({_between(side['bleu']['ci'], 1)})" for side in sides),
        ),
        *_meant([side["bertscore"] for side in sides]),
        ("The same as the reference", *(_share(side["exact_match"]) for side in sides)),
        ("Having the whole reference in it", *(_share(side["names_reference"]) for side in sides)),
        ("Words of an answer, on average", *(_decimal(side["words"][1], 1) for side in sides)),
        ("Words of a reference", *(_decimal(side["words"][0], 1) for side in sides)),
        *_written((row.base, row.tuned)),
    ]
    remarks = [f"BLEU as sacrebleu counts it: {sides[1]['bleu']['signature']}"]
    remarks += [_difference(meaning)] if meaning else []
    remarks += [_won(won)] if won else []
    return Detailed(row.label, row.slug, tuple(lines), (), (), tuple(remarks))


def _meant(sides: Sequence[Json | None]) -> Iterator[tuple[str, ...]]:
    """BERTScore, where both models' answers have one."""
    found = [side for side in sides if side]
    if len(found) < len(sides):
        return
    for part in ("precision", "recall"):
        yield f"BERTScore, {part}", *(_decimal(side[part]) for side in found)
    yield "BERTScore, F1", *(f"{_decimal(side['f1'])} ({_between(side['f1_ci'])})" for side in found)
    if any(side["cut"] for side in found):
        yield "BERTScore, of the beginning alone", *(numbers.count(side["cut"]) for side in found)


def _difference(meaning: Json) -> str:
    low, high = (numbers.difference(bound, "BERTScore") for bound in meaning["ci"])
    said = f"BERTScore F1 differs by {numbers.difference(meaning['difference'], 'BERTScore')} ({low} to {high}, n ="
    said += f" {numbers.count(meaning['n'])}); like ROUGE it rises with style, so it is never counted"
    return f"{said}. {meaning['signature']}"


def _won(won: Json) -> str:
    """Who is nearer to the reference, as it is and at the same length."""
    tuned, base, n = (numbers.count(won[name]) for name in ("won", "lost", "n"))
    said = f"the tuned model's answer is nearer to the reference on {tuned} of {n} items, the base's on {base}"
    if won["controlled"] is None:
        return f"{said}; one of them nearly always writes more, so what length alone does cannot be told"
    return f"{said}; at the same length it would be on {_share(won['controlled'], won['ci'])} of them"


def _lines(base: Json, tuned: Json) -> Iterator[tuple[str, ...]]:
    sides = (base, tuned)
    said = [score["detail"]["classification"] for score in sides]
    yield from _right(said)
    yield from _unread(sides)
    yield from _written(sides)
    yield "Macro-F1", *(f"{_decimal(one['macro_f1'])} ({_between(one['macro_f1_ci'])})" for one in said)
    for place in (0, 1):
        named = [score["detail"]["baselines"][place] for score in sides]
        about = f"{named[0]['name'][:1].upper()}{named[0]['name'][1:]}: right, macro-F1"
        yield about, *(f"{_share(one['accuracy'])}, {_decimal(one['macro_f1'])}" for one in named)
    if all(score["detail"]["calibration"] for score in sides):
        yield from _confidence([score["detail"]["calibration"] for score in sides])


def _right(said: Sequence[Json]) -> Iterator[tuple[str, ...]]:
    yield "Right, of all items", *(_share(one["strict"], one["strict_ci"]) for one in said)
    if any(one["unparsed"] for one in said):
        yield "Right, of the answers that could be read", *(_share(one["accuracy"]) for one in said)
        yield "If none or all of the others were right", *(_bounds(one["bounds"]) for one in said)


def _unread(sides: Sequence[Json]) -> Iterator[tuple[str, ...]]:
    for how, name in OUTCOMES.items():
        if any(score["outcomes"].get(how) for score in sides):
            yield name, *(numbers.count(score["outcomes"].get(how, 0)) for score in sides)


def _written(sides: Sequence[Json]) -> Iterator[tuple[str, ...]]:
    """How the answers came about, where any were written."""
    found = [score["generated"] for score in sides if score.get("generated")]
    if len(found) < len(sides):
        return
    if any(one["reasoned"] for one in found):
        yield "After reasoning", *(numbers.count(one["reasoned"]) for one in found)
        yield "Made to answer, its reasoning closed", *(numbers.count(one["forced"]) for one in found)
    yield "Cut at the token limit", *(numbers.count(one["cut"]) for one in found)
    yield "Tokens written, on average", *(_decimal(one["tokens"], 1) for one in found)


def _confidence(sides: Sequence[Json]) -> Iterator[tuple[str, ...]]:
    ece = (f"{_decimal(one['ece'])} (chance alone {_between(one['ece_if_calibrated'])})" for one in sides)
    yield "Expected calibration error", *ece
    yield "Brier score", *(f"{_decimal(one['brier'])} ({_between(one['brier_ci'])})" for one in sides)
    if all(one["sets"] for one in sides):
        sets = [one["sets"] for one in sides]
        level = f"{100 * sets[0]['level']:g}{numbers.SPACE}%"
        yield (
            f"Answer sets at {level}: right one inside",
            *(_share(one["coverage"], one["coverage_ci"]) for one in sets),
        )
        yield f"Answer sets at {level}: mean size", *(_decimal(one["mean_size"], 2) for one in sets)


def _plots(row: TaskRow, calibrated: Mapping[str, Json]) -> Iterator[tuple[str, Markup]]:
    bins = {side: one["bins"] for side, one in calibrated.items()}
    risks = {side: one["risk"] for side, one in calibrated.items()}
    about = ", ".join(f"{side} {_decimal(one['ece'])}" for side, one in calibrated.items())
    yield (
        "Reliability: on the dashed line a model is right as often as it is sure",
        Markup(plots.reliability(f"reliability-{row.slug}", f"{row.label}, calibration error: {about}", bins)),
    )
    about = ", ".join(f"{side} {_decimal(one['area'])}" for side, one in risks.items())
    yield (
        "Risk against coverage: if only the surest answers are given",
        Markup(plots.risk(f"risk-{row.slug}", f"{row.label}, mean share wrong: {about}", risks)),
    )


def _share(number: float | None, ci: Sequence[float] | None = None) -> str:
    said = numbers.value(number, SHARE)
    return f"{said} ({numbers.interval(ci, SHARE)})" if ci else said


def _bounds(bounds: Sequence[float]) -> str:
    return f"{numbers.interval(bounds, SHARE)}{numbers.SPACE}%"


def _between(ci: Sequence[float], digits: int = 3) -> str:
    return " to ".join(_decimal(bound, digits) for bound in ci)


def _decimal(number: float, digits: int = 3) -> str:
    return numbers.decimal(number, digits)
