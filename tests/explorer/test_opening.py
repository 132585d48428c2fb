"""The page before the model is open: it is served at once, its questions wait, and what goes wrong is told."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from starlette.testclient import TestClient

from memogen import shipped
from memogen.explorer.app import build
from memogen.explorer.server import address, bind, serve
from memogen.explorer.session import Session
from memogen.explorer.sheets import preview
from memogen.pretrained import save_pretrained
from memogen.types import InputError
from tests.command import run
from tests.explorer import toys
from tests.report import toy


def waiting(picture: Path | None = None) -> tuple[Future[Session], TestClient]:
    """A session that is not open yet, and what asks it."""
    opening: Future[Session] = Future()
    return opening, TestClient(build(opening, preview=picture), base_url="http://127.0.0.1:8000")


def test_the_page_and_its_picture_need_no_open_model() -> None:
    picture = shipped.HERE / "digits" / shipped.SAMPLES
    _, client = waiting(picture)
    assert "/preview.png" in client.get("/").text and client.get("/assets/main.js").status_code == 200
    assert client.get("/preview.png").content == picture.read_bytes()


def test_without_a_picture_none_is_asked_for() -> None:
    _, client = waiting()
    assert "preview" not in client.get("/").text.replace("<!-- preview -->", "") and client.get("/preview.png").status_code == 404


def test_questions_wait_for_the_model() -> None:
    opening, client = waiting()
    with client, ThreadPoolExecutor() as pool:
        answers = [pool.submit(client.post, "/api/about", json={}) for _ in range(3)]
        assert not any(answer.done() for answer in answers)
        opening.set_result(toys.session())
        assert {answer.result(60).json()["name"] for answer in answers} == {"mixture"}


def test_a_bad_question_does_not_wait() -> None:
    _, client = waiting()
    assert client.post("/api/about", content=b"[", headers={"content-type": "application/json"}).status_code == 400


def test_a_model_that_cannot_be_opened_is_told_on_the_page_and_raised() -> None:
    listening, told = bind("127.0.0.1", 0), list[str]()
    where = address("127.0.0.1", listening)

    def ask() -> None:
        question = urllib.request.Request(f"{where}api/about", b"{}", {"Content-Type": "application/json"})
        try:
            urllib.request.urlopen(question, timeout=60)
        except urllib.error.HTTPError as error:
            told.append(json.load(error)["error"])

    asking = threading.Thread(target=ask)

    def opening() -> Session:
        asking.start()
        asking.join(0.5)
        raise InputError("model: is damaged: save it again")

    with pytest.raises(InputError, match="is damaged"):
        serve("toy", opening, listening)
    asking.join(60)
    assert told == ["model: is damaged: save it again"]


def test_opening_loads_torch_and_serving_does_not() -> None:
    code = "import sys; import memogen.explorer.server, memogen.explorer.sheets, memogen.cli.explore; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_picture_of_a_run_is_its_last_sheet(tmp_path: Path) -> None:
    folder = toy.run_folder(tmp_path / "run")
    assert preview(folder) == folder / "samples" / "step-00000060.png"
    save_pretrained(toy.model(), tmp_path / "bare")
    assert preview(tmp_path / "bare") is None


@pytest.mark.parametrize("name", shipped.shipped_models())
def test_models_that_ship_have_a_picture(name: str) -> None:
    run_folder = shipped.run_of(name)
    assert run_folder is not None and preview(run_folder) == run_folder / shipped.SAMPLES


def test_data_of_another_shape_end_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_pretrained(toy.model(), tmp_path / "model")
    np.savez(tmp_path / "other.npz", image=np.random.default_rng(0).integers(0, 256, (5, 9, 9), dtype=np.uint8))
    code, _, error = run(f"explore {tmp_path / 'model'} --data {tmp_path / 'other.npz'}", capsys)
    assert code == 2 and error.count("\n") == 1 and "8 x 8" in error


@pytest.fixture
def interruptible() -> Iterator[None]:
    """SIGINT as Python has it: a shell starts what runs in its background with this signal ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_a_request_to_stop_that_an_import_swallows_stops_the_server() -> None:
    def opening() -> Session:
        with contextlib.suppress(BaseException):
            signal.raise_signal(signal.SIGINT)
        return toys.session()

    with pytest.raises(KeyboardInterrupt):
        serve("toy", opening, bind("127.0.0.1", 0))


