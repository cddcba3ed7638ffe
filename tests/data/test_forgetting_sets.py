"""The embedded sets for what is forgotten keep the promises of their card."""

import math
import re
from collections import Counter
from fractions import Fraction
from itertools import pairwise

import pytest

from bedside.data import sources, split
from bedside.data.read import read_path
from bedside.evaluate.constraints import CHECKS
from bedside.evaluate.forgetting import GENERAL, INSTRUCTIONS, checks, general, instructions, score_instruction

ITEMS = general()
ROWS = [row for _, row in read_path(str(GENERAL), None)]
PROMPTS = instructions()
MEDICAL = {"patient", "disease", "doctor", "drug", "medicine", "treatment", "symptom", "hospital", "blood", "illness"}


def answer(item_id: str) -> str:
    return next(item.answer[3:] for item in ITEMS if item.id == f"general-{item_id}")


def test_ten_subjects_have_five_questions_of_each_difficulty():
    counts = Counter((row["subject"], row["difficulty"]) for row in ROWS)
    assert len(counts) == 30
    assert set(counts.values()) == {5}
    assert {difficulty for _, difficulty in counts} == {"easy", "medium", "hard"}


def test_the_id_tells_subject_and_difficulty():
    assert all(row["id"].startswith(f"general-{row['subject']}-{row['difficulty']}-") for row in ROWS)


def test_ids_and_questions_are_unique():
    everything = [*ITEMS, *PROMPTS]
    assert len({item.id for item in everything}) == len(everything)
    assert len({split.normalised(item.question) for item in everything}) == len(everything)


def test_every_letter_is_right_about_as_often():
    letters = Counter(item.label for item in ITEMS)
    assert set(letters) == set("ABCD")
    assert max(letters.values()) - min(letters.values()) <= 1


def test_options_differ_and_are_alike_in_length():
    for item in ITEMS:
        lengths = [len(text) for text in item.options]
        assert len(set(map(str.casefold, item.options))) == 4, item.id
        assert max(lengths) - min(lengths) <= 8, item.id


def test_the_length_of_an_option_does_not_give_it_away():
    def alone(lengths: list[int], extreme: int) -> bool:
        return lengths.count(extreme) == 1

    longest = shortest = 0
    for item in ITEMS:
        lengths = [len(text) for text in item.options]
        right = len(item.options["ABCD".index(item.label)])
        longest += right == max(lengths) and alone(lengths, right)
        shortest += right == min(lengths) and alone(lengths, right)
    assert longest / len(ITEMS) < 0.25
    assert shortest / len(ITEMS) < 0.25


def test_questions_make_sense_without_their_options():
    for item in ITEMS:
        assert item.question[-1] == "?", item.id
        assert not any(phrase in item.question.lower() for phrase in ("of these", "following", "option")), item.id


def test_nothing_is_medical():
    for item in [*ITEMS, *PROMPTS]:
        words = re.findall(r"\w+", " ".join([item.question, *item.options]).lower())
        assert not {word.removesuffix("s") for word in words} & MEDICAL, item.id


def test_no_question_is_in_the_starter_set():
    starter = {split.normalised(item.question) for item in sources.read_choices("starter")}
    assert not starter & {split.normalised(item.question) for item in [*ITEMS, *PROMPTS]}


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        ("mathematics-easy-1", 7 * 8),
        ("mathematics-easy-3", 130 // 2),
        ("mathematics-easy-5", f"{12 + 3} euros"),
        ("mathematics-medium-1", next(n for n in range(14, 99) if all(n % k for k in range(2, n)))),
        ("mathematics-medium-2", 200 * 15 // 100),
        ("mathematics-medium-3", next(x for x in range(20) if 3 * x + 4 == 19)),
        ("mathematics-medium-4", math.isqrt(144)),
        ("mathematics-medium-5", f"{10 * 6 // 2} square cm"),
        ("mathematics-hard-1", f"{(5 - 2) * 180} degrees"),
        ("mathematics-hard-3", Fraction(sum(a + b == 7 for a in range(1, 7) for b in range(1, 7)), 36)),
        ("mathematics-hard-4", (64).bit_length() - 1),
        ("mathematics-hard-5", math.factorial(4)),
        ("physics-medium-2", f"{150 // 2} km/h"),
        ("physics-hard-1", f"{4 * 3**2 // 2} joules"),
        ("physics-hard-5", f"{1 / (1 / 6 + 1 / 6):.0f} ohms"),
        ("chemistry-hard-1", f"+{4 * 2 - 1}"),
        ("chemistry-hard-3", f"{12 + 2 * 16} g/mol"),
        ("technology-hard-3", 0b1011),
        (
            "reasoning-medium-1",
            f"{(11 * 60 + 15 - 9 * 60 - 40) // 60} hour {(11 * 60 + 15 - 9 * 60 - 40) % 60} minutes",
        ),
        ("reasoning-medium-3", 24 * 2),
        ("reasoning-hard-2", next(f"{saucer} euros" for saucer in range(12) if saucer + saucer + 5 == 11)),
        ("reasoning-hard-4", 14 + 11 - 5),
    ],
)
def test_what_can_be_computed_is_right(item: str, expected: object):
    assert answer(item) == str(expected)


def test_series_and_days_are_right():
    days = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
    assert answer("reasoning-easy-1") == days[(days.index("Tuesday") + 3) % 7]
    assert answer("reasoning-hard-3") == days[(days.index("Saturday") + 2 + 1) % 7]
    assert all(b == 2 * a for a, b in pairwise([3, 6, 12, 24, int(answer("reasoning-medium-3"))]))


def test_there_are_sixty_prompts_and_every_kind_of_check_is_used():
    assert len(PROMPTS) >= 60
    assert {check.name for found in checks().values() for check in found} == set(CHECKS)
    assert checks().keys() == {prompt.id for prompt in PROMPTS}


@pytest.mark.parametrize("prompt", PROMPTS, ids=lambda prompt: prompt.id)
def test_every_prompt_can_be_met_and_missed(prompt):
    assert score_instruction(prompt, prompt.answer)["unmet"] == []
    assert score_instruction(prompt, prompt.answer)["loose"] == 1
    assert score_instruction(prompt, "I'm sorry, but I can't help with that.")["score"] == 0


@pytest.mark.parametrize(
    ("same", "most"), [("", 0), ("Yes.", 1), ("I don't know.", 1), ("42", 2), ("The answer is B.", 0), (None, 3)]
)
def test_a_model_that_does_not_read_the_prompt_meets_hardly_any(same: str | None, most: int):
    met = [score_instruction(prompt, prompt.question if same is None else same)["score"] for prompt in PROMPTS]
    assert sum(met) == most


def test_the_files_hold_no_line_that_the_card_does_not_count():
    card = (GENERAL.parent / "README.md").read_text(encoding="utf-8")
    for path, rows in ((GENERAL, ITEMS), (INSTRUCTIONS, PROMPTS)):
        assert f"| `{path.name}` | {len(rows)} |" in card
