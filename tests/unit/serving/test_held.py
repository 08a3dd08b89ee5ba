"""What connections hold of a budget: incomplete requests, requests that wait, answers that are not read."""

import asyncio
import tracemalloc
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from hanas_serving import budget as budget_module
from hanas_serving.answers import Answer
from hanas_serving.budget import Budget
from hanas_serving.http1 import Connection, Server
from tests.unit.serving.connections import Echo, Wire, application, connected
from tests.unit.waiting import until

KIB = 1 << 10
ROOM = 800 * KIB
PUT = b"PUT /v1/kv/a HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
GET = b"GET /v1/kv/a HTTP/1.1\r\nHost: x\r\n\r\n"


def of_head(head: bytes) -> int:
    """What is held of a head: its text, and something for each header."""
    return len(head) + 192 * (head.count(b"\r\n") - 2)


class Slow(Wire):
    """A client that takes nothing, or so much of a large answer."""

    def __init__(self, taken: int = 0) -> None:
        super().__init__()
        self.connection: Connection | None = None
        self.taken = taken

    def writelines(self, list_of_data: Any) -> None:
        super().writelines(list_of_data)
        self.unsent = sum(map(len, list_of_data)) - self.taken
        high = self.limits[0]
        assert high is not None
        assert self.connection is not None
        if self.unsent > high:
            self.connection.pause_writing()


@pytest.fixture
def handler() -> Echo:
    return Echo()


@pytest.fixture
def server(handler: Echo) -> Server:
    return Server(application, handler, memory=Budget(ROOM))


@pytest.fixture(autouse=True)
def no_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget_module, "_GRACE_SECONDS", 0.0)


def slow(server: Server, taken: int = 0) -> tuple[Connection, Slow]:
    connection, wire = Connection(server), Slow(taken)
    wire.connection = connection
    connection.connection_made(wire)
    return connection, wire


async def test_an_incomplete_body_is_held_until_it_is_complete_or_gone(server: Server) -> None:
    connection, wire = connected(server)
    head = PUT % (20 * KIB)
    connection.data_received(head + bytes(10 * KIB))
    assert server.memory.used == 10 * KIB + of_head(head)
    connection.data_received(bytes(10 * KIB))
    assert server.memory.used == 0
    connection.data_received(PUT % (20 * KIB) + bytes(15 * KIB))
    assert server.memory.used == 15 * KIB + of_head(head)
    connection.connection_lost(None)
    assert server.memory.used == 0
    assert wire.content.count(b"200 OK") == 1


async def test_small_whole_requests_are_not_counted(server: Server, handler: Echo) -> None:
    handler.patient = True
    connection, _ = connected(server)
    connection.data_received(PUT % (60 * KIB) + bytes(60 * KIB))
    assert server.memory.used == 0
    handler.let_go()


async def test_requests_that_wait_for_their_turn_are_held(server: Server, handler: Echo) -> None:
    handler.patient = True
    connection, wire = connected(server)
    connection.data_received(GET * 1000)
    assert server.memory.used == len(GET) * 1000 + of_head(GET)
    handler.patient = False
    handler.let_go()
    await until(lambda: wire.content.count(b"200 OK") == 1000)
    assert server.memory.used == 0


async def test_without_room_the_slowest_incomplete_requests_are_refused(server: Server) -> None:
    clients = [connected(server) for _ in range(17)]
    for connection, _ in clients:
        connection.data_received(PUT % (60 * KIB) + bytes(50 * KIB))
    await until(lambda: server.memory.used <= ROOM)
    refused = [wire for _, wire in clients if b" 503 " in wire.content]
    assert 0 < len(refused) < 4
    assert all(b"retry-after: 1" in wire.content and b"HANAS_MEMORY" in wire.content for wire in refused)
    assert server.memory.losses == len(refused)


