"""A client's connection below HTTP: what is written, how it ends, and how long it may make no progress."""

import asyncio
from collections.abc import Sequence

from hanas_serving.budget import Budget, Hold
from hanas_serving.turns import Turns

_LINGER_SECONDS = 5.0
_MOST_SWALLOWED = 64 << 20
"""Bytes that a client may still send after its answer: closed at once, the connection would be reset and the answer
lost."""
MOST_COPIED = 64 << 10
"""A larger content is not copied behind its head. Bytes."""
_MOST_UNSENT = 64 << 10
"""So much may wait to be sent beside a large content before no further request is parsed. Bytes."""


class Stream(asyncio.Protocol):
    """One connection; a derived class knows what is sent over it."""

    _wire: asyncio.Transport
    _timer: asyncio.TimerHandle

    def __init__(self, idle_seconds: float, stall_seconds: float, memory: Budget, turns: Turns) -> None:
        """Prepare for a connection that is about to be made.

        ``memory``: for what it does not take; ``turns``: for reading much.
        """
        self.loop = asyncio.get_running_loop()
        self._idle_seconds, self._stall_seconds = idle_seconds, stall_seconds
        self._tick = min(idle_seconds, stall_seconds, _LINGER_SECONDS)
        self._half_closed = self._ending = False
        """The client closed its side; nothing more is answered."""
        self._reading = True
        self._swallowed = self._unsent = 0
        self._turns = turns
        self._write_paused = False
        self._held = Hold(memory, self.abort, self._taken)
        """The memory for what waits to be sent: a large content is there until its last byte is gone."""
        self._since = 0.0
        """When there was progress, or the connection became idle."""

    def patience(self) -> float:
        """Return how long there may be no progress just now while nothing waits to be sent, seconds."""
        raise NotImplementedError

    def give_up(self) -> None:
        """Answer nothing more."""
        self._ending = True

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # asyncio's own signature
        """Begin with a new connection. Its first request may take as long as any may make no progress."""
        self._wire = transport
        transport.set_write_buffer_limits(_MOST_UNSENT, 0)
        self._since = self.loop.time() + self._stall_seconds - self._idle_seconds
        self._timer = self.loop.call_later(self._tick, self._check_progress)

    def connection_lost(self, exc: Exception | None) -> None:
        """End; an answer that is still to come has nobody to go to."""
        del exc
        self._timer.cancel()
        self.give_up()
        self._held.release()

    def write(self, parts: Sequence[bytes]) -> None:
        """Write a head, in parts, and its content."""
        if self._wire.is_closing():
            return
        if len(parts[-1]) > MOST_COPIED:
            self.write_large(parts)
        else:
            self._wire.write(b"".join(parts))

    def write_large(self, parts: Sequence[bytes]) -> None:
        """Write a head, in parts, and a large content, which counts as held unless the client takes all of it at once.

        The transport calls `pause_writing` while it writes, here already for a single byte that is left.
        """
        wire = self._wire
        wire.set_write_buffer_limits(0)
        wire.writelines(parts)
        if not self._write_paused:
            wire.set_write_buffer_limits(_MOST_UNSENT, 0)
        elif self._held.size < (size := len(parts[-1])):
            self._held.resize(size)

    def pause_writing(self) -> None:
        """Hold what the client does not read."""
        self._write_paused = True
        self._held.resize(self._wire.get_write_buffer_size())

    def resume_writing(self) -> None:
        """Hold nothing: the client has read everything."""
        self._write_paused = False
        self._held.release()
        if not self._wire.is_closing():
            self._wire.set_write_buffer_limits(_MOST_UNSENT, 0)

    def _taken(self) -> int:
        return self._held.size - self._wire.get_write_buffer_size()

    def read_on(self, *, wanted: bool) -> None:
        """Read what the client sends, or leave it in the kernel."""
        if wanted is self._reading or self._wire.is_closing():
            return
        self._reading = wanted
        if wanted:
            self._since = self.loop.time()
            self._wire.resume_reading()
        else:
            self._wire.pause_reading()

    def take_turns(self) -> None:
        """Read again when it is this connection's turn: those that send much would else be read on and on."""
        if self._reading and not self._wire.is_closing():
            self._wire.pause_reading()
            self._turns.wait(self._read_again)

    def _read_again(self) -> None:
        if self._reading and not self._wire.is_closing():
            self._wire.resume_reading()

    def abort(self) -> None:
        """Close at once."""
        self._wire.abort()

    def end(self, *, more: bool) -> None:
        """Close the connection; ``more``: only the own side, and the other when the client had time to read."""
        self.give_up()
        if not more or self._half_closed or self._wire.is_closing():
            self._wire.close()
            return
        self._since, self._swallowed = self.loop.time(), 0
        if self._wire.can_write_eof():  # else the client knows by the answer's `Connection: close`
            self._wire.write_eof()
        self.read_on(wanted=True)

    def swallow(self, size: int) -> bool:
        """Count what came behind the answer; return whether it is too much."""
        self._swallowed += size
        return self._swallowed > _MOST_SWALLOWED

    def _check_progress(self) -> None:
        """End the connection if it was idle, or a client made no progress, for long enough.

        One timer runs on while requests come and go, and looks at the clock when it rings: cheaper than a new one for
        each request.
        """
        now, unsent = self.loop.time(), self._wire.get_write_buffer_size()
        if unsent != self._unsent:
            self._unsent, self._since = unsent, now
        limit = self._stall_seconds
        if not unsent:
            limit = _LINGER_SECONDS if self._ending else self.patience()
        rest = self._since + limit - now
        if rest <= 0:
            rest = limit
            if self._ending or unsent:
                self._wire.abort()
            else:
                self.end(more=False)
        self._timer = self.loop.call_later(min(rest, self._tick), self._check_progress)
