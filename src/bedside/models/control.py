"""Which tokens begin and end turns: those that a tokenizer calls special, and those that are only written so."""

import re

MARKED = re.compile(r"<[|｜][^<>]*[|｜]>")


def is_control(token: str, special: bool) -> bool:
    """Whether only a template may print a token: `<|im_end|>`; DeepSeek's `<｜User｜>`, which is not marked special."""
    return special or MARKED.fullmatch(token) is not None
