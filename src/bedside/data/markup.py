"""What web pages left in a text → plain text: tags, entities, and names with URL escapes ("Barr%C3%A9").

Only names of tags count that shape text, so that "BP <90/60 and >40", `<think>` and `<answer>` stay, and names of one
letter count only where they are closed: "a<b>5" says something, and "<B>" may be an option. Raised and lowered text
keeps its meaning: "10<sup>9</sup>" is "10^9", "SO<sub>4</sub><sup>2-</sup>" is "SO4^2-", "CD4<sup>+</sup>" is "CD4+".
"""

import re

from ftfy.fixes import unescape_html

LETTERS = "a|b|i|u"
INLINE = (
    "abbr|acronym|big|body|cite|col|colgroup|del|dfn|em|font|head|html|img|ins|nobr|small|span|strike|strong|tt|wbr"
)
LINES = "blockquote|br|caption|center|div|dl|figcaption|figure|h[1-6]|hr|ol|p|table|tbody|tfoot|thead|ul"
OPENS_WITH = {"li": "\n- ", "tr": "\n", "dt": "\n", "dd": "\n", "td": " ", "th": " "}
ATTRIBUTES = r"""(?:\s++[\w:-]++\s*+=\s*+(?:"[^"<>]*+"|'[^'<>]*+'|[^\s"'<>]++))*+\s*+"""

TAG = re.compile(
    rf"<(?P<closing>/?)(?:(?P<letter>{LETTERS})|(?P<line>{LINES})|(?P<name>{INLINE}|{'|'.join(OPENS_WITH)})){ATTRIBUTES}/?>",
    re.ASCII | re.IGNORECASE,
)
CLOSED = re.compile(f"</({LETTERS})>")
SCRIPTS = tuple(
    (re.compile(pattern, re.IGNORECASE), flat)
    for pattern, flat in (
        (r"<sup>(\d+)</sup>[/⁄]<sub>(\d+)</sub>", r" \1/\2"),  # 1<sup>1</sup>/<sub>2</sub> tablets
        (rf"(?<=\d)<sub{ATTRIBUTES}>\s*(?=\d)", "_"),
        (rf"</?sub{ATTRIBUTES}>", ""),
        (rf"(?<=[\w)\]])<sup{ATTRIBUTES}>\s*(?=[-+−–]?\w)(?!(?:st|nd|rd|th)\b)", "^"),
        (rf"</?sup{ATTRIBUTES}>", ""),
    )
)
ESCAPED_ESCAPE = re.compile(r"&(?:amp;)+(?=#?\w{1,24};)")
UNENDED = re.compile(r"&(amp|gt|lt|nbsp|quot)(?![A-Za-z;=])")
UTF8 = "[C-F][0-9A-F](?:%[89AB][0-9A-F])++"
URL_ESCAPE = re.compile(rf"%(?:27(?<=[A-Za-z]%27)(?=s\b)|{UTF8}(?:%{UTF8})*+)")
"""Only what can be no percentage: the apostrophe of a name, and signs beyond ASCII."""


def looks_flat(text: str) -> bool:
    """A quick test that errs on one side alone: what it passes, `flattened` leaves as it is."""
    return "&" not in text and "<" not in text and not ("%" in text and URL_ESCAPE.search(text))


def flattened(text: str) -> str:
    """The text without tags and with its escapes resolved, however often they were escaped.

    An entity ends with its semicolon, but for the commonest: PubMed holds "(P&lt.0001)".
    """
    if "%" in text:
        text = URL_ESCAPE.sub(_unquoted, text)
    if "&" in text:
        text = unescape_html(UNENDED.sub(r"&\1;", ESCAPED_ESCAPE.sub("&", text)))
    if "<" in text:
        closed = set(CLOSED.findall(text.lower()))
        text = TAG.sub(lambda tag: _plain(tag, closed), text)
    if "<su" in text.lower():
        for pattern, flat in SCRIPTS:
            text = pattern.sub(flat, text)
    return text


def _unquoted(escape: re.Match[str]) -> str:
    """The signs of an escape, or the escape itself if it is no UTF-8."""
    try:
        return bytes.fromhex(escape[0].replace("%", "")).decode()
    except UnicodeDecodeError:
        return escape[0]


def _plain(tag: re.Match[str], closed: set[str]) -> str:
    """What a tag leaves: a new line, an item's dash, a space between cells, or nothing; itself if it may be none."""
    if tag["line"]:
        return "\n"
    if tag["letter"]:
        return "" if tag["letter"].lower() in closed else tag[0]
    return "" if tag["closing"] else OPENS_WITH.get(tag["name"].lower(), "")
