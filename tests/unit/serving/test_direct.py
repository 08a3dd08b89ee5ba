"""Plain requests go past ASGI, all others through it, and nobody can tell but by the time it takes."""

import asyncio
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hanas_serving.direct import Heads
from hanas_serving.http1 import Server
from hanas_serving.server import HttpEndpoint, bind
from tests.unit.serving.connections import Echo, Wire, application, connected, limited
from tests.unit.waiting import AMPLE_SECONDS, until

HOST = b"Host: x\r\n"
PUT = b"PUT /v1/kv/a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"
GET = b"GET /v1/kv/a HTTP/1.1\r\nHost: x\r\n\r\n"
HEADLESS = b"GET /v1/kv/a HTTP/1.1\r\n\r\n"


@pytest.fixture
def handler() -> Echo:
    return Echo()


@pytest.fixture
def server(handler: Echo) -> Server:
    return Server(application, handler)


def request(method: str, path: str, body: bytes = b"", *headers: str, version: str = "1.1") -> bytes:
    lines = [f"{method} {path} HTTP/{version}", "Host: x", *headers]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def ways(wire: Wire) -> list[tuple[str, bytes]]:
    """The answers that were written: the way that each took, and its body."""
    found, rest = [], wire.content
    while rest:
        head, _, rest = rest.partition(b"\r\n\r\n")
        lengths = re.findall(rb"content-length: (\d+)", head)
        size = int(lengths[0])
        way = re.search(rb"way: (\w+)", head)
        assert way is not None, head
        found.append((way[1].decode(), rest[:size]))
        rest = rest[size:]
    return found


async def answers(wire: Wire, count: int) -> list[tuple[str, bytes]]:
    await until(lambda: len(ways(wire)) >= count)
    return ways(wire)


@pytest.mark.parametrize("times", [1, 3])
async def test_a_plain_request_goes_directly_and_its_answer_is_one_write(server: Server, times: int) -> None:
    """From the second time on its headers are known."""
    connection, wire = connected(server)
    for _ in range(times):
        connection.data_received(PUT)
        connection.data_received(GET)
        connection.data_received(request("DELETE", "/v1/kv/a%20b/c"))
    expected = [b"PUT /v1/kv/a hello", b"GET /v1/kv/a ", b"DELETE /v1/kv/a%20b/c "]
    assert ways(wire) == times * [("direct", body) for body in expected]
    assert len(wire.written) == 3 * times
    assert (wire.is_closing(), wire.is_reading()) == (False, True)


@pytest.mark.parametrize("offer", ["h2c", "websocket"])
async def test_an_offer_to_change_the_protocol_is_declined_and_its_body_is_the_requests(
    server: Server, offer: str
) -> None:
    """From the second time on its headers are known."""
    connection, wire = connected(server)
    for _ in range(3):
        connection.data_received(request("PUT", "/v1/kv/a", b"hello", "Connection: Upgrade", f"Upgrade: {offer}"))
        connection.data_received(PUT)
    assert ways(wire) == 6 * [("direct", b"PUT /v1/kv/a hello")]


