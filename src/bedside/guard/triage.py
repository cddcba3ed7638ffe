"""Which emergencies a case text speaks of, by the rules of `rules.toml`.

    for flag in triage("62-year-old with crushing chest pain, BP 82/54"):
        print(flag.title, flag.matched)   # Chest pain with signs of shock ('chest pain', 'systolic pressure 82 (≤ 90)')

A flag is a reason to look at once, no flag is no all-clear: see docs/decisions/0010-guarded-answer.md. The model is not
asked, so what it says changes nothing, and nothing in the text can talk it out of a flag.
"""

from collections.abc import Sequence
from itertools import chain

from bedside.guard import vitals
from bedside.guard.reading import Reading, read
from bedside.guard.rules import SCORE, Limit, Part, Rule, Rules, rules
from bedside.records import Flag, Message

ADULTS_ONLY = frozenset({"systolic", "pulse", "respirations", SCORE})


def triage(text: str) -> tuple[Flag, ...]:
    """The emergencies that a text speaks of, in the order of the rules."""
    known = rules()
    reading = read(text, known)
    found = ((rule, _matched(rule, reading, known)) for rule in known.rules)
    return tuple(_flag(rule, matched) for rule, matched in found if matched)


def triage_of(messages: Sequence[Message]) -> tuple[Flag, ...]:
    """The same of all that the user said in a conversation: a follow-up question does not end an emergency."""
    return triage("\n\n".join(message.content for message in messages if message.role == "user"))


def _flag(rule: Rule, matched: tuple[str, ...]) -> Flag:
    told = "; ".join(map(str, rule.sources))
    return Flag(rule.name, rule.title, rule.advice, told, rule.sources[0].url, matched)


def _matched(rule: Rule, reading: Reading, known: Rules) -> tuple[str, ...]:
    """What was found of all the ways of a rule that are met; empty if none is."""
    ways = [[_found(part, reading, known) for part in way] for way in rule.when]
    met = [way for way in ways if all(found is not None for found in way)]
    return tuple(dict.fromkeys(chain.from_iterable(chain.from_iterable(filter(None, way)) for way in met)))


def _found(part: Part, reading: Reading, known: Rules) -> tuple[str, ...] | None:
    """What of a part is found, None if it is not met; a part that is met by absence has nothing to show."""
    shown = tuple(chain.from_iterable(_shown(option, reading, known) for option in part.options))
    if part.absent:
        return None if shown else ()
    return shown or None


def _shown(option: str | Limit, reading: Reading, known: Rules) -> tuple[str, ...]:
    if isinstance(option, str):
        return (option,) if option in reading.signs else ()
    if reading.child and option.number in ADULTS_ONLY:
        return ()
    values = (_score(reading, known),) if option.number == SCORE else reading.vitals.get(option.number, ())
    return tuple(option.shown(value) for value in dict.fromkeys(values) if option.met(value))


def _score(reading: Reading, known: Rules) -> int:
    signs = sum(points for part, points in known.points if _found(part, reading, known))
    return vitals.score(reading.vitals, known.bands) + signs