IMPORTS = """
import os, signal, sys, threading, urllib.request
from memogen.cli import main
from memogen.explorer import server
names = []

class Watch:
    def find_spec(self, name, path=None, target=None):
        if threading.current_thread().name == "server":
            names.append(name)

def ask(address):
    for path, body in (("", None), ("assets/main.js", None), ("preview.png", None), ("api/about", b"{}")):
        urllib.request.urlopen(urllib.request.Request(address + path, body, {"Content-Type": "application/json"}), timeout=60).read()
    os.kill(os.getpid(), signal.SIGINT)

def address(host, listening, found=server.address):
    threading.Thread(target=ask, args=(found(host, listening),)).start()
    return found(host, listening)

sys.meta_path.insert(0, Watch())
signal.signal(signal.SIGINT, signal.default_int_handler)
server.address = address
assert main(["explore", "digits"]) == 130
assert not names, names
"""


def test_the_server_s_thread_imports_nothing() -> None:
    """Where the other thread is stopped within an import, it would wait for ever."""
    subprocess.run([sys.executable, "-c", IMPORTS], check=True, timeout=300)


SLOW = """
import signal, sys, threading, urllib.request
from memogen.explorer import answers, server
from tests.explorer import toys

def slow(session, asked):
    begun.set()
    import torch
    for _ in range(200):
        torch.randn(256, 256) @ torch.randn(256, 256)
    print("answered", flush=True)
    return {}

begun = threading.Event()
answers.ANSWERS["slow"] = slow
listening = server.bind("127.0.0.1", 0)

def ask():
    question = urllib.request.Request(server.address("127.0.0.1", listening) + "api/slow", b"{}", {"Content-Type": "application/json"})
    try:
        urllib.request.urlopen(question, timeout=60)
    except OSError:
        pass

def stop():
    begun.wait()
    signal.pthread_kill(threading.main_thread().ident, signal.SIGTERM)

for work in (ask, stop):
    threading.Thread(target=work).start()
try:
    server.serve("toy", toys.session, listening)
except KeyboardInterrupt:
    sys.exit(130)
"""


def test_an_answer_is_finished_before_the_command_ends() -> None:
    done = subprocess.run([sys.executable, "-c", SLOW], check=False, timeout=300, capture_output=True, text=True)
    assert done.returncode == 130 and done.stdout.endswith("answered\n"), done.stdout + done.stderr


@pytest.mark.usefixtures("interruptible")
def test_what_a_swallowed_request_breaks_is_no_error() -> None:
    def opening() -> Session:
        with contextlib.suppress(BaseException):
            signal.raise_signal(signal.SIGINT)
        raise AttributeError("half imported")

    with pytest.raises(KeyboardInterrupt):
        serve("toy", opening, bind("127.0.0.1", 0))


class Swallowing(threading.Event):
    """A request to stop arrives just before the wait, and what is raised is lost, as in the callback of a weak reference."""

    def wait(self, timeout: float | None = None) -> bool:
        with contextlib.suppress(BaseException):
            signal.raise_signal(signal.SIGINT)
        return super().wait(timeout)


@pytest.mark.usefixtures("interruptible")
def test_a_request_to_stop_that_is_swallowed_later_stops_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("memogen.explorer.server.threading", SimpleNamespace(Event=Swallowing, Thread=threading.Thread))
    with pytest.raises(KeyboardInterrupt):
        serve("toy", toys.session, bind("127.0.0.1", 0))


@pytest.mark.usefixtures("interruptible")
def test_a_request_to_stop_waits_for_the_imports(monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception inside an import can leave the lock of all imports taken, and then the server never ends."""
    imported: list[str] = []

    def slowly(name: str) -> None:
        signal.raise_signal(signal.SIGTERM)
        imported.append(name)

    monkeypatch.setattr("memogen.explorer.server.importlib", SimpleNamespace(import_module=slowly))
    with pytest.raises(KeyboardInterrupt):
        serve("toy", lambda: pytest.fail("opened"), bind("127.0.0.1", 0))
    assert imported == ["memogen.explorer.answers"]
