import unicodedata
from collections import Counter
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from ftfy.badness import is_bad
from hypothesis import example, given
from hypothesis import strategies as st

from bedside.data import sources
from bedside.data.clean import clean, fault, looks_clean, mended
from bedside.data.encoding import looks_decoded
from bedside.recipe import DataSection
from bedside.records import Example, Message

SECTION = DataSection()
SHAPES = [
    ("medical-o1", "medical_o1/medical_o1_long.jsonl"),
    ("medical-o1", "medical_o1/medmcqa_short_cot.jsonl"),
    ("flashcards", "flashcards/wikidoc_patient.jsonl"),
    ("flashcards", "flashcards/medquad_short.jsonl"),
    ("pubmedqa", "pubmedqa/ori_pqal_train500.json"),
    ("mcq", "mcq/medqa_train_dev.jsonl"),
]

# Pieces of which damage is made, so that random texts meet the cleaner's branches and each other's results.
PIECES = st.sampled_from(
    [
        *("&", "amp;", "&amp;", "lt", "&lt;", "&gt", "#39;", "&#x3c;", "&nbsp;", ";", "%27s", "%C3%A9", "%E2", "%"),
        *("<", ">", "/", "b", "p", "sup", "<b>", "</p>", "<br/>", "<li>", "<td>", "<sup>", "</sup>", "<sub>", "2", "-"),
        *("Ã", "©", "â", "€", "™", "Â", "°", "½", "œ", "×", "²", "\x80", "\x85", "\x9d", "\xa0", "\xad", "\ufffd"),
        *("\u200b", "\u200c", "\u200d", "\ufeff", "\u202e", "\uf0b3", "\ue000", "\x00", "\x1b", "\ud800", "\udc00"),
        *("ی", "क", "्", "👩", "\ufe0f", "❤", "e", "\u0301", "\u0344", "\u0958", "Å", "\u037e", "胸"),
        *(
            " ",
            "  ",
            "\t",
            "\n",
            "\r",
            "\r\n",
            "\u2028",
            "\u2029",
            "\x0b",
            "\x1c",
            "\u3000",
            "\u2009",
            "a",
            "Z",
            "1",
            ".",
        ),
    ]
)
MESSY = st.one_of(st.lists(PIECES, max_size=14).map("".join), st.text(max_size=40))
PLAIN = st.text(
    st.sampled_from("abcXYZ0189 .,;:!?'\"()[]+-*/=_^~|%$#@\n\tαβγΔµ±≥≤×²³°–—’“”…→↑↓胸痛汗ийж<>"), max_size=60
)


