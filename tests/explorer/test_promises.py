"""What the server refuses, and that it never answers with more than one line of its own words."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from memogen.explorer.app import MOST_BYTES, is_own
from memogen.explorer.loaded import open_model
from memogen.explorer.server import bind
from memogen.pretrained import save_pretrained
from memogen.types import InputError
from tests.command import run
from tests.explorer import toys
from tests.report import toy

BAD = [
    ("slot", {"slot": 10**9}),
    ("slot", {"slot": -1}),
    ("slot", {"slot": "1"}),
    ("slot", {"slot": True}),
    ("slot", {"slot": 63}),
    ("slot", {}),
    ("samples", {"num": 0}),
    ("samples", {"num": 10**6}),
    ("samples", {"seed": 1.5}),
    ("samples", {"seed": 2**70}),
    ("samples", {"label": 0}),
    ("samples", {"without": [0]}),
    ("samples", {"task": 0}),
    ("wall", {"slots": []}),
    ("wall", {"slots": list(range(400))}),
    ("wall", {"slots": [[1]]}),
    ("wall", {"slots": {"a": 1}}),
    ("picture", {"picture": 5}),
    ("picture", {"picture": "../../etc/passwd"}),
    ("square", {"slots": [0, 1, 2], "points": [[0, 0]]}),
    ("square", {"slots": [0, 1, 2, 3], "points": [[0, 2]]}),
    ("square", {"slots": [0, 1, 2, 3], "points": [[0]]}),
    ("square", {"slots": [0, 1, 2, 3], "points": []}),
    ("square", {"slots": [0, 1, 2, 3], "points": [[0, 0]], "amounts": [9]}),
    ("square", {"slots": [0, 1, 2, 3], "points": [[0, 0]], "amounts": [None]}),
    ("edit", {"what": "burn"}),
    ("edit", {"what": "off", "slots": [40]}),
    ("edit", {"what": "forget", "slots": []}),
    ("edit", {"what": "freeze", "slots": []}),
    ("edit", {"what": "thaw", "slots": [40]}),
    ("edit", {"what": "add", "pictures": [], "share": 0.1}),
    ("edit", {"what": "add", "pictures": [1], "share": 2}),
    ("fill", {"picture": 0, "mask": "01"}),
    ("classes", {}),
    ("save", {"out": "/tmp/anywhere"}),
]


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    with toys.client(toys.session()) as found:
        yield found


def one_line(answer: Any, status: range = range(400, 500)) -> str:
    """The refusal, which is one line without a traceback."""
    assert answer.status_code in status, answer.text
    told: str = answer.json()["error"]
    assert told and "\n" not in told and "Traceback" not in answer.text and len(told) < 500
    return told


@pytest.mark.parametrize(("name", "fields"), BAD, ids=[f"{name} {json.dumps(fields)[:40]}" for name, fields in BAD])
def test_bad_questions_are_refused_in_one_line(client: TestClient, name: str, fields: dict[str, Any]) -> None:
    one_line(client.post(f"/api/{name}", json=fields))


@pytest.mark.parametrize("body", [b"", b"[]", b"nonsense", b"\xff\xfe", b'{"slot": NaN}', b'{"slot": 1e999}', b"[" * 5000, b'"a"'])
def test_what_is_no_question_is_refused(client: TestClient, body: bytes) -> None:
    one_line(client.post("/api/slot", content=body, headers={"content-type": "application/json"}))


def test_other_kinds_of_requests_are_refused(client: TestClient) -> None:
    one_line(client.post("/api/about", content=b"{}", headers={"content-type": "text/plain"}))
    one_line(client.get("/api/about"))
    one_line(client.post("/api/nothing", json={}))
    one_line(client.post("/api/about", content=b" " * 2_000_000, headers={"content-type": "application/json"}))


# --- uploads ---

PICTURES = [
    (b"", "image/png"),
    (b"GIF89a", "image/gif"),
    (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "image/svg+xml"),
    (toys.png()[:60], "image/png"),
    (toys.png(), "text/plain"),
    (toys.png(), ""),
    (toys.png((1, 1)), "image/png"),
    (b"\x89PNG\r\n\x1a\n" + bytes(200), "image/png"),
]


@pytest.mark.parametrize(("body", "kind"), PICTURES)
def test_what_is_no_picture_is_refused(client: TestClient, body: bytes, kind: str) -> None:
    one_line(client.post("/api/upload", content=body, headers={"content-type": kind}))


def test_large_uploads_are_cut_off_whether_they_tell_their_length_or_not(client: TestClient) -> None:
    read = 0

    def endless() -> Iterator[bytes]:
        nonlocal read
        for _ in range(100):
            read += 1_000_000
            yield bytes(1_000_000)

    for body in (bytes(MOST_BYTES + 1), endless()):
        assert client.post("/api/upload", content=body, headers={"content-type": "image/png"}).status_code == 413


def test_a_picture_of_too_many_pixels_is_refused_by_its_header(client: TestClient) -> None:
    from io import BytesIO

    from PIL import Image

    file = BytesIO()
    Image.new("1", (9000, 9000)).save(file, "PNG")
    assert client.post("/api/upload", content=file.getvalue(), headers={"content-type": "image/png"}).status_code == 413


@pytest.mark.parametrize(("mode", "kind"), [("RGB", "PNG"), ("L", "PNG"), ("RGBA", "PNG"), ("RGB", "JPEG"), ("RGB", "WEBP"), ("L", "BMP")])
def test_pictures_of_every_kind_take_the_models_shape(client: TestClient, mode: str, kind: str) -> None:
    answer = client.post("/api/upload", content=toys.png((30, 17), mode, kind), headers={"content-type": "image/whatever"})
    images = answer.json()["images"]
    assert (images["num"], images["channels"], images["height"], images["width"]) == (1, 1, 8, 8)


def test_uploads_are_read_as_the_commands_read_pictures(tmp_path: Path) -> None:
    from memogen.cli.files import read_picture

    session, file = toys.session(), tmp_path / "one.png"
    file.write_bytes(toys.png((33, 21)))
    number = session.pictures.upload(file.read_bytes())
    assert (session.pictures.take([number])[0] == read_picture(file, (1, 8, 8), model=str(tmp_path))).all()


# --- who may ask, and what is served ---


@pytest.mark.parametrize(
    "asked", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "localhost.evil.example", "10.0.0.1", "", "[", "127.0.0.1@evil.example"]
)
def test_other_names_are_refused_on_the_loopback(client: TestClient, asked: str) -> None:
    assert client.get("/", headers={"host": asked}).status_code in (400, 403)
    assert client.post("/api/about", json={}, headers={"host": asked}).status_code in (400, 403)


def test_own_names() -> None:
    for asked in ("127.0.0.1:80", "localhost:1", "[::1]:9", "127.0.0.2"):
        assert is_own(asked, "127.0.0.1") and is_own(asked, "localhost")
    assert is_own("192.168.0.4:80", "0.0.0.0") and is_own(f"{socket.gethostname()}:80", "0.0.0.0") and not is_own("evil.example", "0.0.0.0")


@pytest.mark.parametrize(
    "headers", [{"origin": "http://evil.example"}, {"origin": "null"}, {"sec-fetch-site": "cross-site"}, {"origin": "http://127.0.0.1:9"}]
)
def test_questions_of_other_sites_pages_are_refused(client: TestClient, headers: dict[str, str]) -> None:
    assert client.post("/api/about", json={}, headers=headers).status_code == 403


def test_no_address_is_a_path(client: TestClient) -> None:
    for path in (
        "/assets/../app.py",
        "/assets/%2e%2e/app.py",
        "/assets/..%2fapp.py",
        "/assets//etc/passwd",
        "/sheets/-1",
        "/sheets/0",
        "/sheets/..%2f..%2fa",
        "/assets/nothing.js",
    ):
        assert client.get(path).status_code == 404, path


def test_every_answer_forbids_other_hosts(client: TestClient) -> None:
    answers = [
        client.get("/"),
        client.get("/assets/main.js"),
        client.post("/api/about", json={}),
        client.get("/nothing"),
        client.get("/", headers={"host": "x"}),
    ]
    for answer in answers:
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "http" not in policy and "*" not in policy and "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_the_page_names_no_other_host() -> None:
    page = Path(toys.__file__).parents[2] / "memogen" / "explorer" / "page"
    for file in page.iterdir():
        text = file.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert "http://" not in text and "https://" not in text and "//cdn" not in text, file


def test_sheets_are_those_of_the_run_alone(tmp_path: Path) -> None:
    run_folder = toy.run_folder(tmp_path / "run")
    (run_folder / "samples" / "step-00000080.png").symlink_to("/nowhere")
    (run_folder / "samples" / "secret.png").write_bytes(b"secret")
    loaded = open_model(str(run_folder), str(run_folder / "model"))
    assert [sheet.step for sheet in loaded.sheets] == [20, 40, 60]
    session = toys.session(sheets=loaded.sheets)
    assert toys.client(session).get("/sheets/2").content == (run_folder / "samples" / "step-00000060.png").read_bytes()
    (run_folder / "samples" / "step-00000060.png").unlink()
    one_line(toys.client(session).get("/sheets/2"))


def test_data_that_do_not_fit_are_said_and_the_page_goes_on() -> None:
    session = toys.session(data=lambda: toys.toy.images(10, channels=3))
    toys.looked_at(session)
    found = toys.client(session).post("/api/slot", json={"slot": 1}).json()
    assert found["nearest"] is None and not found["looking"] and "(3, 8, 8)" in session.trouble


# --- the command ---


def test_a_port_in_use_is_one_line() -> None:
    with bind("127.0.0.1", 0) as taken, pytest.raises(InputError, match="another program uses it"):
        bind("127.0.0.1", taken.getsockname()[1])


@pytest.mark.parametrize("words", ["--port 70000", "--port -1", "--host no.such.host.invalid", "--data nothing-like-it", "--out FILE"])
def test_bad_options_end_with_code_2_and_one_line(words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_pretrained(toy.model(), tmp_path / "model")
    (tmp_path / "file").write_text("")
    code, out, error = run(f"explore {tmp_path / 'model'} {words.replace('FILE', str(tmp_path / 'file'))}", capsys)
    assert code == 2 and not out and error.count("\n") == 1


def test_the_command_serves_until_it_is_stopped(tmp_path: Path) -> None:
    import urllib.request

    save_pretrained(toy.model(), tmp_path / "model")
    words = [sys.executable, "-m", "memogen", "explore", str(tmp_path / "model")]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    try:
        assert process.stdout is not None
        where = next(word for word in process.stdout.readline().split() if word.startswith("http://127.0.0.1:"))
        with urllib.request.urlopen(where, timeout=60) as page:
            assert b"<main" in page.read()
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        out, error = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode in (0, 130) and not out and error.count("\n") <= 2 and "Traceback" not in error
