"""Whole bodies: an answer, which goes out through ASGI or directly to the connection, and what a request brings."""

from collections.abc import Callable
from http import HTTPStatus

import msgspec
from starlette.types import Receive, Send

INERT = b"x-content-type-options: nosniff\r\ncontent-security-policy: sandbox; default-src 'none'\r\n"
"""Headers of whatever clients have stored or said: a browser must neither guess its type nor run anything in it."""
LEAST_ERROR = 400
"""The lowest status of an error."""
STATUS_LINES = {int(status): f"HTTP/1.1 {status} {status.phrase}\r\n".encode() for status in HTTPStatus}


Headers = list[tuple[bytes, bytes]]
"""As ASGI has them: names in lower case."""


def headers_of(lines: bytes) -> Headers:
    """Return header lines, each with its CRLF, as ASGI has them."""
    pairs = (line.split(b": ", 1) for line in lines.split(b"\r\n")[:-1])
    return [(name, value) for name, value in pairs]


INERT_HEADERS = headers_of(INERT)


class Answer(msgspec.Struct, frozen=True):
    """A whole response."""

    status: int
    lines: bytes
    """The headers as they go over the wire: ``name: value``, the name in lower case, each with its CRLF."""
    body: bytes = b""

    @property
    def headers(self) -> Headers:
        """The headers as ASGI has them."""
        return headers_of(self.lines)


async def send_answer(answer: Answer, send: Send, *, bodiless: bool = False) -> None:
    """Send ``answer`` through ASGI; ``bodiless``: to a HEAD."""
    await send({"type": "http.response.start", "status": answer.status, "headers": answer.headers})
    await send({"type": "http.response.body", "body": b"" if bodiless else answer.body})


class Disconnected(Exception):
    """The client went away before its request was complete: there is nobody to answer."""


async def body_of(receive: Receive, most: int, too_large: Callable[[int], Exception]) -> bytes:
    """Return a request's body. Raises Disconnected; ``too_large`` of its size so far beyond ``most`` bytes."""
    parts, size, more = [], 0, True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            raise Disconnected
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > most:
            raise too_large(size)
        more = message.get("more_body", False)
    return b"".join(parts)