@pytest.mark.parametrize(
    "special",
    [
        request("HEAD", "/v1/kv/a"),
        request("POST", "/v1/kv/a"),
        request("GET", "/v1/kv"),
        request("GET", "/v1/kv/"),
        request("GET", "/v1/kvx"),
        request("GET", "/v1/status"),
        request("GET", "/v1/kv/a?consistency=stale"),
        request("GET", "/v1/kv/a#b"),
        request("GET", '/v1/kv/"a"'),
        request("GET", "http://x/v1/kv/a"),
        request("GET", "/v1/kv/a", b"", "Connection: close"),
        request("GET", "/v1/kv/a", version="1.0"),
        request("GET", "/v1/kv/a", b"", "Connection: keep-alive", version="1.0"),
        request("PUT", "/v1/kv/a", b"hello", "Expect: 100-continue"),
        request("PUT", "/v1/kv/a", b"hello", "Expect: something"),
        request("PUT", "/v1/kv/a", bytes((64 << 10) + 1)),
        request("PUT", "/v1/kv/a", b"hello", "Idempotency-Key: a", "If-Match: *", "if-match: *"),
        request("PUT", "/v1/kv/a", b"hello", "Content-MD5: XUFAKrxLKna5cZ2REBfFkg=="),
        request("PUT", "/v1/kv/a", b"hello", "Origin: http://x"),
        request("PUT", "/v1/kv/a", b"hello", "Sec-Fetch-Site: same-origin"),
        request("PUT", "/v1/kv/a", b"hello", "X-HTTP-Method-Override: PUT"),
        request("PUT", "/v1/kv/a", b"", "Transfer-Encoding: chunked") + b"5\r\nhello\r\n0\r\n\r\n",
    ],
    ids=lambda special: special[:60].decode(),
)
async def test_what_is_not_plain_goes_through_asgi(server: Server, special: bytes) -> None:
    connection, wire = connected(server)
    connection.data_received(GET)
    connection.data_received(special)
    await until(lambda: b"ordinary" in wire.content)
    assert b"way: direct" in wire.content
    last_on_this_connection = b"close" in special or b"HTTP/1.0" in special
    assert wire.is_closing() == last_on_this_connection
    assert (b"connection: close" in wire.content) == last_on_this_connection
    if not last_on_this_connection:
        connection.data_received(GET)
        await until(lambda: wire.content.count(b"GET /v1/kv/a ") >= 2)


async def test_an_application_alone_gets_everything() -> None:
    connection, wire = connected(Server(application))
    connection.data_received(GET)
    assert await answers(wire, 1) == [("ordinary", b"GET /v1/kv/a ")]


STREAM = [
    (PUT, b"PUT /v1/kv/a hello"),
    (GET, b"GET /v1/kv/a "),
    (request("GET", "/v1/kv/q?x=y"), b"GET /v1/kv/q "),
    (
        b"\r\n" + request("PUT", "/v1/kv/b", b"GET /v1/kv/c HTTP/1.1\r\n\r\n"),
        b"PUT /v1/kv/b GET /v1/kv/c HTTP/1.1\r\n\r\n",
    ),
    (request("PUT", "/v1/kv/empty", b"", "Content-Length: 0"), b"PUT /v1/kv/empty "),
    (
        request("PUT", "/v1/kv/c", b"", "Transfer-Encoding: chunked") + b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
        b"PUT /v1/kv/c abcde",
    ),
    (request("PUT", "/v1/kv/large", b"x" * 70_000), b"PUT /v1/kv/large " + b"x" * 70_000),
]


@given(
    wanted=st.lists(st.sampled_from(STREAM), min_size=1, max_size=8),
    cuts=st.lists(st.integers(1, 120), max_size=12),
    warm=st.booleans(),
    patient=st.booleans(),
)
def test_answers_come_in_order_however_requests_are_cut_up(
    wanted: list[tuple[bytes, bytes]], cuts: list[int], warm: bool, patient: bool
) -> None:
    async def play() -> None:
        handler = Echo()
        server = Server(application, handler)
        if warm:
            connection, _ = connected(server)
            for each, _ in STREAM[:2]:
                connection.data_received(each)
        connection, wire = connected(server)
        handler.patient = patient
        rest = b"".join(each for each, _ in wanted)
        for cut in cuts:
            connection.data_received(rest[:cut])
            rest = rest[cut:]
            if not rest:
                break
        if rest:
            connection.data_received(rest)
        for _ in range(100 * len(wanted)):
            await asyncio.sleep(0)
            handler.let_go()
            if len(ways(wire)) == len(wanted):
                break
        assert [body for _, body in ways(wire)] == [body for _, body in wanted]
        assert not wire.is_closing()

    asyncio.run(play())


async def test_every_cut_of_a_request_is_the_same_request(server: Server) -> None:
    connection, wire = connected(server)
    for at in range(1, len(PUT)):
        connection.data_received(PUT)  # its headers are known
        connection.data_received(PUT[:at])
        connection.data_received(PUT[at:])
        await asyncio.sleep(0)  # what comes in one turn of the event loop is parsed up to a limit
    assert ways(wire) == 2 * (len(PUT) - 1) * [("direct", b"PUT /v1/kv/a hello")]


