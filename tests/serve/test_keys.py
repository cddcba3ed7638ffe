import stat
from pathlib import Path

import pytest

from bedside.errors import BedsideError, UsageError
from bedside.serve import keys
from bedside.serve.keys import GIVEN, Keys


def test_a_new_key_opens_under_its_name_and_only_its_hash_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "bedside" / "keys"
    first, second = keys.new("ward", path), keys.new("night", path)
    found = keys.read(path)
    assert (found.matches(first), found.matches(second), found.matches(first + "x")) == ("ward", "night", None)
    assert first not in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_given_key_stands_beside_those_of_the_file(tmp_path: Path) -> None:
    made = keys.new("ward", tmp_path / "keys")
    both = keys.read(tmp_path / "keys").with_given("schlüssel")
    assert (both.matches("schlüssel"), both.matches(made), both.matches("")) == (GIVEN, "ward", None)


def test_without_a_file_and_with_an_empty_key_nobody_is_asked_for_one(tmp_path: Path) -> None:
    assert not keys.read(tmp_path / "none").with_given("").with_given(None)


def test_a_key_is_not_shown_by_what_holds_it() -> None:
    assert "secret" not in repr(Keys().with_given("secret"))


@pytest.mark.parametrize("name", ["", "two words", "a\nb", "../x", GIVEN, "ward", "x" * 101])
def test_a_name_that_would_spoil_the_file_is_refused(tmp_path: Path, name: str) -> None:
    keys.new("ward", tmp_path / "keys")
    before = (tmp_path / "keys").read_bytes()
    with pytest.raises(UsageError):
        keys.new(name, tmp_path / "keys")
    assert (tmp_path / "keys").read_bytes() == before


@pytest.mark.parametrize("line", ["ward", "ward 12", "ward " + "A" * 64, "", "\N{SNOWMAN} " + "a" * 64])
def test_a_line_that_is_no_key_is_named(tmp_path: Path, line: str) -> None:
    keys.new("ward", tmp_path / "keys")
    with (tmp_path / "keys").open("a") as file:
        file.write(f"{line}\n")
    with pytest.raises(UsageError, match="line 2: not 'NAME SHA-256'"):
        keys.read(tmp_path / "keys")


def test_a_file_that_others_may_write_to_is_not_trusted(tmp_path: Path) -> None:
    keys.new("ward", tmp_path / "keys")
    (tmp_path / "keys").chmod(0o666)
    with pytest.raises(BedsideError, match="others may write to it"):
        keys.read(tmp_path / "keys")


def test_the_file_is_below_the_users_configuration(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert keys.default_file() == tmp_path / "bedside" / "keys"
