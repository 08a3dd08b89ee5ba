"""What goes out: one value, whether it is sent through ASGI or written to the connection directly."""

from http import HTTPStatus

import msgspec
from starlette.types import Send

STATUS_LINES = {int(status): f"HTTP/1.1 {status} {status.phrase}\r\n".encode() for status in HTTPStatus}


class Answer(msgspec.Struct, frozen=True):
    """A whole response."""

    status: int
    lines: bytes
    """The headers as they go over the wire: ``name: value``, the name in lower case, each with its CRLF."""
    body: bytes = b""

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """The headers as ASGI has them."""
        pairs = (line.split(b": ", 1) for line in self.lines.split(b"\r\n")[:-1])
        return [(name, value) for name, value in pairs]


async def send_answer(answer: Answer, send: Send, *, bodiless: bool = False) -> None:
    """Send ``answer`` through ASGI; ``bodiless``: to a HEAD."""
    await send({"type": "http.response.start", "status": answer.status, "headers": answer.headers})
    await send({"type": "http.response.body", "body": b"" if bodiless else answer.body})
