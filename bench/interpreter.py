"""The interpreter's time for a plain PUT and a plain GET, without sockets, threads and a disk, µs each.

A round is 64 requests, each on a connection of its own; the best of 3000 rounds counts.
"""

import asyncio
import gc
import math
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

from hanas_core.log import records
from hanas_core.log.positions import Position
from hanas_core.state.index import Index
from hanas_core.state.judge import Outcome, Write
from hanas_core.state.queue import GroupCommit
from hanas_core.state.replica import Replica
from hanas_serving.budget import Budget
from hanas_serving.callers import Callers
from hanas_serving.gate import Gate
from hanas_serving.http1 import Connection, Server
from hanas_worker.faces.http.keys import Keys
from hanas_worker.log.bell import Bell
from hanas_worker.log.driver import LogDriver
from hanas_worker.log.tally import Tally
from hanas_worker.ops.app import WorkerApplication
from hanas_worker.store import Store

_ROUNDS = 3000
CONNECTIONS = 64
ROOM = 1 << 30
_HEADERS = "Host: localhost:3001\r\nUser-Agent: bench\r\nAccept: */*\r\n"


class Wire(asyncio.Transport):
    """A transport that counts what is written."""

    count = 0

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Count it."""
        del data
        self.count += 1

    def get_write_buffer_size(self) -> int:
        """Return that nothing waits to be sent."""
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Do nothing: a client takes everything."""

    def is_closing(self) -> bool:
        """Return False."""
        return False


class Service:
    """A main's service; `commit` and `check` end what waits for them."""

    epoch = 1
    form = records.REVISED
    crowded = False

    def __init__(self) -> None:
        """Serve an empty index."""
        self.replica = Replica()
        self._queue: GroupCommit[Callable[[Outcome, int], None]] = GroupCommit(
            self.replica, self.epoch, 1, form=self.form
        )
        self._readers: list[Callable[[int | None], None]] = []
        self.on_commit = Bell()

    @property
    def index(self) -> Index:
        """The committed state."""
        return self.replica.index

    def submit(self, write: Write, written: Callable[[Outcome, int], None]) -> None:
        """Queue a write."""
        assert self._queue.submit(write, written)

    def after_check(self, reader: Callable[[int | None], None]) -> None:
        """Queue a read."""
        self._readers.append(reader)

    def answer(self) -> None:
        """Commit what is queued, in as many batches as it takes, and answer it and all reads."""
        while self._queue.waiting:
            self.commit()
        self.check()

    def commit(self) -> None:
        """Commit and answer the queued writes."""
        assert self._queue.next_batch(ROOM) is not None
        for written, outcome in self._queue.committed(Position(1, 1, 1 << 20)):
            written(outcome, self.epoch)

    def check(self) -> None:
        """Answer the queued reads."""
        readers, self._readers = self._readers, []
        for reader in readers:
            reader(self.epoch)


def store_of(service: Service, memory: Budget) -> Store:
    """Return the store of a main that serves by ``service``."""
    state = SimpleNamespace(
        service=service,
        replica=service.replica,
        index=service.replica.index,
        member=SimpleNamespace(epoch=1),
        forwarder=None,
        on_applied=Bell(),
        tally=Tally(),
        certain=0,
    )
    return Store(cast("LogDriver", SimpleNamespace(state=state, values=None, main_url=None)), memory)


def round_of(connections: list[Connection], requests: list[bytes], answer: Callable[[], None]) -> float:
    """Return the seconds for one request at each connection and all answers."""
    began = time.perf_counter()
    for connection, request in zip(connections, requests, strict=True):
        connection.data_received(request)
    answer()
    return time.perf_counter() - began


async def measure() -> dict[str, float]:
    """Return µs for each request, by method."""
    service, keys = Service(), Keys(Callers(), ROOM, Gate())
    server = Server(cast("WorkerApplication", None), keys)
    keys.store = store_of(service, server.memory)
    connections = [Connection(server) for _ in range(CONNECTIONS)]
    wires = [Wire() for _ in connections]
    for connection, wire in zip(connections, wires, strict=True):
        connection.connection_made(wire)
    numbers = range(CONNECTIONS)
    put = f"{_HEADERS}Content-Length: 64\r\n\r\n{'v' * 64}"
    puts = [f"PUT /v1/kv/key-{number:04} HTTP/1.1\r\n{put}".encode() for number in numbers]
    gets = [f"GET /v1/kv/key-{number:04} HTTP/1.1\r\n{_HEADERS}\r\n".encode() for number in numbers]
    calls: list[tuple[str, list[bytes], Callable[[], Any]]] = [
        ("PUT", puts, service.commit),
        ("GET", gets, service.check),
    ]
    best = {}
    for method, requests, answer in calls:
        gc.collect()
        best[method] = math.inf
        for _ in range(_ROUNDS):
            best[method] = min(best[method], round_of(connections, requests, answer))
            await asyncio.sleep(0)  # a round is a turn of the event loop
    for connection in connections:
        connection.connection_lost(None)
    assert all(wire.count == len(calls) * _ROUNDS for wire in wires)
    return {method: seconds / CONNECTIONS * 1e6 for method, seconds in best.items()}


if __name__ == "__main__":
    for method, microseconds in asyncio.run(measure()).items():
        print(f"{method} {microseconds:.2f} µs")
