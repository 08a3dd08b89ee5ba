"""Requests over HTTP/2 that an application answers; and connections that have not shown what they speak."""

import asyncio
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from hanas_serving.admission import Admission
from hanas_serving.grpc.dispatch import Grpc
from hanas_serving.http1 import Connection, Server
from hanas_serving.http2.connection import Http2
from hanas_serving.http2.dual import Newcomer
from hanas_serving.http2.engine import PREFACE, Bounds, Code
from hanas_serving.limits import Limits
from hanas_serving.stream import Phase, Stream
from tests.unit.serving.connections import Wire, application
from tests.unit.serving.http2_peers import TERMS, Backend, Client
from tests.unit.waiting import until


class Player:
    """An application that plays what a test says."""

    def __init__(self, *messages: Message, fails: bool = False, waits: bool = False) -> None:
        self.messages, self.fails, self.waits = messages, fails, waits
        self.received: list[Message] = []
        self.scope: Scope = {}
        self.sent = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        for message in self.messages:
            await send(message)
            self.sent += 1
        if self.fails:
            raise ZeroDivisionError
        while self.waits:
            self.received.append(await receive())
            if self.received[-1]["type"] == "http.disconnect":
                return


def start(status: int = 200, *headers: tuple[bytes, bytes]) -> Message:
    return {"type": "http.response.start", "status": status, "headers": list(headers)}


def body(content: bytes = b"", *, more: bool = False) -> Message:
    return {"type": "http.response.body", "body": content, "more_body": more}


async def asked(app: Any, method: bytes = b"GET", **limits: Any) -> tuple[Client, int]:
    """Ask the application; return the client, and the stream, which goes on."""
    server = Server(app, None, Admission[Stream](Limits(**limits)))
    client = Client(server, Grpc([], TERMS, app))
    headers = [(b":method", method), (b":scheme", b"http"), (b":path", b"/a%20b?c=d"), (b":authority", b"host:1")]
    stream = client.engine.send_request([*headers, (b"x", b"y")], end_stream=method != b"POST")
    await client.turn()
    return client, stream


async def test_the_application_sees_an_ordinary_request() -> None:
    app = Player(start(200, (b"Connection", b"close"), (b"X-Answer", b"1")), body(b"hello"))
    client, stream = await asked(app)
    answer = client.answers[stream]
    assert (answer.headers, answer.body) == ({b":status": b"200", b"x-answer": b"1"}, b"hello")
    seen = {name: app.scope[name] for name in ("method", "path", "raw_path", "query_string", "http_version", "scheme")}
    expected = {"method": "GET", "path": "/a b", "raw_path": b"/a%20b", "query_string": b"c=d", "http_version": "2"}
    assert seen == {**expected, "scheme": "http"}
    assert app.scope["headers"] == [(b"host", b"host:1"), (b"x", b"y")]
    assert not client.server_side.responders


@pytest.mark.parametrize(("method", "status"), [(b"HEAD", 200), (b"GET", 204), (b"GET", 304)])
async def test_some_answers_have_no_body(method: bytes, status: int) -> None:
    client, stream = await asked(Player(start(status), body(b"none")), method)
    assert (client.answers[stream].headers[b":status"], client.answers[stream].body) == (b"%d" % status, b"")


async def test_errors_are_counted() -> None:
    client, _ = await asked(Player(start(404), body()))
    (family,) = client.server_side.server.refusals.collect()
    assert family.samples[0].value == 1


async def test_a_body_is_taken_as_the_client_takes_it() -> None:
    app = Player(start(), *[body(bytes(20_000), more=True)] * 50, body())
    client, stream = await asked(app)
    assert app.sent < 20, "all of it waits in memory"
    answer, taken = client.answers[stream], 0
    while answer.closed is None:
        client.take(stream, len(answer.body) - taken)
        taken = len(answer.body)
        await client.turn()
    assert len(answer.body) == 1_000_000


async def test_a_client_that_leaves_is_told_to_the_application() -> None:
    app = Player(waits=True)
    client, stream = await asked(app)
    assert app.received == [{"type": "http.request", "body": b"", "more_body": False}]
    client.engine.reset_stream(stream)
    await client.turn()
    await until(lambda: app.received[-1] == {"type": "http.disconnect"})
    await until(lambda: not client.server_side.server.tasks)


async def test_one_that_leaves_in_a_long_answer_ends_it_too() -> None:
    app = Player(start(), *[body(bytes(20_000), more=True)] * 50, body())
    client, _ = await asked(app)
    client.server_side.connection_lost(None)
    await until(lambda: not client.server_side.server.tasks)
    assert app.sent == 52


