"""The addresses of the page and what each answers, in JSON; pictures travel as bytes within. No address is ever a path of a file."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import Future
from contextlib import asynccontextmanager
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from memogen.errors import InputError

from .asked import Asked, Refused
from .guard import Guard

if TYPE_CHECKING:
    from .session import Session

MOST_BYTES = 10_000_000
"""Of an uploaded picture."""

MOST_WORDS = 1_000_000
"""Bytes of a question."""

PREVIEW = b"""<figure id="preview">
<img class="sheet" src="/preview.png" alt="Samples of the model">
<figcaption>Samples that were stored with the model. It is being opened.</figcaption>
</figure>"""

KINDS = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


def build(opening: Future[Session], host: str = "127.0.0.1", *, preview: Path | None = None) -> Starlette:
    """The application that shows a session, for a server that listens on ``host``. Questions wait until the session is open.

    Nothing here imports torch, so that the page is there, with the picture ``preview``, while the model is still being opened.
    """
    assets = _assets()
    if preview is not None:
        assets["index.html"] = (assets["index.html"][0].replace(b"<!-- preview -->", PREVIEW), KINDS[".html"])

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
        sheets, number = (await _opened(opening)).loaded.sheets, request.path_params["number"]
        if not 0 <= number < len(sheets):
            raise HTTPException(404)
        return FileResponse(sheets[number].path, media_type="image/png") if sheets[number].path.is_file() else _error("this sheet is gone", 404)

    async def question(request: Request) -> dict[str, Any]:
        if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
            raise Refused("send the request as application/json", 415)
        asked, session = Asked.read(await _body(request, MOST_WORDS)), await _opened(opening)
        from .answers import ANSWERS

        name = request.path_params["name"]
        if name not in ANSWERS:
            raise Refused("no such question", 404)
        return await run_in_threadpool(ANSWERS[name], session, asked)  # so that no request waits for another's reading

    async def upload(request: Request) -> dict[str, Any]:
        if not request.headers.get("content-type", "").startswith("image/"):
            raise Refused("give a picture: a PNG, JPEG or WebP file", 415)
        body, session = await _body(request, MOST_BYTES), await _opened(opening)
        from .answers import upload

        return await run_in_threadpool(upload, session, body)

    routes = [
        Route("/", page),
        Route("/assets/{name}", page),
        Route("/preview.png", picture),
        Route("/sheets/{number:int}", sheet),
        Route("/api/upload", _in_json(upload), methods=["POST"]),
        Route("/api/{name}", _in_json(question), methods=["POST"]),
    ]
    refusals: dict[Any, Any] = {HTTPException: _http}
    return Starlette(routes=routes, middleware=[Middleware(Guard, host=host)], exception_handlers=refusals, lifespan=life)


def _assets() -> dict[str, tuple[bytes, str]]:
    """The files of the page by name, read once."""
    folder = resources.files("memogen.explorer") / "page"
    files = [file for file in folder.iterdir() if "." + file.name.rpartition(".")[2] in KINDS]
    return {file.name: (file.read_bytes(), KINDS["." + file.name.rpartition(".")[2]]) for file in files}


async def _opened(opening: Future[Session]) -> Session:
    """The session, once it is open. A request that is cancelled meanwhile leaves the others waiting. Raises what opening raised."""
    return await asyncio.shield(asyncio.wrap_future(opening))


def _in_json(answer: Callable[[Request], Awaitable[dict[str, Any]]]) -> Callable[[Request], Awaitable[Response]]:
    """An endpoint that answers in JSON, and with one line where it refuses or fails."""

    async def answered(request: Request) -> Response:
        try:
            return JSONResponse(await answer(request))
        except Refused as error:
            return _error(str(error), error.status)
        except InputError as error:
            return _error(str(error), 400)
        except Exception as error:
            return _ours(error)

    return answered


async def _body(request: Request, most: int) -> bytes:
    """What was sent, read no further than ``most`` bytes. Raises Refused."""
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


async def _http(request: Request, error: HTTPException) -> Response:
    return JSONResponse({"error": error.detail}, error.status_code, headers=error.headers)


def _ours(error: Exception) -> Response:
    """What nobody foresaw, in one line; the traceback goes to the log of those who ask for it."""
    logging.getLogger(__name__).debug("an answer failed", exc_info=error)
    return _error(f"{type(error).__name__}: a bug in memogen", 500)
