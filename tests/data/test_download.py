"""Downloads against a small server on this machine: resumed, verified, from the next mirror when one fails."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from memogen.data.download import Remote, fetch
from memogen.types import InputError

CONTENT = bytes(range(256)) * 4000
MD5 = "md5:" + hashlib.md5(CONTENT).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """/good serves ranges; /plain knows none; /wrong has other content; /breaks ends every answer after 300,000 bytes; else 404."""

    log: list[tuple[str, str | None]]

    def do_GET(self) -> None:
        kind, wanted = self.path.split("/")[1], self.headers.get("Range")
        self.log.append((kind, wanted))
        if kind not in ("good", "plain", "wrong", "breaks"):
            return self.send_error(404)
        content = CONTENT[::-1] if kind == "wrong" else CONTENT
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and kind != "plain" else 0
        if start >= len(content):
            return self.send_error(416)
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        self.wfile.write(content[start : start + 300_000] if kind == "breaks" else content[start:])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[tuple[str, list[tuple[str, str | None]]]]:
    Handler.log = []
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}", Handler.log
        running.shutdown()


def get(base: str, folder: Path, *kinds: str, checksum: str = MD5) -> Path:
    return fetch(Remote("set.bin", checksum, tuple(f"{base}/{kind}/set.bin" for kind in kinds)), folder, wanted_by="some set", progress=False)


def test_a_file_is_fetched_once(server, tmp_path: Path) -> None:
    base, log = server
    for _ in range(2):
        assert get(base, tmp_path / "new", "good").read_bytes() == CONTENT
    assert log == [("good", None)] and not list(tmp_path.glob("new/*.part"))


def test_sha256_too(server, tmp_path: Path) -> None:
    assert get(server[0], tmp_path, "good", checksum="sha256:" + hashlib.sha256(CONTENT).hexdigest()).exists()


def test_a_broken_download_goes_on_where_it_ended(server, tmp_path: Path) -> None:
    base, log = server
    (tmp_path / "set.bin.part").write_bytes(CONTENT[:1000])
    assert get(base, tmp_path, "good").read_bytes() == CONTENT
    assert log == [("good", "bytes=1000-")]


def test_a_connection_that_keeps_breaking(server, tmp_path: Path) -> None:
    base, log = server
    assert get(base, tmp_path, "breaks").read_bytes() == CONTENT
    assert [wanted for _, wanted in log] == [None, "bytes=300000-", "bytes=600000-", "bytes=900000-"]


def test_a_server_without_ranges_starts_over(server, tmp_path: Path) -> None:
    (tmp_path / "set.bin.part").write_bytes(CONTENT[:1000])
    assert get(server[0], tmp_path, "plain").read_bytes() == CONTENT


def test_a_complete_part_is_only_verified(server, tmp_path: Path) -> None:
    (tmp_path / "set.bin.part").write_bytes(CONTENT)
    assert get(server[0], tmp_path, "good").read_bytes() == CONTENT


def test_a_spoilt_part_is_thrown_away(server, tmp_path: Path) -> None:
    base, log = server
    (tmp_path / "set.bin.part").write_bytes(b"x" * 1000)
    assert get(base, tmp_path, "good").read_bytes() == CONTENT
    assert log == [("good", "bytes=1000-"), ("good", None)]


def test_the_next_mirror_is_tried(server, tmp_path: Path) -> None:
    base, log = server
    assert get(base, tmp_path, "missing", "wrong", "good").read_bytes() == CONTENT
    assert [kind for kind, _ in log] == ["missing", "wrong", "good"]


def test_wrong_content_never_gets_the_name(server, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        get(server[0], tmp_path, "missing", "wrong")
    message = str(caught.value)
    assert (
        all(words in message for words in ("some set", "set.bin", "/missing/", "HTTP 404", "/wrong/", "checksum", "FOLDER/NAME"))
        and "\n" not in message
    )
    assert not (tmp_path / "set.bin").exists() and not (tmp_path / "set.bin.part").exists()


def test_offline_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="go online, or give FOLDER/NAME as data"):
        fetch(Remote("a.gz", MD5, ("http://127.0.0.1:9/a.gz",)), tmp_path, wanted_by="mnist", progress=False)
