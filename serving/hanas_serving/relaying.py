"""Connections that are carried on, byte by byte, to the process that can answer: this one, or another one.

A client that comes while nobody can is not refused: its connection waits. What is carried knows nothing of the
protocol, so TLS is between the client and who answers.
"""

import asyncio
import contextlib
from collections.abc import Callable
from enum import Enum
from typing import NamedTuple

_CONNECT_SECONDS = 1.0
"""How long a connection to who can answer may take; then it is looked again who that is."""
_MOST_UNSENT = 64 << 10
"""What may wait to be sent one way before no more is read, bytes."""


class Here(Enum):
    """This process answers."""

    HERE = "here"


class Place(NamedTuple):
    """Where another process answers."""

    host: str
    port: int


Target = Here | Place | None
"""Who can answer; None: nobody just now."""


class Relays:
    """The connections of one port. They belong to the event loop."""

    def __init__(self, target: Callable[[], Target], most: int) -> None:
        """Ask ``target`` who can answer, now and whenever `look` is called; carry ``most`` connections at a time."""
        self._ask, self._most = target, most
        self.target: Target = None
        """Who could at the last look."""
        self._visitors: dict[Visitor, None] = {}
        self.refused = self.carried = 0
        """Connections that were closed since there were too many, and those that were brought to another place."""

    def __len__(self) -> int:
        """Return how many connections wait or are carried."""
        return len(self._visitors)

    @property
    def waiting(self) -> int:
        """How many connections wait for who can answer."""
        return sum(visitor.other is None for visitor in self._visitors)

    def accept(self, own: Callable[[], asyncio.Protocol]) -> asyncio.Protocol:
        """Return what takes a new connection; ``own`` makes what answers it here."""
        return Visitor(self, own)

    def look(self) -> bool:
        """See who can answer: who came and waits is brought there, and who was brought to another place is let go.

        Return whether this process was it before, and is not now.
        """
        before, self.target = self.target, self._ask()
        if self.target is not None:
            for visitor in list(self._visitors):
                visitor.bring(self.target)
        return before is Here.HERE and self.target is not Here.HERE

    def close(self) -> None:
        """Let all go."""
        for visitor in list(self._visitors):
            visitor.leave()

    def enter(self, visitor: "Visitor") -> bool:
        """Take a new connection; False if there are too many."""
        if len(self._visitors) >= self._most:
            self.refused += 1
            return False
        self._visitors[visitor] = None
        return True

    def arrived(self) -> None:
        """Take note that a connection was brought to another place."""
        self.carried += 1

    def left(self, visitor: "Visitor") -> None:
        """Forget a connection."""
        self._visitors.pop(visitor, None)


class _Half(asyncio.Protocol):
    """One of two connections that are one."""

    wire: asyncio.Transport
    other: asyncio.Transport | None = None

    def data_received(self, data: bytes) -> None:
        """Carry on what came."""
        if self.other is not None:
            self.other.write(data)

    def pause_writing(self) -> None:
        """Read no more of the other one: this one does not take it."""
        if self.other is not None:
            self.other.pause_reading()

    def resume_writing(self) -> None:
        """Read on."""
        if self.other is not None and not self.other.is_closing():
            self.other.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """End the other one, when what came is sent."""
        del exc
        if self.other is not None:
            self.other.close()


class Visitor(_Half):
    """A client's connection."""

    def __init__(self, relays: Relays, own: Callable[[], asyncio.Protocol]) -> None:
        """Prepare for a connection that is about to be made."""
        self._relays, self._own = relays, own
        self._place: Place | None = None
        """Where it is carried, or about to be."""
        self._connecting: asyncio.Task[None] | None = None
        self._begin = b""
        """What came before it was brought anywhere."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # asyncio's own signature
        """Begin with a new connection."""
        self.wire = transport
        if not self._relays.enter(self):
            transport.abort()
            return
        if self._relays.target is not None:
            self.bring(self._relays.target)

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._relays.left(self)
        if self._connecting is not None:
            self._connecting.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Carry on what came, or keep a little of it."""
        if self.other is not None:
            self.other.write(data)
            return
        self._begin += data
        if len(self._begin) > _MOST_UNSENT:
            self.wire.pause_reading()

    def take_begin(self) -> bytes:
        """Return what came before, once."""
        begin, self._begin = self._begin, b""
        return begin

    def join(self, transport: asyncio.Transport) -> None:
        """Be carried by this connection from now on."""
        self.other = transport
        self._relays.arrived()

    def bring(self, target: Here | Place) -> None:
        """Have ``target`` answer; nothing is left to do where it does."""
        if self._place is not None and self._place != target:
            self.leave()
        elif self._place is None and target is Here.HERE:
            self._answer_here()
        elif self._place is None and isinstance(target, Place):
            self._place = target
            self._connecting = asyncio.get_running_loop().create_task(self._connect(target))

    def leave(self) -> None:
        """End at once: the client has to come again."""
        self.wire.abort()

    def _answer_here(self) -> None:
        own = self._own()
        self._relays.left(self)
        self.wire.set_protocol(own)
        own.connection_made(self.wire)
        if self.wire.is_closing():
            return
        self.wire.resume_reading()
        if begin := self.take_begin():
            own.data_received(begin)

    async def _connect(self, place: Place) -> None:
        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(_CONNECT_SECONDS):
                await loop.create_connection(lambda: _Answerer(self), place.host, place.port)
        self._connecting = None
        if self.other is None:  # it waits until the next look
            self._place = None


class _Answerer(_Half):
    """The connection to who answers."""

    def __init__(self, visitor: Visitor) -> None:
        self._visitor = visitor

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # asyncio's own signature
        """Carry on from now on."""
        self.wire, self.other = transport, self._visitor.wire
        if self.other.is_closing():
            transport.abort()
            return
        self._visitor.join(transport)
        for wire in (self.wire, self.other):
            wire.set_write_buffer_limits(_MOST_UNSENT)
        self.other.resume_reading()
        if begin := self._visitor.take_begin():
            transport.write(begin)
