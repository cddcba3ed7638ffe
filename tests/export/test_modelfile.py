import pytest

from bedside.errors import ModelError
from bedside.export.modelfile import Modelfile
from bedside.records import Message

WORDS = Modelfile.parse(
    'FROM x\nTEMPLATE """<{{ .System }}>{{ range .Messages }}[{{ .Role }}:{{ .Content }}]{{ end }}"""\nSYSTEM own'
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("FROM ./a.gguf", [("from", "./a.gguf")]),
        ("# a comment\n\n  from a\r\nsystem two words\n", [("from", "a"), ("system", "two words")]),
        ('FROM a\nSYSTEM "quoted # no comment"', [("from", "a"), ("system", "quoted # no comment")]),
        ('FROM a\nSYSTEM """ two\n\nlines """\nPARAMETER stop "</s>"', [("from", "a"), ("system", " two\n\nlines "), ("stop", "</s>")]),
        ('FROM a\nSYSTEM """He said "no\""""', [("from", "a"), ("system", 'He said "no"')]),
        ("FROM a\nPARAMETER num_ctx 20\nPARAMETER stop a\nPARAMETER stop b", [("from", "a"), ("num_ctx", "20"), ("stop", "a"), ("stop", "b")]),
        ("FROM a\nSYSTEM th\u00e9\u202f?", [("from", "a"), ("system", "th\u00e9?")]),
    ],
)  # fmt: skip
def test_a_modelfile_is_read_as_ollama_reads_it(text: str, expected: list[tuple[str, str]]) -> None:
    """By its `parser/parser.go`: a no-break space is lost there, too."""
    assert list(Modelfile.parse(text).instructions) == expected


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("SYSTEM alone", "no FROM line"),
        ("FROM a\nSISTEM b", "'SISTEM b' is no instruction"),
        ("FROM a\nSYSTEM", "is no instruction"),
        ('FROM a\nSYSTEM """open"', "quote is not closed"),
        ("FROM a\nPARAMETER stop", "has no value"),
    ],
)
def test_what_ollama_would_not_take_is_refused(text: str, named: str) -> None:
    with pytest.raises(ModelError, match=named):
        Modelfile.parse(text)


def test_its_own_system_message_stands_in_only_where_a_conversation_does_not_begin_with_one() -> None:
    assert WORDS.prompt([Message("user", "a")]) == "<own>[system:own][user:a]"
    assert WORDS.prompt([Message("system", "b"), Message("user", "a")]) == "<b>[system:b][user:a]"
    assert WORDS.prompt([Message("system", ""), Message("user", "a")]) == "<>[system:][user:a]"


def test_messages_of_one_role_are_put_together_and_all_system_messages_too() -> None:
    talk = [Message("user", "a"), Message("user", "b"), Message("assistant", "c"), Message("system", "d")]
    assert WORDS.prompt(talk) == "<own\n\nd>[system:own][user:a\n\nb][assistant:c][system:d]"
