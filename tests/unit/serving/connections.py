"""Connections without sockets: a transport that notes what is done to it, a handler and an application that echo."""

import asyncio
from typing import Any

from starlette.types import Receive, Scope, Send

from hanas_serving.admission import Admission
from hanas_serving.answers import Answer, Headers
from hanas_serving.direct import Exchange
from hanas_serving.gate import Gate
from hanas_serving.http1 import Connection, Server
from hanas_serving.limits import Limits


class Wire(asyncio.Transport):
    """What reaches the kernel, call by call."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.closed = False
        self.reading = True
        self.half_closed = False
        self.unsent = 0
        self.limits: tuple[int | None, int | None] = (None, None)

    @property
    def content(self) -> bytes:
        return b"".join(self.written)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.closed
        assert not self.half_closed
        self.written.append(bytes(data))

    def writelines(self, list_of_data: Any) -> None:
        self.write(b"".join(list_of_data))

    def is_closing(self) -> bool:
        return self.closed

    def is_reading(self) -> bool:
        return self.reading

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = True

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.half_closed = True

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self.limits = high, low

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default


class Echo:
    """Answers with what was asked; holds the answers back while ``patient``."""

    methods = frozenset({b"GET", b"PUT", b"DELETE"})
    prefix = b"/v1/kv/"

    def __init__(self) -> None:
        self.gate = Gate()
        self.patient = False
        self.held: list[Exchange] = []

    def is_plain(self, headers: Headers) -> bool:
        return self.gate.is_plain(headers, anonymous=True)

    def __call__(self, exchange: Exchange) -> None:
        self.held.append(exchange)
        if not self.patient:
            self.let_go()

    def let_go(self) -> None:
        """Answer what is held back."""
        held, self.held = self.held, []
        for exchange in held:
            body = b"%b %b %b" % (exchange.method, exchange.path, exchange.body)
            exchange.answer(Answer(200, b"way: direct\r\ncontent-length: %d\r\n" % len(body), body))


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with what was asked."""
    parts, more = [], True
    while more:
        message = await receive()
        parts.append(message.get("body", b""))
        more = message.get("more_body", False)
    body = b"%b %b %b" % (scope["method"].encode(), scope["raw_path"], b"".join(parts))
    headers = [(b"way", b"ordinary"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def limited(**limits: Any) -> Admission[Connection]:
    """Return an admission with some of the limits."""
    return Admission[Connection](Limits(**limits))


def connected(server: Server) -> tuple[Connection, Wire]:
    """Return a new connection and what its client sees."""
    connection, wire = Connection(server), Wire()
    connection.connection_made(wire)
    return connection, wire
