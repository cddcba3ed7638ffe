"""The training row that shares most words with a held-out item."""

from bedside.evaluate.nearest import nearest
from bedside.records import Example

ITEM = Example("i", "Which drug stops the seizure?", "Lorazepam.")


def test_it_is_the_row_with_the_largest_share_of_common_words():
    rows = [
        Example("far", "What is a fracture?", "A broken bone."),
        Example("near", "Which drug stops a seizure?", "Lorazepam."),
        Example("longer", "Which drug stops a seizure that has lasted for half an hour at home?", "Lorazepam."),
    ]
    found = nearest([ITEM], rows)["i"]
    assert (found.id, found.overlap) == ("near", 5 / 7)


def test_the_first_of_several_alike_is_taken_and_a_copy_shares_everything():
    copies = [Example("one", ITEM.question, ITEM.answer), Example("two", ITEM.question.upper(), ITEM.answer)]
    assert (nearest([ITEM], copies)["i"].id, nearest([ITEM], copies)["i"].overlap) == ("one", 1.0)


def test_without_a_common_word_there_is_none():
    assert nearest([ITEM], [Example("x", "Why?", "Because.")]) == {}
