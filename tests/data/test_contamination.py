import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bedside.data import contamination
from bedside.data.contamination import Detector, Hit, Item, Tally, evaluated, trained
from bedside.data.shingles import words
from bedside.files import read_jsonl
from bedside.records import Example, Message

VIGNETTE = (
    "A 62-year-old retired teacher is brought in after two hours of crushing chest pain, which spreads to her jaw. She"
    " takes ramipril for hypertension. Her electrocardiogram shows ST elevation in leads II, III and aVF. Which of the"
    " following arteries is most likely blocked?"
)
OTHER = (
    "A 34-year-old sailor has had bleeding gums, loose teeth and corkscrew hairs since a voyage of four months. He ate"
    " biscuits and salted beef only. Bruises cover both shins. Which of the following vitamins is most likely missing?"
)
PASSAGE = (
    "Gout is an arthritis caused by crystals of urate in and around joints. Attacks begin at night, most often in the big"
    " toe, which turns red, swollen and exquisitely tender. Colchicine, naproxen or prednisolone shorten an attack when"
    " they are begun within a day. Allopurinol lowers urate for good; it is started at a low dose some weeks after an"
    " attack, and raised until urate is below 360 micromoles per litre. Beer, sweet drinks and liver make attacks likelier."
)
PIECE = PASSAGE.partition("Colchicine")[2].partition("; it")[0]
BOILERPLATE = (
    " Physical examination shows no abnormalities, and laboratory studies are within normal limits. Which of the following"
    " is the most appropriate next step in the management of this patient at this time?"
)


def detector(*texts: str, name: str = "set") -> Detector:
    return Detector({name: [(f"item {i}", text) for i, text in enumerate(texts)]})


def found(hits: list[Hit]) -> list[str]:
    return [hit.item.id for hit in hits]


@pytest.mark.parametrize(
    ("reword", "least"),
    [
        (lambda text: text, 1.0),
        (str.upper, 1.0),
        (lambda text: text.replace(",", ";").replace(".", " -"), 1.0),
        (lambda text: "\n".join(text.split(" ")), 1.0),
        (lambda text: " ".join(reversed(text.split(". "))), 1.0),
        (lambda text: f"Consider this case.\n{text}\nA. Left circumflex\nB. Right coronary", 0.99),
        (lambda text: text.replace("teacher", "lawyer").replace("jaw", "arm"), 0.6),
        (lambda text: text.replace("-", "").replace(",", "").replace(".", ""), 0.6),
        (lambda text: text.partition("Her ")[0], 0.9),
    ],
)
def test_a_reworded_item_is_found(reword: Callable[[str], str], least: float) -> None:
    (hit,) = detector(OTHER, VIGNETTE).check(reword(VIGNETTE))
    assert hit.item == ("set", "item 1", 1)
    assert least <= hit.score <= 1
    assert hit.text == reword(VIGNETTE)


def test_an_item_is_found_in_whichever_text_of_a_row_it_stands() -> None:
    assert found(detector(VIGNETTE).check("What now?", PASSAGE, f"As in: {VIGNETTE}")) == ["item 0"]


def test_a_row_that_contains_two_items_is_told_of_both_the_worse_first() -> None:
    row = f"{VIGNETTE} {OTHER.replace('sailor', 'cook').replace('salted beef', 'rice')}"
    first, second = detector(OTHER, VIGNETTE).check(row)
    assert (first.item.id, first.score) == ("item 1", 1.0)
    assert (second.item.id, second.score < 1) == ("item 0", True)


def test_other_content_is_not_flagged() -> None:
    assert detector(VIGNETTE, PASSAGE).check(OTHER, "Scurvy is a lack of vitamin C.", "", "...") == []


def test_boilerplate_that_items_share_counts_next_to_nothing() -> None:
    contents = [" ".join(f"finding{i}n{j}" for j in range(12)) for i in range(9)]
    *items, row = (content + BOILERPLATE for content in contents)
    assert len(words(BOILERPLATE)) > 2 * len(words(contents[0]))
    assert found(detector(items[0]).check(row)) == ["item 0"]  # nobody can know that it is boilerplate
    assert detector(*items).check(row) == []
    assert found(detector(*items).check(items[2].upper())) == ["item 2"]


