"""A client's connection that speaks HTTP/2: the engine, what answers each request, and the bounds on both.

The bytes that come are taken in pieces, in turns with all connections of the port; what all requests of one turn of
the event loop are answered leaves in one write. What clients can hold of memory is counted in the budget of the port:
what they sent of requests that are not complete, and what they do not read.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Protocol

from hanas_serving.answers import Answer
from hanas_serving.budget import Hold
from hanas_serving.gate import MAPPED
from hanas_serving.http1 import Server
from hanas_serving.http2.engine import Bounds, Broken, Code, Engine, Header, make
from hanas_serving.pace import LOW
from hanas_serving.peer import Peer
from hanas_serving.stream import Phase, Stream

_log = logging.getLogger("hanas.serving")

_PIECE = 4 << 10
"""So much is given to the engine at a time, bytes."""
_MOST_SENT = 256 << 10
"""So much is written in one turn of the event loop, bytes."""
_UNCOUNTED = 64 << 10
"""What a connection may hold without asking for memory, bytes."""
_HIGH, _LOW = 256 << 10, 64 << 10
"""A stream is congested with so much waiting to be sent on it, and goes on with so much; bytes."""
_MOST_QUEUED = 4 << 20
"""With so much on all streams together, each that has anything waiting is congested, and others send little; bytes."""
_LITTLE = 16 << 10
_QUIET_SECONDS = 60.0
"""After so long without a byte the client is asked for a sign of life ..."""
_ANSWER_SECONDS = 20.0
"""... which has to come within this."""
_PING_SECONDS = 4.5
"""A client may ask every 5 s, of which some may be lost on the way, and after each answer."""
_MOST_STRIKES = 2
_MOST_TRIFLES = 200
"""Frames that change nothing, in this time:"""
_TRIFLE_SECONDS = 10.0


class Responder(Protocol):
    """What answers a request."""

    lasting: bool
    """It does not end by itself: nobody waits for it when the process ends."""

    @property
    def reading(self) -> bool:
        """Whether it takes what comes; else the client's window is not opened again."""

    def received(self, data: bytes, *, ended: bool) -> None:
        """Take a part of the body."""

    def drained(self) -> None:
        """Go on: most of what was sent has left. Called once after `Http2.congested`."""

    def gone(self) -> None:
        """End: nobody waits for the answer any more, or it is complete. Called once."""

    def fail(self) -> None:
        """Answer that this program made a mistake, unless the answer is complete."""

    def dismiss(self) -> None:
        """Answer that this process ends, unless the answer is complete."""

    def too_slow(self) -> None:
        """Answer that the request did not come in time."""


Dispatch = Callable[["Http2", int, Sequence[Header]], Responder]


