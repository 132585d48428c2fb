"""The server of the page, on the loopback unless another host is named, until Ctrl-C."""

from __future__ import annotations

import errno
import gc
import importlib
import socket
import threading
import webbrowser
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import uvicorn

from memogen.errors import InputError
from memogen.stopping import stopping

from .app import build, is_loopback

if TYPE_CHECKING:
    from .session import Session

_LOOK = 0.5  # seconds between two looks for a request to stop


def bind(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one. Raises InputError if the port is taken, or ``host`` is no address of this machine."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        found = socket.socket(family, kind, protocol)
    except OSError as error:
        raise InputError(f"--host {host}: is not an address of this machine ({error.strerror}): give 127.0.0.1, or 0.0.0.0 for all") from error
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(address)
        found.listen()
    except OSError as error:
        found.close()
        if error.errno == errno.EADDRINUSE:
            raise InputError(f"--port {port}: another program uses it: give another port, or leave --port out for a free one") from error
        raise InputError(f"--host {host} --port {port}: cannot be used ({error.strerror}): give another") from error
    return found


def address(host: str, listening: socket.socket) -> str:
    """The address of the page for a browser."""
    port = listening.getsockname()[1]
    name = "localhost" if host in ("0.0.0.0", "::", "") else f"[{host}]" if ":" in host else host
    return f"http://{name}:{port}/"


def serve(
    name: str,
    opening: Callable[[], Session],
    listening: socket.socket,
    *,
    host: str = "127.0.0.1",
    preview: Path | None = None,
    opened: bool = False,
) -> None:
    """Show a model on a bound socket until Ctrl-C or SIGTERM.

    The page is served at once, with the picture ``preview``, while ``opening`` opens the model. An exception of ``opening`` is shown on the page, and
    raised. ``opened`` opens a browser.
    """
    where = address(host, listening)
    session: Future[Session] = Future()
    config = uvicorn.Config(
        build(session, host, preview=preview), log_level="critical", access_log=False, timeout_graceful_shutdown=1, ws="none", loop="asyncio"
    )
    server = uvicorn.Server(config)
    ended = threading.Event()

    def run() -> None:
        try:
            server.run(sockets=[listening])
        finally:
            ended.set()

    config.load()
    config.get_loop_factory()
    anyio.run(anyio.Path().exists)  # now the server's thread has nothing left to import
    thread = threading.Thread(target=run, name="server")
    thread.start()
    try:
        print(f"{name}: {where}   (Ctrl-C ends)", flush=True)
        if not is_loopback(host):
            print(f"memogen: listening on {host}: anyone who can reach this machine at that address can see and edit this model", flush=True)
        if opened:
            threading.Thread(target=webbrowser.open, args=(where,), daemon=True).start()
        with stopping() as stop:
            gc.disable()  # opening makes a million objects that all stay: collecting garbage takes a fifth of the time
            try:
                with stop.held():  # an exception inside an import can leave the lock of all imports taken, and the server waits for it
                    importlib.import_module("memogen.explorer.answers")
                stop.look()
                session.set_result(opening())
            except Exception as error:
                stop.look()  # its cause may be a request whose own exception was swallowed
                session.set_exception(error)
                raise
            finally:
                gc.enable()
            while not ended.wait(_LOOK):  # not thread.join(): after an interrupted join, Python 3.11 takes the thread for ended
                stop.look()  # the callback of a weak reference may have swallowed a signal
    finally:
        server.should_exit = True
        thread.join()
        listening.close()