@pytest.mark.parametrize(
    ("row", "hit"),
    [
        ("what are the treatments for gout", True),
        ("For gout, what are the treatments?", True),
        ("What are the treatments for gout of the big toe?", False),
        ("What are the treatments for scurvy?", False),
    ],
)
def test_a_short_item_is_found_only_where_all_its_words_are_the_same(row: str, hit: bool) -> None:
    assert bool(detector("What are the treatments for gout?").check(row)) is hit


@pytest.mark.parametrize("text", ["", "Yes.", "No answer", "!?"])
def test_a_text_of_one_or_two_words_is_no_evidence(text: str) -> None:
    assert detector(text).check(text) == []


def test_a_row_that_is_a_piece_of_a_passage_is_found() -> None:
    (hit,) = detector(OTHER, PASSAGE).check("What lowers urate?", PIECE)
    assert (hit.item.id, hit.score) == ("item 1", 1.0)


def test_chinese_text_is_compared_sign_by_sign() -> None:
    question = "患者男性,62岁,突发胸骨后压榨性疼痛两小时,心电图示下壁导联ST段抬高。最可能闭塞的血管是哪一支?"
    assert found(detector(question).check(question.replace(",", "，") + "请回答。")) == ["item 0"]
    assert detector(question).check("患者女性,34岁,牙龈出血四个月,双下肢瘀斑。最可能缺乏的维生素是哪一种?") == []


def test_an_item_of_several_texts_is_found_by_any_and_told_once() -> None:
    texts = {"trial": [("pmid 1", "Does colchicine shorten attacks?"), ("pmid 1", PASSAGE)]}
    assert found(Detector(texts).check(PASSAGE)) == ["pmid 1"]
    assert found(Detector(texts).check(PIECE, "Does colchicine shorten attacks?")) == ["pmid 1"]
    assert Detector(texts).sizes == {"trial": 1}


def test_an_item_that_a_row_contains_twice_is_told_with_its_worse_score() -> None:
    lighter = VIGNETTE.replace("teacher", "lawyer")
    for texts in ((VIGNETTE, lighter), (lighter, VIGNETTE)):
        assert detector(VIGNETTE).check(*texts) == [Hit(Item("set", "item 0", 0), 1.0, VIGNETTE)]


def test_a_text_that_stands_in_two_sets_is_told_for_both_and_weighs_as_one() -> None:
    both = Detector({"one": [("a", VIGNETTE)], "two": [("b", VIGNETTE.upper()), ("c", OTHER)]})
    hits = both.check(VIGNETTE.replace("teacher", "lawyer"))
    assert {(hit.item.set, hit.item.id) for hit in hits} == {("one", "a"), ("two", "b")}
    (alone,) = detector(VIGNETTE, OTHER).check(VIGNETTE.replace("teacher", "lawyer"))
    assert {hit.score for hit in hits} == {alone.score}


@given(texts=st.lists(st.text() | st.sampled_from([VIGNETTE, OTHER]), max_size=4))
@pytest.mark.parametrize("sets", [{}, {"empty": []}, {"empty": [("a", ""), ("b", "...")]}])
def test_nothing_is_flagged_against_an_empty_set(sets: dict[str, list[tuple[str, str]]], texts: list[str]) -> None:
    assert Detector(sets).check(*texts) == []


@given(text=st.lists(st.sampled_from(sorted({*words(VIGNETTE), *words(OTHER)})), min_size=3).map(" ".join))
def test_a_text_is_always_found_in_itself(text: str) -> None:
    (hit,) = detector(text).check(text.upper())
    assert hit.score == 1


@given(text=st.lists(st.sampled_from(words(PASSAGE)), max_size=60).map(" ".join))
def test_texts_without_a_word_in_common_are_never_flagged(text: str) -> None:
    assert detector("alpha beta gamma delta " * 3, *(f"x{i} y{i} z{i}" for i in range(9))).check(text) == []


