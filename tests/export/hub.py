"""A hub on loopback that speaks what huggingface_hub speaks when it uploads: create, preupload, LFS batch, PUT, commit.

Protocol: huggingface_hub's `_commit_api.py` and `lfs.py`, and git-lfs' docs/api/batch.md. Small texts come in the commit
itself, the others (`*.gguf`) through LFS. What is committed without having arrived whole is refused.
"""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "hf_of_the_test"


class Hub(ThreadingHTTPServer):
    """`files` is what was committed, `asked` each request's method and path, `private` whether the repository is.

    `refuse` names the requests, by a part of their path, that are answered with a status instead; `storage` is where it
    says that large files are to be sent.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server_port}"
        self.files: dict[str, bytes] = {}
        self.objects: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.private: bool | None = None
        self.refuse: dict[str, int] = {}
        self.storage = self.address


class Handler(BaseHTTPRequestHandler):
    """One request."""

    server: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: object) -> None:
        pass

    def answer(self, value: Any, status: int = 200) -> None:
        content = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def refused(self) -> bool:
        """Notes the request, and answers it if it is to be refused or carries no token."""
        path = self.path.partition("?")[0]
        self.server.asked.append(f"{self.command} {path}")
        status = next((status for part, status in self.server.refuse.items() if part in path), 0)
        if not status and path.startswith("/api") and self.headers.get("Authorization") != f"Bearer {TOKEN}":
            status = 401
        if status:
            self.body()
            self.answer({"error": "no"}, status)
        return bool(status)

    def do_GET(self) -> None:
        if self.refused():
            return
        if "/xet-write-token/" in self.path:
            self.answer({"casUrl": self.server.storage, "exp": 4_000_000_000, "accessToken": "t"})
            return
        there = {"id": "org/demo", "_id": "0", "private": self.server.private, "siblings": [], "tags": []}
        self.answer(*(({"error": "Repository not found"}, 404) if self.server.private is None else (there, 200)))

    def do_PUT(self) -> None:
        if not self.refused():
            self.server.objects[self.path.rpartition("/")[2]] = self.body()
            self.answer({})

    def do_POST(self) -> None:
        if self.refused():
            return
        path, body = self.path.partition("?")[0], self.body()
        if path == "/api/repos/create":
            if self.server.private is not None:
                url = f"{self.server.address}/org/demo"
                self.answer({"error": "You already created this model repo", "url": url}, 409)
                return
            asked = json.loads(body)
            self.server.private = asked["visibility"] == "private"
            self.answer({"url": f"{self.server.address}/{asked['organization']}/{asked['name']}"})
        elif path == "/api/validate-yaml":
            self.answer({"errors": [], "warnings": []})
        elif path.endswith("/preupload/main"):
            files = [one["path"] for one in json.loads(body)["files"]]
            self.answer({"files": [_mode(name) for name in files]})
        elif path.endswith("/info/lfs/objects/batch"):
            self.answer({"transfer": "basic", "objects": [self.upload(one) for one in json.loads(body)["objects"]]})
        elif path.endswith("/commit/main"):
            self.commit([json.loads(line) for line in body.splitlines()])
        else:
            self.answer({"error": "unknown"}, 404)

    def upload(self, asked: dict[str, Any]) -> dict[str, Any]:
        action = {"upload": {"href": f"{self.server.storage}/objects/{asked['oid']}"}}
        return {"oid": asked["oid"], "size": asked["size"], "actions": action}

    def commit(self, lines: list[dict[str, Any]]) -> None:
        for line in lines[1:]:
            value = line["value"]
            if line["key"] == "lfsFile":
                content = self.server.objects.get(value["oid"], b"")
                if hashlib.sha256(content).hexdigest() != value["oid"] or len(content) != value["size"]:
                    self.answer({"error": "an object is not there"}, 400)
                    return
            else:
                content = base64.b64decode(value["content"])
            self.server.files[value["path"]] = content
        self.answer({"commitUrl": f"{self.server.address}/org/demo/commit/{'c' * 40}", "commitOid": "c" * 40})


def _mode(name: str) -> dict[str, Any]:
    return {"path": name, "uploadMode": "lfs" if name.endswith(".gguf") else "regular", "shouldIgnore": False}


@contextmanager
def loopback_hub() -> Iterator[Hub]:
    """Serves until the block is left."""
    with Hub() as hub:
        threading.Thread(target=hub.serve_forever, daemon=True).start()
        try:
            yield hub
        finally:
            hub.shutdown()