async def test_without_room_requests_behind_one_in_work_are_dropped_and_that_one_is_answered(
    server: Server, handler: Echo
) -> None:
    handler.patient = True
    clients = [connected(server) for _ in range(9)]
    for connection, _ in clients:
        connection.data_received(GET + GET * (100 * KIB // len(GET)))
    await until(lambda: server.memory.used <= ROOM)
    assert server.memory.losses > 0
    handler.let_go()
    await until(lambda: any(wire.half_closed for _, wire in clients))
    dropped = [wire for _, wire in clients if wire.half_closed]
    assert all(wire.content.count(b"HTTP/1.1 ") == wire.content.count(b"200 OK") == 1 for wire in dropped)
    for connection, _ in clients:
        connection.connection_lost(None)


@pytest.mark.parametrize("taken", [0, 200 * KIB])
async def test_a_large_answer_is_held_whole_until_its_last_byte_is_taken(
    server: Server, handler: Echo, taken: int
) -> None:
    handler.patient = True
    connection, wire = slow(server, taken)
    connection.data_received(GET)
    [exchange] = handler.held
    exchange.answer(Answer(200, b"content-length: %d\r\n" % (200 * KIB), bytes(200 * KIB)))
    assert wire.unsent > 0
    assert 200 * KIB <= server.memory.used < 201 * KIB  # with the head, if no part was sent
    wire.unsent = 0
    connection.resume_writing()
    assert server.memory.used == 0
    assert wire.limits == (64 * KIB, 0)


async def test_who_does_not_read_its_answer_loses_the_connection_to_others(server: Server, handler: Echo) -> None:
    handler.patient = True
    clients = [slow(server) for _ in range(5)]
    for connection, _ in clients:
        connection.data_received(GET)
    for exchange in handler.held:
        exchange.answer(Answer(200, b"content-length: %d\r\n" % (200 * KIB), bytes(200 * KIB)))
    aborted = [connection for connection, wire in clients if wire.closed]
    assert len(aborted) == server.memory.losses > 0
    for connection in aborted:
        connection.connection_lost(None)
    kept = 5 - len(aborted)
    assert kept * 200 * KIB <= server.memory.used < kept * 201 * KIB < ROOM


async def test_much_is_read_in_turns(server: Server) -> None:
    clients = [connected(server) for _ in range(3)]
    for connection, _ in clients:
        connection.data_received((PUT % (1 << 20)).replace(b"/a ", b"/a?x ") + bytes(100 * KIB))
    await asyncio.sleep(0)
    assert [wire.reading for _, wire in clients].count(True) <= 1
    await until(lambda: all(wire.reading for _, wire in clients))
    for connection, _ in clients:
        connection.connection_lost(None)


async def test_a_body_that_waits_for_an_application_is_held(handler: Echo) -> None:
    reads = asyncio.Event()

    async def waits(scope: Scope, receive: Receive, send: Send) -> None:
        await reads.wait()
        await application(scope, receive, send)

    server = Server(waits, handler, memory=Budget(ROOM))
    connection, wire = connected(server)
    head = (PUT % (100 * KIB)).replace(b"/a ", b"/a?x ")
    connection.data_received(head + bytes(100 * KIB))
    assert server.memory.used == 100 * KIB + of_head(head)
    assert not wire.reading
    reads.set()
    await until(lambda: b"200 OK" in wire.content)
    assert server.memory.used == 0


LARGE_HEAD = GET[:-2] + b"".join(b"n%03d: v\r\n" % number for number in range(250)) + b"\r\n"


@pytest.mark.parametrize("behind", [b"", b"Content-Length: 9\r\n\r\n"], ids=["head", "body"])
async def test_headers_are_held_until_the_request_is_answered_or_gone(server: Server, behind: bytes) -> None:
    connection, wire = connected(server)
    begin = LARGE_HEAD[:-2] + behind
    connection.data_received(begin)
    assert of_head(LARGE_HEAD) - 256 <= server.memory.used <= of_head(LARGE_HEAD) + len(LARGE_HEAD)
    connection.data_received(b"123456789" if behind else b"\r\n")
    assert wire.content.count(b"200 OK") == 1
    assert server.memory.used == 0
    connection.data_received(begin)
    connection.connection_lost(None)
    assert server.memory.used == 0


async def test_a_crowd_of_large_heads_is_refused(server: Server) -> None:
    crowd = [connected(server) for _ in range(100)]
    for connection, _ in crowd:
        connection.data_received(LARGE_HEAD[:-2])
    await until(lambda: any(b" 503 " in wire.content for _, wire in crowd))
    await until(lambda: server.memory.used <= ROOM)
    assert any(wire.content == b"" for _, wire in crowd)


async def test_nothing_is_held_for_a_head_that_was_refused(server: Server) -> None:
    connection, wire = connected(server)
    connection.data_received(LARGE_HEAD[:-2] + b"X: y\r\n" * 10)
    assert b" 431 " in wire.content
    assert server.memory.used == 0


async def test_a_head_that_was_refused_takes_no_memory_while_its_client_is_waited_for(server: Server) -> None:
    tracemalloc.start()
    try:
        lingering = [connected(server) for _ in range(50)]
        before, _ = tracemalloc.get_traced_memory()
        for connection, _ in lingering:
            connection.data_received(LARGE_HEAD[:-2] + b"X: y\r\n" * 10)
        await until(lambda: all(b" 431 " in wire.content for _, wire in lingering))
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < len(lingering) * 8 * KIB
