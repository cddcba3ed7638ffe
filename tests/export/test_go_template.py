from typing import Any

import pytest

from bedside.errors import ModelError
from bedside.export.go_template import render

TURNS: dict[str, Any] = {
    "System": "Be brief.",
    "Prompt": "",
    "Messages": [{"Role": "user", "Content": "Fever?"}, {"Role": "assistant", "Content": "{{ no }}"}],
}


@pytest.mark.parametrize(
    ("template", "printed"),
    [
        ("a\n {{ .System }} \nb", "a\n Be brief. \nb"),
        ("a\n {{- .System -}} \n\tb", "aBe brief.b"),
        ('{{ "{{ \\"x\\" }}" }}{{ `raw }}` }}', '{{ "x" }}raw }}'),
        ("{{ if .System }}yes{{ else }}no{{ end }}", "yes"),
        ("{{ if .Prompt }}yes{{ else }}no{{ end }}", "no"),
        ("{{ if .Prompt }}a{{ else if .System }}b{{ else }}c{{ end }}d", "bd"),
        ("{{ range .Messages }}<{{ .Role }}>{{ end }}", "<user><assistant>"),
        ("{{ range $i, $m := .Messages }}{{ if eq $i 1 }}{{ $m.Content }}{{ end }}{{ end }}", "{{ no }}"),
        ("{{ range $i, $_ := .Messages }}{{ if eq (len (slice $.Messages $i)) 1 }}{{ .Role }}{{ end }}{{ end }}", "assistant"),
        ('{{ if and .System (ne .System "x") (not .Prompt) }}{{ or .Prompt .System }}{{ end }}', "Be brief."),
        ("{{ (index .Messages 0).Content }}", None),
        ("{{ $x := .System }}{{ if .System }}{{ $x := .Prompt }}{{ end }}{{ $x }}", "Be brief."),
        ("no action at all", "no action at all"),
    ],
)  # fmt: skip
def test_what_go_prints_is_printed(template: str, printed: str | None) -> None:
    """By text/template's documentation; a name that is set inside a block ends with the block."""
    if printed is None:
        with pytest.raises(ModelError, match="not understood"):
            render(template, TURNS)
    else:
        assert render(template, TURNS) == printed


@pytest.mark.parametrize(
    "template",
    [
        "{{ .System | printf }}",
        "{{ json .Messages }}",
        "{{ .Unknown }}",
        "{{ range .Messages }}{{ .System }}{{ end }}",
        "{{ if .System }}open",
        "{{ if .System ",
        "{{ len .Messages }}",
        "{{ with .System }}{{ . }}{{ end }}",
        "{{ slice .Messages 0 1 2 3 }}",
        "{{ (.System }}",
        "{{ }}",
        "{{/* a comment */}}",
        "{{ $x }}",
    ],
)
def test_what_is_not_understood_is_refused_and_never_guessed(template: str) -> None:
    with pytest.raises(ModelError, match="Go template: "):
        render(template, TURNS)
