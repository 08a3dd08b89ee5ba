"""Lines between simulated processes: bytes come in order, late, in other pieces, or not until the link is whole."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from hanas_serving.lines import Wire
from tests.sim.world import ProcessLoop, World

_LIVES_SECONDS = 12.0
"""Mean time until a connection is lost for reasons of its own, seconds."""
_GIVES_UP_SECONDS = 4.0
"""Mean time until the kernel gives up a connection over which nothing comes through, seconds."""
_TRIES_SECONDS = 0.05

Passes = Callable[[str, str], bool]
"""Whether the network lets something pass, from one host to another."""


class SimulatedTransport(asyncio.Transport):
    """One side of a connection."""

    other: SimulatedTransport

    def __init__(self, world: World, loop: ProcessLoop, passes: Passes, latency: Callable[[], float]) -> None:
        super().__init__()
        self.loop = loop
        self.wire: Wire | None = None
        """What gets what comes to this side."""
        self._world = world
        self._passes = passes
        self._latency = latency
        self._unsent = bytearray()
        self._sending = False
        self._stuck_until: float | None = None
        self.lost = False

    def get_write_buffer_size(self) -> int:
        return len(self._unsent)

    def is_closing(self) -> bool:
        return self.lost

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not self.lost:
            self._unsent += data
            self._send_later(self._latency())

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        self.write(b"".join(list_of_data))

    def close(self) -> None:
        """What was written still arrives, and the end behind it."""
        if not self.lost:
            self._lose()
            self._send_later(self._latency())

    def abort(self) -> None:
        self._unsent.clear()
        self.close()

    def hang_up(self) -> None:
        """Tell this side that the connection is lost, if the network lets that through; else later."""
        if self.lost:
            return
        if self._passes(self.other.loop.name, self.loop.name):
            self._lose()
        else:
            self._world.after(self._world.random.expovariate(1 / _GIVES_UP_SECONDS), self._lose)

    def _lose(self) -> None:
        if self.lost:
            return
        self.lost = True
        if self.wire is not None and self.loop.alive:
            self.loop.call_soon(self.wire.connection_lost, None)

    def _send_later(self, seconds: float) -> None:
        if not self._sending:
            self._sending = True
            self._world.after(seconds, self._send)

    def _send(self) -> None:
        """Deliver some of what waits, or nothing for now."""
        self._sending = False
        world, other = self._world, self.other
        if other.lost:
            return
        if not (self._passes(self.loop.name, other.loop.name) and self._passes(other.loop.name, self.loop.name)):
            if self._stuck_until is None:
                self._stuck_until = world.now + world.random.expovariate(1 / _GIVES_UP_SECONDS)
            if world.now >= self._stuck_until:
                self._lose()
                other.hang_up()
            else:
                self._send_later(_TRIES_SECONDS)
            return
        self._stuck_until = None
        if not self._unsent:
            other.hang_up()
            return
        size = len(self._unsent) if world.chance(0.7) else world.random.randint(1, len(self._unsent))
        data = bytes(self._unsent[:size])
        del self._unsent[:size]
        if other.loop.alive:
            other.loop.call_soon(other.take, data)
        if self._unsent or self.lost:
            self._send_later(self._latency())

    def take(self, data: bytes) -> None:
        if not self.lost and self.wire is not None:
            self.wire.data_received(data)


def connect(
    world: World, caller: ProcessLoop, answerer: ProcessLoop, passes: Passes, latency: Callable[[], float]
) -> tuple[SimulatedTransport, SimulatedTransport]:
    """Return the two sides of a new connection."""
    here, there = (SimulatedTransport(world, loop, passes, latency) for loop in (caller, answerer))
    here.other, there.other = there, here
    for side in (here, there):
        world.after(world.random.expovariate(1 / _LIVES_SECONDS), side.hang_up)
    return here, there
