"""Markdown of a model → HTML that cannot make a browser call out, and that is made in bounded time.

In: any text. Out: HTML of the elements in `ALLOWED` and nothing else. markdown-it-py writes raw HTML as text and an
image as its description; nh3 then takes out whatever is not on the list, so that a mistake of the one is caught by the
other. Links lead to http(s) only. Text that is too long, or tangled, is shown as it stands.
"""

from collections.abc import Sequence
from functools import cache
from html import escape
from typing import Any

import nh3
from markdown_it import MarkdownIt
from markdown_it.rules_core import StateCore
from markdown_it.token import Token

LONGEST = 40_000
"""Characters; above any answer that a model here can give (serve.max_tokens)."""
NESTING = 12
REPEATED = 400
"""Of one opening sign in a paragraph: to pair such signs takes time with the square of their number."""
OPENERS = "[]*_`<>!~|\\"
ALLOWED: dict[str, set[str]] = {
    **{name: set() for name in ("p", "br", "hr", "strong", "em", "code", "pre", "blockquote", "ul", "li")},
    **{name: set() for name in ("h4", "h5", "h6", "table", "thead", "tbody", "tr", "th", "td")},
    "ol": {"start"},
    "a": {"href", "rel"},
}
"""Elements with the attributes that they may carry."""
SCHEMES = {"http", "https"}
ABOVE = 3
LOWEST = 6
"""Levels of headings: the page's own above an answer, and the last that there is."""
REL = "noopener noreferrer nofollow"


def html(text: str) -> str:
    """The text as HTML."""
    text = text.replace("\x00", "\N{REPLACEMENT CHARACTER}")
    if len(text) > LONGEST or _is_tangled(text):
        return f"<pre>{escape(text, quote=False)}</pre>"
    attributes = {name: allowed - {"rel"} for name, allowed in ALLOWED.items()} | {"*": set()}
    return nh3.clean(
        _renderer().render(text), tags=set(ALLOWED), attributes=attributes, url_schemes=SCHEMES, link_rel=REL
    )


def _is_tangled(text: str) -> bool:
    """Whether a paragraph has so many opening signs that pairing them would take long."""
    return any(block.count(sign) > REPEATED for block in text.split("\n\n") for sign in OPENERS)


@cache
def _renderer() -> MarkdownIt:
    made = MarkdownIt("commonmark", {"html": False, "linkify": False, "maxNesting": NESTING})
    made.enable("table").disable(["html_block", "html_inline"])
    made.validateLink = _leads_to_the_web  # type: ignore[method-assign]
    made.add_render_rule("image", _described)
    made.core.ruler.push("beneath", _beneath)
    return made


def _beneath(state: StateCore) -> None:
    """Headings of an answer stand below those of the page, where a question is h2 and what answers it h3, and each at
    most one level below the last."""
    headings = [token for token in state.tokens if token.type in ("heading_open", "heading_close")]
    highest = min((int(token.tag[1]) for token in headings), default=0)
    last = ABOVE
    for token in headings:
        if token.type == "heading_open":
            last = min(LOWEST, int(token.tag[1]) - highest + ABOVE + 1, last + 1)
        token.tag = f"h{last}"


def _leads_to_the_web(url: str) -> bool:
    return url.lower().startswith(("http://", "https://"))


def _described(self: Any, tokens: Sequence[Token], at: int, options: Any, env: Any) -> str:
    """An image is fetched from somewhere, and its address can carry what was asked; its description cannot."""
    return escape(tokens[at].content)
