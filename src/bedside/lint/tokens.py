"""Rules over the tokens of one row: what is trained, and how the row begins and ends.

Each takes a `Case` and the `Setting`, and returns what is wrong, or "".
"""

from bedside.lint.case import Case, Setting
from bedside.text.chat import user_text
from bedside.train.batch import IGNORED


def prompt_differs(case: Case, setting: Setting) -> str:
    """The tokens before the completion are not those that serving sends."""
    ours = case.ids[: len(case.served_ids)]
    if ours == case.served_ids:
        return ""
    at = next((i for i, (a, b) in enumerate(zip(ours, case.served_ids, strict=False)) if a != b), len(ours))
    return f"from token {at + 1} of {len(case.served_ids)} on the row is not the prompt that is served"


def prompt_trained(case: Case, setting: Setting) -> str:
    """Tokens of the prompt have labels."""
    n = len(case.served_ids)
    trained = sum(label != IGNORED for label in case.labels[:n])
    return f"{trained} of {n} prompt tokens are trained" if trained else ""


def completion_masked(case: Case, setting: Setting) -> str:
    """Tokens of the completion before its last have no labels."""
    labels = case.labels[len(case.served_ids) : -1]
    masked = sum(label == IGNORED for label in labels)
    return f"{masked} of {len(labels)} tokens of reasoning and answer are not trained" if masked else ""


def padding_trained(case: Case, setting: Setting) -> str:
    """The filling of a batch has labels."""
    if all(label == IGNORED for label in case.padding):
        return ""
    same = ", and the pad token is the end token, so the model learns to end again and again"
    return f"padding is trained{same if setting.pad == setting.end else ''}"


def end_missing(case: Case, setting: Setting) -> str:
    """The last token is not the end token."""
    if setting.end in case.completion[-1:]:
        return ""
    return f"the row does not end with the end token {setting.end_text!r}; it ends {case.said[-20:]!r}"


def end_doubled(case: Case, setting: Setting) -> str:
    """The end token stands more than once after the prompt."""
    places = [i + 1 for i, token in enumerate(case.completion) if token == setting.end]
    if len(places) < 2:
        return ""
    n = len(case.completion)
    return f"the end token {setting.end_text!r} stands {len(places)} times, first as token {places[0]} of {n}"


def end_masked(case: Case, setting: Setting) -> str:
    """The end token at the end of the row has no label."""
    if case.ids[-1:] != (setting.end,) or case.labels[-1] != IGNORED:
        return ""
    by_id = (
        " (it is also the pad token: mask padding by its place, not by its id)" if setting.pad == setting.end else ""
    )
    return f"the end token {setting.end_text!r} is there but is not trained{by_id}"


def control_token(case: Case, setting: Setting) -> str:
    """A text of the row holds a control token; an end token in what is trained is `end_doubled`'s to tell."""
    example = case.example
    read = [
        ("question", user_text(example)),
        *((f"{turn.role}'s earlier turn", turn.content) for turn in example.history),
    ]
    said = [("reasoning", example.reasoning if setting.reasons else ""), ("answer", example.answer)]
    found = [(what, token) for what, text in read for token in setting.controls if token in text]
    found += [
        (w, token) for w, text in said for token in setting.controls if token in text and token != setting.end_text
    ]
    return f"the {found[0][0]} holds {found[0][1]!r}, the text of a control token" if found else ""


def begin_doubled(case: Case, setting: Setting) -> str:
    """The row begins with two begin tokens."""
    if setting.begin is None or case.ids[:2] != (setting.begin, setting.begin):
        return ""
    return "the row begins with two begin tokens"