@pytest.mark.parametrize(
    ("text", "expected", "kinds"),
    [
        ("cafe\u0301", "café", {"unicode"}),
        ("2 \u2126", "2 Ω", {"unicode"}),
        ("a\x00b\x07\x1b\x7f", "ab", {"characters"}),
        ("\ufeffhigh\u200b-dose\u2060", "high-dose", {"characters"}),
        ("men\u00adopause", "menopause", {"characters"}),
        ("\u202ehi\u202c \u2066x\u2069\u200e", "hi x", {"characters"}),
        ("BP \uf0b3140, \uf06dg, x\ue123", "BP ≥140, µg, x", {"characters"}),
        ("a\u200db\u200c", "ab", {"characters"}),
        ("half\ud800 a pair", "half a pair", {"characters"}),
        ("AT&amp;T &lt;5&nbsp;mg &#39;x&#x27; &eacute;", "AT&T <5 mg 'x' é", {"html", "whitespace"}),
        ("(P&lt.0001, P&gt 5)", "(P<.0001, P> 5)", {"html"}),
        ("&amp;amp;lt;90", "<90", {"html"}),
        ("<p>One</p><P class='x'>Two</p>", "One\n\nTwo", {"html", "whitespace"}),
        ("a<br/>b<br>c<BR />d", "a\nb\nc\nd", {"html"}),
        ('<b>bold</b>, <i>it</i>, <a href="http://a.b/?c=d">link</a><img src=x>', "bold, it, link", {"html"}),
        ("<B>bold</B> and lost</i>", "bold and lost", {"html"}),
        ("<ul><li>Fever</li><li>Cough</li></ul>", "- Fever\n- Cough", {"html", "whitespace"}),
        ("<table><tr><td>Na</td><td>140</td></tr></table>", "Na 140", {"html", "whitespace"}),
        ("&lt;b&gt;x&lt;/b&gt;", "x", {"html"}),
        ("10<sup>9</sup>/L, 10<sup> −3</sup>, m<SUP><b>2</b></SUP>", "10^9/L, 10^−3, m^2", {"html"}),
        ("SO<sub>4</sub><sup>2-</sup>, CO<sub>2</sub>, CD4<sup>+</sup>", "SO4^2-, CO2, CD4+", {"html"}),
        ("10<sup>9", "10^9", {"html"}),
        ("10<sub>9</sub>", "10_9", {"html"}),
        ("the 1<sup>st</sup> <sup>99m</sup>Tc scan", "the 1st 99mTc scan", {"html"}),
        ("1<sup>1</sup>/<sub>2</sub> tablets", "1 1/2 tablets", {"html"}),
        ("Crohn%27s, Guillain-Barr%C3%A9, B%E9", "Crohn's, Guillain-Barré, B%E9", {"html"}),
        ("MÃ©niÃ¨re", "Ménière", {"mojibake"}),
        ("100 - 101 Â°F, about Â½ inch", "100 - 101 °F, about ½ inch", {"mojibake"}),
        ("the patientâ€™s â€œdyspnoeaâ€\x9d", "the patient’s “dyspnoea”", {"mojibake"}),
        ("胸痛 and Ã¼ber, 5 Î¼g Î² â‰¥3 âˆ’2", "胸痛 and über, 5 μg β ≥3 −2", {"mojibake"}),
        ("KovaÄ\x8d, Å½ilina, BehÃ§et", "Kovač, Žilina, Behçet", {"mojibake"}),
        ("cÅ“ur", "cœur", {"mojibake"}),
        ("é—®é¢˜ Ð±Ð¾Ð»ÑŒ", "问题 боль", {"mojibake"}),
        ("\x93quoted\x94 \x96", "“quoted” –", {"mojibake"}),
        ("caf&Atilde;&copy;", "café", {"html", "mojibake"}),
        ("5\u00a0mg \u2009=\t\u30007", "5 mg = 7", {"whitespace"}),
        ("a \r\nb\rc\x0bd\u2028e\u2029f", "a\nb\nc\nd\ne\nf", {"whitespace"}),
        ("\n a  b \n\n\n\nc\n", "a b\n\nc", {"whitespace"}),
        ("1. x  \n   - y\n\t- z\n w", "1. x\n   - y\n    - z\nw", {"whitespace"}),
    ],
)
def test_what_is_broken_is_mended_and_named(text: str, expected: str, kinds: set[str]) -> None:
    assert mended(text) == (expected, kinds)


