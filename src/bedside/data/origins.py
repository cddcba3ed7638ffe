"""What the published data sets say of themselves: licence, citation, how they were made, who checked the medicine.

Looked up in hf.co/datasets/FreedomIntelligence/medical-o1-reasoning-SFT, github.com/pubmedqa/pubmedqa and
hf.co/datasets/qiaojin/PubMedQA, hf.co/datasets/medalpaca/medical_meadow_medical_flashcards with DATA_DESCIPTION.md of
github.com/kbressem/medAlpaca, and starter/README.md. Rows from elsewhere have the licence that a person states.
"""

from dataclasses import dataclass

from bedside.data.sources import STARTER

UNCHECKED = "Nobody is known to have checked the medicine in these rows."


@dataclass(frozen=True, slots=True)
class Origin:
    """What is known of a published data set: `made` says how, `checked` who read it for medical correctness."""

    title: str
    licence: str
    citation: str
    made: str
    checked: str = UNCHECKED


ORIGINS = {
    "FreedomIntelligence/medical-o1-reasoning-SFT": Origin(
        "medical-o1-reasoning-SFT",
        "Apache-2.0",
        "Chen et al. 2024, HuatuoGPT-o1, Towards Medical Complex Reasoning with LLMs, arXiv:2412.18925",
        "GPT-4o wrote reasoning and answers to exam questions; a language model compared the answers with the key. The"
        " subsets named “mix” hold general instructions, too.",
        "Nobody checked the medicine in these rows, as far as their card tells: a language model did.",
    ),
    "qiaojin/PubMedQA": Origin(
        "PubMedQA",
        "MIT",
        "Jin et al. 2019, PubMedQA: A Dataset for Biomedical Research Question Answering, arXiv:1909.06146",
        "Questions are titles of PubMed articles or made from them, contexts the abstracts without their conclusions,"
        " which are the answers. Decisions are by people in pqa_labeled and by program in pqa_artificial.",
        "What an abstract concludes is one study's finding, which nobody weighed against others.",
    ),
    "medalpaca/medical_meadow_medical_flashcards": Origin(
        "Medical Meadow flashcards",
        "cc (the data set's card names Creative Commons, and not which of its licences)",
        "Han et al. 2023, MedAlpaca: An Open-Source Collection of Medical Conversational AI Models and Training Data,"
        " arXiv:2304.08247",
        "GPT-3.5-Turbo made questions and answers from medical students' Anki cards.",
        "Nobody checked the medicine in these rows, as far as their card tells.",
    ),
    str(STARTER / "train"): Origin(
        "Bedside's starter set",
        "Apache-2.0",
        "",
        "Written for Bedside from textbook knowledge; the patients are fictional.",
        "Each row was read twice for correctness; nobody checked it against the literature.",
    ),
}
"""Where a data set lives → what is known of it. A file in the shape of one of them may hold anybody's rows."""
