"""A client's connection below HTTP: what is written, how it ends, and how long it may make no progress."""

import asyncio
from collections.abc import Sequence
from enum import IntEnum

from hanas_serving.answers import Answer
from hanas_serving.budget import Budget, Hold
from hanas_serving.limits import Limits
from hanas_serving.problems import Problem
from hanas_serving.turns import Turns

_LINGER_SECONDS = 5.0
_MOST_SWALLOWED = 64 << 20
"""Bytes that a client may still send after its answer: closed at once, the connection would be reset and the answer
lost."""
MOST_COPIED = 64 << 10
"""A larger content is not copied behind its head. Bytes."""
_MOST_UNSENT = 64 << 10
"""So much may wait to be sent beside a large content before no further request is parsed. Bytes."""
_TOO_SLOW = Problem(
    408, "the request did not come in time; nothing was done; send it again, without pauses, over a faster network"
).answer()


class Phase(IntEnum):
    """What a connection waits for. Those that can best be spared come first."""

    ENDING = 0
    """The client's end of it: nothing more is answered."""
    SILENT = 1
    """Its first request."""
    HEAD = 2
    """The rest of a request's head."""
    IDLE = 3
    """Its next request."""
    BODY = 4
    """The rest of a body."""
    ANSWER = 5
    """This program, or the client's reading."""


class Stream(asyncio.Protocol):
    """One connection; a derived class knows what is sent over it."""

    _wire: asyncio.Transport
    _timer: asyncio.TimerHandle

    def __init__(self, limits: Limits, memory: Budget, turns: Turns) -> None:
        """Prepare for a connection that is about to be made.

        ``memory``: for what it does not take; ``turns``: for reading much.
        """
        self.loop = asyncio.get_running_loop()
        self._limits = limits
        self._tick = min(limits.idle_seconds, limits.slow_seconds, _LINGER_SECONDS)
        self._half_closed = self._ending = False
        """The client closed its side; nothing more is answered."""
        self._reading = True
        self._swallowed = 0
        self._turns, self._in_turns = turns, False
        self._write_paused = False
        self._held = Hold(memory, self.abort, self._taken)
        """The memory for what waits to be sent: a large content is there until its last byte is gone."""
        self.since = 0.0
        """When the present phase began, or the last look at a body that moves."""
        self._arrived = self._arrived_before = 0
        """Bytes received, now and at that time. Those of requests that are taken without the parser are not counted."""
        self._written = self._sent_before = 0
        """Bytes written, and what the kernel had taken of them when sending began or was last looked at. Small answers
        to plain requests are not counted: those who get further ones do read, since else no request is parsed."""
        self._sending_since: float | None = None

    def phase(self) -> Phase:
        """Return what the connection waits for while nothing waits to be sent."""
        raise NotImplementedError

    def refuse(self, answer: Answer) -> None:
        """Answer what is under way, unless that has begun already, and end the connection."""
        raise NotImplementedError

    def shutdown(self) -> None:
        """Close when what is under way is answered."""
        raise NotImplementedError

    def dismiss(self) -> None:
        """Answer what is not answered yet that this process ends."""
        raise NotImplementedError

    def give_up(self) -> None:
        """Answer nothing more."""
        self._ending = True

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # asyncio's own signature
        """Begin with a new connection."""
        self._wire = transport
        transport.set_write_buffer_limits(_MOST_UNSENT, 0)
        self.since = self.loop.time()
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
            whole = b"".join(parts)
            self._written += len(whole)
            self._wire.write(whole)

    def write_large(self, parts: Sequence[bytes]) -> None:
        """Write a head, in parts, and a large content, which counts as held unless the client takes all of it at once.

        The transport calls `pause_writing` while it writes, here already for a single byte that is left.
        """
        wire = self._wire
        wire.set_write_buffer_limits(0)
        self._written += sum(map(len, parts))
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
            self.look_anew()
            if not self._in_turns:
                self._wire.resume_reading()
        else:
            self._wire.pause_reading()

    def look_anew(self) -> None:
        """Count time, and what is received, from now on."""
        self.since, self._arrived_before = self.loop.time(), self._arrived

    def take_turns(self) -> None:
        """Read again when it is this connection's turn: those that send much would else be read on and on."""
        if not (self._in_turns or self._wire.is_closing()):
            self._in_turns = True
            self._wire.pause_reading()
            self._turns.wait(self._read_again)

    def _read_again(self) -> None:
        self._in_turns = False
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
        self.since, self._swallowed = self.loop.time(), 0
        if self._wire.can_write_eof():  # else the client knows by the answer's `Connection: close`
            self._wire.write_eof()
        self.read_on(wanted=True)

    def swallow(self, size: int) -> bool:
        """Count what came behind the answer; return whether it is too much."""
        self._swallowed += size
        return self._swallowed > _MOST_SWALLOWED

    def blocked(self) -> bool:
        """Return whether the client has to read before anything else is sent."""
        return self._wire.get_write_buffer_size() > 0

    def _check_progress(self) -> None:
        """End the connection if it was idle, or a client made too little progress, for long enough.

        One timer runs on while requests come and go, and looks at the clock when it rings: cheaper than a new one for
        each request.
        """
        now = self.loop.time()
        rest = self._rest_of_sending(now) if self.blocked() else self._rest_of_phase(now)
        self._timer = self.loop.call_later(min(rest, self._tick), self._check_progress)

    def _rest_of_sending(self, now: float) -> float:
        """Return the time until the next look at an answer that is not taken, seconds."""
        sent, slow = self._written - self._wire.get_write_buffer_size(), self._limits.slow_seconds
        if self._sending_since is not None:
            rest = self._sending_since + slow - now
            if rest > 0:
                return rest
            if sent - self._sent_before < slow * self._limits.least_rate and self.since < self._sending_since:
                self._wire.abort()
        self._sending_since, self._sent_before = now, sent
        return slow

    def _rest_of_phase(self, now: float) -> float:
        self._sending_since = None
        limits, phase = self._limits, self.phase()
        if phase is Phase.ANSWER:
            return self._tick
        most = {Phase.ENDING: _LINGER_SECONDS, Phase.IDLE: limits.idle_seconds}.get(phase, limits.slow_seconds)
        rest = self.since + most - now
        if rest > 0:
            return rest
        if phase is Phase.BODY and self._arrived - self._arrived_before >= most * limits.least_rate:
            self.look_anew()
        else:
            self.leave(phase)
        return self._tick

    def leave(self, phase: Phase) -> None:
        """End the connection, whose client does not send what it waits for."""
        match phase:
            case Phase.ENDING:
                self._wire.abort()
            case Phase.SILENT | Phase.IDLE:
                self.end(more=False)
            case _:
                self.refuse(_TOO_SLOW)