@pytest.mark.parametrize("begun", [False, True])
async def test_an_application_that_fails_breaks_off(begun: bool, caplog: pytest.LogCaptureFixture) -> None:
    app = Player(*([start(), body(b"a", more=True)] if begun else []), fails=True)
    client, stream = await asked(app)
    answer = client.answers[stream]
    assert begun or answer.headers[b":status"] == b"500"
    assert answer.closed == (Code.INTERNAL_ERROR if begun else Code.NO_ERROR)
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.parametrize("messages", [(), (start(),), (body(),), (start(), start()), (start(), body(), body())])
async def test_an_application_that_speaks_out_of_turn_is_told_so(
    messages: tuple[Message, ...], caplog: pytest.LogCaptureFixture
) -> None:
    client, stream = await asked(Player(*messages))
    assert client.answers[stream].closed is not None
    assert "out of turn" in caplog.text or "without completing" in caplog.text
    assert not client.server_side.responders


async def test_a_body_that_does_not_end_is_given_up() -> None:
    client, stream = await asked(Player(waits=True), b"POST", slow_seconds=0.05)
    await until(lambda: not client.server_side._incomplete)
    await client.turn()
    assert client.answers[stream].headers[b":status"] == b"408"


async def test_a_process_that_ends_says_so() -> None:
    client, stream = await asked(Player(waits=True))
    client.server_side.shutdown()
    client.server_side.dismiss()
    await client.turn()
    assert client.answers[stream].headers[b":status"] == b"503"
    assert client.ended


async def test_bodies_are_read_as_the_application_takes_them() -> None:
    """What an application does not read is bounded by the window of its stream."""
    server = Server(application)
    hanging = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await hanging.wait()
        await application(scope, receive, send)

    client = Client(server, Grpc([], TERMS, app), Bounds(stream_window=100_000))
    await client.turn()
    headers = [(b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/"), (b":authority", b"x")]
    stream = client.engine.send_request(headers)
    client.engine.send_data(stream, bytes(400_000), end_stream=True)
    await client.turn(20)
    assert 0 < server.memory.used <= 165_536
    assert client.engine.queued_body_size(stream) > 200_000
    hanging.set()
    answer, taken = client.answers[stream], 0
    while answer.closed is None:
        client.take(stream, len(answer.body) - taken)
        taken = len(answer.body)
        await client.turn()
    assert len(answer.body) == 400_000 + len(b"POST / ")
    assert server.memory.used == 0


# ---------------------------------------------------------------------- newcomers


def newcomer(server: Server) -> tuple[Newcomer, Wire]:
    connection, wire = Newcomer(server, Backend().grpc, Bounds()), Wire()
    connection.connection_made(wire)
    return connection, wire


class Switching(Wire):
    """A transport whose protocol may change."""

    def __init__(self) -> None:
        super().__init__()
        self.protocol: Any = None

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol


@pytest.mark.parametrize(("begin", "kind"), [(PREFACE, Http2), (b"GET / HTTP/1.1\r\n", Connection), (b"PRI", None)])
async def test_the_first_bytes_tell_the_protocol(begin: bytes, kind: type | None) -> None:
    server, wire = Server(application), Switching()
    connection = Newcomer(server, Backend().grpc, Bounds())
    connection.connection_made(wire)
    connection.data_received(begin)
    assert kind is None or type(wire.protocol) is kind
    assert len(server.connections) == 1
    successor: Stream = connection if kind is None else wire.protocol
    successor.connection_lost(None)
    assert not server.connections
    assert server.unused.is_set()


async def test_who_shows_nothing_leaves_first_and_is_told_so_where_there_is_no_room() -> None:
    server = Server(application, None, Admission[Stream](Limits(connections=1)))
    silent, wire = newcomer(server)
    assert silent.phase() is Phase.SILENT
    busy, busy_wire = newcomer(server)
    assert [each.closed for each in (wire, busy_wire)] == [True, False]
    busy.shutdown()
    busy.dismiss()
    assert [each.closed for each in (wire, busy_wire)] == [True, True]
    client = Client(server, Backend().grpc)
    client.call(b"/t.Test/Slow", b"")
    await client.turn()
    late, late_wire = newcomer(server)
    assert late_wire.content.startswith(b"HTTP/1.1 503 ")
    late.data_received(b"x" * 1000)
    assert late.phase() is Phase.ENDING
    late.data_received(bytes(65 << 20))
    assert late_wire.closed


async def test_one_that_shows_nothing_is_closed_in_time() -> None:
    server = Server(application, None, Admission[Stream](Limits(slow_seconds=0.02)))
    _, wire = newcomer(server)
    await until(lambda: wire.closed)
