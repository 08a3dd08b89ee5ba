"""HTTP/1.1 as a client on a socket sees it: order, limits, trailers, the end of a connection, and time."""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from hanas_serving.direct import Direct
from hanas_serving.http1 import Connection, Server
from hanas_serving.server import HttpEndpoint, bind
from tests.unit.packaging.documents import ROOT
from tests.unit.serving.connections import Echo, application, connected, limited
from tests.unit.waiting import AMPLE_SECONDS, until

GET = b"GET /v1/kv/a HTTP/1.1\r\nHost: x\r\n\r\n"
ORDINARY = b"GET /v1/kv/a?x HTTP/1.1\r\nHost: x\r\n\r\n"
CHUNKED = b"PUT /v1/kv/a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
MIB = 1 << 20


@pytest.fixture
def handler() -> Echo:
    return Echo()


@pytest.fixture
def server(handler: Echo) -> Server:
    return Server(application, handler)


@asynccontextmanager
async def listening(
    app: ASGIApp, direct: Direct | None = None, **limits: Any
) -> AsyncIterator[tuple[Server, Callable[[], "asyncio.Future[tuple[asyncio.StreamReader, asyncio.StreamWriter]]"]]]:
    """Serve on a socket; the call opens a connection to it."""
    server, loop = Server(app, direct, limited(**limits)), asyncio.get_running_loop()
    listener = await loop.create_server(lambda: Connection(server), "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]

    def opened() -> "asyncio.Future[tuple[asyncio.StreamReader, asyncio.StreamWriter]]":
        return asyncio.ensure_future(asyncio.open_connection("127.0.0.1", port, limit=64 * MIB))

    async with asyncio.timeout(AMPLE_SECONDS):
        try:
            yield server, opened
        finally:
            listener.close()
            for connection in list(server.connections):
                connection.abort()
            await until(lambda: not server.connections and not server.tasks)


def statuses(content: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d+) ", content)]


def problem(content: bytes) -> tuple[int, str]:
    """The last answer, which is a problem and ends the connection."""
    head, _, body = content[content.rindex(b"HTTP/1.1 ") :].partition(b"\r\n\r\n")
    assert b"\r\nconnection: close" in head
    document = msgspec.json.decode(body)
    return document["status"], document["detail"]


# ---------------------------------------------------------------------- pipelined requests


@pytest.mark.parametrize(
    "request_", [GET, ORDINARY, b"GET /v1/kv/a?x HTTP/1.1\r\n\r\n"], ids=["direct", "asgi", "short"]
)
async def test_many_requests_in_one_piece_do_not_hold_the_event_loop(server: Server, request_: bytes) -> None:
    """Connections that each sent 256 KiB of requests leave their turns to others."""
    count = (256 << 10) // len(request_)
    many = [connected(server) for _ in range(30)]
    for connection, _ in many:
        connection.data_received(request_ * count)
    delays = []
    for _ in range(30):
        began = time.perf_counter()
        await asyncio.sleep(0)
        delays.append(time.perf_counter() - began)
    assert all(not wire.is_reading() for _, wire in many)  # what more they send stays in the kernel
    for connection, wire in many[1:]:
        wire.close()
        connection.connection_lost(None)
    assert sorted(delays)[len(delays) // 2] < 0.1
    assert min(delays) < 0.05
    [(_, wire), *_] = many
    await until(lambda: len(statuses(wire.content)) == count)
    assert set(statuses(wire.content)) == {200}
    assert wire.is_reading()


async def test_a_body_of_tiny_chunks_does_not_hold_the_event_loop(server: Server) -> None:
    connection, wire = connected(server)
    began = time.perf_counter()
    connection.data_received(CHUNKED + b"1\r\nx\r\n" * 40_000 + b"0\r\n\r\n")
    assert time.perf_counter() - began < 0.05
    await until(lambda: b"way: ordinary" in wire.content)
    assert wire.content.endswith(b"PUT /v1/kv/a " + b"x" * 40_000)


@pytest.mark.parametrize(
    ("bad", "status"),
    [
        (b"GET\r\n\r\n", 400),
        (b"PUT /v1/kv/b HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", 400),
        (b"PUT /v1/kv/b HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"PUT /v1/kv/b HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n", 400),
        (b"PUT /v1/kv/b HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        (b"PUT /v1/kv/b HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501),
        (b"PUT /v1/kv/b HTTP/1.1\r\nTransfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n\r\n", 501),
        (b"GET /v1/kv/b HTTP/1.1\r\n" + b"X: y\r\n" * 257 + b"\r\n", 431),
        (b"GET /v1/kv/b HTTP/1.1\r\nX: " + b"y" * 65536 + b"\r\n\r\n", 431),
        (CHUNKED + b"5;" + b"x" * 65536, 431),
        (CHUNKED + b"0\r\n" + b"x: y\r\n" * 11_000, 431),
        (CHUNKED + b"nothing\r\n", 400),
        (b"PUT /v1/kv/b HTTP/1.1\r\nContent-Length: 5\r\n\r\nhell", 400),
        (CHUNKED + b"5\r\nhell", 400),
    ],
    ids=lambda value: repr(value)[-60:],
)
async def test_a_refusal_comes_behind_the_answers_to_what_came_before(
    server: Server, handler: Echo, bad: bytes, status: int
) -> None:
    connection, wire = connected(server)
    handler.patient = True
    connection.data_received(GET + ORDINARY + GET + bad)
    connection.eof_received()
    await until(lambda: bool(handler.held))
    assert not wire.written
    handler.patient = False
    handler.let_go()
    await until(wire.is_closing)
    assert statuses(wire.content) == [200, 200, 200, status]
    assert problem(wire.content)[0] == status


async def test_limits_count_what_belongs_to_one_head(server: Server) -> None:
    connection, wire = connected(server)
    large = b"GET /v1/kv/a HTTP/1.1\r\nX: " + b"y" * 65_400 + b"\r\n\r\n"
    many = b"GET /v1/kv/a HTTP/1.1\r\n" + b"X: y\r\n" * 256 + b"\r\n"
    connection.data_received(large * 3 + many * 3)
    await until(lambda: len(statuses(wire.content)) == 6)
    assert set(statuses(wire.content)) == {200}


# ---------------------------------------------------------------------- trailers


@pytest.mark.parametrize("apart", [False, True], ids=["together", "apart"])
@pytest.mark.parametrize("size", [1, 30_000])
async def test_trailers_never_act_as_headers(apart: bool, size: int) -> None:
    seen = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await application(scope, receive, send)
        seen.append(scope["headers"])

    connection, wire = connected(Server(app, Echo()))
    trailers = b"If-Match: *\r\nAuthorization: Bearer x\r\nIdempotency-Key: x\r\nX: %b\r\n" % (b"y" * size)
    request = CHUNKED + b"5;ext=1\r\nhello\r\n0\r\n" + trailers + b"\r\n"
    for piece in [bytes([byte]) for byte in request] if apart and size == 1 else re.findall(rb"[^\n]*\n", request):
        connection.data_received(piece)
        await asyncio.sleep(0)
    connection.data_received(request + GET)
    await until(lambda: len(statuses(wire.content)) == 3)
    assert wire.content.count(b"PUT /v1/kv/a hello") == 2
    assert seen == 2 * [[(b"host", b"x"), (b"transfer-encoding", b"chunked")]]
    assert wire.content.endswith(b"GET /v1/kv/a ")


async def test_a_flood_of_requests_and_trailers_delays_no_timer_and_fills_no_memory() -> None:
    """Thirty clients pipeline requests, and the chunked body of another one ends in 20 MiB of trailers."""
    count = (16 << 10) // len(ORDINARY)
    line = b"X: yyyyyyyyyyy\r\n"

    async with listening(application, Echo()) as (server, opened):

        async def pipeline() -> int:
            reader, writer = await opened()
            writer.write(ORDINARY * count)
            answers = b""
            while answers.count(b"GET /v1/kv/a ") < count:
                answers += await reader.read(MIB)
            writer.close()
            return len(statuses(answers))

        async def trail() -> int:
            reader, writer = await opened()
            writer.write(CHUNKED + b"5\r\nhello\r\n0\r\n")
            for _ in range(20):
                writer.write(line * (MIB // len(line)))
                await writer.drain()
            answer = await reader.read()
            writer.close()
            return problem(answer)[0]

        clients = asyncio.gather(trail(), *(pipeline() for _ in range(30)))
        delays, most = [], 0
        while not clients.done():
            began = time.perf_counter()
            await asyncio.sleep(0.001)
            delays.append(time.perf_counter() - began)
            most = max(most, sum(len(connection._pieces.received) for connection in server.connections))
        assert await clients == [431, *[count] * 30]
    assert sorted(delays)[len(delays) * 9 // 10] < 0.1
    assert most < 31 * MIB // 2  # what one read of each socket returns, and what waited before it


# ---------------------------------------------------------------------- ASGI


async def test_an_application_may_wait_for_the_end_of_the_clients_side() -> None:
    """It still answers: a client that has closed its side may read on."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert not scope["ended"].is_set()
        await scope["ended"].wait()
        await application(scope, receive, send)

    async with listening(app) as (_, opened):
        reader, writer = await opened()
        writer.write(ORDINARY)
        writer.write_eof()
        assert statuses(await reader.read()) == [200]
        writer.close()


async def test_the_scope() -> None:
    scopes = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scopes.append(scope)
        await application(scope, receive, send)

    async with listening(app) as (_, opened):
        reader, writer = await opened()
        writer.write(b"PATCH /a%20b/%C3%A4?c=%20d HTTP/1.0\r\nX-Name:  Value\r\n\r\n")
        assert statuses(await reader.read()) == [200]
        here, there = writer.get_extra_info("sockname"), writer.get_extra_info("peername")
        writer.close()
    [scope] = scopes
    assert callable(scope.pop("hand_over"))
    assert isinstance(scope.pop("ended"), asyncio.Event)
    assert scope == {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.0",
        "scheme": "http",
        "server": there,
        "client": here,
        "method": "PATCH",
        "root_path": "",
        "path": "/a b/ä",
        "raw_path": b"/a%20b/%C3%A4",
        "query_string": b"c=%20d",
        "headers": [(b"x-name", b"Value")],
        "peer": None,
    }


def respond(*parts: bytes, status: int = 200, headers: tuple[tuple[bytes, bytes], ...] = ()) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        del scope, receive
        await send({"type": "http.response.start", "status": status, "headers": headers})
        for number, part in enumerate(parts, 1):
            await send({"type": "http.response.body", "body": part, "more_body": number < len(parts)})

    return app


LENGTH = ((b"Content-Length", b"10"),)


@pytest.mark.parametrize(
    ("app", "request_", "written"),
    [
        (
            respond(b"first", b"other", headers=LENGTH),
            ORDINARY,
            [b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nfirst", b"other"],
        ),
        (
            respond(b"first", b"", b"other", status=299),
            ORDINARY,
            [b"HTTP/1.1 299 \r\ntransfer-encoding: chunked\r\n\r\n", b"5\r\nfirst\r\n", b"5\r\nother\r\n0\r\n\r\n"],
        ),
        (respond(b"0123456789", headers=LENGTH), b"HEAD /", [b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n"]),
        (respond(b"", headers=LENGTH), b"HEAD /", [b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n"]),
        (respond(b"first", b"other"), b"HEAD /", [b"HTTP/1.1 200 OK\r\n\r\n"]),
        (respond(b"", status=204), ORDINARY, [b"HTTP/1.1 204 No Content\r\n\r\n"]),
        (
            respond(b"", status=304, headers=LENGTH),
            ORDINARY,
            [b"HTTP/1.1 304 Not Modified\r\ncontent-length: 10\r\n\r\n"],
        ),
    ],
    ids=["length", "chunks", "HEAD", "empty HEAD", "HEAD of a stream", "204", "304"],
)
async def test_a_response_is_framed(app: ASGIApp, request_: bytes, written: list[bytes]) -> None:
    connection, wire = connected(Server(app))
    connection.data_received(request_ if request_ == ORDINARY else request_ + b" HTTP/1.1\r\n\r\n")
    await until(lambda: connection._cycle is None)
    assert wire.written == written
    assert not wire.is_closing()


async def test_a_response_of_unknown_length_ends_with_the_connection_in_http_1_0() -> None:
    connection, wire = connected(Server(respond(b"first", b"other")))
    connection.data_received(b"GET / HTTP/1.0\r\n\r\n")
    await until(wire.is_closing)
    assert wire.content == b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nfirstother"


@pytest.mark.parametrize(
    ("app", "answered"),
    [
        (respond(b"too short", headers=LENGTH), 500),
        (respond(b"more than that", headers=LENGTH), 500),
        (respond(headers=LENGTH), 500),
        (respond(b"", headers=((b"x", b"a\r\nb: c"),)), 500),
        (respond(b"first", b"more than that", headers=LENGTH), 200),
        (respond(b"first", b""), 200),
    ],
    ids=["short", "long", "no body", "header", "long later", "behind the end"],
)
async def test_a_mistake_of_the_application_ends_the_connection(
    app: ASGIApp, answered: int, caplog: pytest.LogCaptureFixture
) -> None:
    async def wrong(scope: Scope, receive: Receive, send: Send) -> None:
        await app(scope, receive, send)
        raise ValueError("a mistake")

    connection, wire = connected(Server(wrong))
    connection.data_received(ORDINARY)
    await until(lambda: "an error of this program" in caplog.text)
    if b"0\r\n\r\n" not in wire.content:  # a whole response is one, whatever happens after it
        await until(lambda: wire.half_closed)
    assert statuses(wire.content) == [answered]


async def test_the_body_is_asked_for_once() -> None:
    connection, wire = connected(Server(application))
    connection.data_received(b"PUT / HTTP/1.1\r\nContent-Length: 6\r\nExpect: 100-continue\r\n\r\n")
    await until(lambda: bool(wire.written))
    assert wire.content == b"HTTP/1.1 100 Continue\r\n\r\n"
    connection.data_received(b"abc")
    await asyncio.sleep(0)
    connection.data_received(b"def")
    await until(lambda: wire.content.endswith(b"PUT / abcdef"))
    assert statuses(wire.content) == [100, 200]


async def test_a_client_that_goes_away_is_told_to_the_application() -> None:
    told: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        del scope
        told.append((await receive())["type"])
        told.append((await receive())["type"])
        await send({"type": "http.response.start", "status": 200, "headers": []})

    server = Server(app)
    connection, wire = connected(server)
    connection.data_received(ORDINARY)
    await until(lambda: told == ["http.request"])
    wire.close()
    connection.connection_lost(None)
    await until(lambda: not server.tasks)
    assert (told, wire.written) == (["http.request", "http.disconnect"], [])


async def test_neither_side_is_ahead_of_the_other_by_much() -> None:
    """An application that takes its time is not sent more, nor one that writes read less, than memory should hold."""
    taking = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await taking.wait()
        length = 0
        while (message := await receive()).get("more_body"):
            length += len(message["body"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(64):
            await send({"type": "http.response.body", "body": bytes(MIB), "more_body": True})
            written.append(1)
        await send({"type": "http.response.body", "body": b"%d" % (length + len(message["body"]))})

    written: list[int] = []
    async with listening(app) as (server, opened):
        reader, writer = await opened()
        writer.write(b"PUT / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % (32 * MIB) + bytes(32 * MIB))
        await until(lambda: bool(server.connections))
        [connection] = server.connections
        await until(lambda: not connection._reading)
        assert connection._cycle is not None
        assert len(connection._cycle.body) < MIB
        taking.set()
        await until(lambda: connection._write_paused)
        assert len(written) < 64
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 OK\r\n")
        for _ in range(64):
            assert await reader.readexactly(MIB + 10) == b"100000\r\n" + bytes(MIB) + b"\r\n"
        assert await reader.readuntil(b"0\r\n\r\n") == b"8\r\n%d\r\n0\r\n\r\n" % (32 * MIB)
        writer.close()


# ---------------------------------------------------------------------- the end of a connection


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"PUT / HTTP/1.1\r\nContent-Length: %d\r\nConnection: close\r\n\r\n", 413),
        (b"PUT / HTTP/1.0\r\nContent-Length: %d\r\n\r\n", 413),
        (b"PUT / HTTP/1.1\r\nContent-Length: %d\r\nTransfer-Encoding: gzip\r\n\r\n", 400),
        (b"PUT / HTTP/1.1\r\nX-Length: %d\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        (b"PUT / HTTP/1.1\r\nX-Length: %d\r\nX: " + b"y" * 65536 + b"\r\n\r\n", 431),
    ],
    ids=["close", "1.0", "400", "501", "431"],
)
async def test_an_early_answer_reaches_a_client_that_still_sends(head: bytes, status: int) -> None:
    async with listening(respond(b"too large", status=413)) as (server, opened):
        reader, writer = await opened()
        writer.write(head % (8 * MIB))
        for _ in range(8):
            writer.write(bytes(MIB))
            await writer.drain()
        answer = await reader.read()
        assert statuses(answer) == [status]
        assert b"connection: close" in answer
        writer.close()
        await until(lambda: not server.connections)


async def test_a_connection_that_stays_swallows_the_body_of_what_was_answered() -> None:
    connection, wire = connected(Server(respond(b"", status=204)))
    connection.data_received(b"PUT / HTTP/1.1\r\nContent-Length: 1000000\r\n\r\n")
    await until(lambda: bool(wire.written))
    for _ in range(10):
        connection.data_received(bytes(100_000))
    connection.data_received(ORDINARY)
    await until(lambda: statuses(wire.content) == [204, 204])
    assert not wire.is_closing()


@pytest.mark.parametrize("keep_alive", [False, True])
async def test_no_client_is_listened_to_without_end(keep_alive: bool) -> None:
    connection, wire = connected(Server(respond(b"", status=204)))
    connection.data_received(b"PUT / HTTP/1.1\r\nContent-Length: %d\r\n" % (1 << 40))
    connection.data_received(b"\r\n" if keep_alive else b"Connection: close\r\n\r\n")
    await until(lambda: bool(wire.written))
    pieces = 0
    while not wire.is_closing():
        connection.data_received(bytes(MIB))
        pieces += 1
    assert 64 < pieces < 200
    assert statuses(wire.content) == [204]


async def test_a_wire_that_cannot_be_closed_by_halves_stays_open_for_the_answer(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with TLS."""
    connection, wire = connected(server)
    monkeypatch.setattr(wire, "can_write_eof", lambda: False)
    connection.data_received(b"nonsense\r\n\r\n")
    assert problem(wire.content)[0] == 400
    assert (wire.half_closed, wire.is_closing(), wire.is_reading()) == (False, False, True)
    assert not connection.eof_received()


@pytest.mark.long
async def test_a_client_that_does_not_end_either_is_left() -> None:
    async with listening(application) as (server, opened):
        reader, writer = await opened()
        writer.write(b"nonsense\r\n\r\n")
        assert problem(await reader.read())[0] == 400
        await until(lambda: not server.connections)
        writer.close()


@pytest.mark.parametrize(
    ("begin", "rest"),
    [
        (b"", b""),
        (b"GET / HTTP/1.1\r\n", b"X: y\r\n"),
        (b"PUT / HTTP/1.1\r\nContent-Length: 50000\r\n\r\nhell", b"o"),
        (b"PUT /v1/kv/a HTTP/1.1\r\nContent-Length: 50000\r\n\r\nhell", b"o"),
        (CHUNKED + b"5\r\nhello\r\n", b"1\r\nx\r\n"),
        (CHUNKED + b"5\r\nhello\r\n0\r\n", b"X: y\r\n"),
    ],
    ids=["nothing", "head", "body", "direct body", "chunks", "trailers"],
)
@pytest.mark.parametrize("drips", [False, True], ids=["silent", "slow"])
async def test_a_client_that_is_too_slow_is_told_and_left(begin: bytes, rest: bytes, drips: bool) -> None:
    """A head has a time to come, however many bytes of it do; a body has to move by so much in that time."""
    async with listening(application, Echo(), slow_seconds=0.2) as (server, opened):
        reader, writer = await opened()
        writer.write(begin)
        answer = asyncio.create_task(reader.read())
        while drips and not answer.done():
            writer.write(rest)
            await asyncio.sleep(0.01)
        if begin:
            assert problem(await answer)[0] == 408
        else:
            assert await answer == b""
        writer.close()
        await until(lambda: not server.connections)


async def test_a_body_that_moves_takes_the_time_that_it_needs() -> None:
    async with listening(application, slow_seconds=0.1, least_rate=1000) as (_, opened):
        reader, writer = await opened()
        writer.write(b"PUT / HTTP/1.1\r\nContent-Length: 20000\r\n\r\n")
        for _ in range(40):
            writer.write(bytes(500))
            await asyncio.sleep(0.01)
        assert (await reader.readuntil(bytes(20_000))).startswith(b"HTTP/1.1 200 OK\r\n")
        writer.close()


async def test_an_answer_that_is_read_takes_the_time_that_it_needs() -> None:
    async with listening(respond(bytes(8 * MIB)), slow_seconds=0.1, least_rate=1000) as (server, opened):
        reader, writer = await opened()
        writer.write(ORDINARY)
        await until(lambda: bool(server.connections))
        size = 0
        while size < 8 * MIB:
            size += len(await reader.read(MIB // 4))
            await asyncio.sleep(0.02)
        assert server.connections
        writer.close()


@pytest.mark.parametrize("body", [bytes(32 * MIB), bytes(MIB // 32)], ids=["large", "small"])
async def test_a_client_that_does_not_read_is_left(body: bytes) -> None:
    """Small answers pile up below what makes the application wait; they are not kept for ever either."""
    async with listening(respond(body), slow_seconds=0.2, idle_seconds=0.1) as (server, opened):
        _, writer = await opened()
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(ORDINARY * 400)
        await until(lambda: bool(server.connections))
        await until(lambda: not server.connections)
        writer.transport.abort()


async def test_one_timer_serves_a_connection() -> None:
    connection, _ = connected(Server(application, Echo()))
    timer = connection._timer
    for _ in range(10):
        connection.data_received(GET)
        connection.data_received(ORDINARY)
        await until(lambda: connection._cycle is None)
    assert connection._timer is timer
    connection.connection_lost(None)
    assert timer.cancelled()


async def test_what_is_idle_ends_at_once_when_the_server_stops_and_what_is_answered_does_not() -> None:
    connection, wire = connected(Server(application, Echo()))
    connection.shutdown()
    assert wire.is_closing()
    connection, wire = connected(Server(application))
    connection.data_received(ORDINARY)
    connection.shutdown()
    assert not wire.is_closing()
    await until(wire.is_closing)
    assert statuses(wire.content) == [200]
    assert b"connection: close" in wire.content


async def test_a_wire_that_is_closing_is_not_written_to(server: Server, handler: Echo) -> None:
    connection, wire = connected(server)
    handler.patient = True
    connection.data_received(GET)
    wire.close()
    handler.let_go()
    assert wire.written == []


async def test_a_server_that_stops_does_not_wait_for_ever_and_says_so() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        del scope, send
        while (await receive())["type"] != "http.disconnect":
            pass
        await asyncio.Event().wait()

    bound = bind(0, "a test")
    endpoint = HttpEndpoint(app, bound)
    await endpoint.start()
    async with asyncio.timeout(AMPLE_SECONDS):
        reader, writer = await asyncio.open_connection("127.0.0.1", bound.getsockname()[1])
        idle, idle_writer = await asyncio.open_connection("127.0.0.1", bound.getsockname()[1])
        writer.write(b"PUT / HTTP/1.1\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        stopping = asyncio.create_task(endpoint.stop())
        assert await idle.read() == b""
        assert not stopping.done()
        await stopping
        answer = await reader.read()
        assert statuses(answer) == [503]
        assert b"retry-after: 1\r\n" in answer
        assert b"the request did not arrive in full, nothing was done" in answer
        assert b"hanas-outcome" not in answer
        writer.close()
        idle_writer.close()


def test_no_module_needs_what_is_private_to_a_server() -> None:
    packages = [path for path in ROOT.glob("*/hanas_*") if path.is_dir()]
    assert len(packages) == 7
    assert not [file for path in packages for file in path.rglob("*.py") if "uvicorn" in file.read_text("utf-8")]