async def test_a_request_without_headers_does_not_swallow_the_one_behind_it(server: Server) -> None:
    for times in (1, 2, 3):
        connection, wire = connected(server)
        connection.data_received(HEADLESS + request("DELETE", "/v1/kv/b"))
        assert await answers(wire, 2) == [("direct", b"GET /v1/kv/a "), ("direct", b"DELETE /v1/kv/b ")], times
        connection.data_received(HEADLESS)
        assert ways(wire)[-1] == ("direct", b"GET /v1/kv/a ")


async def test_what_comes_behind_a_request_waits_for_its_answer(server: Server, handler: Echo) -> None:
    connection, wire = connected(server)
    handler.patient = True
    connection.data_received(PUT + GET)
    connection.data_received(GET)
    assert not wire.is_reading()  # what more the client sends stays in the kernel
    await asyncio.sleep(0.01)
    assert (wire.written, len(handler.held)) == ([], 1)
    handler.patient = False
    handler.let_go()
    assert await answers(wire, 3) == [
        ("direct", b"PUT /v1/kv/a hello"),
        ("direct", b"GET /v1/kv/a "),
        ("direct", b"GET /v1/kv/a "),
    ]
    assert wire.is_reading()
    connection.data_received(GET)
    assert ways(wire)[-1] == ("direct", b"GET /v1/kv/a ")


async def test_a_client_that_does_not_read_is_not_served_on(server: Server) -> None:
    connection, wire = connected(server)
    connection.data_received(GET)
    connection.pause_writing()
    for _ in range(3):
        connection.data_received(GET)
        await asyncio.sleep(0.01)
    seen = len(ways(wire)), wire.is_reading()
    connection.resume_writing()
    assert seen == (1, False)
    assert await answers(wire, 4) == 4 * [("direct", b"GET /v1/kv/a ")]
    assert wire.is_reading()


async def test_a_client_that_went_away_gets_nothing(server: Server, handler: Echo) -> None:
    connection, wire = connected(server)
    handler.patient = True
    connection.data_received(PUT)
    wire.close()
    connection.connection_lost(None)
    [exchange] = handler.held
    assert exchange.disconnected
    handler.let_go()
    assert wire.written == []
    assert not server.connections


async def test_a_client_that_closed_its_side_gets_its_answer(server: Server, handler: Echo) -> None:
    connection, wire = connected(server)
    handler.patient = True
    connection.data_received(PUT)
    assert connection.eof_received()
    handler.let_go()
    assert ways(wire) == [("direct", b"PUT /v1/kv/a hello")]
    assert wire.is_closing()


async def test_a_body_that_breaks_off_is_told(server: Server, handler: Echo) -> None:
    connection, wire = connected(server)
    connection.data_received(PUT[:-1])
    assert not connection.eof_received()
    assert wire.content.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert (handler.held, wire.is_closing()) == ([], True)


@pytest.mark.parametrize("known", [False, True])
async def test_a_server_that_stops_answers_what_is_under_way(server: Server, handler: Echo, known: bool) -> None:
    connection, wire = connected(server)
    if known:
        connection.data_received(PUT)
        wire.written.clear()
    handler.patient = True
    connection.data_received(PUT)
    connection.shutdown()
    assert not wire.is_closing()
    handler.let_go()
    assert b"\r\nconnection: close\r\n\r\nPUT /v1/kv/a hello" in wire.content
    assert wire.is_closing()
    handler.patient = False
    idle, wire = connected(server)
    idle.data_received(GET)
    idle.shutdown()
    assert wire.is_closing()


async def test_a_mistake_of_the_handler_is_told_and_ends_the_connection(
    server: Server, handler: Echo, caplog: pytest.LogCaptureFixture
) -> None:
    connection, wire = connected(server)
    handler.patient = True
    connection.data_received(PUT)
    handler.held.pop().fail(ValueError("a mistake"))
    assert wire.content.startswith(b"HTTP/1.1 500 Internal Server Error\r\n")
    assert b"connection: close" in wire.content
    assert wire.is_closing()
    assert "a mistake" in caplog.text


