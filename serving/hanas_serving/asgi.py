"""The ordinary way of a request: through an ASGI application, which may read and write piece by piece."""

import asyncio
import logging
import re
from collections.abc import Sequence
from typing import Any, Protocol
from urllib.parse import unquote

import httptools
from starlette.types import ASGIApp, Message, Scope

from hanas_serving.answers import LEAST_ERROR, STATUS_LINES

_log = logging.getLogger("hanas.serving")

_NO_HEADER = re.compile(rb"[\r\n\0]")
_BODILESS = frozenset({204, 304})


class Wire(Protocol):
    """The connection that a request came over."""

    def write(self, parts: Sequence[bytes]) -> None:
        """Write a head, in parts, and its content."""

    async def drain(self) -> None:
        """Wait until the client has read enough of what was written, or is gone."""

    def regulate(self) -> None:
        """Read from the client if there is room for what it sends."""

    def refused(self, status: int) -> None:
        """Note that an error is answered."""

    def completed(self, cycle: "Cycle") -> None:
        """Go on with the connection's next request: the response to this one is complete."""

    def fail(self, cycle: "Cycle") -> None:
        """Answer that this program made a mistake, unless the response is complete, and close the connection."""


def scope_of(
    wire: asyncio.Transport, method: bytes, url: bytes, version: str, headers: list[tuple[bytes, bytes]]
) -> Scope:
    """Return the scope of a request. Raises httptools.HttpParserError if ``url`` is malformed."""
    target = httptools.parse_url(url)
    path = target.path or b"/"
    server, client = (wire.get_extra_info(name) for name in ("sockname", "peername"))
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": version,
        "scheme": "http" if wire.get_extra_info("sslcontext") is None else "https",
        "server": server and tuple(server[:2]),
        "client": client and tuple(client[:2]),
        "method": method.decode("ascii"),
        "root_path": "",
        "path": unquote(path.decode("ascii")),
        "raw_path": path,
        "query_string": target.query or b"",
        "headers": headers,
        "peer": wire.get_extra_info("peer"),
    }


class Cycle:
    """A request and its response."""

    def __init__(self, wire: Wire, scope: Scope, *, keep_alive: bool, expects: bool) -> None:
        """Prepare to answer. ``expects``: the client waits for ``100 Continue`` before it sends the body."""
        self.scope = scope
        self.ended = scope["ended"] = asyncio.Event()
        """The client has closed its side: most have left then, and some wait for the rest of the response."""
        self.keep_alive = keep_alive
        self.body = bytearray()
        """Bytes that the application has not taken yet."""
        self.more_body = True
        self.response_started = self.response_complete = False
        """The first byte was written, and the last one."""
        self._wire = wire
        self._expects = expects
        self._disconnected = False
        self._news = asyncio.Event()
        """Set by an event that the application may wait for."""
        self._head: bytes | None = None
        """The head of the response until it is written, with the first part of the body; then empty."""
        self._chunked = self._bodiless = False
        self._length: int | None = None
        """Bytes of the body that are still to come; None if it was not announced."""

    async def run(self, app: ASGIApp) -> None:
        """Have ``app`` answer."""
        try:
            await app(self.scope, self._receive, self._send)
            if not self.response_complete and not self._disconnected:
                raise RuntimeError("the application returned without completing the response")
        except asyncio.CancelledError:
            self._wire.fail(self)
        except Exception as error:
            _log.error("an error of this program", exc_info=error)
            self._wire.fail(self)

    def received(self, body: bytes, *, more_body: bool = True) -> None:
        """Take a part of the body; drop it when the response is complete."""
        if not self.response_complete:
            self.body += body
        self.more_body = more_body
        self._news.set()

    def disconnect(self) -> None:
        """Tell the application that nobody waits for its response."""
        self._disconnected = True
        self._news.set()

    async def _receive(self) -> Message:
        if self._expects and not self.response_started and not self._disconnected:
            self._wire.write((b"HTTP/1.1 100 Continue\r\n\r\n",))
        self._expects = False
        if not self._disconnected and not self.response_complete:
            await self._news.wait()
            self._news.clear()
        if self._disconnected or self.response_complete:
            return {"type": "http.disconnect"}
        body = bytes(self.body)
        self.body.clear()
        self._wire.regulate()
        return {"type": "http.request", "body": body, "more_body": self.more_body}

    async def _send(self, message: Message) -> None:
        await self._wire.drain()
        if self._disconnected:
            return
        expected = "http.response.start" if self._head is None else "http.response.body"
        if message["type"] != expected or self.response_complete:
            raise RuntimeError(f"{message['type']} was sent out of turn")
        if self._head is None:
            self._begin(message["status"], message.get("headers", ()))
        else:
            self._go_on(self._head, message.get("body", b""), more=message.get("more_body", False))

    def _begin(self, status: int, headers: Any) -> None:
        """Make the head. That of a stream, whose first part may take its time, is written at once."""
        if status >= LEAST_ERROR:
            self._wire.refused(status)
        lines = [STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status]
        for name, value in headers:
            if _NO_HEADER.search(name + value):
                raise RuntimeError(f"{name}: {value} is no header")
            lower = name.lower()
            if lower == b"content-length":
                self._length = int(value)
            elif lower == b"connection":
                self.keep_alive = self.keep_alive and b"close" not in value.lower()
                continue
            lines.append(b"%b: %b\r\n" % (lower, value))
        if self.scope["method"] == "HEAD" or status in _BODILESS:
            self._bodiless = True
        elif self._length is None and self.scope["http_version"] == "1.0":
            self.keep_alive = False
        elif self._length is None:
            self._chunked = True
            lines.append(b"transfer-encoding: chunked\r\n")
        lines.append(b"\r\n" if self.keep_alive else b"connection: close\r\n\r\n")
        self._head = b"".join(lines)
        if self._chunked:
            self._write(self._head, b"")

    def _go_on(self, head: bytes, body: bytes, *, more: bool) -> None:
        if self._bodiless:
            body = b""
        elif self._chunked:
            body = (b"%x\r\n%b\r\n" % (len(body), body) if body else b"") + (b"" if more else b"0\r\n\r\n")
        elif self._length is not None:
            self._length -= len(body)
            if self._length < 0 or (self._length and not more):
                raise RuntimeError("the response is not as long as its Content-Length")
        if head or body:
            self._write(head, body)
        if not more:
            self.response_complete = True
            self.body.clear()
            self._news.set()
            self._wire.completed(self)

    def _write(self, head: bytes, body: bytes) -> None:
        self.response_started, self._head = True, b""
        self._wire.write((head, body))
