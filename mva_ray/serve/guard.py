"""Who may ask, and how much at once: every request passes here first."""

import asyncio
import hmac
import ipaddress
import json
from collections.abc import AsyncIterator, Callable
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mva_ray.serve.errors import error_body
from mva_ray.serve.page import ASSETS

LARGEST_BODY = 4 * 2**20
BODY_SECONDS = 30.0
"""In which a request's body has to arrive."""

OPEN_PATHS = ("/health", "/ready", "/", *(f"/assets/{name}" for name in ("plotly.js", *ASSETS)))
"""Asked by machines and browsers that have no token yet; they tell nothing of the runs."""


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


_TOO_LARGE = f"the body is larger than {LARGEST_BODY:,} bytes"


class Guard:
    """Refuses foreign hosts and origins (DNS rebinding), requests without the token, and bodies that are too large.

    Args:
        token: that requests carry as `Authorization: Bearer`; None lets everybody in who may name this host.
        loopback: whether only names of this machine may be asked for.
        count: is told the status of every answer.
    """

    def __init__(self, app: ASGIApp, token: str | None, loopback: bool, count: Callable[[int], None]) -> None:
        self._app = app
        self._token = token
        self._loopback = loopback
        self._count = count

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}

        async def counting(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._count(message["status"])
            await send(message)

        if refusal := self._refusal(str(scope["path"]), headers):
            await _answer(counting, *refusal)
        else:
            await self._pass(scope, receive, counting)

    async def _pass(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The body is read here, where it can be given up, and then handed on."""
        body = bytearray()
        try:
            async with asyncio.timeout(BODY_SECONDS):
                async for piece in _pieces(receive):
                    body += piece
                    if len(body) > LARGEST_BODY:
                        await _answer(send, 413, _TOO_LARGE)
                        return
        except TimeoutError:
            await _answer(send, 408, f"the body did not come within {BODY_SECONDS:g} s")
            return
        handed = False

        async def received() -> Message:
            nonlocal handed
            if handed:
                return await receive()
            handed = True
            return {"type": "http.request", "body": bytes(body), "more_body": False}

        await self._app(scope, received, send)

    def _refusal(self, path: str, headers: dict[str, str]) -> tuple[int, str] | None:
        host = _host_of(headers.get("host", ""))
        if self._loopback and not is_loopback(host):
            return 403, "this server answers to the names of its own machine only, such as 127.0.0.1"
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != headers.get("host"):
            return 403, "requests from pages of other origins are refused"
        if self._token is not None and path not in OPEN_PATHS:
            given = headers.get("authorization", "").removeprefix("Bearer ")
            if not hmac.compare_digest(given.encode(), self._token.encode()):
                return 401, "give the server's token as `Authorization: Bearer TOKEN` (the api_key of OpenAI's clients)"
        if (length := headers.get("content-length", "0")).isdigit() and int(length) > LARGEST_BODY:
            return 413, _TOO_LARGE
        return None


async def _pieces(receive: Receive) -> AsyncIterator[bytes]:
    more = True
    while more:
        message = await receive()
        more = message.get("more_body", False)
        yield message.get("body", b"")


def _host_of(header: str) -> str:
    try:
        return urlsplit(f"//{header}").hostname or ""
    except ValueError:
        return ""


async def _answer(send: Send, status: int, message: str) -> None:
    body = json.dumps(error_body(message, None, status)).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
