"""The idle connection to the main, on real sockets."""

import asyncio
import gc
import socket
from collections.abc import AsyncIterator, Mapping

import pytest
from starlette.types import Receive, Scope, Send

from hanas_serving.admission import Admission
from hanas_serving.callers import Callers
from hanas_serving.gate import Gate
from hanas_serving.http1 import Connection
from hanas_serving.limits import Limits
from hanas_serving.server import HttpEndpoint, bind
from hanas_worker.neighbours.authenticity import Verifier, mac
from hanas_worker.neighbours.keepalives import LIFELINE_PATH, LinkEndpoint
from hanas_worker.neighbours.lifeline import IDLE_SECONDS, Lifeline
from hanas_worker.neighbours.outbound import HttpOutbound
from tests.unit.waiting import AMPLE_SECONDS, until
from tests.unit.worker.ports import free_port

SECRET = "s" * 32
KEY = "5" * 32


def key() -> str | None:
    return KEY


class Peer:
    """Somebody who accepts connections and gives each the same answer."""

    def __init__(self, answer: bytes = b"HTTP/1.1 204 No Content\r\n\r\n") -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.open: list[asyncio.StreamWriter] = []
        self.asked: list[bytes] = []
        self._answer = answer

    async def listen(self) -> asyncio.Server:
        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.asked.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(self._answer)
            self.open.append(writer)

        return await asyncio.start_server(accept, "127.0.0.1", self.port)

    def hang_up(self) -> None:
        for writer in self.open:
            writer.close()
        self.open.clear()


@pytest.fixture
async def lifeline() -> AsyncIterator[Lifeline]:
    outbound = HttpOutbound("b", (SECRET,))
    lifeline = Lifeline(outbound, "b", 0.2)
    yield lifeline
    lifeline.let_go()
    await outbound.close()


async def test_it_tells_each_time_that_the_other_side_closes(lifeline: Lifeline) -> None:
    peer, closed = Peer(), []
    async with await peer.listen():
        holding = lifeline.hold(peer.url, key, lambda: closed.append(1))
        for count in (1, 2):
            await until(lambda: len(peer.open) == 1)
            assert len(closed) == count - 1
            peer.hang_up()
            await until(lambda: len(closed) == count)  # noqa: B023
        assert not holding.done()
    assert b"HANas-Member: b\r\n" in peer.asked[0]
    assert f"Authorization: Bearer {SECRET}\r\n".encode() in peer.asked[0]
    assert f"HANas-Mac: {mac(KEY, 'lifeline', b'b')}\r\n".encode() in peer.asked[0]


async def test_it_waits_until_the_key_is_known(lifeline: Lifeline) -> None:
    peer, keys = Peer(), [KEY, None, None]
    async with await peer.listen():
        holding = lifeline.hold(peer.url, lambda: keys.pop() if len(keys) > 1 else KEY, lambda: None)
        await until(lambda: len(peer.open) == 1)
        peer.hang_up()
    assert (keys, holding.done()) == ([KEY], False)


async def test_a_connection_that_cannot_be_made_tells_nothing(lifeline: Lifeline) -> None:
    peer, closed = Peer(), []
    first = lifeline.hold(peer.url, key, lambda: closed.append(1))
    second = lifeline.hold(peer.url, key, lambda: closed.append(1))
    async with await peer.listen():
        await until(lambda: len(peer.open) == 1)
        assert closed == []
        peer.hang_up()
        await until(lambda: closed == [1])
    assert (first.cancelled(), second.done()) == (True, False)


@pytest.mark.parametrize("answer", [b"HTTP/1.1 401 Unauthorized\r\n\r\n", b"", b"x" * 100_000])
async def test_who_does_not_know_what_it_is_asked_tells_nothing(lifeline: Lifeline, answer: bytes) -> None:
    peer, closed = Peer(answer), []
    async with await peer.listen():
        holding = lifeline.hold(peer.url, key, lambda: closed.append(1))
        for count in (1, 2, 3):
            await until(lambda: len(peer.asked) >= count)  # noqa: B023
            peer.hang_up()
    assert (closed, holding.done()) == ([], False)


async def test_who_lets_go_hears_nothing_more(lifeline: Lifeline) -> None:
    peer, closed = Peer(), []
    async with await peer.listen():
        holding = lifeline.hold(peer.url, key, lambda: closed.append(1))
        await until(lambda: len(peer.open) == 1)
        lifeline.let_go()
        async with asyncio.timeout(AMPLE_SECONDS):
            await asyncio.wait([holding])
        peer.hang_up()
    assert (holding.cancelled(), closed) == (True, [])


async def test_a_worker_holds_it_until_its_link_port_closes(lifeline: Lifeline) -> None:
    port, closed = free_port(), []
    link = LinkEndpoint(Callers((SECRET,)), Gate())
    link.join("f" * 32, Verifier(KEY, 1.0, asyncio.get_running_loop().time), lambda _, __: ())
    asked = []

    async def counted(scope: Scope, receive: Receive, send: Send) -> None:
        await link(scope, receive, send)
        asked.append(scope["path"])

    endpoint = HttpEndpoint(
        counted, bind(port, "LINK_PORT"), admission=Admission[Connection](Limits(idle_seconds=IDLE_SECONDS))
    )
    await endpoint.start()
    holding = lifeline.hold(f"http://localhost:{port}", key, lambda: closed.append(1))
    await until(lambda: set(asked) == {LIFELINE_PATH})
    assert closed == []
    async with asyncio.timeout(AMPLE_SECONDS):
        await endpoint.stop()
    await until(lambda: closed == [1])
    assert not holding.done()


async def test_a_name_that_nobody_knows_tells_nothing_and_leaves_no_error_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A search for a name may end long after it was given up on: asyncio would log its error as one nobody saw."""
    loop, closed, told = asyncio.get_running_loop(), [], []
    loop.set_exception_handler(lambda _, context: told.append(context))
    searches: list[asyncio.Future[object]] = []

    def search(*_: object, **__: object) -> asyncio.Future[object]:
        searches.append(loop.create_future())
        return searches[-1]

    monkeypatch.setattr(loop, "getaddrinfo", search)
    outbound = HttpOutbound("b", ())
    tries, until_closed = [], outbound.until_closed

    async def counted(url: str, timeout: float, headers: Mapping[str, str]) -> None:
        tries.append(url)
        await until_closed(url, timeout, headers)

    monkeypatch.setattr(outbound, "until_closed", counted)
    lifeline = Lifeline(outbound, "b", 0.01)
    holding = lifeline.hold("http://nowhere.test:4001", key, lambda: closed.append(1))
    await until(lambda: len(tries) == 3)
    [late] = searches  # all wait for the one that is under way
    late.set_exception(socket.gaierror(-3, "Temporary failure in name resolution"))
    await until(lambda: len(tries) == 5)
    del late, searches[:]
    gc.collect()
    assert (closed, told, holding.done()) == ([], [], False)
    lifeline.let_go()
    await outbound.close()
