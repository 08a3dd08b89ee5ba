"""Connections that are carried to who can answer: here, elsewhere, or as soon as there is somebody."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

import pytest

from hanas_serving import relaying
from hanas_serving.listener import Listener
from hanas_serving.relaying import Here, Place, Relays, Target
from hanas_serving.server import bind
from tests.unit.waiting import AMPLE_SECONDS, until

LARGE = bytes(range(256)) * 8192


class Echo(asyncio.Protocol):
    """What answers: all that came, behind a name."""

    def __init__(self, name: bytes, made: "list[Echo]") -> None:
        self.name = name
        self.lost = False
        made.append(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.wire = transport
        transport.write(self.name)

    def data_received(self, data: bytes) -> None:
        self.wire.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True


class Port(NamedTuple):
    """A port that relays."""

    number: int
    relays: Relays
    targets: list[Target]
    """The last one counts."""
    here: list[Echo]

    def turn_to(self, target: Target) -> bool:
        self.targets.append(target)
        return self.relays.look()


@pytest.fixture(name="port")
async def _port() -> AsyncIterator[Port]:
    bound, targets, here = bind(0, "test", "127.0.0.1"), list[Target]([None]), list[Echo]()
    relays = Relays(lambda: targets[-1], 3)
    listener = Listener(bound, lambda: relays.accept(lambda: Echo(b"here ", here)), lambda: None)
    listener.start()
    async with asyncio.timeout(AMPLE_SECONDS):
        yield Port(bound.getsockname()[1], relays, targets, here)
    relays.close()
    await listener.close()
    for echo in here:
        echo.wire.abort()


@asynccontextmanager
async def elsewhere(name: bytes, made: list[Echo]) -> AsyncIterator[Place]:
    server = await asyncio.get_running_loop().create_server(lambda: Echo(name, made), "127.0.0.1", 0)
    yield Place("127.0.0.1", server.sockets[0].getsockname()[1])
    server.close()
    for echo in made:
        echo.wire.abort()


@asynccontextmanager
async def client(port: Port) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port.number)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def test_who_comes_is_answered_here(port: Port) -> None:
    assert not port.turn_to(Here.HERE)
    async with client(port) as (reader, writer):
        writer.write(b"x")
        assert await reader.readexactly(6) == b"here x"
        assert len(port.relays) == 0, "it is the answerer's from then on"


async def test_who_comes_is_carried_to_another_place(port: Port) -> None:
    async with elsewhere(b"there ", []) as place:
        port.turn_to(place)
        async with client(port) as (reader, writer):
            assert await reader.readexactly(6) == b"there "
            writer.write(LARGE)
            assert await reader.readexactly(len(LARGE)) == LARGE
            assert len(port.relays) == 1
        await until(lambda: len(port.relays) == 0)


async def test_the_end_of_the_answerer_is_the_end(port: Port) -> None:
    made: list[Echo] = []
    async with elsewhere(b"there ", made) as place, client(port) as (reader, _):
        port.turn_to(place)
        await reader.readexactly(6)
        made[0].wire.close()
        assert await reader.read() == b""


@pytest.mark.parametrize("later", ["here", "there"])
async def test_who_comes_while_nobody_can_answer_waits(port: Port, later: str) -> None:
    async with elsewhere(b"there ", []) as place, client(port) as (reader, writer):
        writer.write(LARGE)
        await until(lambda: len(port.relays) == 1)
        port.turn_to(Here.HERE if later == "here" else place)
        expected = later.encode() + b" " + LARGE
        assert await reader.readexactly(len(expected)) == expected


async def test_a_place_that_cannot_be_reached_is_looked_for_again(port: Port) -> None:
    async with elsewhere(b"there ", []) as place:
        gone = place
    async with client(port) as (reader, _):
        await until(lambda: len(port.relays) == 1)
        port.turn_to(gone)
        [visitor] = port.relays._visitors
        await until(lambda: visitor._place is None)
        port.turn_to(Here.HERE)
        assert await reader.readexactly(5) == b"here "


async def test_who_was_brought_elsewhere_must_come_again_when_that_changes(port: Port) -> None:
    made: list[Echo] = []
    async with elsewhere(b"there ", made) as place, client(port) as (reader, _):
        port.turn_to(place)
        await reader.readexactly(6)
        port.turn_to(None)
        port.turn_to(place)
        assert len(port.relays) == 1, "a moment without knowledge changes nothing"
        port.turn_to(Here.HERE)
        assert await reader.read() == b""
        await until(lambda: made[0].lost)


async def test_the_end_of_answering_here_is_told_once(port: Port) -> None:
    assert not port.turn_to(Here.HERE)
    assert not port.turn_to(Here.HERE)
    assert port.turn_to(None)
    assert not port.turn_to(None)


async def test_too_many_are_closed(port: Port) -> None:
    async with client(port), client(port), client(port) as (third, _):
        await until(lambda: len(port.relays) == 3)
        async with client(port) as (reader, _):
            assert await reader.read() == b""
        assert port.relays.refused == 1
        port.turn_to(Here.HERE)
        assert await third.readexactly(5) == b"here "


async def test_who_leaves_while_it_waits_or_is_being_brought_leaves_nothing(port: Port) -> None:
    async with client(port):
        await until(lambda: len(port.relays) == 1)
    await until(lambda: len(port.relays) == 0)
    made: list[Echo] = []
    async with elsewhere(b"there ", made) as place:
        async with client(port):
            await until(lambda: len(port.relays) == 1)
            port.turn_to(place)
        await until(lambda: len(port.relays) == 0)
        await until(lambda: all(echo.lost for echo in made))


async def test_a_side_that_does_not_read_holds_up_the_other(port: Port, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relaying, "_MOST_UNSENT", 1000)
    made: list[Echo] = []
    async with elsewhere(b"there ", made) as place, client(port) as (reader, writer):
        port.turn_to(place)
        await reader.readexactly(6)
        made[0].wire.pause_reading()
        size = 0
        while writer.transport.get_write_buffer_size() == 0:
            writer.write(LARGE)
            size += len(LARGE)
            await asyncio.sleep(0)
        made[0].wire.resume_reading()
        while size:
            size -= len(await reader.read(1 << 20))
