"""What makes frames of calls and calls of frames, without I/O: the interface of an HTTP/2 engine at the server's side.

Bytes go in by `Engine.receive` and out by `Engine.output`; what the client sent comes as calls of `Above`. An engine
does framing, header compression, flow control and the order of streams, and refuses what breaks the protocol.
"""

import logging
from collections.abc import Iterable, Sequence
from enum import IntEnum
from typing import Protocol

import msgspec

_log = logging.getLogger("hanas.serving")

Header = tuple[bytes, bytes]
"""Name, in lower case, and value."""

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""What each client of HTTP/2 sends first."""


class Code(IntEnum):
    """Why a stream or a connection ends (RFC 9113, section 7)."""

    NO_ERROR = 0x00
    PROTOCOL_ERROR = 0x01
    INTERNAL_ERROR = 0x02
    REFUSED_STREAM = 0x07
    CANCEL = 0x08
    ENHANCE_YOUR_CALM = 0x0B


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """What one connection may take of this process."""

    streams: int = 2000
    """Open at a time."""
    headers: int = 16 << 10
    """A request's headers, with 32 bytes for each beside its text; bytes."""
    fields: int = 128
    """... and how many."""
    stream_window: int = 1 << 20
    """What a client may send on a stream before it was taken, bytes."""
    window: int = 4 << 20
    """... and on all of them."""
    resets: tuple[int, int] = (1000, 100)
    """Streams that a client may take back: at once, and for each second."""
    continuations: int = 8
    """Frames of one header block behind the first."""


class Broken(Exception):
    """The client broke the protocol or a bound: write what `Engine.output` has and close the connection."""


class Above(Protocol):
    """What is above the engine. No method may raise."""

    def requested(self, stream: int, headers: Sequence[Header], *, ended: bool) -> None:
        """Take a request; ``ended``: without a body."""

    def received(self, stream: int, data: bytes, *, ended: bool) -> None:
        """Take a part of a request's body; it counts against the windows until `Engine.taken`."""

    def closed(self, stream: int) -> None:
        """Forget a stream: both sides have ended, or one has broken off."""

    def pinged(self) -> None:
        """Take note that the client asked for a sign of life, which it gets."""

    def trifled(self) -> None:
        """Take note of a frame that changes nothing, or hardly anything."""


class Engine(Protocol):
    """One connection. Calls for a stream that is closed do nothing."""

    closed: bool
    """Nothing more will be received or sent."""

    def receive(self, data: bytes) -> None:
        """Take in bytes. Raises Broken."""

    def output(self, most: int) -> bytes:
        """Return what can be sent now: about ``most`` bytes, if there are more."""

    def respond(self, stream: int, headers: Iterable[Header], *, end: bool = False) -> None:
        """Send the head of a response; ``end``: nothing follows."""

    def send(self, stream: int, data: bytes, *, end: bool = False) -> None:
        """Send a part of a response's body, in order, as the client's windows allow."""

    def trail(self, stream: int, headers: Iterable[Header]) -> None:
        """End a response with trailers behind its body."""

    def reset(self, stream: int, code: Code) -> None:
        """Break a stream off; what waits to be sent on it is dropped."""

    def defer(self, stream: int) -> None:
        """Send this stream's body behind those of others, by turns with those that were deferred too."""

    def taken(self, stream: int, size: int) -> None:
        """Let the client send as much more on this stream."""

    def queued(self, stream: int | None = None) -> int:
        """Return what waits for the client's windows or for `output`, of one stream or of all; bytes."""

    def ping(self) -> None:
        """Ask the client for a sign of life."""

    def announce_end(self) -> None:
        """Tell the client to begin no further streams here; those that it has begun go on."""

    def close(self, code: Code, reason: bytes = b"") -> None:
        """Say goodbye: after `output` nothing more is sent."""


def make(above: Above, bounds: Bounds) -> Engine:
    """Return the engine: ngh2, or h2 where there is no ngh2."""
    try:
        from hanas_serving.http2.ngh2_engine import Ngh2Engine  # noqa: PLC0415  # only where it can be imported
    except ImportError as error:
        from hanas_serving.http2.h2_engine import H2Engine  # noqa: PLC0415

        _log.warning("HTTP/2 is slow on this platform: %s", error)
        return H2Engine(above, bounds)
    return Ngh2Engine(above, bounds)
