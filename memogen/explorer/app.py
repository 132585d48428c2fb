"""The web application of the page: its addresses, what each answers, and who may ask. Imports no torch.

Answers are JSON with pictures as bytes inside. No address is ever a path of a file.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import Future
from contextlib import asynccontextmanager
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from memogen.errors import InputError

from .asked import Asked, Refused

if TYPE_CHECKING:
    from .session import Session

MOST_BYTES = 10_000_000  # of an uploaded picture
MOST_WORDS = 1_000_000  # bytes of a question

PREVIEW = b"""<figure id="preview">
<img class="sheet" src="/preview.png" alt="Samples of the model">
<figcaption>Samples that were stored with the model. It is being opened.</figcaption>
</figure>"""

KINDS = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def build(opening: Future[Session], host: str = "127.0.0.1", *, preview: Path | None = None) -> Starlette:
    """The application that shows a session, for a server that listens on ``host``.

    Questions wait until the session is open; until then the page shows the picture ``preview``.
    """
    folder = resources.files("memogen.explorer") / "page"
    assets = {file.name: (file.read_bytes(), KINDS[suffix]) for file in folder.iterdir() if (suffix := Path(file.name).suffix) in KINDS}
    if preview is not None:
        assets["index.html"] = (assets["index.html"][0].replace(b"<!-- preview -->", PREVIEW), KINDS[".html"])

    async def opened() -> Session:
        return await asyncio.shield(asyncio.wrap_future(opening))  # a cancelled request leaves the others waiting

    @asynccontextmanager
    async def life(app: Starlette) -> AsyncIterator[None]:
        yield
        if opening.done() and opening.exception() is None:
            opening.result().close()

    async def page(request: Request) -> Response:
        name = request.path_params.get("name", "index.html")
        if name not in assets:
            raise HTTPException(404)
        body, kind = assets[name]
        return Response(body, media_type=kind)

    async def picture(request: Request) -> Response:
        if preview is None:
            raise HTTPException(404)
        return FileResponse(preview, media_type="image/png")

    async def sheet(request: Request) -> Response:
        sheets, number = (await opened()).loaded.sheets, request.path_params["number"]
        if not 0 <= number < len(sheets):
            raise HTTPException(404)
        return FileResponse(sheets[number].path, media_type="image/png") if sheets[number].path.is_file() else _error("this sheet is gone", 404)

    async def question(request: Request) -> dict[str, Any]:
        if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
            raise Refused("send the request as application/json", 415)
        asked, session = Asked.read(await _body(request, MOST_WORDS)), await opened()
        from .answers import ANSWERS

        name = request.path_params["name"]
        if name not in ANSWERS:
            raise Refused("no such question", 404)
        return await run_in_threadpool(ANSWERS[name], session, asked)  # so that no request waits for another

    async def upload(request: Request) -> dict[str, Any]:
        if not request.headers.get("content-type", "").startswith("image/"):
            raise Refused("give a picture: a PNG, JPEG or WebP file", 415)
        body, session = await _body(request, MOST_BYTES), await opened()
        from .answers import upload

        return await run_in_threadpool(upload, session, body)

    async def refused(request: Request, error: HTTPException) -> Response:
        return JSONResponse({"error": error.detail}, error.status_code, headers=error.headers)

    routes = [
        Route("/", page),
        Route("/assets/{name}", page),
        Route("/preview.png", picture),
        Route("/sheets/{number:int}", sheet),
        Route("/api/upload", _in_json(upload), methods=["POST"]),
        Route("/api/{name}", _in_json(question), methods=["POST"]),
    ]
    handlers: dict[Any, Any] = {HTTPException: refused}
    return Starlette(routes=routes, middleware=[Middleware(Guard, host=host)], exception_handlers=handlers, lifespan=life)


def _in_json(answer: Callable[[Request], Awaitable[dict[str, Any]]]) -> Callable[[Request], Awaitable[Response]]:
    """An endpoint that answers in JSON, and in one line if it refuses or fails."""

    async def answered(request: Request) -> Response:
        try:
            return JSONResponse(await answer(request))
        except Refused as error:
            return _error(str(error), error.status)
        except InputError as error:
            return _error(str(error), 400)
        except Exception as error:
            logging.getLogger(__name__).debug("an answer failed", exc_info=error)
            return _error(f"{type(error).__name__}: a bug in memogen", 500)

    return answered


async def _body(request: Request, most: int) -> bytes:
    """The body of a request, read no further than ``most`` bytes. Raises Refused."""
    declared = request.headers.get("content-length", "0")
    too_much = Refused(f"more than {most // 1_000_000} MB were sent; send less", 413)
    if not declared.isdecimal() or len(declared) > 15 or int(declared) > most:
        raise too_much
    parts, length = [], 0
    try:
        async for part in request.stream():
            length += len(part)
            if length > most:
                raise too_much
            parts.append(part)
    except ClientDisconnect as error:
        raise Refused("the upload was cut off") from error
    return b"".join(parts)


def _error(message: str, status: int) -> JSONResponse:
    return JSONResponse({"error": message}, status)


class Guard:
    """Middleware that refuses requests under another host's name (DNS rebinding) and requests that pages of other sites make."""

    def __init__(self, app: ASGIApp, host: str) -> None:
        """``host`` is the address that the server listens on."""
        self.app, self.host = app, host

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        headers = Headers(scope=scope)
        asked, origin, site = headers.get("host", ""), headers.get("origin"), headers.get("sec-fetch-site", "same-origin")
        answer = self.app
        if not is_own(asked, self.host):
            answer = _error("this page answers under its own address alone", 403)
        elif (origin is not None and urlsplit(origin).netloc != asked) or (scope["method"] != "GET" and site not in ("same-origin", "none")):
            answer = _error("this page answers its own pages alone", 403)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                found = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    found[name] = value
            await send(message)

        return await answer(scope, receive, send_with_headers)


def is_own(asked: str, host: str) -> bool:
    """Whether the Host header ``asked`` names this server, which listens on ``host``.

    On the loopback only names of the loopback do; elsewhere any numeric address and this machine's names do too.
    """
    try:
        name = (urlsplit(f"//{asked}").hostname or "").rstrip(".")
    except ValueError:
        return False
    if is_loopback(host):
        return name in ("localhost", "::1") or is_loopback(name)
    machine = socket.gethostname().lower()
    short = machine.partition(".")[0]
    return _ip(name) is not None or name in ("localhost", host.lower(), machine, short, f"{short}.local")


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a server on ``host``."""
    address = _ip(host)
    return host == "localhost" or (address is not None and address.is_loopback)


def _ip(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None