@given(text=st.lists(st.sampled_from(words(VIGNETTE)), max_size=80).map(" ".join))
def test_scores_lie_between_the_threshold_and_one(text: str) -> None:
    assert all(contamination.THRESHOLD <= hit.score <= 1 for hit in detector(VIGNETTE, OTHER).check(text))


def test_an_evaluation_item_gives_itself_away_by_question_with_options_and_by_context() -> None:
    item = Example("1", "Why?", "B. So.", context="A trial.", options=("Hence.", "So."))
    assert list(evaluated(item)) == ["Why?\nHence.\nSo.", "A trial.", "Why?"]
    assert list(evaluated(Example("2", "Why?", "So."))) == ["Why?"]


def test_every_text_of_a_training_row_is_held_against_the_items() -> None:
    turns = (Message("system", "Be brief."), Message("user", "Hello."))
    row = Example("1", "Why?", "So.", reasoning="Since.", context="A trial.", history=turns)
    assert list(trained(row)) == ["Why?", "Hello.", "A trial.", "Since.", "So.", "Be brief."]


def test_a_tally_counts_rows_and_items_per_set_and_shows_both_texts() -> None:
    tally = Tally(Detector({"mcq": [("q1", VIGNETTE), ("q2", OTHER)], "documents": [("p1", PASSAGE)], "none": []}))
    assert found(tally.check("row 1", VIGNETTE)) == ["q1"]
    assert found(tally.check("row 2", VIGNETTE.replace("teacher", "lawyer"))) == ["q1"]
    assert found(tally.check("row 3", VIGNETTE + OTHER)) == ["q1", "q2"]
    assert tally.check("row 4", "A clean row.") == []
    mcq, documents, none = tally.to_json()
    assert {key: mcq[key] for key in ("set", "items", "rows", "hit_items")} == {
        "set": "mcq", "items": 2, "rows": 3, "hit_items": 2,
    }  # fmt: skip
    assert mcq["pairs"][0] == {"score": 1.0, "train_id": "row 1", "train": VIGNETTE, "item_id": "q1", "item": VIGNETTE}
    assert [pair["train_id"] for pair in mcq["pairs"]] == ["row 1", "row 3", "row 3", "row 2"]
    assert [pair["score"] for pair in mcq["pairs"][:3]] == [1.0, 1.0, 1.0]
    assert documents == {"set": "documents", "items": 1, "rows": 0, "hit_items": 0, "pairs": []}
    assert none["items"] == 0
    assert json.loads(json.dumps(tally.to_json())) == tally.to_json()


def test_the_pair_that_is_shown_has_the_very_text_that_was_contained() -> None:
    sets = {"one": [("a", OTHER)], "two": [("b", "Yes."), ("b", PASSAGE), ("b", VIGNETTE)]}
    tally = Tally(Detector(sets))
    tally.check("row", VIGNETTE.upper())
    assert [pair["item"] for told in tally.to_json() for pair in told["pairs"]] == [VIGNETTE]


def test_only_the_worst_pairs_are_shown_and_of_equals_the_first() -> None:
    tally = Tally(detector(VIGNETTE))
    for i in range(2 * contamination.WORST):
        tally.check(f"light {i}", VIGNETTE.replace("teacher", "lawyer"))
        tally.check(f"heavy {i}", VIGNETTE)
    (told,) = tally.to_json()
    assert [pair["train_id"] for pair in told["pairs"]] == [f"heavy {i}" for i in range(contamination.WORST)]
    assert told["rows"] == 4 * contamination.WORST


def test_a_long_text_is_cut_to_the_part_that_is_shared() -> None:
    tally = Tally(detector(PASSAGE + VIGNETTE))
    tally.check("row", f"{OTHER} {OTHER} {VIGNETTE} {OTHER}")
    (pair,) = tally.to_json()[0]["pairs"]
    for text in (pair["train"], pair["item"]):
        assert "retired teacher is brought in" in text
        assert text.startswith("…")
        assert len(text.strip("…")) <= contamination.EXCERPT


