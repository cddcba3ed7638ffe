"""Hostile chat templates, in a process of their own with little memory; and sound ones, which must not notice."""

import json
import subprocess
import sys
from contextlib import suppress

import jinja2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

from bedside.errors import ModelError
from bedside.records import Message
from bedside.text import counting, sandbox
from bedside.text.chat import Renderer

DOUBLED = (
    "{% set ns = namespace(x='ab') %}{% for i in range(60) %}{% set ns.x = EXPRESSION %}{% endfor %}{{ ns.x | length }}"
)
LONG = "{% set s = 'a' * 900000 %}"
NESTED = "{% for a in range(100000) %}{% for b in range(100000) %}BODY{% endfor %}{% endfor %}"
CALLS_ITSELF = "{% macro f(n) %}{% if n > 0 %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}"
LISTS = "{% set ns = namespace(x=['a', 'b']) %}{% for i in range(60) %}{% set ns.x = EXPRESSION %}{% endfor %}"
HOSTILE = {
    "nested loops that print nothing": NESTED.replace("BODY", ""),
    "nested loops that print": NESTED.replace("BODY", "x"),
    "nested loops over one list": "{% set r = range(100000) | list %}{% for a in r %}{% for b in r %}{% endfor %}{% endfor %}",
    "nested loops over a text": LONG + "{% for a in s %}{% for b in s %}{% endfor %}{% endfor %}",
    "nested loops over the messages": "{% for a in messages %}" * 12 + "x" + "{% endfor %}" * 12,
    "a loop that leaves everything out": "{% for a in range(99999) %}{% for b in range(99999) if false %}{% endfor %}{% endfor %}",
    "a loop whose filter leaves everything out": (
        "{% for a in range(99999) %}{% for b in range(99999) | select('none') %}{% endfor %}{% endfor %}"
    ),
    "a loop with a long body": "{% for a in range(100000) %}" + "x" * 60000 + "{% endfor %}",
    "a loop that prints a long constant": "{% for a in range(100000) %}{{ '" + "x" * 60000 + "' }}{% endfor %}",
    "a recursive loop": "{% for a in [messages] recursive %}{{ loop([messages, messages]) }}{% endfor %}",
    "macros that call themselves": CALLS_ITSELF,
    "a macro without an end": "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "a caller without an end": "{% macro f() %}{{ caller() }}{{ caller() }}{% endmacro %}"
    + "{% call f() %}" * 40
    + "{% endcall %}" * 40,
    "blocks that print themselves": "{% block a %}{{ self.a() }}{% endblock %}",
    "a text times a number": "{{ 'x' * 10 ** 10 }}",
    "a number times a text": "{{ 10000000000 * 'x' }}",
    "a list times a number": "{{ [1] * 10 ** 10 }}",
    "a power": "{{ 9 ** 9 ** 9 }}",
    "squares": "{% set ns = namespace(x=3) %}{% for i in range(99) %}{% set ns.x = ns.x * ns.x %}{% endfor %}{{ ns.x }}",
    "a width in a format": "{{ '%1000000000d' | format(1) }}",
    "a width in a format, given apart": "{{ '%*d' | format(1000000000, 1) }}",
    "a precision in a format": "{{ '%.1000000000f' % 1.0 }}",
    "a width in str.format": "{{ '{:>1000000000}'.format('x') }}",
    "a width in a nested field": "{{ '{:>{}}'.format('x', 1000000000) }}",
    "a long argument many times": LONG + "{{ ('{0}' * 9000).format(s) }}",
    "centre": "{{ 'x' | center(10 ** 9) }}",
    "ljust": "{{ 'x'.ljust(1000000000) }}",
    "zfill": "{{ 'x'.zfill(1000000000) }}",
    "expandtabs": "{{ '\\t'.expandtabs(1000000000) }}",
    "to_bytes": "{{ (1).to_bytes(1000000000, 'big') }}",
    "translate": LONG + "{{ s.translate({97: s}) }}",
    "indent": "{{ 'x\\ny' | indent(1000000000) }}",
    "indented JSON": "{{ [1] | tojson(indent=1000000000) }}",
    "join of one text many times": LONG + "{{ ([s] * 4) | join(s * 2) }}",
    "str.join with a long separator": LONG + "{{ s.join(range(10000) | map('string')) }}",
    "replace by a long text": LONG + "{{ s | replace('a', s) }}",
    "str.replace by a long text": LONG + "{{ s.replace('a', s) }}",
    "replace of nothing": LONG + "{{ s.replace('', s) }}",
    "map with replace": LONG + "{{ range(1000) | map('replace', '', s) | list | length }}",
    "batch": "{{ [1] | batch(1000000000, 'x') | list }}",
    "slice": "{{ [1] | slice(1000000000) | list }}",
    "round": "{{ 5 | round(1000000000, 'ceil') }}",
    "a text doubled by +": DOUBLED.replace("EXPRESSION", "ns.x + ns.x"),
    "a text doubled by ~": DOUBLED.replace("EXPRESSION", "ns.x ~ ns.x"),
    "a text doubled by join": DOUBLED.replace("EXPRESSION", "[ns.x, ns.x] | join"),
    "a text doubled by format": DOUBLED.replace("EXPRESSION", "'%s%s' % (ns.x, ns.x)"),
    "a text doubled by a block": DOUBLED.replace(
        "{% set ns.x = EXPRESSION %}", "{% set y %}{{ ns.x }}{{ ns.x }}{% endset %}{% set ns.x = y %}"
    ),
    "a long sum": LONG + "{{ (" + " + ".join(["s"] * 9000) + ") | length }}",
    "a long join": LONG + "{{ (" + " ~ ".join(["s"] * 9000) + ") | length }}",
    "many parts of one text": LONG + "{{ [" + ", ".join(f"s[{i}:]" for i in range(5000)) + "] | length }}",
    "lists that hold lists": LISTS.replace("EXPRESSION", "[ns.x, ns.x]") + "{{ ns.x }}",
    "tuples that hold tuples": LISTS.replace("EXPRESSION", "(ns.x, ns.x)") + "{{ {ns.x: 1} }}",
    "dictionaries that hold dictionaries": LISTS.replace("EXPRESSION", "{1: ns.x, 2: ns.x}") + "{{ ns.x | tojson }}",
    "lists doubled": LISTS.replace("EXPRESSION", "ns.x + ns.x"),
    "namespaces that hold each other": "".join(
        f"{{% set n{i} = namespace(x=[n{i - 1}, n{i - 1}]) %}}" for i in range(1, 60)
    ).replace("[n0, n0]", "[1]")
    + "{{ n59 }}{{ n59.x }}{{ 1 / 0 }}",
    "slow searches": LONG + "{% set t = 'b' + s %}{{ (s + s).rfind(t) }}",
    "slow strips": LONG + "{{ s.strip('b' * 900000 + 'a') }}{{ s | trim('b' * 900000 + 'a') }}",
    "long comparisons": LONG + "{% set t = s + '' %}{% for i in range(99999) %}{% for j in range(99) %}"
    "{% if (s + 'x') in t %}{% endif %}{% endfor %}{% endfor %}",
    "words": "{{ lipsum(n=1000000000) }}",
    "a long template": "x" * 200_000,
    "deep brackets": "{{ " + "(" * 20000 + "1" + ")" * 20000 + " }}",
    "deep lists": "{{ " + "[" * 150 + "]" * 150 + " }}{{ 1 / 0 }}",
    "deep loops": "{% for a in [1] %}" * 60 + "{% endfor %}" * 60,
    "a long chain": "{{ 1" + " + 1" * 30000 + " }}",
    "a long path": "{{ messages" + ".a" * 30000 + " }}",
    "a huge number": "{{ " + "9" * 60000 + " }}",
    "a file": "{% include '/etc/passwd' %}",
    "an import": "{% import 'os' as os %}",
    "a parent": "{% extends '/etc/passwd' %}",
    "a message of many lines": "{{ raise_exception('a\\n' * 1000 + '\\x1b[2J') }}",
    "a message that hides the screen": "{{ raise_exception('\\x1b[2J') }}",
}
CHILD = """
import json, resource, sys
from bedside.errors import ModelError
from bedside.records import Message
from bedside.text.chat import Renderer
resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
resource.setrlimit(resource.RLIMIT_CPU, (300, 300))
messages = [Message("user", "one"), Message("assistant", "two")] * 3
for name, template in json.load(sys.stdin).items():
    try:
        Renderer(template, "<s>", "</s>").render(messages, generation=True)
        told = "no error"
    except ModelError as error:
        told = str(error)
    print(json.dumps([name, told]), flush=True)
"""


