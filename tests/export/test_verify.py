"""What was changed in a release after it was written is named, whatever it is."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from bedside.errors import DataError
from bedside.export import release
from bedside.export.verify import find, verify
from bedside.files import sha256

from .conftest import SaveRelease

Change = Callable[[Path], None]


def _edit(name: str, before: str, after: str) -> Change:
    def change(folder: Path) -> None:
        text = (folder / name).read_text()
        assert before in text
        (folder / name).write_text(text.replace(before, after, 1))

    return change


def _add(name: str, text: str) -> Change:
    return lambda folder: (folder / name).write_text((folder / name).read_text() + text)


def _flip(folder: Path) -> None:
    content = bytearray((folder / "demo-q8_0.gguf").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "demo-q8_0.gguf").write_bytes(content)


def _new_hash(folder: Path) -> None:
    text = (folder / release.CARD).read_text()
    expected = sha256(folder / "demo-q8_0.gguf")
    (folder / release.CARD).write_text(text.replace(expected, expected[::-1]))


def _take_hash_row_out(folder: Path) -> None:
    lines = (folder / release.CARD).read_text().splitlines(keepends=True)
    (folder / release.CARD).write_text("".join(line for line in lines if f"| [{release.TRAIN}]" not in line))


def _resealed(change: Change) -> Change:
    """The same change by somebody who also renews the list of hashes."""

    def both(folder: Path) -> None:
        change(folder)
        sums = release.sums(folder)
        text = "".join(f"{sha256(folder / path)}  {path}\n" for path in sums)
        (folder / release.SUMS).write_text(text)

    return both


def test_a_release_as_it_was_written_is_verified(save_release: SaveRelease) -> None:
    found = verify(save_release())
    assert found.ok
    assert found.files == 9
    assert found.numbers > 60


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (_edit(release.CARD, "[0.625]", "[0.925]"), "/scores.json#/tasks/0/value: 0.625"),
        (_resealed(_edit(release.CARD, "[0.625]", "[0.925]")), "'0.925' is not what stands at"),
        (_resealed(_edit(release.CARD, "**[underpowered]", "**[better]")), "'better' is not what stands at evidence/comparison"),
        (_resealed(_edit(release.TRAIN, "1.25", "0.25")), "evidence/adapter/train.json: its SHA-256 is"),
        (_resealed(_edit(release.TRAIN, "1.25", "0.25")), "'1.250' is not what stands at evidence/adapter/train.json#/final_loss: 0.250"),
        (_resealed(_edit(release.TRAIN, '"final_loss"', '"last_loss"')), "evidence/adapter/train.json#/final_loss, where nothing stands"),
        (_resealed(_edit(release.TRAIN, "1.25", '"1.25"')), "whose value cannot be written so"),
        (_resealed(_edit(release.TRAIN, "{", "")), "cites evidence/adapter/train.json, which cannot be read"),
        (_flip, "demo-q8_0.gguf: its SHA-256 is"),
        (_resealed(_flip), "demo-q8_0.gguf: its SHA-256 is"),
        (lambda folder: (folder / "Modelfile").unlink(), "Modelfile: missing"),
        (lambda folder: (folder / release.TRAIN).unlink(), "evidence/adapter/train.json: missing"),
        (lambda folder: (folder / release.SUMS).unlink(), "SHA256SUMS: no such file"),
        (_new_hash, "demo-q8_0.gguf: its SHA-256 is"),
        (_resealed(_new_hash), "demo-q8_0.gguf: its SHA-256 is"),
        (_resealed(_take_hash_row_out), "cites evidence/adapter/train.json, which the card does not name with a SHA-256"),
        (_resealed(_edit(release.CARD, "## Limits\n", "## Limits\n\n97 % right.\n")), "'97 % right.' has a number without a source"),
        (_resealed(_edit(release.CARD, "[0.625]", "good ")), "is listed as a source, and no value cites it"),
        (_resealed(_edit(release.CARD, "| tuned |", "| tuned [0.9][999] |")), "'0.9' cites a place that is not listed"),
        (_resealed(_edit(release.CARD, 'final_loss ".3f"', 'final_loss "9>30"')), "whose value cannot be written so"),
        (_edit(release.CARD, "can state falsehoods", "states no falsehoods"), "README.md: changed since it was written"),
        (_edit(release.SUMS, "  Modelfile", "  Other"), "the card and SHA256SUMS do not say the same of it"),
        (_edit(release.SUMS, "  Modelfile", "  ../Modelfile"), "want a SHA-256, two spaces and a path below this folder"),
        (_resealed(_add(release.CARD, f"| [../x](../x) | `{'ab' * 32}` |\n")), "../x: not a path below the card's folder"),
    ],
)  # fmt: skip
def test_a_planted_change_is_named(save_release: SaveRelease, change: Change, told: str) -> None:
    folder = save_release()
    change(folder)
    found = verify(folder)
    assert not found.ok
    assert any(told in problem for problem in found.problems)


def test_only_what_differs_is_named(save_release: SaveRelease) -> None:
    folder = save_release()
    _resealed(_edit(release.CARD, "[0.625]", "[0.925]"))(folder)
    assert len(verify(folder).problems) == 1


def test_what_a_hostile_release_holds_takes_neither_memory_nor_patience(save_release: SaveRelease) -> None:
    folder = save_release()
    _edit(release.CARD, "---\n", "---\n" + "-" * 500_000 + "\n")(folder)
    _edit(release.TRAIN, "{", '{"a": ' + "[" * 200_000)(folder)
    (folder / release.SUMS).write_bytes(b"x" * (release.LARGEST_TEXT + 1))
    problems = verify(folder).problems
    assert any("which cannot be read" in problem for problem in problems)
    assert any("which no release has there" in problem for problem in problems)


def test_what_a_hostile_card_says_reaches_no_terminal(save_release: SaveRelease) -> None:
    folder = save_release()
    _edit(release.CARD, "[0.625]", "[\x1b9]")(folder)
    assert any("'?9' is not what stands at" in problem for problem in verify(folder).problems)


def test_what_names_or_quotes_rows_stays_in_the_run(save_release: SaveRelease) -> None:
    folder = save_release()
    told = "".join(path.read_text() for path in (folder / release.EVIDENCE).rglob("*.json"))
    assert "row-7" not in told
    assert "Mr Miller" not in told
    assert json.loads((folder / release.EXPORT).read_text())["parity"]["first_difference"] == {
        "stage": "greedy",
        "position": 3,
    }


def test_files_that_are_no_part_of_the_release_do_not_matter(save_release: SaveRelease) -> None:
    folder = save_release()
    (folder / ".gitattributes").write_text("*.gguf filter=lfs\n")
    assert verify(folder).ok


def test_the_usual_program_checks_the_list_too(save_release: SaveRelease) -> None:
    import subprocess

    folder = save_release()
    check = ["sha256sum", "-c", "--quiet", release.SUMS]
    assert subprocess.run(check, cwd=folder, check=False, capture_output=True).returncode == 0
    _flip(folder)
    assert subprocess.run(check, cwd=folder, check=False, capture_output=True).returncode == 1


def test_a_card_its_folder_and_its_run_mean_the_same_release(save_release: SaveRelease) -> None:
    folder = save_release()
    assert find(folder) == find(folder / release.CARD) == find(folder.parent) == folder


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("README.md", b"# My model\n\nIt is good.\n", "not a model card that `bedside export` wrote"),
        ("README.md", b"\xff\xfe", "not UTF-8 text"),
        ("OTHER.md", b"# My model\n", "no model card"),
    ],
)
def test_a_card_that_is_none_of_ours_is_refused(tmp_path: Path, name: str, content: bytes, told: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=told):
        verify(find(tmp_path))


def test_a_file_that_is_no_card_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    with pytest.raises(DataError, match="want the card of a release"):
        find(tmp_path / "model.gguf")
