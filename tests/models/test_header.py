"""GGUF headers, sound and hostile. The hostile ones are read in a process of little memory."""

import json
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import gguf as library
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bedside.errors import ModelError
from bedside.models import header, locate
from bedside.models.gguf import GgufMetadata, metadata
from bedside.models.known import find
from bedside.recipe import ModelSection

from .test_gguf import write

U32, I32, TEXT, ARRAY, U64 = 4, 5, 8, 9, 10
HUGE = 1 << 63


def text(value: str | bytes) -> bytes:
    stored = value if isinstance(value, bytes) else value.encode()
    return struct.pack("<Q", len(stored)) + stored


def field(key: str, kind: int, value: bytes) -> bytes:
    return text(key) + struct.pack("<I", kind) + value


def u32(value: int) -> bytes:
    return struct.pack("<I", value)


def array(kind: int, count: int, values: bytes = b"") -> bytes:
    return struct.pack("<IQ", kind, count) + values


def tensor(name: str, shape: tuple[int, ...], kind: int = 0, offset: int = 0) -> bytes:
    return text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)


ARCHITECTURE = field("general.architecture", TEXT, text("llama"))
TOKENS = field("tokenizer.ggml.tokens", ARRAY, array(TEXT, 2, text("<s>") + text("</s>")))


def whole(*fields: bytes, tensors: tuple[bytes, ...] = (), data: bytes = b"", **claims: Any) -> bytes:
    """A file; `claims` are what its first bytes say where that is not the truth."""
    head = struct.pack(
        "<4sIQQ",
        claims.get("magic", b"GGUF"),
        claims.get("version", 3),
        claims.get("count", len(tensors)),
        claims.get("keys", len(fields)),
    )
    stored = head + b"".join(fields) + b"".join(tensors)
    return stored + b"\0" * (-len(stored) % 32) + data


