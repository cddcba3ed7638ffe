"""Every prompt that Bedside sends to a model, each with its reason. All are written for this project."""

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
