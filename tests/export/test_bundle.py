"""A bundle gives back the release byte by byte, or refuses by name and leaves nothing behind."""

import hashlib
import io
import json
import shutil
import subprocess
import sys
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from bedside.errors import CheckFailed, DataError, RunError, UsageError
from bedside.export import release
from bedside.export.bundle import pack, served, unpack
from bedside.export.verify import verify
from bedside.export.wheels import needed, wheels_text
from bedside.files import tree_digests

from .conftest import SaveRelease

Member = tuple[tarfile.TarInfo, bytes]


@pytest.fixture
def bundle(save_release: SaveRelease, tmp_path: Path) -> Path:
    """A bundle in a folder of its own."""
    (tmp_path / "there").mkdir()
    pack(save_release(), tmp_path / "there" / "demo.tar.zst")
    return tmp_path / "there" / "demo.tar.zst"


def _file(name: str, content: bytes, kind: bytes = tarfile.REGTYPE, link: str = "") -> Member:
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname = len(content), kind, link
    return info, content


def _about(content: bytes) -> dict[str, Any]:
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def _hostile(path: Path, members: list[Member], **files: Any) -> Path:
    """A bundle with these members after a manifest that names `files`, and "a.gguf" if no other is served."""
    manifest = json.dumps({"format": 1, "serve": next(iter(files)), "files": files}).encode()
    with pa.CompressedOutputStream(str(path), "zstd") as out, tarfile.open(fileobj=out, mode="w|") as tar:
        for info, content in [_file("bundle.json", manifest), *members]:
            tar.addfile(info, io.BytesIO(content))
    return path


def _changed(path: Path, change: Callable[[bytearray], Any]) -> None:
    """Changes the archive within its compression."""
    with pa.CompressedInputStream(str(path), "zstd") as stream:
        content = bytearray(stream.read())
    change(content)
    with pa.CompressedOutputStream(str(path), "zstd") as out:
        out.write(bytes(content))


def _nothing_left(path: Path) -> bool:
    return sorted(one.name for one in path.parent.iterdir()) == [path.name]


def test_what_comes_out_is_the_release_with_what_it_takes_to_serve_it(bundle: Path, save_release: SaveRelease) -> None:
    folder = unpack(bundle)
    assert folder == bundle.parent / "demo"
    original = tree_digests(save_release())
    assert tree_digests(folder).items() >= {name: original[name] for name in release.sums(folder)}.items()
    assert {path.name for path in folder.iterdir()} >= {"README.txt", "wheels.txt", "SHA256SUMS", "bundle.json"}
    assert served(folder) == folder / "demo-q8_0.gguf"
    assert verify(folder).ok


def test_the_same_release_gives_the_same_bytes(save_release: SaveRelease, tmp_path: Path) -> None:
    folder = save_release()
    first = pack(folder, tmp_path / "demo.tar.zst")
    (tmp_path / "demo.tar.zst").unlink()
    (folder / "demo-q8_0.gguf").touch()
    assert pack(folder, tmp_path / "demo.tar.zst")["sha256"] == first["sha256"]


def test_other_programs_unpack_it_too(bundle: Path) -> None:
    with pa.CompressedInputStream(str(bundle), "zstd") as stream, tarfile.open(fileobj=stream, mode="r|") as tar:
        members = [(one.name, one.isreg(), one.mtime, one.uid, one.mode) for one in tar]
    assert members[0][0] == "bundle.json"
    assert [name for name, *_ in members[1:]] == sorted(name for name, *_ in members[1:])
    assert {rest for _, *rest_ in members for rest in [tuple(rest_)]} == {(True, 0, 0, 0o644)}


def test_an_index_of_documents_goes_with_it(save_release: SaveRelease, tmp_path: Path) -> None:
    (tmp_path / "index" / "parts").mkdir(parents=True)
    (tmp_path / "index" / "parts" / "one.bin").write_bytes(b"terms")
    pack(save_release(), tmp_path / "with.tar.zst", index=tmp_path / "index")
    assert (unpack(tmp_path / "with.tar.zst") / "index" / "parts" / "one.bin").read_bytes() == b"terms"


def test_its_readme_says_what_it_is_and_is_not(bundle: Path, save_release: SaveRelease, tmp_path: Path) -> None:
    text = (unpack(bundle) / "README.txt").read_text()
    assert "not a medical device" in text
    assert "bedside serve demo.tar.zst" in text
    assert "UNVERIFIED" not in text
    pack(save_release(ok=False), tmp_path / "other.tar.zst")
    assert "UNVERIFIED" in (unpack(tmp_path / "other.tar.zst") / "README.txt").read_text()


def test_a_release_that_was_changed_is_not_packed(save_release: SaveRelease, tmp_path: Path) -> None:
    folder = save_release()
    (folder / "Modelfile").write_text("FROM other")
    with pytest.raises(CheckFailed, match="nothing was packed: Modelfile"):
        pack(folder, tmp_path / "demo.tar.zst")
    assert not list(tmp_path.glob("*.zst*"))


