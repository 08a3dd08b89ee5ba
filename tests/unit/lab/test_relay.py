"""The relay in front of a worker's link port, on real sockets of the loopback interface."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import pytest

from hanas_lab.relay import Relay, sender_of

BODY = b"x" * 300_000


class Worker:
    """A link port that answers each request with what it got, and remembers who sent it."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.answering = asyncio.Event()
        self.answering.set()
        self.gone = asyncio.Event()
        self.server: asyncio.Server | None = None

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            body = await reader.readexactly(len(BODY))
            self.heard.append(sender_of(head))
            await self.answering.wait()
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n" + body)
            await writer.drain()
            if await reader.read() == b"":
                self.gone.set()
        except (OSError, asyncio.IncompleteReadError):
            self.gone.set()
        finally:
            writer.close()

    async def start(self) -> int:
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        port: int = self.server.sockets[0].getsockname()[1]
        return port


@pytest.fixture
async def worker() -> AsyncIterator[Worker]:
    worker = Worker()
    yield worker
    if worker.server is not None:
        worker.server.close()


@pytest.fixture
async def relay(worker: Worker) -> AsyncIterator[Relay]:
    relay = Relay(await worker.start())
    await relay.start()
    yield relay
    await relay.close()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - what is awaited has no event
            await asyncio.sleep(0.005)


async def send(relay: Relay, sender: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
    writer.write(f"POST /keep-alive HTTP/1.1\r\nhost: x\r\nHANas-Member: {sender}\r\n\r\n".encode() + BODY)
    return reader, writer


async def ask(relay: Relay, sender: str) -> bytes:
    reader, writer = await send(relay, sender)
    answer = await reader.readexactly(len(b"HTTP/1.1 200 OK\r\n\r\n") + len(BODY))
    writer.close()
    return answer


async def is_swallowed(reader: asyncio.StreamReader) -> bool:
    """Whether neither an answer nor an end comes for a moment."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(reader.read(1), 0.2)
        return False
    return True


async def is_dropped(reader: asyncio.StreamReader) -> bool:
    try:
        return await asyncio.wait_for(reader.read(1), 10) == b""
    except ConnectionError:
        return True


async def test_requests_and_answers_pass_through(relay: Relay, worker: Worker) -> None:
    assert (await ask(relay, "worker-1")).endswith(BODY)
    assert worker.heard == ["worker-1"]


async def test_cut_swallows_one_sender_only(relay: Relay, worker: Worker) -> None:
    relay.cut("worker-1")
    reader, writer = await send(relay, "worker-1")
    assert (await ask(relay, "worker-2")).endswith(BODY)
    assert await is_swallowed(reader)
    assert worker.heard == ["worker-2"]
    writer.close()


async def test_swallowed_requests_are_dropped_when_the_link_is_healed(relay: Relay, worker: Worker) -> None:
    relay.cut("worker-1")
    reader, writer = await send(relay, "worker-1")
    assert await is_swallowed(reader)
    relay.heal("worker-1")
    assert await is_dropped(reader)
    assert worker.heard == []
    assert (await ask(relay, "worker-1")).endswith(BODY)
    writer.close()


async def test_cut_loses_the_answer_to_a_request_on_its_way(relay: Relay, worker: Worker) -> None:
    worker.answering.clear()
    reader, writer = await send(relay, "worker-1")
    await until(lambda: bool(worker.heard))
    relay.cut("worker-1")
    worker.answering.set()
    assert await is_swallowed(reader)
    relay.heal("worker-1")
    assert await is_dropped(reader)
    writer.close()


async def test_peer_that_gives_up_leaves_nothing_behind(relay: Relay, worker: Worker) -> None:
    worker.answering.clear()
    _, waiting = await send(relay, "worker-1")
    await until(lambda: bool(worker.heard))
    relay.cut("worker-2")
    _, swallowed = await send(relay, "worker-2")
    waiting.close()
    swallowed.close()
    await until(lambda: not relay._open and not relay._tasks)
    worker.answering.set()
    await asyncio.wait_for(worker.gone.wait(), 10)


async def test_dead_worker_ends_the_connection(relay: Relay, worker: Worker) -> None:
    assert worker.server is not None
    worker.server.close()
    reader, writer = await send(relay, "worker-1")
    assert await is_dropped(reader)
    writer.close()


async def test_what_is_no_request_is_dropped(relay: Relay) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
    writer.write(b"x" * 200_000)
    assert await is_dropped(reader)
    writer.close()


async def test_close_drops_what_is_open(relay: Relay) -> None:
    relay.cut("worker-1")
    reader, writer = await send(relay, "worker-1")
    await until(lambda: bool(relay._open))
    await relay.close()
    assert await is_dropped(reader)
    with pytest.raises(OSError):  # noqa: PT011 - refused, in whatever words
        await asyncio.open_connection("127.0.0.1", relay.port)
    writer.close()


@pytest.mark.parametrize(
    ("head", "sender"),
    [
        (b"POST / HTTP/1.1\r\nhanas-member:worker-1\r\n\r\n", "worker-1"),
        (b"POST / HTTP/1.1\r\nA: HANas-Member: no\r\nHANAS-MEMBER:  w 2 \r\n\r\n", "w 2"),
        (b"POST / HTTP/1.1\r\n\r\n", ""),
    ],
)
def test_sender_of(head: bytes, sender: str) -> None:
    assert sender_of(head) == sender
