import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bedside.errors import DataError
from bedside.metrics.classification import PerClass, baselines, classify, confusion, macro_f1

DECISIONS = ("yes", "no", "maybe")
# gold:      yes x 5                           no x 3             maybe x 2
GOLD = ["yes", "yes", "yes", "yes", "yes", "no", "no", "no", "maybe", "maybe"]
SAID = ["yes", "yes", "yes", "no", None, "no", "no", "yes", "maybe", None]


def test_the_confusion_has_gold_in_rows_and_unparsed_in_the_last_column() -> None:
    assert confusion(GOLD, SAID, DECISIONS).tolist() == [[3, 1, 0, 1], [1, 2, 0, 0], [0, 0, 1, 1]]
    assert classify(GOLD, SAID, DECISIONS, seed=1).confusion == ((3, 1, 0, 1), (1, 2, 0, 0), (0, 0, 1, 1))


def test_unparsed_answers_are_told_apart_and_bounded() -> None:
    found = classify(GOLD, SAID, DECISIONS, seed=1)
    assert (found.n, found.unparsed) == (10, 2)
    assert found.accuracy == 6 / 8  # of the answers that could be read
    assert found.strict == 6 / 10
    assert found.bounds == (6 / 10, 8 / 10)
    # Wilson by hand: (0.6 + z²/20 ± z sqrt(0.24/10 + z²/400)) / (1 + z²/10), z = 1.95996
    assert found.strict_ci == pytest.approx((0.3127, 0.8318), abs=5e-5)


def test_each_class_has_its_precision_and_recall() -> None:
    found = classify(GOLD, SAID, DECISIONS, seed=1)
    assert found.classes == (
        PerClass("yes", gold=5, predicted=4, precision=3 / 4, recall=3 / 5),
        PerClass("no", gold=3, predicted=3, precision=2 / 3, recall=2 / 3),
        PerClass("maybe", gold=2, predicted=1, precision=1.0, recall=1 / 2),
    )
    # F1 = 2 hits / (gold + predicted), unparsed ones among the gold: 6/9, 4/6, 2/3
    assert found.macro_f1 == pytest.approx((6 / 9 + 4 / 6 + 2 / 3) / 3)
    assert found.macro_f1_ci[0] < found.macro_f1 < found.macro_f1_ci[1]


def test_a_class_without_items_has_no_recall_and_no_share_of_macro_f1() -> None:
    found = classify(["a", "b"], ["a", "c"], "abcd", seed=1)
    assert found.classes[2] == PerClass("c", gold=0, predicted=1, precision=0.0, recall=None)
    assert found.classes[3] == PerClass("d", gold=0, predicted=0, precision=None, recall=None)
    assert found.macro_f1 == (1.0 + 0.0) / 2


def test_nothing_parsed_has_no_accuracy_but_a_strict_score() -> None:
    found = classify(["a", "b"], [None, None], "ab", seed=1)
    assert (found.accuracy, found.strict, found.bounds, found.macro_f1) == (None, 0.0, (0.0, 1.0), 0.0)


def test_the_interval_of_macro_f1_is_that_of_drawing_items() -> None:
    generator = np.random.default_rng(0)
    gold = generator.choice(3, 300, p=(0.55, 0.34, 0.11))
    said = np.where(generator.random(300) < 0.6, gold, generator.integers(0, 4, 300))
    names: list[str | None] = [*DECISIONS, None]
    table = confusion([DECISIONS[i] for i in gold], [names[i] for i in said], DECISIONS)
    drawn = []
    for _ in range(2000):
        places = generator.integers(0, 300, 300)
        resampled = np.zeros((3, 4), dtype=np.int64)
        np.add.at(resampled, (gold[places], said[places]), 1)
        drawn.append(macro_f1(resampled))
    found = classify([DECISIONS[i] for i in gold], [names[i] for i in said], DECISIONS, seed=1)
    assert found.macro_f1 == macro_f1(table)
    assert found.macro_f1_ci == pytest.approx(tuple(np.quantile(drawn, (0.025, 0.975))), abs=0.01)
    assert classify([DECISIONS[i] for i in gold], [names[i] for i in said], DECISIONS, seed=1) == found


def test_the_majority_row_of_pubmedqa_is_the_one_that_its_paper_gives() -> None:
    # Jin 2019 (arXiv:1909.06146), table 5: of 500 test items 276 yes, 169 no, 55 maybe; majority 55.20 and 23.71
    gold = ["yes"] * 276 + ["no"] * 169 + ["maybe"] * 55
    majority, chance = baselines(gold, DECISIONS)
    assert majority.name == "always yes"
    assert (majority.accuracy, majority.macro_f1) == pytest.approx((0.5520, 0.2371), abs=5e-5)
    assert chance.name == "chance"
    assert chance.accuracy == pytest.approx(1 / 3)
    # guessing predicts each label on a third of the items: F1 = 2 (gold / 3) / (gold + 500 / 3)
    assert chance.macro_f1 == pytest.approx(sum(2 * g / 3 / (g + 500 / 3) for g in (276, 169, 55)) / 3)


def test_chance_counts_the_options_that_each_item_has() -> None:
    _, chance = baselines(["A", "B", "A"], "ABCDEFGHIJ", options=[2, 4, 10])
    assert chance.accuracy == pytest.approx((1 / 2 + 1 / 4 + 1 / 10) / 3)


@pytest.mark.parametrize(
    ("gold", "said", "message"),
    [
        ([], [], "no items"),
        (["a"], ["a", "b"], "1 gold labels, but 2 predictions"),
        (["a", "x"], ["a", "b"], "item 2: label 'x' is none of a, b"),
        (["a", "b"], ["", "b"], "item 1: label '' is none of a, b"),
    ],
)
def test_labels_that_do_not_exist_are_named(gold: list[str], said: list[str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        classify(gold, said, "ab", seed=1)


def test_there_are_no_baselines_of_nothing() -> None:
    with pytest.raises(DataError, match="no items"):
        baselines([], "ab")


@settings(max_examples=40, deadline=None)
@given(
    pairs=st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["a", "b", "c", None])), min_size=1, max_size=30)
)
def test_what_is_counted_adds_up(pairs: list[tuple[str, str | None]]) -> None:
    gold, said = [a for a, _ in pairs], [b for _, b in pairs]
    found = classify(gold, said, "abc", seed=1)
    assert sum(map(sum, found.confusion)) == found.n == len(pairs)
    assert found.bounds[0] == found.strict <= found.bounds[1] <= 1
    assert found.strict <= (1.0 if found.accuracy is None else found.accuracy) or found.unparsed == found.n
    assert 0 <= found.macro_f1_ci[0] <= found.macro_f1_ci[1] <= 1
    majority, _ = baselines(gold, "abc")
    assert majority.accuracy >= 1 / 3
