"""Who may ask: pages of this server alone, under its own name; and what every answer says to the browser."""

from __future__ import annotations

import ipaddress
import socket
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Guard:
    """Middleware. A request under another host's name is refused, so that no name that some site points here (DNS rebinding) reaches the model; so is
    one that another site's page makes.

    ``host`` is what the server listens on. On the loopback, names of the loopback are its own; elsewhere any address in numbers, and this machine's
    names, are too.
    """

    def __init__(self, app: ASGIApp, host: str) -> None:
        self.app, self.host = app, host

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        headers = Headers(scope=scope)
        refusal = self._refusal(headers, scope["method"])

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                found = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    found[name] = value
            await send(message)

        answer = self.app if refusal is None else JSONResponse({"error": refusal}, 403)
        return await answer(scope, receive, send_with_headers)

    def _refusal(self, headers: Headers, method: str) -> str | None:
        """Why a request is not answered; None where it is."""
        asked = headers.get("host", "")
        if not is_own(asked, self.host):
            return "this page answers under its own address alone"
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != asked:
            return "this page answers its own pages alone"
        if method != "GET" and headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            return "this page answers its own pages alone"
        return None


def is_own(asked: str, host: str) -> bool:
    """Whether the Host header ``asked`` names this server, which listens on ``host``."""
    try:
        name = (urlsplit(f"//{asked}").hostname or "").rstrip(".")
    except ValueError:
        return False
    if is_loopback(host):
        return name in ("localhost", "::1") or is_loopback(name)
    machine = socket.gethostname().lower()
    return _is_number(name) or name in ("localhost", host.lower(), machine, machine.partition(".")[0], f"{machine.partition('.')[0]}.local")


def is_loopback(host: str) -> bool:
    """Whether nobody outside of this machine reaches a server on ``host``."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_number(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
