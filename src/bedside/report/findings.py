"""Statistics and card of the data → the few sentences that a reader should not miss."""

from collections.abc import Iterator

from bedside.data.stats import CONTRADICTS
from bedside.report import numbers
from bedside.report.material import Json

FEW_LABELS = 10
CUT = {"prompt": "in the question", "reasoning": "in the reasoning", "answer": "in the answer"}


def findings(stats: Json, card: Json) -> list[str]:
    """What to know before training on these rows, the gravest first; nothing that gives no cause is told."""
    told = (
        *_leaks(stats["contamination"]), _too_long(stats["tokens"]), _copies(stats), _contradictions(stats),
        _balance(stats), _licence(card),
    )  # fmt: skip
    return [sentence for sentence in told if sentence]


def _leaks(contamination: list[Json]) -> Iterator[str]:
    if not contamination:
        yield "These rows were compared with no evaluation set."
    elif not any(found["rows"] for found in contamination):
        yield f"Compared with {_many(len(contamination), 'set')}: no item was found in a training row."
    yield from (_leak(found) for found in contamination if found["rows"])


def _leak(found: Json) -> str:
    rows, items = _many(found["rows"], "training row"), _many(found["items"], "item")
    then = {"report": ", still there: a model may learn these items by heart", "drop": ", left out"}
    of = f"{numbers.count(found['hit_items'])} of its {items}"
    return f"{found['set']}: {of} found in {rows}{then.get(found['action'], '')}."


def _too_long(tokens: Json | None) -> str:
    longer = sum(tokens["cut_at_max_length"].values()) if tokens else 0
    if not tokens or not longer:
        return ""
    places = [f"{CUT[part]} of {numbers.count(n)}" for part, n in tokens["cut_at_max_length"].items() if n]
    of = f"{numbers.count(longer)} of {_many(tokens['rows'], 'measured row')}"
    limit = numbers.count(tokens["max_length"])
    return (
        f"Too long for model.max_length = {limit} tokens: {of} ({numbers.percent(longer, tokens['rows'])}). Training"
        f" leaves them out and cuts none; the limit falls {', '.join(places)}."
    )


def _copies(stats: Json) -> str:
    exact, near = stats["duplicates"]["exact"], stats["duplicates"]["near"]
    if not exact + near:
        return ""
    parts = [f"{numbers.count(n)} {word}" for n, word in ((exact, "exact"), (near, "near")) if n]
    share = numbers.percent(exact + near, stats["read"])
    return f"Copies of other rows were left out: {', '.join(parts)}; {share} of the rows read."


def _contradictions(stats: Json) -> str:
    rows = stats["dropped"].get(CONTRADICTS, 0)
    if not rows:
        return ""
    return (
        f"{_many(rows, 'row')} ask{'s' if rows == 1 else ''} what another row asks and name{'s' if rows == 1 else ''}"
        " another answer; the first one stays, and nobody knows which is right."
    )


def _balance(stats: Json) -> str:
    """Told where the labels are so few that they are decisions or options, which a model could name each time."""
    if not 2 <= len(stats["labels"]) <= FEW_LABELS:
        return ""
    label, count = max(stats["labels"].items(), key=lambda item: item[1])
    share = numbers.percent(count, sum(stats["labels"].values()))
    return f"The commonest label is “{label}”: saying it each time is right in {share} of the labelled rows."


def _licence(card: Json) -> str:
    return "" if not card["licence"].startswith("not stated") else "The licence of the rows is not stated."


def _many(number: int, thing: str) -> str:
    return f"{numbers.count(number)} {thing}{'' if number == 1 else 's'}"
