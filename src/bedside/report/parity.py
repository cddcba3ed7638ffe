"""The parity check in words: is what is served what was trained, and what did quantising cost?"""

from bedside.report import numbers
from bedside.report.material import Json
from bedside.text.numbers import DASH

NAMES = {"adapter": "Base with the adapter", "plain": "16-bit file"}
HEADS = ("KL, nats a token", "Same first choice", "Perplexity ×", "Answers changed", "Places")
FAULTS = {
    "begin-doubled": "a begin token is doubled",
    "end-missing": "an end token is missing",
    "think-whitespace": "other white space stands around <think>",
    "reasoning-removed": "the template removes reasoning",
    "system-dropped": "the system message is dropped",
    "digits-joined": "the tokenizer does not split digits",
    "control-token-parsed": "control tokens are parsed in a user's text",
    "tokenizer-differs": "the tokenizer differs",
    "prompt-differs": "the prompt differs",
    "adapter-not-merged": "the adapter is not merged",
    "adapter-scaled-twice": "the adapter is scaled twice",
    "adapter-differs": "the merged weights are not base and adapter",
    "rotary-order": "queries and keys are in another order",
    "rope-base": "the rotary base differs",
    "weights-differ": "the weights say something else",
    "quantisation-broke": "quantising cost more than the recipe allows",
    "modelfile-differs": "the Modelfile asks otherwise",
    "stop-missing": "the Modelfile lacks a stop token",
}


def sentence(parity: Json | None) -> tuple[str, str]:
    """(the answer, what to know with it)."""
    if parity is None:
        return "Not checked.", "The exported file was not compared with the trained model."
    if parity["ok"] is None:
        said = f"Token ids, templates and the merged adapter are right; the rest was not compared: {parity['skipped']}."
        return "In part.", said
    if not parity["ok"]:
        faults = dict.fromkeys(FAULTS.get(finding["fault"], finding["fault"]) for finding in parity["findings"])
        return "No.", f"The exported file failed the check and should not be used: {'; '.join(faults)}."
    places = "training, the merged model, every file and the chat endpoint"
    said = f"{parity['compared']} conversations become the same token ids in {places}."
    if parity["greedy_equal"]:
        said += " Adapter, merged model and 16-bit file continue them with the same words, up to ties."
    return "Yes.", said


def lines(parity: Json | None) -> list[tuple[str, list[str]]]:
    """(what was compared with the merged model, its figures): a row for each model and file."""
    return [(NAMES.get(name, name), _figures(found)) for name, found in parity["measured"].items()] if parity else []


def _figures(found: Json) -> list[str]:
    return [
        numbers.small(found["kl_mean"]),
        numbers.percent(found["top1_agreement"], 1),
        f"{found['perplexity_ratio']:.3f}",
        f"{found['flips']:,} of {found['items']:,}" if found["items"] else DASH,
        f"{found['places']:,}",
    ]
