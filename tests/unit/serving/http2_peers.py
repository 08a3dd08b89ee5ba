"""Clients of HTTP/2 without sockets: an engine at the client's side, and frames made by hand."""

import asyncio
import struct
from collections import defaultdict
from typing import Any

import ngh2
from ngh2.events import (
    DataReceived,
    GoAwayReceived,
    PingAcknowledged,
    ResponseReceived,
    StreamClosed,
    TrailersReceived,
)

from hanas_serving.grpc.calls import Method, StreamCall, StreamMethod, Terms, UnaryCall
from hanas_serving.grpc.dispatch import Grpc
from hanas_serving.grpc.framing import framed
from hanas_serving.grpc.status import RpcError, StatusCode
from hanas_serving.http1 import Server
from hanas_serving.http2.connection import Http2
from hanas_serving.http2.engine import PREFACE, Bounds, Header
from tests.unit.serving.connections import Wire, application

TERMS = Terms(
    most_bytes=2 << 20,
    stopping=RpcError(StatusCode.UNAVAILABLE, "this process ends"),
    crowded=RpcError(StatusCode.RESOURCE_EXHAUSTED, "too much is not taken"),
)
ECHO, SLOW, STREAM = b"/t.Test/Echo", b"/t.Test/Slow", b"/t.Test/Stream"


class Backend:
    """Methods that echo: at once, when told to, or as a stream."""

    def __init__(self) -> None:
        self.held: list[tuple[UnaryCall, bytes]] = []
        self.sessions: list[Echoing] = []
        methods: list[Method | StreamMethod] = [
            Method(ECHO, bytes, lambda call, message: call.reply(message)),
            Method(SLOW, bytes, lambda call, message: self.held.append((call, message))),
            Method(b"/t.Test/Fail", bytes, self.fail),
            StreamMethod(STREAM, bytes, self.open),
        ]
        self.grpc = Grpc(methods, TERMS, application)

    @staticmethod
    def fail(call: UnaryCall, message: bytes) -> None:
        if message == b"by mistake":
            raise ZeroDivisionError
        raise RpcError(StatusCode.NOT_FOUND, message.decode())

    def open(self, call: StreamCall) -> "Echoing":
        session = Echoing(call)
        self.sessions.append(session)
        return session


class Echoing:
    """A session that echoes."""

    def __init__(self, call: StreamCall) -> None:
        self.call = call
        self.log: list[str] = []

    def received(self, message: bytes) -> None:
        self.call.send(message)

    def ended(self) -> None:
        self.log.append("ended")
        self.call.finish()

    def drained(self) -> None:
        self.log.append("drained")

    def gone(self) -> None:
        self.log.append("gone")


class Answered:
    """What a client was told on a stream."""

    def __init__(self) -> None:
        self.headers: dict[bytes, bytes] = {}
        self.body = b""
        self.trailers: dict[bytes, bytes] = {}
        self.closed: int | None = None
        """The code it ended with."""

    @property
    def status(self) -> int | None:
        found = {**self.headers, **self.trailers}.get(b"grpc-status")
        return None if found is None else int(found)

    @property
    def text(self) -> bytes:
        return {**self.headers, **self.trailers}.get(b"grpc-message", b"")


def call_headers(path: bytes, *more: Header) -> list[Header]:
    return [
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", path),
        (b":authority", b"x"),
        (b"content-type", b"application/grpc"),
        (b"te", b"trailers"),
        *more,
    ]


class Client:
    """A client of one connection."""

    def __init__(
        self, server: Server, dispatch: Any, bounds: Bounds | None = None, settings: dict[int, int] | None = None
    ) -> None:
        self.wire = Wire()
        self.server_side = Http2(server, dispatch, bounds or Bounds())
        self.server_side.connection_made(self.wire)
        self.engine = ngh2.Connection(ngh2.Role.CLIENT, ngh2.Configuration(auto_window_update=False))
        self.engine.initiate_connection(settings or {})
        self.answers: dict[int, Answered] = defaultdict(Answered)
        self.goaway: int | None = None
        self.pongs = 0
        self.writes = 0
        """Pieces that came."""

    def begin(self, path: bytes, *headers: Header, end: bool = False) -> int:
        """Begin a call."""
        return self.engine.send_request(call_headers(path, *headers), end_stream=end)

    def call(self, path: bytes, message: bytes, *headers: Header) -> int:
        """Make a call with one request."""
        stream = self.begin(path, *headers)
        self.engine.send_data(stream, framed(message), end_stream=True)
        return stream

    async def turn(self, turns: int = 4) -> None:
        """Have both sides read what the other one wrote."""
        for _ in range(turns):
            data = self.engine.data_to_send()
            if data and not self.wire.closed:
                self.server_side.data_received(data)
            await asyncio.sleep(0)
            written, self.wire.written = self.wire.written, []
            for piece in written:
                self.writes += 1
                self.engine.receive_data(piece)
            self._look()

    def _look(self) -> None:
        for event in self.engine.events():
            match event:
                case ResponseReceived():
                    self.answers[event.stream_id].headers = dict(event.headers)
                case DataReceived():
                    self.answers[event.stream_id].body += event.data
                case TrailersReceived():
                    self.answers[event.stream_id].trailers = dict(event.headers)
                case StreamClosed():
                    self.answers[event.stream_id].closed = event.error_code
                case GoAwayReceived():
                    self.goaway = event.error_code
                case PingAcknowledged():
                    self.pongs += 1
                case _:
                    pass

    def take(self, stream: int, size: int) -> None:
        """Open the windows again by so much."""
        self.engine.acknowledge_received_data(size, stream)

    @property
    def ended(self) -> bool:
        """Whether the server has closed its side."""
        return self.wire.closed or self.wire.half_closed


# ---------------------------------------------------------------------- frames made by hand


def frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


DATA, HEADERS, RESET, SETTINGS, PING, WINDOW, CONTINUATION = 0, 1, 3, 4, 6, 8, 9
END_STREAM, END_HEADERS = 1, 4
BEGIN = PREFACE + frame(SETTINGS)


def literal(name: bytes, value: bytes) -> bytes:
    """A header, not indexed and not compressed; up to 126 bytes each."""
    return b"\x00" + bytes([len(name)]) + name + bytes([len(value)]) + value


HEAD = b"".join(literal(name, value) for name, value in call_headers(STREAM))