HOSTILE = {
    "a wrong magic": (whole(magic=b"GGML"), "does not begin with GGUF"),
    "a version of the future": (whole(version=4), "version 4"),
    "the first version": (whole(version=1), "version 1"),
    "big-endian": (whole(version=3 << 24), "big-endian"),
    "2^63 keys": (whole(ARCHITECTURE, keys=HUGE), "claims 9,223,372,036,854,775,808 keys"),
    "2^63 tensors": (whole(ARCHITECTURE, count=HUGE), "9,223,372,036,854,775,808 tensors"),
    "more keys than there are": (whole(ARCHITECTURE, keys=9000), "not a whole GGUF file"),
    "more tensors than there are": (whole(ARCHITECTURE, count=9000), "not a whole GGUF file"),
    "a key beyond the file": (whole(struct.pack("<Q", HUGE) + b"x"), "ends too early"),
    "a text beyond the file": (whole(field("a", TEXT, struct.pack("<Q", 2**64 - 1))), "ends too early"),
    "an array of 2^63 numbers": (whole(field("a", ARRAY, array(U64, HUGE))), "ends too early"),
    "an array of 2^61 numbers, whose bytes overflow": (whole(field("a", ARRAY, array(U64, 1 << 61))), "ends too early"),
    "an array of 2^63 texts": (whole(field("a", ARRAY, array(TEXT, HUGE))), "ends too early"),
    "texts beyond the file": (whole(field("a", ARRAY, array(TEXT, 2, struct.pack("<QQ", HUGE, HUGE)))), "too early"),
    "arrays in arrays": (whole(field("a", ARRAY, array(ARRAY, 1, array(ARRAY, 1)))), "an array of type 9"),
    "an array of no type": (whole(field("a", ARRAY, array(99, 1))), "an array of type 99"),
    "a value of no type": (whole(field("a", 99, b"")), "a value of type 99"),
    "a key twice": (whole(ARCHITECTURE, ARCHITECTURE), "'general.architecture' stands there twice"),
    "a long key": (whole(field("a" * 70000, U32, u32(1))), "a name of 70,000 bytes"),
    "a key that moves the cursor": (whole(*[field("\x1b[2J\n", U32, u32(1))] * 2), "stands there twice"),
    "a tensor twice": (whole(tensors=(tensor("a", (1,)),) * 2, data=b"\0" * 64), "'a' stands there twice"),
    "an axis of 2^40": (whole(tensors=(tensor("a", (1 << 40,)),)), "tensor 'a' ends beyond it"),
    "axes whose product overflows": (whole(tensors=(tensor("a", (1 << 32, 1 << 32)),)), "ends beyond it"),
    "2^32 axes": (whole(tensors=(text("a") + u32(2**32 - 1),)), "a tensor of 4294967295 axes"),
    "an axis of nothing": (whole(tensors=(tensor("a", (0, 4)),)), "shape (0, 4)"),
    "half a block": (whole(tensors=(tensor("a", (31,), 8),), data=b"\0" * 64), "shape (31,)"),
    "a tensor of no type": (whole(tensors=(tensor("a", (1,), 4711),)), "a tensor of type 4711"),
    "an offset beyond the file": (whole(tensors=(tensor("a", (1,), offset=1 << 40),), data=b"\0" * 64), "ends beyond"),
    "an offset that overflows": (whole(tensors=(tensor("a", (1,), offset=2**64 - 32),), data=b"\0" * 64), "beyond"),
    "a tensor that is cut": (whole(tensors=(tensor("a", (8,)),), data=b"\0" * 31), "ends beyond it"),
    "an alignment of nothing": (whole(field("general.alignment", U32, u32(0))), "no power of two"),
    "an alignment of 3": (whole(field("general.alignment", U32, u32(3))), "no power of two"),
    "an alignment that is a text": (whole(field("general.alignment", TEXT, text("x"))), "no power of two"),
    "a begin token beyond the vocabulary": (
        whole(TOKENS, field("tokenizer.ggml.bos_token_id", U32, u32(2))),
        "tokenizer.ggml.bos_token_id is 2, and the file has 2 tokens",
    ),
    "an end token of -1": (
        whole(TOKENS, field("tokenizer.ggml.eos_token_id", I32, struct.pack("<i", -1))),
        "is -1, and",
    ),
    "an end token of no vocabulary": (
        whole(field("tokenizer.ggml.eos_token_id", U32, u32(1))),
        "the file has 0 tokens",
    ),
    "an end token that is a text": (whole(field("tokenizer.ggml.eos_token_id", TEXT, text("x"))), "no whole number"),
    "tokens that are a number": (
        whole(field("tokenizer.ggml.tokens", U32, u32(9)), field("tokenizer.ggml.eos_token_id", U32, u32(1))),
        "the file has 0 tokens",
    ),
    "tokens that are no text": (
        whole(
            field("tokenizer.ggml.tokens", ARRAY, array(TEXT, 1, text(b"\xff"))),
            field("tokenizer.ggml.eos_token_id", U32, u32(0)),
        ),
        "token 0 is not UTF-8 text",
    ),
    "a context of nothing": (whole(ARCHITECTURE, field("llama.context_length", U32, u32(0))), "context_length is 0"),
    "a context of 2^60": (
        whole(ARCHITECTURE, field("llama.context_length", U64, struct.pack("<Q", 1 << 60))),
        "context_length is 1152921504606846976",
    ),
    "a context that is a text": (
        whole(ARCHITECTURE, field("llama.context_length", TEXT, text("x"))),
        "no whole number",
    ),
    "a template that is a number": (whole(field("tokenizer.chat_template", U32, u32(1))), "chat_template is no text"),
    "a template of 50 MB": (
        whole(field("tokenizer.chat_template", TEXT, text("x" * 50_000_000))),
        "tokenizer.chat_template has 50,000,000 bytes",
    ),
    "a template that is no text": (whole(field("tokenizer.chat_template", TEXT, text(b"\xff"))), "not UTF-8 text"),
    "a header of 80 MB": (whole(field("a", TEXT, text("x" * 80_000_000))), "a header of more than 64 MiB"),
    "many million short texts": (
        whole(field("a", ARRAY, array(TEXT, 8_000_000, b"\0" * 64_000_000)), field("b", 99, b"")),
        "a value of type 99",
    ),
}
CHILD = """
import json, resource, sys
from pathlib import Path
from bedside.errors import ModelError
from bedside.models.gguf import metadata
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (256 << 20),) * 2)
resource.setrlimit(resource.RLIMIT_CPU, (120, 120))
for path in sys.argv[1:]:
    try:
        told = repr(metadata(Path(path)))
    except ModelError as error:
        told = str(error)
    print(json.dumps(told), flush=True)
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What is said of each hostile file by one process that may take 256 MiB beside what it has."""
    folder = tmp_path_factory.mktemp("hostile")
    paths = [folder / f"{i}.gguf" for i in range(len(HOSTILE))]
    for path, (content, _) in zip(paths, HOSTILE.values(), strict=True):
        path.write_bytes(content)
    done = subprocess.run([sys.executable, "-c", CHILD, *map(str, paths)], capture_output=True, text=True, check=False)
    for path in paths:
        path.unlink()
    assert done.returncode == 0, done.stderr[-2000:]
    lines = [
        json.loads(line).replace(f"{path}: ", "") for line, path in zip(done.stdout.splitlines(), paths, strict=True)
    ]
    return dict(zip(HOSTILE, lines, strict=True))


