"""A model goes to the hub with its card: the real client against a server that answers as the hub does."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from memogen.shipped import place

ROOT = Path(__file__).parents[2]
TOKEN = "hf_of_these_tests"


class Hub(BaseHTTPRequestHandler):
    """Keeps what is created and committed."""

    created: list[dict[str, Any]]
    files: dict[str, bytes]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self.answer(401, {"error": "no token"})
        if self.path == "/api/repos/create":
            self.created.append(json.loads(body))
            return self.answer(200, {"url": f"http://{self.headers['Host']}/org/name"})
        if self.path.endswith("/preupload/main"):
            asked = json.loads(body)["files"]
            return self.answer(200, {"files": [{"path": file["path"], "uploadMode": "regular", "shouldIgnore": False} for file in asked]})
        if self.path.endswith("/commit/main"):
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    self.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            oid = "a" * 40
            return self.answer(200, {"commitUrl": f"http://{self.headers['Host']}/org/name/commit/{oid}", "commitOid": oid, "success": True})
        return self.answer(200, {})  # the check of the card's head

    def do_GET(self) -> None:
        self.answer(200, {"id": "org/name", "sha": "a" * 40, "siblings": []})

    def answer(self, status: int, content: dict[str, Any]) -> None:
        data = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Nothing on the screen."""


@pytest.fixture
def hub() -> Iterator[tuple[str, type[Hub]]]:
    handler = type("OneHub", (Hub,), {"created": [], "files": {}})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}", handler
    server.shutdown()
    server.server_close()


def push(address: str, home: Path) -> subprocess.CompletedProcess[str]:
    hub = {"HF_ENDPOINT": address, "HF_TOKEN": TOKEN, "HF_HOME": str(home), "HF_HUB_DISABLE_TELEMETRY": "1", "NO_PROXY": "127.0.0.1"}
    environment = os.environ | hub
    environment.pop("HF_HUB_OFFLINE", None)
    command = [sys.executable, "-m", "memogen", "export", "digits-vae", "--to", "hub", "--repo", "org/name", "--private"]
    return subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=300)


def test_the_model_and_its_own_card_are_pushed_and_load_again(hub: tuple[str, type[Hub]], tmp_path: Path) -> None:
    import torch

    import memogen

    address, kept = hub
    done = push(address, tmp_path / "home")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == f"{address}/org/name/commit/{'a' * 40}"
    assert len(kept.created) == 1
    made = kept.created[0]
    assert (made["organization"], made["name"]) == ("org", "name") and (made.get("private") or made["visibility"] == "private")
    assert kept.files["README.md"] == (place("digits-vae") / "model" / "README.md").read_bytes(), "with its scores, not a new one"
    for name, data in kept.files.items():
        (tmp_path / name).write_bytes(data)
    assert torch.equal(memogen.from_pretrained(tmp_path).sample(4), memogen.from_pretrained("digits-vae").sample(4))
