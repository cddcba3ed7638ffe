"""What is done with a finished release on the command line, on a whole run of the tiny model."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bedside import cli
from tests.export.hub import TOKEN, loopback_hub

from .conftest import Place
from .test_mistakes import mistake

BEDSIDE = [sys.executable, "-m", "bedside"]


def exported(place: Place, tmp_path: Path) -> Path:
    """A copy of the release, to change."""
    return Path(shutil.copytree(place.runs / "tiny" / "export", tmp_path / "release"))


def test_a_finished_release_is_verified(done: Place, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["export", "--verify", "tiny", "--runs", str(done.runs)]) == 0
    said = re.fullmatch(r"verified: (\d+) files, (\d+) numbers\n", capsys.readouterr().out)
    assert said
    assert int(said[1]) == len((done.runs / "tiny/export/SHA256SUMS").read_text().splitlines()) - 1
    assert int(said[2]) > 100


def test_a_card_its_folder_a_run_and_its_name_are_taken(done: Place, json_of) -> None:
    run = done.runs / "tiny"
    for card in (run / "export" / "README.md", run / "export", run, "tiny"):
        result = json_of("export", str(card), "--verify", "--runs", str(done.runs))
        assert (result["ok"], result["problems"]) == (True, [])


def test_a_release_is_verified_where_it_lands(done: Place, tmp_path: Path, json_of) -> None:
    assert json_of("export", "--verify", str(exported(done, tmp_path)))["ok"]


def test_what_differs_is_printed_and_the_status_is_one(done: Place, tmp_path: Path, capsys, json_of) -> None:
    folder = exported(done, tmp_path)
    with (folder / "tiny-q8_0.gguf").open("ab") as file:
        file.write(b"!")
    capsys.readouterr()
    assert cli.run(["export", "--verify", str(folder)]) == 1
    printed = capsys.readouterr()
    assert printed.out.startswith("tiny-q8_0.gguf: its SHA-256 is ")
    assert printed.err == f"bedside: {folder}: not verified, 1 of its statements does not hold\n"
    assert len(json_of("export", "--verify", str(folder), status=1)["problems"]) == 1


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--verify", "nowhere"], "no such card, folder or run"),
        (["--verify", "{folder}"], "no model card (README.md) here"),
        (["--verify", "{folder}/tiny.toml"], "want the card of a release"),
        (["--verify", "{recipe}", "--push", "org/demo"], "--verify takes a card and no settings"),
        (["--verify", "{recipe}", "seed=3"], "--verify takes a card and no settings"),
        (["{recipe}", "--push", "demo"], "want ORG/NAME"),
        (["{recipe}", "--push", "org/demo"], "HF_HUB_OFFLINE is set"),
        (["{recipe}", "--public"], "--public goes with --push"),
        (["{recipe}", "--bundle", "demo.zip"], "ends in .tar.zst"),
        (["{recipe}", "--bundle", "{folder}/none/demo.tar.zst"], "make it first"),
    ],
)
def test_a_mistake_is_one_line_before_anything_is_computed(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys, arguments: list[str], told: str
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    given = [one.format(folder=place.folder, recipe=place.recipe) for one in arguments]
    assert told in mistake(capsys, "export", *given, "--runs", str(tmp_path / "runs"))
    assert not (tmp_path / "runs").exists()


def test_a_bundle_is_checked_and_served_without_a_network(done: Place, tmp_path: Path, json_of) -> None:
    import httpx

    bundle = tmp_path / "tiny.tar.zst"
    result = json_of(*done.command("export", "--bundle", str(bundle)))["bundle"]
    assert result["bytes"] == bundle.stat().st_size
    with subprocess.Popen(
        [*BEDSIDE, "serve", str(bundle), "--port", "0"], stderr=subprocess.PIPE, text=True, cwd=tmp_path
    ) as server:
        assert server.stderr
        url = next(word for line in server.stderr for word in line.split() if word.startswith("http://127.0.0.1:"))
        body = {"messages": [{"role": "user", "content": "Which drug is number 3?"}], "max_tokens": 8}
        assert httpx.get(url + "v1/models").json()["data"][0]["id"] == "tiny-q8_0"
        assert httpx.post(url + "v1/chat/completions", json=body, timeout=60).status_code == 200
        server.send_signal(signal.SIGTERM)
        assert server.stderr.read().endswith("bedside: interrupted\n"), "all that is open was closed"
    assert server.returncode == 130
    assert cli.run(["export", "--verify", str(tmp_path / "tiny")]) == 0


def test_a_bundle_that_was_damaged_is_not_served(done: Place, tmp_path: Path, capsys) -> None:
    bundle = tmp_path / "tiny.tar.zst"
    assert cli.run(done.command("export", "--bundle", str(bundle))) == 0
    bundle.write_bytes(bundle.read_bytes()[:-2000])
    assert "copy it anew" in mistake(capsys, "serve", str(bundle))
    assert not (tmp_path / "tiny").exists()


def test_a_push_from_the_command_line_arrives(done: Place) -> None:
    folder = done.runs / "tiny" / "export"
    kept = {name: value for name, value in os.environ.items() if name != "HF_HUB_OFFLINE"}
    with loopback_hub() as hub:
        environment = {
            **kept, "HF_ENDPOINT": hub.address, "HF_TOKEN": TOKEN, "HF_HUB_DISABLE_XET": "1", "NO_PROXY": "127.0.0.1",
        }  # fmt: skip
        command = [*BEDSIDE, *done.command("export", "--push", "org/demo", "--json")]
        ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout)["pushed"]["url"] == f"{hub.address}/org/demo"
    assert hub.private
    sums = (folder / "SHA256SUMS").read_text().split()[1::2]
    assert hub.files == {name: (folder / name).read_bytes() for name in [*sums, "SHA256SUMS"]}