@pytest.mark.skipif(sys.platform != "linux", reason="limits of memory are Linux's")
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_header_is_told_in_one_short_line(told: dict[str, str], name: str) -> None:
    assert HOSTILE[name][1] in told[name]
    assert len(told[name]) < 200
    assert told[name].isprintable()


def test_a_name_is_one_line_that_moves_no_cursor(tmp_path: Path) -> None:
    path = tmp_path / "a.gguf"
    path.write_bytes(whole(field("general.name", TEXT, text("A\x1b[2J\nB\u202e" + "c" * 300))))
    assert metadata(path).name == "A [2J B " + "c" * 192


def test_a_file_of_no_more_than_a_head_has_the_defaults(tmp_path: Path) -> None:
    path = tmp_path / "plain.gguf"
    path.write_bytes(whole())
    assert metadata(path) == GgufMetadata("plain", "", "", "", False, "default", 2048, None, "")


def read_alike(path: Path) -> int:
    """Asserts that the library reads each key and tensor as we do; returns how many there are."""
    ours, theirs = header.read(path), library.GGUFReader(path)
    for key, known in theirs.fields.items():
        if key.startswith("GGUF."):
            continue  # the first bytes, which the library lists among the keys
        value, found = known.contents(), ours.fields[key]
        if isinstance(value, list):
            assert found.count == len(value)
            if isinstance(found, header.Texts):
                some = {0, len(value) // 2, len(value) - 1}
                assert [found[i].decode() for i in some] == [value[i] for i in some]
        else:
            assert (found.decode() if isinstance(found, bytes) else found) == value
    assert ours.shapes == {one.name: tuple(map(int, one.shape)) for one in theirs.tensors}
    return len(ours.fields) + len(ours.shapes)


def test_a_file_reads_as_the_library_reads_it(tmp_path: Path) -> None:
    assert read_alike(write(tmp_path / "a.gguf", template="{{ bos_token }}", adds_bos=True)) > 5


@pytest.mark.slow
def test_the_embedded_file_reads_as_the_library_reads_it() -> None:
    assert read_alike(locate.embedded_gguf()) > 270  # the tensors of 30 layers alone


def test_the_types_of_tensors_are_the_librarys() -> None:
    assert {kind.value: sizes for kind, sizes in library.GGML_QUANT_SIZES.items()} == header.BLOCKS


def test_a_token_beyond_the_last_is_no_token() -> None:
    tokens = header.Texts(2, text("a") + text("bc"))
    assert (tokens[0], tokens[1]) == (b"a", b"bc")
    for index in (-1, 2):
        with pytest.raises(IndexError):
            tokens[index]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return write(tmp_path_factory.mktemp("sound") / "a.gguf", template="{{ x }}").read_bytes()


@settings(max_examples=400)
@given(data=st.data())
def test_whatever_its_bytes_are_a_file_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, sound: bytes, data: st.DataObject
) -> None:
    """Bytes are changed one by one or eight at once, as a count or a length would be, and the end is cut off."""
    content = bytearray(sound)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        new = data.draw(
            st.binary(min_size=1, max_size=1)
            | st.sampled_from([struct.pack("<Q", n) for n in (0, HUGE, 2**64 - 1, 1 << 40)])
        )
        content[at : at + len(new)] = new
    path = tmp_path_factory.mktemp("changed") / "a.gguf"
    path.write_bytes(content[: data.draw(st.sampled_from([len(content)] * 3) | st.integers(0, len(content)))])
    for read in (metadata, lambda path: find(ModelSection(base=str(path)))):
        try:
            read(path)
        except ModelError as error:
            assert str(error).isprintable()  # noqa: PT017 - a file that is read after all is as good