@pytest.fixture(scope="module")
def told() -> dict[str, str]:
    """What the renderer says of each template, in one process with a gibibyte of memory."""
    done = subprocess.run(
        [sys.executable, "-c", CHILD], input=json.dumps(HOSTILE), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return dict(json.loads(line) for line in done.stdout.splitlines())


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_template_ends_in_one_line(told: dict[str, str], name: str) -> None:
    line = told[name]
    assert line.startswith("chat template: ")
    assert line.endswith("choose prompt.style = 'alpaca-think' to use another")
    assert len(line) < 400
    assert line.isprintable()


SOUND = {
    "headers": "{% set loop_messages = messages %}{% for message in loop_messages %}{% set content = '<h>' + message['role'] + "
    "'</h>\n\n' + message['content'] | trim + '<e>' %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}"
    "{{ content }}{% endfor %}{% if add_generation_prompt %}{{ '<h>assistant</h>\n\n' }}{% endif %}",
    "a reasoning that is cut": "{% set ns = namespace(system='', last=messages | length - 1, found=false) %}"
    "{% for message in messages[::-1] %}{% set index = (messages | length - 1) - loop.index0 %}"
    "{% if not ns.found and message.role == 'user' and not message.content.startswith('<tool>') %}"
    "{% set ns.found = true %}{% set ns.last = index %}{% endif %}{% endfor %}{% for message in messages %}"
    "{% if message.role == 'system' %}{% set ns.system = message.content %}{% endif %}"
    "{% if message.role == 'assistant' and '</think>' in message.content %}"
    "{{ message.content.split('</think>')[-1].lstrip('\n') + eos_token }}"
    "{% else %}{{ message.role }}:{{ message.content }}{% endif %}{% if loop.index0 > ns.last %}{{ loop.index }}{% endif %}"
    "{% endfor %}{{ ns.system }}",
    "roles in turn": "{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Roles must take turns') }}{% endif %}{{ message['content'] }}{% endfor %}",
    "lists": "{% set users = messages | selectattr('role', 'equalto', 'user') | list %}{% set kept = [] %}"
    "{% for m in messages[1:] %}{% set kept = kept + [m] %}{% if m == users[-1] %}last{% endif %}{% endfor %}{{ users | length }}"
    "{{ kept | map(attribute='content') | join(', ') }}{{ messages | map(attribute='role') | unique | list }}",
    "a generator is true": "{% if messages | selectattr('role', 'equalto', 'nobody') %}yes{% endif %}",
    "formats": "{{ '%s-%02d' | format('a', 7) }}{{ '%(x).3f' % {'x': 1.5} }}{{ '{:>6}|{x!r}'.format('a', x='b') }}{{ '100%' }}",
    "texts": "{{ messages[0].content[:3] ~ 1 ~ none ~ [1, 'a'] }}{{ 'a,b'.split(',') }}{{ '-' * 3 }}{{ 'x' | replace('x', 'yy') }}"
    "{{ 'a\nb' | indent(2) }}{{ messages[0].content.replace('a', 'b').upper().rsplit('b', 1) }}{{ ' a ' | trim | title }}",
    "JSON": "{{ messages | tojson }}{{ messages[0] | tojson(indent=2) }}{{ {'a': [1, 2.5, true, none]} | tojson }}",
    "macros and blocks": "{% macro turn(m, last=false) %}[{{ m.role }}{% if caller %}{{ caller(m.content) }}{% endif %}]{% endmacro %}"
    "{% for m in messages %}{% call(text) turn(m) %}{{ text | upper }}{% endcall %}{{ turn(m) }}{% endfor %}"
    "{% set b %}{{ messages[0].role }}!{% endset %}{{ b }}{% filter upper | trim %} x{{ b }} {% endfilter %}"
    "{% set c | upper %}y{{ b }}{% endset %}{{ c }}{% block z %}z{% endblock %}{{ self.z() }}",
    "loops": "{% for k, v in messages[0].items() if k != 'role' %}{{ k }}={{ v }}{{ loop.length }}{% else %}none{% endfor %}"
    "{% for i in range(2, 9, 3) %}{% if i == 5 %}{% continue %}{% endif %}{{ loop.cycle('a', 'b') }}{{ i }}{% endfor %}"
    "{% for x in [1, [2, [3]]] recursive %}{% if x is iterable %}({{ loop(x) }}){% else %}{{ x }}{% endif %}{% endfor %}",
    "numbers": "{{ 2 ** 10 + 7 // 2 - 1.5 * 2 }}{{ 7 % 4 }}{{ -3 | abs }}{{ '12' | int + 1 }}{{ 10 / 4 }}{{ [3, 1] | max }}",
    "tests": "{{ nothing is defined }}{{ messages is sequence }}{{ 'a' is in ['a'] }}{{ 'b' is in 'abc' }}{{ nothing }}"
    "{{ messages[9] is defined }}{{ messages[0].tool_calls | default('no', true) }}{{ 'x' if nothing }}",
}
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
TURNS = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["user", "assistant", "system"]), "content": TEXT | st.just("<think>a</think>\n\nb")}
    ),
    min_size=1,
    max_size=5,
)