def planted(question: str, which: int) -> str:
    """Case, punctuation, and a sentence moved to the end: each alone, then all together."""
    first, _, rest = question.partition(". ")
    moved = f"{rest} {first}." if rest else question
    unpointed = str.maketrans(",;:.?!()-'", " " * 10)
    return [question.swapcase(), question.translate(unpointed), moved, moved.translate(unpointed).upper()][which % 4]


def test_500_reworded_items_of_medqa_are_found_in_a_real_training_file(shared_data: Path) -> None:
    items = {row["id"]: row["question"] for _, row in read_jsonl(shared_data / "mcq" / "medqa_train_dev.jsonl")}
    rows = {
        str(line): row["Question"] for line, row in read_jsonl(shared_data / "medical_o1" / "medmcqa_short_cot.jsonl")
    }
    drawn = sorted(items, key=lambda key: hashlib.sha256(key.encode()).digest())[:500]
    rows |= {key: items[key] for key in items if key not in drawn}  # the same boilerplate, other content
    rows |= {key: planted(items[key], i) for i, key in enumerate(drawn)}
    searched = Detector({"medqa": [(key, items[key]) for key in drawn]})
    pairs = {(key, hit.item.id) for key, text in rows.items() for hit in searched.check(text)}
    right = {(key, key) for key in drawn} & pairs
    assert len(right) >= 0.95 * 500
    assert len(right) >= 0.95 * len(pairs)


def test_several_questions_about_one_case_do_not_hide_each_other() -> None:
    case = (
        "A 54-year-old farmer with gout comes to the clinic with a painful red knee since Tuesday. His temperature is"
        " 38.4 degrees, the joint is warm and swollen, and aspiration yields cloudy fluid with many neutrophils."
    )
    leads = ("Which organism is likely?", "What is next?", "Which drug is wrong?", "What is the risk?", "Who is told?")
    detector = Detector({"cases": [(str(i), f"{case} {lead}") for i, lead in enumerate(leads)]})
    assert {hit.item.id for hit in detector.check(f"{case} {leads[2]} Explain.")} >= {"2"}
    assert detector.check(case)


def test_what_was_asked_earlier_in_a_conversation_counts() -> None:
    case = Message("user", CASE_OF_A_CHAT)
    item = Example("i", "What next?", "Rest.", history=(case, Message("assistant", "Hm.")))
    detector = Detector({"chats": [(item.id, text) for text in evaluated(item)]})
    assert detector.check(*trained(replace(item, id="t", question="And now?")))


CASE_OF_A_CHAT = (
    "My neighbour, a retired miner with silicosis, has been coughing blood for three weeks; he has lost eight kilograms,"
    " sweats at night, and his chest film shows a cavity in the right upper lobe with a level of fluid inside."
)


def test_a_question_is_found_without_its_options_and_a_common_stem_is_not() -> None:
    options = ("Vitamin A", "Vitamin B", "Vitamin C", "Vitamin D")
    item = Example("i", "Scurvy is due to lack of which vitamin?", "C. Vitamin C", options=options)
    stem = Example("j", "Which of the following is true?", "A. x y", options=("x y", "z w"))
    detector = Detector({"mcq": [(one.id, text) for one in (item, stem) for text in evaluated(one)]})
    card = Example("t", "scurvy is due to lack of which vitamin", "Vitamin C.")
    assert [hit.item.id for hit in detector.check(*trained(card))] == ["i"]
    assert detector.check(*trained(Example("u", stem.question, "B. q r", options=("o p", "q r")))) == []


def test_two_questions_of_one_template_are_two_questions() -> None:
    ask = "How do I know if I have {0} syndrome and what are the symptoms of {0} syndrome?"
    others = ("Marfan", "Turner", "Cushing", "Laron", "Down", "Reye", "Sjogren", "Kallmann", "Alport", "Gilbert")
    detector = Detector({"test": [(name, ask.format(name)) for name in others]})
    assert detector.check(ask.format("pseudo-Bartter")) == []
    assert [hit.item.id for hit in detector.check(ask.format("REYE"))] == ["Reye"]