@pytest.mark.parametrize("name", ["demo.zip", ".tar.zst", "no/folder/demo.tar.zst"])
def test_a_path_that_no_bundle_can_have_is_refused(save_release: SaveRelease, tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="--bundle"):
        pack(save_release(), tmp_path / name)


def test_what_was_unpacked_before_is_checked_and_kept(bundle: Path) -> None:
    folder = unpack(bundle)
    stamp = (folder / "demo-q8_0.gguf").stat().st_mtime_ns
    assert unpack(bundle) == folder
    assert (folder / "demo-q8_0.gguf").stat().st_mtime_ns == stamp
    (folder / "demo-q8_0.gguf").write_bytes(b"other")
    with pytest.raises(CheckFailed, match=r"demo-q8_0\.gguf: not as it was packed"):
        unpack(bundle)


def test_a_folder_in_the_way_is_left_alone(bundle: Path) -> None:
    (bundle.parent / "demo").mkdir()
    (bundle.parent / "demo" / "thesis.txt").write_text("years of work")
    with pytest.raises(RunError, match="in the way"):
        unpack(bundle)
    assert (bundle.parent / "demo" / "thesis.txt").read_text() == "years of work"


X = b"x" * 700
PLAIN = {"a.gguf": _about(X)}


@pytest.mark.parametrize(
    ("members", "files", "told"),
    [
        ([_file("../evil", X)], PLAIN, "'../evil' is not in its bundle.json"),
        ([_file("/tmp/evil", X)], PLAIN, "'/tmp/evil' is not in its bundle.json"),
        ([_file("../evil", X)], {"../evil": _about(X)}, "bundle.json is damaged"),
        ([_file("/tmp/evil", X)], {"/tmp/evil": _about(X)}, "bundle.json is damaged"),
        ([_file("a/../../evil", X)], {"a/../../evil": _about(X)}, "bundle.json is damaged"),
        ([_file("c:\\evil", X)], {"c:\\evil": _about(X)}, "bundle.json is damaged"),
        ([_file("bundle.json", X)], {**PLAIN, "bundle.json": _about(X)}, "bundle.json is damaged"),
        ([_file("a", X)], {"a": _about(X), "a/b": _about(X)}, "bundle.json is damaged"),
        ([_file("A", X)], {"A": _about(X), "a": _about(X)}, "bundle.json is damaged"),
        ([], {"a.gguf": {"bytes": -1, "sha256": ""}}, "bundle.json is damaged"),
        ([], {"a.gguf": {"bytes": 1.5, "sha256": ""}}, "bundle.json is damaged"),
        ([], {"a.gguf": "x"}, "bundle.json is damaged"),
        ([], {"a/" * 1_000_000 + "a": _about(X)}, "bundle.json is damaged"),
        ([_file("\x1b[2Ja", X)], PLAIN, "'?[2Ja' is not in its bundle.json"),
        ([_file("a.gguf", b"", tarfile.SYMTYPE, "/etc/passwd")], PLAIN, "'a.gguf' is no plain file"),
        ([_file("a.gguf", b"", tarfile.LNKTYPE, "/etc/passwd")], PLAIN, "'a.gguf' is no plain file"),
        ([_file("a.gguf", b"", tarfile.CHRTYPE)], PLAIN, "'a.gguf' is no plain file"),
        ([_file("a.gguf", b"", tarfile.FIFOTYPE)], PLAIN, "'a.gguf' is no plain file"),
        ([_file("a.gguf", b"", tarfile.DIRTYPE)], PLAIN, "is no plain file"),
        ([_file("n" * 300, X)], PLAIN, "is no plain file"),
        ([_file("a.gguf", X + b"x")], PLAIN, "has another size"),
        ([_file("a.gguf", b"y" * 700)], PLAIN, "its SHA-256 differs"),
        ([_file("a.gguf", X), _file("a.gguf", X)], PLAIN, "is there twice"),
        ([_file("a.gguf", X), _file("b", X)], PLAIN, "'b' is not in its bundle.json"),
        ([], PLAIN, "'a.gguf' is missing"),
    ],
)  # fmt: skip
def test_a_hostile_archive_is_refused_and_leaves_nothing(
    tmp_path: Path, members: list[Member], files: dict[str, Any], told: str
) -> None:
    (tmp_path / "in").mkdir()
    path = _hostile(tmp_path / "in" / "demo.tar.zst", members, **files)
    with pytest.raises(DataError) as refused:
        unpack(path)
    assert told in str(refused.value)
    assert _nothing_left(path)
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize("declared", [2**20, 2**60])
def test_a_bomb_takes_neither_memory_nor_disk(tmp_path: Path, declared: int) -> None:
    """An attribute header of 256 MiB, then nothing: tarfile would read it whole."""
    (tmp_path / "in").mkdir()
    path = tmp_path / "in" / "demo.tar.zst"
    manifest = json.dumps({"format": 1, "serve": "a", "files": {"a": {"bytes": declared, "sha256": "0" * 64}}}).encode()
    header, _ = _file("a", b"", tarfile.XHDTYPE)
    header.size = 2**28
    with pa.CompressedOutputStream(str(path), "zstd") as out:
        info, _ = _file("bundle.json", manifest)
        out.write(info.tobuf(tarfile.GNU_FORMAT) + manifest + b"\0" * (-len(manifest) % 512))
        out.write(header.tobuf(tarfile.GNU_FORMAT))
        for _ in range(256):
            out.write(b"\0" * 2**20)
    assert path.stat().st_size < 2**20
    tracemalloc.start()
    with pytest.raises((DataError, RunError), match=r"no plain file|takes"):
        unpack(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 * 2**20
    assert _nothing_left(path)


def test_packing_and_unpacking_hold_no_file_in_memory(save_release: SaveRelease, tmp_path: Path) -> None:
    folder = save_release(size=20 * 2**20)
    tracemalloc.start()
    pack(folder, tmp_path / "large.tar.zst")
    unpack(tmp_path / "large.tar.zst")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10 * 2**20


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            lambda content: content.__setitem__(len(content) // 2, content[len(content) // 2] ^ 1),
            "is not as it was packed",
        ),
        (lambda content: content.__delitem__(slice(len(content) // 2, None)), "ends too early"),
        (lambda content: content.__setitem__(slice(0, 5), b"other"), "damaged, or no tar archive"),
    ],
)
def test_a_copy_that_was_damaged_is_refused(bundle: Path, change: Callable[[bytearray], Any], told: str) -> None:
    _changed(bundle, change)
    with pytest.raises(DataError, match=told):
        unpack(bundle)
    assert _nothing_left(bundle)


@pytest.mark.parametrize("cut", [10, 1000])
def test_a_file_that_was_cut_is_refused(bundle: Path, cut: int) -> None:
    bundle.write_bytes(bundle.read_bytes()[:-cut])
    with pytest.raises(DataError, match="copy it anew"):
        unpack(bundle)
    assert _nothing_left(bundle)


@pytest.mark.parametrize("content", [b"", b"no archive", b"\x28\xb5\x2f\xfd garbage"])
def test_what_is_no_bundle_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "in").mkdir()
    path = tmp_path / "in" / "demo.tar.zst"
    path.write_bytes(content)
    with pytest.raises(DataError):
        unpack(path)
    assert _nothing_left(path)
    with pytest.raises(DataError, match="no such file"):
        unpack(tmp_path / "none.tar.zst")


def test_the_wheels_are_those_that_serving_needs_with_their_versions() -> None:
    from importlib.metadata import version

    found = needed()
    assert found["fastapi"] == version("fastapi")
    assert {"bedside", "xllamacpp", "uvicorn", "numpy", "starlette"} <= found.keys()
    assert not {"torch", "transformers", "pytest", "wandb"} & found.keys()
    lines = [line for line in wheels_text().splitlines() if not line.startswith("#")]
    assert lines[0].startswith("bedside==")
    names = [line.partition("==")[0] for line in lines[1:]]
    assert names == sorted(names)


def write_wheel(folder: Path, word: str) -> None:
    """The smallest wheel that pip installs (packaging.python.org, binary distribution format)."""
    folder.mkdir(exist_ok=True)
    files = {
        "ward.py": f"WORD = '{word}'\n",
        "ward-1.dist-info/METADATA": "Metadata-Version: 2.1\nName: ward\nVersion: 1\n",
        "ward-1.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{name},,\n" for name in (*files, "ward-1.dist-info/RECORD"))
    with zipfile.ZipFile(folder / "ward-1-py3-none-any.whl", "w") as wheel:
        for name, text in {**files, "ward-1.dist-info/RECORD": record}.items():
            wheel.writestr(name, text)


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="without GNU coreutils it is `shasum -a 256`")
def test_the_commands_that_stand_above_the_wheels_install_those_that_were_downloaded_and_no_others(
    tmp_path: Path,
) -> None:
    pytest.importorskip("pip")
    commands = [line[4:] for line in wheels_text().splitlines() if line.startswith("#   ")]
    _, listing, install = commands
    write_wheel(tmp_path / "wheels", "as downloaded")
    subprocess.run(listing, shell=True, check=True, cwd=tmp_path)
    assert (tmp_path / "hashed.txt").read_text().startswith("./wheels/ward-1-py3-none-any.whl --hash=sha256:")
    told = [sys.executable, "-m", *install.split(), "--target", "there", "--disable-pip-version-check"]
    subprocess.run(told, check=True, cwd=tmp_path, capture_output=True)
    assert (tmp_path / "there" / "ward.py").read_text() == "WORD = 'as downloaded'\n"
    write_wheel(tmp_path / "wheels", "exchanged on the way")
    done = subprocess.run([*told, "--upgrade"], check=False, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode != 0
    assert "THESE PACKAGES DO NOT MATCH THE HASHES" in done.stderr
    assert (tmp_path / "there" / "ward.py").read_text() == "WORD = 'as downloaded'\n"
