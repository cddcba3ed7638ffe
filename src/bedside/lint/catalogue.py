"""What each rule finds, why that hurts, and how to mend it: the text behind `bedside lint` and docs/lint.md."""

from dataclasses import dataclass
from typing import Literal

from bedside.recipe import RuleName


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule in words. Where it may be an error or a warning, `what` says on what that depends."""

    severity: Literal["error", "warning", "either"]
    what: str
    why: str
    mend: str


ALPACA = 'Use `prompt.style = "alpaca-think"`'
OURS = "Bedside's own batches do so: if you have not changed them, report it."

RULES: dict[RuleName, Rule] = {
    "template-fails": Rule(
        "error",
        "The chat template raises an error for a row, or prints something of which no prompt and answer can be made.",
        "The row cannot be trained, and the same conversation cannot be served.",
        f"{ALPACA}, or mend the template in the base's `tokenizer_config.json` or `chat_template.jinja`.",
    ),
    "prompt-differs": Rule(
        "error",
        "The tokens before the trained part are not those that serving sends: the template prints another prompt in a"
        " finished conversation than before an answer, or the tokens were made in another way.",
        "The model learns to answer a prompt that it will never be given; what is served was not trained.",
        f"{ALPACA}, whose training text begins with the served prompt by construction.",
    ),
    "prompt-trained": Rule(
        "error",
        "Tokens of the prompt have labels.",
        "The model learns to write questions and system messages, and the loss mostly tells how well it does that;"
        " short answers after long contexts hardly count.",
        "Give only the completion labels, by its place: a mask that is made by looking for a marker in the text misses"
        f" where the marker is tokenised otherwise. {OURS}",
    ),
    "completion-masked": Rule(
        "error",
        "Tokens of the reasoning or the answer have no labels.",
        "What is masked is never learnt: a mask that begins at the answer trains a model that cannot reason its way to"
        " it, and one that goes by token id leaves holes in the text.",
        f"Label every token after the prompt. {OURS}",
    ),
    "padding-trained": Rule(
        "error",
        "The tokens that fill up a batch have labels.",
        "The loss falls by predicting filling, and where the pad token is the end token, the model learns to end again"
        " and again.",
        f"Give padding the label -100, by its place behind the row. {OURS}",
    ),
    "end-missing": Rule(
        "error",
        "A row does not end with the tokenizer's end token: the template does not print it, or prints another one.",
        "The model never learns to stop: it answers, and then goes on with questions of its own until the limit.",
        f"{ALPACA}, which ends every turn with the tokenizer's end token; or name the token that the template prints as"
        " `eos_token` in the base's `tokenizer_config.json`.",
    ),
    "end-doubled": Rule(
        "error",
        "The end token stands more than once after the prompt: it is appended to a text that has it already, or it"
        " stands in the row's own text.",
        "What follows the first one is never reached when the model is served, and the model learns that answers go on"
        " after their end.",
        "Append no end token to rendered text; take the token out of the named rows.",
    ),
    "end-masked": Rule(
        "error",
        "A row ends with the end token, but it has no label. Where the pad token is the end token (SmolLM2, and every"
        " tokenizer without a pad token of its own), masking padding by its id masks the real end, too.",
        "The model never learns to stop, and nothing in the loss shows it.",
        f"Mask padding by its place behind the row, not by its id. {OURS}",
    ),
    "begin-doubled": Rule(
        "error",
        "A row begins with two begin tokens: the template prints one, and the tokenizer adds another.",
        "The model is trained on a beginning that it never saw before and will not be served with.",
        "Tokenise rendered text with `add_special_tokens=False`, or take the token out of the template.",
    ),
    "control-token": Rule(
        "error",
        "The question, context, an earlier turn, the reasoning or the answer of a row holds the text of a control"
        " token, such as `<|im_start|>` or `<|endoftext|>`. An end token in what is trained is `end-doubled`.",
        "In a question the text is trained and served as text, with an unseen sign in it. In what the assistant says"
        " the tokenizer makes a real control token of it, and other tools do so everywhere: a turn begins or ends in"
        " the middle of the text.",
        "Take the named token out of the rows; most often a template was applied before, and its text must be taken"
        " apart into question and answer.",
    ),
    "think-unbalanced": Rule(
        "error",
        "The assistant's turn does not have one `<think>` and then one `</think>`, or none of both: the row's own text"
        " brings tags, or the template adds or drops one.",
        "Reasoning and answer can no longer be told apart when the model is served: an answer is shown as reasoning, or"
        " reasoning as an answer.",
        "Take the tags out of the named rows' columns; the reasoning belongs into a column of its own"
        ' (`data.columns = {reasoning = "…"}`).',
    ),
    "think-whitespace": Rule(
        "error",
        "The white space after `<think>` at the end of the served prompt is another than in training, or is not one"
        " line end. `<think>` and `<think>\\n` are different tokens.",
        "The first token of the reasoning stands after something that was not trained; published fine-tunes train on"
        " `<think>\\n` and prompt with `<think>`, and their models fall back to answering at once.",
        f"{ALPACA}, or let the template's generation prompt end with `<think>` and one line end.",
    ),
    "reasoning-removed": Rule(
        "error",
        'A row has reasoning, the recipe trains it (`prompt.reasoning = "think"`), and it is not in the training'
        " text. DeepSeek-R1's own template deletes everything before `</think>` from the assistant's turns.",
        "The run looks as it should, and the model is trained to answer without reasoning.",
        f'{ALPACA}; or train answers alone on purpose, with `prompt.reasoning = "none"`.',
    ),
    "no-reasoning": Rule(
        "warning",
        'The recipe trains reasoning (`prompt.reasoning = "think"`), and not one row that is trained has any.',
        "Every row is trained behind an empty `<think>` block: the model learns to answer at once, and what it writes"
        " where it is asked to reason was never trained.",
        'Name the column of the reasoning (`data.columns = {reasoning = "…"}`), or say `prompt.reasoning = "none"`.',
    ),
    "reasoning-shifted": Rule(
        "either",
        "The reasoning of a row repeats the words of another row's question and answer, and hardly any of its own: a"
        " column has slipped by a row, or rows were joined by the wrong key. An error if more than 1 in 100 rows are"
        " so, else a warning.",
        "The model learns that its reasoning has nothing to do with the question.",
        "Join the columns of the named rows anew, by an id and not by position.",
    ),
    "text-changed": Rule(
        "error",
        "The question or the answer of a row is not in its training text: the template changes or drops it, or the"
        " tokenizer cannot write it.",
        "What is trained is not what the data set says; a lost minus or unit is a wrong medical statement.",
        f"{ALPACA} if it is the template; take another base if its tokenizer has no tokens for the text.",
    ),
    "over-max-length": Rule(
        "either",
        "Rows are longer than `model.max_length`. They are left out whole, and it is told what a cut would have gone"
        " through. A warning; an error if it is more than half of all rows, which cannot be allowed if it is all of"
        " them.",
        "The long rows are the hard ones: what is left is another data set than the one that is named in the report."
        " Cutting them instead would train reasoning that never comes to an answer, and answers without an end.",
        "Raise `model.max_length`, or choose rows that fit.",
    ),
    "empty-completion": Rule(
        "error",
        "Nothing but the reasoning and the end token is trained.",
        "The model learns to say nothing.",
        'Mend the named rows, or leave them out with `data.on_empty = "drop"`.',
    ),
    "letter-contradicts-answer": Rule(
        "error",
        "In a multiple-choice row the letter, the option's text, the key and the letter at which the reasoning arrives"
        " are not all the same.",
        "Either of them is wrong, and the model learns the wrong one, or that letters mean nothing.",
        "Look the named rows up in the source; MedMCQA's own files number the options from 1"
        " (`data.first_option = 1`).",
    ),
    "label-unknown": Rule(
        "error",
        "A label is none of yes, no and maybe where labels are decisions, or no letter of the row's options.",
        "The row is asked without being told to decide, is never scored, and shifts the balance of the labels.",
        "Map the label in your file to one that is known, or leave the row out.",
    ),
    "label-contradicts-answer": Rule(
        "error",
        "The first word of the answer is another decision than the label.",
        "Training teaches one, the evaluation counts the other.",
        "Look the named rows up in the source, and mend the one that is wrong.",
    ),
    "label-contradicts-copy": Rule(
        "warning",
        "Two rows ask the same about the same context and have other labels, or other options for right: both are"
        " trained, or one was left out as a copy of the other, or both stand in a set that the model is judged on,"
        " where the later one is not asked.",
        "One of the two is wrong, and nobody knows which: training teaches both, or a guess; and a right answer may be"
        " counted as wrong.",
        "Look the named rows up in the source, and take out the one that is wrong.",
    ),
    "train-test-leak": Rule(
        "either",
        "A training row holds an item of the test split, of the multiple-choice set that the model is judged on, or of"
        " a file in `data.against`: the same question but for case, spacing and punctuation, or a reworded item in any"
        " of its texts. Where"
        ' `data.decontaminate = "report"` asks only to be told, a reworded item is a warning.',
        "The tuned model has seen the answer, so that its score says nothing.",
        'Use `data.decontaminate = "drop"`, or take the named rows out of the file.',
    ),
    "template-differs": Rule(
        "error",
        "A conversation is printed otherwise by the tokenizer, by the base's own files, or by a file that the run has"
        " exported, than in training.",
        "The model is served another prompt than it was trained with, and is worse for it without any message.",
        "Export anew (`bedside export RECIPE`); if the base's own files disagree, keep one of them, or use"
        ' `prompt.style = "alpaca-think"`.',
    ),
    "tokenizer-differs": Rule(
        "either",
        "With the GGUF file that the base came from or that the run has exported, llama.cpp makes other tokens of a"
        " text than training does. A warning where there is no file yet, and this tokenizer is not one that can be"
        " exported.",
        "The exported model reads tokens that it was not trained on: digits that are split otherwise are doses that"
        " are read otherwise.",
        "Use the base's Hugging Face folder, convert the base anew, or export anew.",
    ),
    "first-loss": Rule(
        "error",
        "The loss of the first step is above ln(vocabulary), which guessing evenly among all tokens gives, or is not"
        " the mean over the trained tokens that transformers computes from the same labels.",
        "No sound language model is worse than guessing: the loss is a sum and not a mean, the labels are shifted, or"
        " the weights are damaged.",
        "Load the base anew; compare its SHA-256 with the publisher's. A toy model with random weights is the exception"
        ' (`lint.allow = ["first-loss"]`).',
    ),
    "parameters-differ": Rule(
        "error",
        "A name in `train.targets` is no layer of the model, or the update has another number of parameters than rank"
        " and shapes of its layers explain.",
        "Part of what should be trained is not, or something else is; the published share of trained parameters is"
        " wrong.",
        "Name the base's own linear layers in `train.targets`.",
    ),
}