def plain(template: str) -> jinja2.Template:
    """The template in Jinja's own sandbox, as transformers sets it up (5.23, `chat_template_utils.py`)."""
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
    environment.filters["tojson"] = lambda value, indent=None: json.dumps(value, ensure_ascii=False, indent=indent)

    def refuse(message: str) -> None:
        raise jinja2.TemplateError(message)

    environment.globals["raise_exception"] = refuse
    return environment.from_string(template)


@pytest.mark.parametrize("name", SOUND)
@settings(max_examples=25)
@given(messages=TURNS, generation=st.booleans())
def test_a_sound_template_prints_what_jinja_prints(name: str, messages: list[dict[str, str]], generation: bool) -> None:
    variables = {"messages": messages, "bos_token": "<s>", "eos_token": "</s>", "add_generation_prompt": generation}
    printed = []
    for program in (plain(SOUND[name]), sandbox.compile_template(SOUND[name])):
        try:
            printed.append(program.render(**variables))
        except jinja2.TemplateError as error:
            printed.append(f"refused: {error}")
    assert printed[0] == printed[1]


@pytest.mark.parametrize("name", ["headers", "a reasoning that is cut", "lists", "JSON"])
@pytest.mark.parametrize(("turns", "length"), [(1, 1_000_000), (1000, 1), (1000, 1000)])
def test_a_long_conversation_is_within_the_bounds(name: str, turns: int, length: int) -> None:
    messages = [Message("user", "a" * length), Message("assistant", "b" * length)] * turns
    assert len(Renderer(SOUND[name], "<s>", "</s>").render(messages, generation=True)) >= 6


@given(st.text(alphabet="{}%#-|.()[]'+~ amesgfoinrd\n0", max_size=80))
def test_whatever_a_template_is_it_renders_or_is_refused(template: str) -> None:
    with suppress(ModelError):
        assert isinstance(Renderer(template, "", "").render([Message("user", "hi")], generation=True), str)


@pytest.mark.parametrize(
    ("value", "expected"),
    [("", 1), ("abc", 4), (1, 1), (["ab", "c"], 6), ({"a": ["b"]}, 6), ((), 1), (range(9), 10), ({"a": 1}.items(), 5)],
)
def test_a_value_is_counted_with_all_that_it_holds(value: object, expected: int) -> None:
    assert counting.size(value) == expected


def test_a_value_is_counted_no_further_than_asked() -> None:
    shared: list[object] = ["x"]
    for _ in range(60):
        shared = [shared, shared]
    assert 1000 < counting.size(shared, 1000) < 1010