async def test_a_large_content_is_one_write_too(server: Server) -> None:
    connection, wire = connected(server)
    body = bytes(64 << 10)
    connection.data_received(request("PUT", "/v1/kv/a", body))
    assert ways(wire) == [("direct", b"PUT /v1/kv/a " + body)]
    assert len(wire.written) == 1


async def test_an_idle_connection_is_closed_and_a_busy_one_is_not(handler: Echo) -> None:
    connection, wire = connected(Server(application, handler, limited(idle_seconds=0.3)))
    handler.patient = True
    ordinary = request("GET", "/v1/kv/q?x=y")
    for each in (GET, ordinary, GET, GET, ordinary):
        connection.data_received(each)
        if each is GET:
            await asyncio.sleep(0.4)  # its answer takes longer than a connection may be idle
            handler.let_go()
        else:
            before = len(ways(wire))
            await until(lambda before=before: len(ways(wire)) > before)  # type: ignore[misc]
        assert not wire.is_closing()
    await until(wire.is_closing)
    connection.connection_lost(None)


async def test_an_idle_connection_is_closed_after_plain_requests(handler: Echo) -> None:
    connection, wire = connected(Server(application, handler, limited(idle_seconds=0.02)))
    for _ in range(5):
        connection.data_received(GET)
        await asyncio.sleep(0.005)
    await until(wire.is_closing)


async def test_a_request_that_takes_its_time_is_not_cut_off(handler: Echo) -> None:
    connection, wire = connected(Server(application, handler, limited(idle_seconds=0.01)))
    connection.data_received(GET)
    connection.data_received(PUT[:20])
    await asyncio.sleep(0.05)
    assert not wire.is_closing()
    connection.data_received(PUT[20:])
    assert ways(wire)[-1] == ("direct", b"PUT /v1/kv/a hello")


async def test_what_is_no_http_is_refused(server: Server) -> None:
    for bad in (
        b"PUT /v1/kv/a HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"PUT /v1/kv/a HTTP/1.1\r\nHost x\r\n\r\n",
        b"PUT /v1/kv/a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\nhello",
    ):
        connection, wire = connected(server)
        connection.data_received(PUT)
        wire.written.clear()
        connection.data_received(bad)
        assert wire.content.startswith(b"HTTP/1.1 400 Bad Request\r\n"), bad
        assert wire.half_closed
        connection.eof_received()


def test_few_heads_are_remembered(handler: Echo) -> None:
    heads = Heads(handler)
    for number in range(3000):
        heads.remember(b"Number: %d\r\n\r\n" % number, [], 0)
    assert 0 < len(heads.entries) <= 1024
    heads.remember(bytes(4096), [], 0)
    assert bytes(4096) not in heads.entries


async def test_only_whole_requests_teach_heads(server: Server) -> None:
    assert server.heads is not None
    connection, _ = connected(server)
    chunked = request("GET", "/v1/kv/a", b"", "Transfer-Encoding: chunked") + b"0\r\n\r\n"
    for data in (PUT[:30], PUT[30:], PUT + GET, HEADLESS[:-2], HEADLESS[-2:], HEADLESS + GET, chunked):
        connection.data_received(data)
    assert server.heads.entries == {}


async def test_a_server_that_is_stopped_under_load_finishes_its_answers(handler: Echo) -> None:
    listening = bind(0, "a test")
    port = listening.getsockname()[1]
    endpoint = HttpEndpoint(application, listening, direct=handler)
    await endpoint.start()
    handler.patient = True
    async with asyncio.timeout(AMPLE_SECONDS):
        clients = [await asyncio.open_connection("127.0.0.1", port) for _ in range(8)]
        for _, writer in clients:
            writer.write(PUT)
        await until(lambda: len(handler.held) == 8)
        stopping = asyncio.create_task(endpoint.stop())
        await asyncio.sleep(0.2)
        assert not stopping.done()
        handler.let_go()
        for reader, writer in clients:
            answer = await reader.read()
            assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
            assert b"connection: close" in answer
            assert answer.endswith(b"PUT /v1/kv/a hello")
            writer.close()
        await stopping