@pytest.mark.parametrize(
    "text",
    [
        "p<0.05, P <.001 and BP <90/60 and >40; Na+ <135 or K>5",
        "infants (<or=3cm vs>or=5 cm), GM>1< gangliosidosis, a<b>5",
        "<think>\nIt is B.\n</think>\n\n<answer>B</answer>",
        "Choose <A>, <B> or <I>; <p 0.05>; <a few>; <b cells>; <s>; <|im_end|>",
        "5² mm³, 10⁹/L, ½, µg, μg, ℃, Å, ﬁbrosis, ×10, ±2, ≥3, 37ºC, 38˚",
        "D&C, H&E; R&D, Head&Neck, Huska,&Keane, ?a=1&lt=2&amp=3",
        "95%CI, 27%27 of, Hct%27, 50%20",
        "Ménière’s, Sjögren, Guillain–Barré®, cœur, naïve «façade», „Öl“, ¿Qué? ¡Sí!",
        "“Guillain–Barré”综合征, kg/m²“肥胖”, TNFα†, 25†, IFNγ‡, ™®",
        "TNFα† and IFN-α† ?, Δ†, “better”†, 60 Å², ×², ≈°, „Fuß“, “SANTÉ”, GUILLAIN–BARRÉ™, √±2, °C±",
        "Лечение гипертонии, υπέρταση β, bệnh tiểu đường, şeker hastalığı İĞ",
        "می\u200cروم",
        "क्\u200dष",
        "👨\u200d👩\u200d👧 ❤\ufe0f\u200d🔥",
        "- a\n- b\n\n    code\n  - c",
        "胸痛、出汗。分钟",
        "a ligature ﬀ, ‘quotes’, full-width：，",
        "",
    ],
)
def test_what_means_something_is_left_alone(text: str) -> None:
    assert mended(text) == (text, frozenset())


def test_every_text_of_an_example_is_mended_and_nothing_else() -> None:
    names = ("question", "answer", "reasoning", "context", "label", "subject")
    dirty = Example(
        id="a  b",
        group="c  d",
        where="e  f",
        options=("x  y",),
        accepted=("x  y",),
        history=(Message("system", "x  y"),),
        **dict.fromkeys(names, "x  y"),
    )
    mended_example, kinds = clean(dirty)
    assert kinds == {"whitespace"}
    assert mended_example == replace(
        dirty, options=("x y",), accepted=("x y",), history=(Message("system", "x y"),), **dict.fromkeys(names, "x y")
    )
    assert {field.name for field in fields(Example)} == {
        "id",
        "group",
        "where",
        "options",
        "accepted",
        "history",
        *names,
    }


@pytest.mark.parametrize("text", ["Nothing to do.", "p<0.05, so look twice"])
def test_a_clean_example_is_handed_back_as_the_same_object(text: str) -> None:
    original = Example("1", text, text, history=(Message("user", text),))
    assert clean(original)[0] is original
    assert clean(original)[1] == frozenset()


@given(text=MESSY)
@example("<<b>b>&amp;amp;lt;")
@example("A\u0303\u200b©")
def test_cleaning_twice_is_cleaning_once(text: str) -> None:
    once, kinds = mended(text)
    assert mended(once) == (once, frozenset())
    assert bool(kinds) == (once != text)
    once.encode()


@given(question=MESSY, answer=MESSY, option=MESSY, turn=MESSY)
def test_no_example_stops_the_cleaning(question: str, answer: str, option: str, turn: str) -> None:
    original = Example("1", question, answer, options=(option,), history=(Message("user", turn),))
    cleaned, kinds = clean(original)
    assert bool(kinds) == (cleaned is not original) == (cleaned != original)
    assert isinstance(fault(cleaned, SECTION), str)


@given(text=MESSY)
def test_what_the_quick_test_passes_needs_no_mending(text: str) -> None:
    assert not looks_clean(text) or mended(text)[0] == text


@given(text=PLAIN)
def test_plain_text_changes_in_nothing_but_its_spaces(text: str) -> None:
    once, kinds = mended(text)
    assert once.split() == text.split()
    assert kinds <= {"whitespace"}


@given(text=st.text(max_size=40))
def test_no_letter_or_digit_is_lost_unless_an_encoding_was_wrong(text: str) -> None:
    once, kinds = mended(text)

    def characters(text: str) -> Counter[str]:
        return Counter(filter(str.isalnum, unicodedata.normalize("NFC", text)))

    assert {"mojibake", "html"} & kinds or characters(once) == characters(text)


@given(text=MESSY)
def test_the_quick_search_for_mojibake_finds_all_that_ftfy_suspects(text: str) -> None:
    assert not (looks_decoded(text) and is_bad(text))


