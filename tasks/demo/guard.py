"""Between the browser and gradio: what is answered, and what a page may ask for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import unquote

__all__ = ["Guard", "fetch_nothing"]

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]

POLICY = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self' 'unsafe-inline' 'unsafe-eval'",  # gradio's own pages and components need both
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "font-src 'self' data:",
        "worker-src 'self' blob:",
        "frame-ancestors 'self'",
    )
)
"""A browser asks no other server for anything, whatever a script or a style says. After the last entry may follow the
address of pages that show this one inside them."""
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


class Guard:
    """ASGI middleware: refuses requests that would make the server fetch an address, and, on a loopback address, those
    that came by another name (a page of the network that points its own name to this machine) or from another page (one
    that lets the browser upload files here)."""

    def __init__(self, app: Application, loopback: bool, embedded: str = "") -> None:
        self.app, self.loopback, self.policy = app, loopback, f"{POLICY} {embedded}".rstrip().encode()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (self._fetches(scope["path"]) or not self._known(scope["headers"])):
            await send({"type": "http.response.start", "status": 403, "headers": [(b"content-type", b"text/plain")]})
            await send({"type": "http.response.body", "body": b"refused"})
            return

        async def with_policy(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"content-security-policy", self.policy)]
            await send(message)

        await self.app(scope, receive, with_policy)

    def _known(self, headers: list[tuple[bytes, bytes]]) -> bool:
        given = {name: value.decode("latin-1") for name, value in headers}
        host = given.get(b"host", "")
        name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
        own = given.get(b"origin", f"//{host}").partition("//")[2] == host
        return not self.loopback or (name in LOOPBACK and own)

    @staticmethod
    def _fetches(path: str) -> bool:
        asked = unquote(path).lower()
        return "/proxy=" in asked or ("/file=" in asked and ":" in asked.partition("/file=")[2])


async def fetch_nothing(*_: Any, **__: Any) -> str:
    """In place of gradio's download of an address that a request names as an uploaded file."""
    raise ValueError("only uploaded files are read")
