"""What MODEL on the command line opens: a run with its base beside it, or a server that is told of."""

import shutil
from contextlib import closing
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from bedside.errors import ModelError
from bedside.export.convert import write_gguf
from bedside.files import write_json, write_text
from bedside.recipe import ServeSection
from bedside.records import Delta, GenerationOptions, Message
from bedside.runs import MANIFEST
from bedside.runtime.choose import speaker, speakers

SETTINGS = ServeSection(context=256, threads=1)
QUESTION = [Message("user", "Why?")]


@pytest.fixture
def run(tiny_llama: Path, tmp_path: Path, own_cache: Path) -> Path:
    """A run that was exported with its base; both are the same tiny model."""
    folder = tmp_path / "runs/tiny"
    names = {"q8_0": "tiny-q8_0.gguf", "base q8_0": "tiny-base-q8_0.gguf", "adapter f16": "tiny-adapter-f16.gguf"}
    (folder / "export").mkdir(parents=True)
    for name in names.values():
        if "adapter" not in name:
            write_gguf(tiny_llama, folder / "export" / name, "q8_0", "tiny")
    files = [{"path": name, "quantisation": kind} for kind, name in names.items()]
    write_json(folder / "export/export.json", {"files": files[:1], "adapter": files[1:]})
    write_json(folder / "export" / MANIFEST, {})
    write_text(folder / "recipe.toml", 'name = "tiny"\n')
    return folder


def test_a_run_is_served_with_its_base_and_both_stream_at_once(run: Path) -> None:
    tuned, base = speakers("tiny", run.parent, SETTINGS)
    with closing(tuned), closing(base):
        assert (tuned.name, base.name) == ("tiny-q8_0", "tiny-q8_0-base")
        streams = [model.stream(QUESTION, GenerationOptions(max_tokens=60)) for model in (tuned, base)]
        assert all(isinstance(next(stream), Delta) for _ in range(3) for stream in streams)
        for stream in streams:
            stream.close()


def test_a_run_without_its_base_is_served_alone_which_is_told_and_so_is_a_file(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_json(
        run / "export/export.json", {"files": [{"path": "tiny-q8_0.gguf", "quantisation": "q8_0"}], "adapter": []}
    )
    for model, told in ((str(run), True), (str(run / "export/tiny-q8_0.gguf"), False)):
        (only,) = speakers(model, run.parent, SETTINGS)
        only.close()
        assert only.name == "tiny-q8_0"
        said = capsys.readouterr().err
        assert ('tiny-q8_0: served alone; with export.adapter = "with-base" its base stands beside it' in said) == told


def test_a_merged_folder_is_called_by_its_run(tiny_llama: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_llama, tmp_path / "runs/tiny/merged")
    with closing(speaker(str(tmp_path / "runs/tiny/merged"), tmp_path, SETTINGS)) as found:
        assert found.name == "tiny-merged"


def test_a_base_that_cannot_be_opened_closes_the_model(run: Path) -> None:
    (run / "export/tiny-base-q8_0.gguf").write_bytes(b"GGUF")
    with pytest.raises(ModelError, match=r"tiny-base-q8_0\.gguf"):
        speakers("tiny", run.parent, SETTINGS)


def test_where_questions_go_is_told_of_a_server(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"data": [{"id": "toy"}]}')

        def log_message(self, *_: Any) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.handle_request, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/v1"
        with closing(speaker(url, tmp_path, SETTINGS)) as found:
            assert found.name == "toy"
    assert f"{url}: every question goes to this server, where toy answers" in capsys.readouterr().err