def test_a_text_of_two_million_characters_is_cleaned() -> None:
    assert mended("<a x=" * 400_000) == ("<a x=" * 400_000, frozenset())
    assert mended("&amp;" * 400_000) == ("&" * 400_000, {"html"})
    assert mended("&" + "amp;" * 400_000) == ("&", {"html"})


GOOD = {"question": "What is it?", "answer": "It is gout."}


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({}, ""),
        ({"question": ""}, "empty question"),
        ({"answer": ""}, "empty answer"),
        ({"answer": "Gout."}, "one-word answer"),
        ({"answer": "..."}, "one-word answer"),
        ({"answer": "Gout.", "options": ("Gout.", "Flu.")}, ""),
        ({"answer": "Yes.", "label": "yes"}, ""),
        ({"answer": "Gout.", "accepted": ("Gout",)}, ""),
        ({"answer": "胸痛"}, ""),
        ({"answer": "胸"}, "one-word answer"),
        ({"question": "Is Gout inherited ?", "answer": "is gout inherited?"}, "question equal to answer"),
        ({"question": "“Gout” is – what", "answer": "gout is what?"}, "question equal to answer"),
        ({"question": "痛风是什么？", "answer": "痛风是什么"}, "question equal to answer"),
        ({"question": "What is it?", "answer": "What is it not?"}, ""),
        ({"question": "Gout is what?", "answer": "Gout-is what"}, "question equal to answer"),
        ({"question": "Is it gout?", "answer": "Is it gout? Yes, it is gout of the toe."}, ""),
        ({"question": "Is it gout", "answer": "Is it gout" + " ?" * 20}, "question equal to answer"),
        ({"question": "Gout", "answer": "Gouty arthritis of the toe"}, ""),
        ({"question": "HLA-B27 + or -?", "answer": "HLA-B27 - or +?"}, ""),
        ({"answer": "It is gout\ufffd."}, "encoding damage"),
        ({"context": "It isâ€ gout."}, "encoding damage"),
        ({"history": (Message("user", "´ó¼ÒºÃ£¬ÎÒÊÇ"),)}, "encoding damage"),
        ({"context": "“Guillain–Barré”综合征, kg/m²“肥胖”, TNFα†, 25±†, ≥Äq"}, ""),
        ({"reasoning": "x" * 101}, "over data.max_characters"),
        ({"reasoning": "x" * 100}, ""),
    ],
)
def test_what_cannot_be_trained_on_has_a_reason(row: dict[str, Any], reason: str) -> None:
    section = DataSection(max_characters=100)
    assert fault(Example("1", **{**GOOD, **row}), section) == reason


@pytest.mark.parametrize(
    ("least", "answer", "reason"),
    [
        (1, "Gout.", ""),
        (2, "Gout.", "one-word answer"),
        (4, "It is gout.", "answer of fewer than 4 words"),
        (4, "It is gout now.", ""),
        (40, "It is gout now. " * 10, ""),
        (41, "It is gout now. " * 10, "answer of fewer than 41 words"),
    ],
)
def test_the_recipe_says_how_many_words_an_answer_needs(least: int, answer: str, reason: str) -> None:
    assert fault(Example("1", "What is it?", answer.strip()), DataSection(min_answer_words=least)) == reason


@pytest.mark.parametrize(("source", "path"), SHAPES)
def test_published_rows_lose_spaces_and_markup_alone(shared_data: Path, source: str, path: str) -> None:
    section = DataSection.model_validate({"source": source, "path": str(shared_data / path), "on_empty": "drop"})
    changes: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    rows = 0
    for row in sources.read(section):
        cleaned, kinds = clean(row)
        reasons[fault(cleaned, section)] += 1
        changes.update(kinds)
        rows += 1
        if kinds == {"whitespace"}:
            assert cleaned.answer.split() == row.answer.split()
    assert not {"unicode", "characters"} & set(changes)
    assert reasons[""] >= 0.998 * rows