class Http2(Stream):
    """One connection."""

    engine: Engine

    def __init__(self, server: Server, dispatch: Dispatch, bounds: Bounds) -> None:
        """Prepare for a connection that is about to be made. ``dispatch`` returns what answers a request."""
        super().__init__(server.admission.limits, server.memory, server.turns)
        self.server = server
        self.address = ""
        """The client's."""
        self._dispatch = dispatch
        self._pace = server.pace
        self.engine = make(self, bounds)
        self.responders: dict[int, Responder] = {}
        """By stream."""
        self._incomplete: dict[int, float] = {}
        """When requests began that have to end and have not, the oldest first."""
        self._untaken: dict[int, int] = {}
        """What came on streams that do not read, bytes."""
        self._finished: list[int] = []
        """Streams that are answered, although the client may still send on them."""
        self._congested: set[int] = set()
        self._rest = b""
        """What came and the engine has not seen yet."""
        self._waiting = self._flushing = self._stopping = False
        """It waits for its turn; what is answered will be sent; it ends with what is under way."""
        self._received = Hold(server.memory, self.abort)
        """The memory for what came of requests that are not complete."""
        self._partial = 0
        """... which is so many bytes."""
        self._heard_at = self.loop.time()
        self._asked_at: float | None = None
        """When the client was asked for a sign of life."""
        self._pinged_at, self._strikes, self._progress = -_PING_SECONDS, 0, False
        """When the client asked last; how often it did so too early; whether it was answered something meanwhile."""
        self._trifles, self._trifles_since = 0, self.loop.time()
        self._calm = b""
        """Why the client is sent away."""

    # ------------------------------------------------------------------ the transport's calls

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # asyncio's own signature
        """Begin with a new connection."""
        super().connection_made(transport)
        peer = transport.get_extra_info("peername")
        self.address = peer[0].removeprefix(MAPPED) if peer else ""
        self.server.admission.enter(self)
        self.flush_soon()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        super().connection_lost(exc)
        self._forget_all()
        self.server.admission.left(self)
        if not self.server.connections:
            self.server.unused.set()

    def data_received(self, data: bytes) -> None:
        """Take what came, some of it in this turn."""
        if self._ending:
            if self.swallow(len(data)):
                self._wire.close()
            return
        self._arrived += len(data)
        self._heard_at, self._asked_at = self.loop.time(), None
        if self._rest:
            self._rest += data
            return
        self._rest = data
        self._take()

    def _take(self) -> None:
        """Have the engine take in some pieces, and come back for more when others had their turn."""
        self._waiting, pace, data, at = False, self._pace, self._rest, 0
        try:
            while at < len(data) and pace.left > 0 and not self._calm:
                pace.left -= 1
                self.engine.receive(data if len(data) <= _PIECE else data[at : at + _PIECE])
                at += _PIECE
        except Broken as error:
            self._send_away(str(error).encode()[:200])
            return
        self._rest = data[at:] if at < len(data) else b""
        if pace.left <= LOW:
            pace.arrange()
        if self._calm:
            self._send_away(self._calm)
            return
        if self._rest and not self._waiting:
            self._waiting = True
            pace.wait(self._take)
        self.read_on(wanted=not (self._rest or self._write_paused))
        self.flush_soon()

    def eof_received(self) -> bool:
        """End: a client that has closed its side takes no answers over HTTP/2."""
        return False

    def pause_writing(self) -> None:
        """Take in nothing more: the client does not read."""
        self._write_paused = True
        self.read_on(wanted=False)
        self._account()

    def resume_writing(self) -> None:
        """Continue: the client has read."""
        self._write_paused = False
        self.read_on(wanted=not self._rest)
        self.flush_soon()

    # ------------------------------------------------------------------ the engine's calls

    def requested(self, stream: int, headers: Sequence[Header], *, ended: bool) -> None:
        """Have a request answered."""
        if self._ending or self._stopping:
            self.engine.reset(stream, Code.REFUSED_STREAM)  # the client repeats it elsewhere
            return
        self._pace.left -= 1
        try:
            self.responders[stream] = responder = self._dispatch(self, stream, headers)
        except Exception as error:
            _log.error("an error of this program", exc_info=error)
            self.engine.reset(stream, Code.INTERNAL_ERROR)
            return
        if ended:
            self._hand_over(responder, b"", ended=True)
        elif not responder.lasting:
            self._incomplete[stream] = self._heard_at

    def received(self, stream: int, data: bytes, *, ended: bool) -> None:
        """Hand a part of a body over."""
        if ended:
            self._incomplete.pop(stream, None)
        responder = self.responders.get(stream)
        if responder is not None:
            self._hand_over(responder, data, ended=ended)
        if not data:
            return
        if responder is None or responder.reading:
            self.engine.taken(stream, len(data))
        else:
            self._untaken[stream] = self._untaken.get(stream, 0) + len(data)

    @staticmethod
    def _hand_over(responder: Responder, data: bytes, *, ended: bool) -> None:
        try:
            responder.received(data, ended=ended)
        except Exception as error:
            _log.error("an error of this program", exc_info=error)
            responder.fail()

    def closed(self, stream: int) -> None:
        """Forget a stream."""
        responder = self.responders.pop(stream, None)
        self._incomplete.pop(stream, None)
        self._congested.discard(stream)
        rest = self._untaken.pop(stream, 0)
        if rest:
            self.engine.taken(stream, rest)
        if responder is not None:
            responder.gone()
        if not self.responders:
            self.since = self.loop.time()

    def pinged(self) -> None:
        """Send a client away that asks for signs of life again and again."""
        now = self.loop.time()
        if self._progress:
            self._strikes, self._progress = 0, False
        elif now - self._pinged_at < _PING_SECONDS:
            self._strikes += 1
            if self._strikes > _MOST_STRIKES:
                self._calm = b"too_many_pings"
        self._pinged_at = now

    def trifled(self) -> None:
        """Send a client away that sends hardly anything else."""
        now = self.loop.time()
        if now - self._trifles_since > _TRIFLE_SECONDS:
            self._trifles, self._trifles_since = 0, now
        self._trifles += 1
        if self._trifles > _MOST_TRIFLES:
            self._calm = b"too many frames that change nothing"

    # ------------------------------------------------------------------ what responders call

    def answer_soon(self) -> None:
        """Send what the engine was given, with what else is answered in this turn."""
        self._progress = True
        if not self._flushing:
            self.flush_soon()

    def finished(self, stream: int) -> None:
        """Have the client stop to send on a stream whose response is complete."""
        self._finished.append(stream)

    def congested(self, stream: int) -> bool:
        """Return whether much waits to be sent; then the responder's `drained` is called when little does."""
        engine = self.engine
        queued = engine.queued(stream)
        if queued < _HIGH and not (queued and engine.queued() >= _MOST_QUEUED):
            return False
        self._congested.add(stream)
        return True

    @property
    def share(self) -> int:
        """What a stream that is not congested should send at once, bytes."""
        return _HIGH if self.engine.queued() < _MOST_QUEUED else _LITTLE

    def read_rest(self, stream: int) -> None:
        """Let the client send on: the responder reads again."""
        rest = self._untaken.pop(stream, 0)
        if rest:
            self.engine.taken(stream, rest)
            self.flush_soon()

    def hold(self, more: int) -> None:
        """Count that so many bytes more, or less, are held of requests that are not complete."""
        self._partial += more
        if self._partial > _UNCOUNTED or self._received.size:
            self._received.resize(self._partial)

    @property
    def peer(self) -> Peer | None:
        """Whose certificate the client has shown; None where nobody is asked for one."""
        peer: Peer | None = self._wire.get_extra_info("peer")
        return peer

    @property
    def wire(self) -> asyncio.Transport:
        """The transport."""
        return self._wire

    # ------------------------------------------------------------------ what is sent

    def flush_soon(self) -> None:
        """Send what there is at the end of this turn."""
        if not self._flushing:
            self._flushing = True
            self.loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        if self._ending or self._wire.is_closing():
            return
        if not self._write_paused:
            if self._write_some() and not self._write_paused:
                self.flush_soon()  # others have their turn before
            if self._finished:
                self._let_go()
        if self._congested:
            low = _LOW if self.engine.queued() < _MOST_QUEUED else 0
            for stream in [each for each in self._congested if self.engine.queued(each) <= low]:
                self._congested.discard(stream)
                self.responders[stream].drained()
        self._account()
        if self.engine.closed:
            self.end(more=False)
        elif self._stopping:
            self._end_if_done()

    def _write_some(self) -> bool:
        """Write what there is, or some of it; return whether there may be more."""
        data = self.engine.output(_MOST_SENT)
        if data:
            self._written += len(data)
            self._wire.write(data)
        return len(data) >= _MOST_SENT

    def _let_go(self) -> None:
        """Break streams off that are answered: the client need not send the rest of the request."""
        finished, self._finished = self._finished, []
        for stream in finished:
            if self.engine.queued(stream):
                self._finished.append(stream)
            elif stream in self.responders:
                self.engine.reset(stream, Code.NO_ERROR)
        if self._write_some():
            self.flush_soon()

    def _account(self) -> None:
        """Count what waits to be sent."""
        size = self.engine.queued() + self._wire.get_write_buffer_size()
        if size > _UNCOUNTED or self._held.size:
            self._held.resize(size)

    def _taken(self) -> int:
        return max(0, self._held.size - self.engine.queued() - self._wire.get_write_buffer_size())

    # ------------------------------------------------------------------ time, and the end

    def phase(self) -> Phase:
        """Return what the connection waits for while nothing waits to be sent."""
        if self._ending:
            return Phase.ENDING
        return Phase.ANSWER if self.responders or self._rest else Phase.IDLE

    def _rest_of_phase(self, now: float) -> float:
        slow = [stream for stream, since in self._incomplete.items() if now - since > self._limits.slow_seconds]
        for stream in slow:
            del self._incomplete[stream]
            self.responders[stream].too_slow()
        if self._asked_at is not None:
            if now - self._asked_at > _ANSWER_SECONDS:
                self.abort()
        elif now - self._heard_at > _QUIET_SECONDS and not self._ending:
            self._asked_at = now
            self.engine.ping()
            self.flush_soon()
        return super()._rest_of_phase(now) if self._ending else self._tick

    def _send_away(self, reason: bytes) -> None:
        """End the connection, whose client breaks the protocol or a bound."""
        _log.debug("an HTTP/2 connection of %s ends: %s", self.address, reason)
        self.engine.close(Code.ENHANCE_YOUR_CALM if self._calm else Code.PROTOCOL_ERROR, reason)
        self._write_some()
        self.end(more=True)

    def refuse(self, answer: Answer) -> None:
        """End the connection: there are too many."""
        self.server.refusals.count(answer.status, self.address)
        self.engine.close(Code.ENHANCE_YOUR_CALM)
        self._write_some()
        self.end(more=True)

    def leave(self, phase: Phase) -> None:
        """End the connection, whose client does not send what it waits for."""
        if phase is Phase.ENDING:
            self._wire.abort()
        else:
            self.engine.close(Code.NO_ERROR)
            self._write_some()
            self.end(more=False)

    def shutdown(self) -> None:
        """Close when what is under way is answered."""
        self._stopping = True
        self.engine.announce_end()
        self.flush_soon()

    def _end_if_done(self) -> None:
        """Close when all is answered that ends by itself: the clients of the rest go on elsewhere."""
        if all(responder.lasting for responder in self.responders.values()):
            self.end(more=False)

    def dismiss(self) -> None:
        """Answer what is not answered yet that this process ends."""
        for responder in list(self.responders.values()):
            responder.dismiss()

    def give_up(self) -> None:
        """Answer nothing more."""
        super().give_up()
        self._rest = b""
        self._received.release()
        self.loop.call_soon(self._forget_all)

    def _forget_all(self) -> None:
        responders, self.responders = self.responders, {}
        self._incomplete.clear()
        self._congested.clear()
        for responder in responders.values():
            responder.gone()
