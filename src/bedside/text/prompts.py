"""Every prompt that Bedside sends to a model, each with its reason. All are written for this project."""

from typing import Literal, get_args

NOTICE = "Research and education tool, not a medical device. Do not use it to decide about a patient's care."
"""Shown wherever an answer is shown."""

CHAT_SYSTEM = {
    "think": "You are a medical assistant for research and education. "
    "Reason step by step before you answer, and say so when you are not sure.",
    "none": "You are a medical assistant for research and education. "
    "Answer directly and briefly, and say so when you are not sure.",
}
"""System message of the "chat" style: the role, and the kind of answer that is trained.

By `prompt.reasoning`: a prompt that asks for reasoning where direct answers are scored would mark the base model for
doing as it is told, and flatter the tuned one.
"""

ALPACA_PREAMBLE = {
    "think": "You are given an instruction and a question. Write a response that carries out the instruction. "
    "First set out your reasoning step by step, then answer.",
    "none": "You are given an instruction and a question. Write a response that carries out the instruction.",
}
"""Top line of the "alpaca-think" layout, by `prompt.reasoning`; the published set-ups open with one of this kind."""

ALPACA_SYSTEM = (
    "You are an experienced physician who teaches clinical reasoning, diagnosis and treatment. "
    "Answer the medical question below."
)
"""Instruction block of "alpaca-think" where the conversation brings no system message."""

DECIDE = "Answer yes, no or maybe, then explain in one or two sentences."
"""Follows a question whose reference is a decision, so that the first word of the answer is the decision."""

CHOOSE = "Answer with the letter of the right option."
"""Follows lettered options; the first character of the answer is then the letter."""

DIAGNOSE = "Name the single most likely diagnosis first, then explain in one or two sentences."
"""Follows a case, so that one diagnosis is named as such and none has to be picked from a differential."""

MEANINGS = {
    "Diagnosis": "the most likely one",
    "Differential": "what else it could be, the likeliest first",
    "Plan": "what to do next",
    "Red flags": "danger signs present or to watch for",
    "What is missing": "what you would need to know",
}
"""The sections of a structured answer, each as the model is told of it."""
SECTIONS = (
    "Answer as JSON with these keys, each a list of short plain sentences: "
    + ", ".join(f'"{name}" ({meaning})' for name, meaning in MEANINGS.items())
    + ". Leave a list empty if there is nothing to say."
)
"""Follows the case of a structured answer.

It stands in the user's turn so that the system message stays the one that was trained. The schema alone would hold the
model to the keys; what is meant by them it must be told.
"""

Specialty = Literal[
    "cardiology",
    "dermatology",
    "emergency medicine",
    "endocrinology",
    "gastroenterology",
    "haematology",
    "infectious diseases",
    "nephrology",
    "neurology",
    "obstetrics",
    "paediatrics",
    "psychiatry",
    "respiratory medicine",
]
SPECIALTIES: tuple[Specialty, ...] = get_args(Specialty)
"""What an invented case may be about; a closed list, so that no text of a client's gets into the prompt."""

Difficulty = Literal["easy", "typical", "hard"]
DIFFICULTIES: dict[Difficulty, str] = {
    "easy": "a common condition with its textbook signs",
    "typical": "a common condition with one sign that is missing or misleads",
    "hard": "an uncommon condition, or a common one that looks like another",
}
"""How hard an invented case is, in words that a model can act on."""

CASE_SYSTEM = (
    "You write short invented case vignettes for teaching medicine. No patient is real. "
    "You write the vignette alone, without a title, a question or a diagnosis."
)
"""System message of the case generator in place of the trained one, which asks for an answer and for reasoning."""

CASE = (
    "Write one case vignette in {specialty}: {difficulty}. One paragraph of about 100 words with age and sex, the main "
    "complaint and since when, relevant history and medicines, vital signs with numbers, findings of the examination "
    "and one or two test results. Do not name the diagnosis, and do not ask anything."
)
"""Asks for an invented case. The parts are listed in the order of a clerking, which small models follow; the diagnosis
is left out since the case is to be asked about."""

CASE_EXAMPLE = (
    "A 67-year-old woman fell on her outstretched right hand this morning and has pain and swelling of the wrist since "
    "then. She has osteoporosis and takes alendronic acid and calcium. Blood pressure 134/78 mmHg, pulse 84, 16 "
    "breaths a minute, SpO2 98 % on air, temperature 36.7 °C. The wrist is bent like a dinner fork and tender at the "
    "end of the radius; the fingers are warm, and their feeling and movement are normal. The radiograph shows a break "
    "two centimetres above the wrist with the far part tilted backwards."
)
"""The turn before, in orthopaedics, which is not on the list: without an example a small model writes no vignette."""

ALPACA_HEADINGS = ("### Instruction:", "### Question:", "### Response:")
"""What begins a part of "alpaca-think" where it stands at the start of a line."""

ALPACA_TEMPLATE = """\
{{%- if messages[0]['role'] == 'system' -%}}
{{%- set instruction = messages[0]['content'] -%}}
{{%- set turns = messages[1:] -%}}
{{%- else -%}}
{{%- set instruction = {system} -%}}
{{%- set turns = messages -%}}
{{%- endif -%}}
{{{{- {bos}{preamble} + '\\n\\n### Instruction:\\n' + instruction + '\\n' -}}}}
{{%- for message in turns -%}}
{{%- if message['role'] == 'user' -%}}
{{{{- '\\n### Question:\\n' + message['content'] + '\\n' -}}}}
{{%- else -%}}
{{{{- '\\n### Response:\\n' + message['content'] + eos_token + '\\n' -}}}}
{{%- endif -%}}
{{%- endfor -%}}
{{%- if add_generation_prompt -%}}
{{{{- '\\n### Response:\\n{opening}' -}}}}
{{%- endif -%}}"""
"""Jinja of "alpaca-think". The instruction may be empty ("" sends none), the preamble always stands."""
