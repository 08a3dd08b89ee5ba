"""A link that the lab can cut: a TCP relay in front of one worker's link port.

Every request on the link names its sender in the header `HANas-Member`. The relay reads the head first. While the
direction from that sender is cut, it continues to read and neither forwards nor answers, like a broken cable: the
sender notices by its own time-out. Requests from the time of the cut stay lost after it heals.
"""

from __future__ import annotations

import asyncio
import random
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

HOST = "127.0.0.1"
MAX_HEAD_BYTES = 64 << 10
CONNECT_SECONDS = 5.0
_CHUNK_BYTES = 64 << 10
_SENDER_HEADER = b"hanas-member"


@dataclass(frozen=True, slots=True)
class Secured:
    """How a relay speaks TLS."""

    listening: ssl.SSLContext
    calling: Callable[[str], ssl.SSLContext]
    """By the sender, whose certificate is shown to the worker."""


@dataclass(eq=False, slots=True)
class _Connection:
    """One connection of a peer. `lost`: its bytes are discarded."""

    peer: asyncio.StreamWriter
    sender: str
    lost: bool = False


@dataclass(eq=False, slots=True)
class Relay:
    """The relay in front of `link_port`; `port` and `url` are valid after `start`."""

    link_port: int
    address: str = HOST
    """The address of the worker, and of the relay."""
    listen: Callable[[], socket.socket] | None = None
    secured: Secured | None = None
    """None: without TLS."""
    port: int = 0
    jitter: float = 0.0
    """The most seconds of the random delay of each message."""
    cuts: set[str] = field(default_factory=set, init=False)
    """The senders whose requests are discarded."""
    _open: set[_Connection] = field(default_factory=set)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        """The URL at which peers reach this worker."""
        return f"{'http' if self.secured is None else 'https'}://{self.address}:{self.port}"

    async def start(self) -> None:
        """Listen, on a port of the kernel's choice."""
        options: dict[str, Any] = {"limit": MAX_HEAD_BYTES}
        if self.secured is not None:
            options["ssl"] = self.secured.listening
        if self.listen is None:
            self._server = await asyncio.start_server(self._accept, HOST, self.port, **options)
        else:
            self._server = await asyncio.start_server(self._accept, sock=self.listen(), **options)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Stop listening and drop every connection."""
        if self._server is not None:
            self._server.close()
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def cut(self, sender: str) -> None:
        """Discard all that `sender` sends, also on open connections."""
        self.cuts.add(sender)
        for connection in self._open:
            connection.lost |= connection.sender == sender

    def heal(self, sender: str) -> None:
        """Forward new requests of `sender`, and abort the connections of lost ones."""
        self.cuts.discard(sender)
        for connection in self._open:
            if connection.lost and connection.sender == sender:
                connection.peer.transport.abort()

    async def _accept(self, reader: asyncio.StreamReader, peer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._serve(reader, peer)
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            peer.transport.abort()  # either side closed, or it was no HTTP request
        except asyncio.CancelledError:
            peer.transport.abort()  # the relay closes; asyncio would log a cancelled handler as an error
        finally:
            self._tasks.discard(task)
            peer.close()

    async def _serve(self, reader: asyncio.StreamReader, peer: asyncio.StreamWriter) -> None:
        sender = sender_of(head := await reader.readuntil(b"\r\n\r\n"))
        connection = _Connection(peer, sender, lost=sender in self.cuts)
        self._open.add(connection)
        try:
            await self._wait()
            if not connection.lost:
                async with asyncio.timeout(CONNECT_SECONDS):
                    secure = None if self.secured is None else self.secured.calling(sender)
                    answers, worker = await asyncio.open_connection(self.address, self.link_port, ssl=secure)
                try:
                    _forward(connection, head, worker)
                    await self._relay(connection, reader, peer, answers, worker)
                finally:
                    worker.transport.abort()
            while connection.lost and await reader.read(_CHUNK_BYTES):
                pass  # until the peer closes or the cut heals
        finally:
            self._open.discard(connection)

    async def _wait(self) -> None:
        if self.jitter:
            await asyncio.sleep(random.uniform(0.0, self.jitter))

    async def _relay(
        self,
        connection: _Connection,
        requests: asyncio.StreamReader,
        peer: asyncio.StreamWriter,
        answers: asyncio.StreamReader,
        worker: asyncio.StreamWriter,
    ) -> None:
        """Copy both ways until either side ends: the connection must end with that of the peer."""
        pumps = (
            asyncio.create_task(self._pump(connection, requests, worker)),
            asyncio.create_task(self._pump(connection, answers, peer)),
        )
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)

    async def _pump(self, connection: _Connection, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while chunk := await source.read(_CHUNK_BYTES):
            await self._wait()
            _forward(connection, chunk, sink)
            await sink.drain()


def sender_of(head: bytes) -> str:
    """Return the member id in the head of a request, empty without one."""
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.strip().lower() == _SENDER_HEADER:
            return value.strip().decode("latin-1")
    return ""


def _forward(connection: _Connection, chunk: bytes, sink: asyncio.StreamWriter) -> None:
    if not connection.lost:
        sink.write(chunk)
