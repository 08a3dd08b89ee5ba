"""What a forwarder and the main tell each other over their line (docs/protocol.md, section 6.9)."""

from typing import TypeVar

import msgspec

from hanas_core.log.positions import Position, Version
from hanas_core.state.judge import Outcome, Result, Write
from hanas_core.state.keytexts import text_or_bytes
from hanas_core.volume.blocks import UNREADABLE
from hanas_serving.lines import Improper

T = TypeVar("T")

MOST_CALLS = 16
"""So many calls of a forwarder may be under way."""


class Hello(msgspec.Struct, frozen=True, array_like=True, tag="h"):
    """Of a forwarder, first: its session, if it has one, and what it asks about."""

    session: Version | None
    asked: tuple[int, ...] = ()
    """Numbers of writes that it has sent, and whose outcomes it does not know; in order."""


class Forward(msgspec.Struct, frozen=True, array_like=True, tag="w"):
    """A write of a forwarder."""

    number: int
    key: str
    value: bytes | None
    content_type: str
    if_match: tuple[str, ...] | None
    if_none_match: tuple[str, ...] | None
    idempotency_key: str | None
    lease: int = 0


class ForwardBytes(Forward, frozen=True, array_like=True, tag="b"):
    """A write of a key that is no UTF-8: a main without revisions takes none of these."""

    key: bytes  # type: ignore[assignment]  # the only difference


class Writes(msgspec.Struct, frozen=True, array_like=True, tag="ws"):
    """Of a forwarder: writes, in order."""

    lowest: int
    """The lowest number whose outcome it may still ask for."""
    writes: tuple[Forward | ForwardBytes, ...]


class Ask(msgspec.Struct, frozen=True, array_like=True, tag="a"):
    """Of a forwarder: up to where must it have applied the log to answer the reads that wait?"""

    number: int
    """Of the question."""


class Call(msgspec.Struct, frozen=True, array_like=True, tag="c"):
    """Of a forwarder: something that only the main can carry out, and that is no write (hanas_worker.calls)."""

    number: int
    content: bytes


class Told(msgspec.Struct, frozen=True, array_like=True, tag="o"):
    """How a write ended."""

    number: int
    result: Result
    version: Version | None = None
    revision: int = 0
    """Of the store behind it; 0: not told."""


class Welcome(msgspec.Struct, frozen=True, array_like=True, tag="hi"):
    """Of the main: what it knows of what was asked about. What is neither told nor pending is not here."""

    epoch: int
    session: Version
    """Another one than that of the hello: that one has ended."""
    told: tuple[Told, ...] = ()
    pending: tuple[int, ...] = ()


class News(msgspec.Struct, frozen=True, array_like=True, tag="n"):
    """Of the main: how far the log is committed, and how writes ended."""

    epoch: int
    committed: Position
    told: tuple[Told, ...] = ()


class Reached(msgspec.Struct, frozen=True, array_like=True, tag="r"):
    """Of the main: the answer to a question."""

    number: int
    epoch: int
    position: Position


class Called(msgspec.Struct, frozen=True, array_like=True, tag="d"):
    """Of the main: how a call ended."""

    number: int
    content: bytes | None
    """None: nothing was done, and nothing will be."""


OfForwarder = Hello | Writes | Ask | Call
OfMain = Welcome | News | Reached | Called
_encode = msgspec.msgpack.Encoder().encode
_of_forwarder: msgspec.msgpack.Decoder[OfForwarder] = msgspec.msgpack.Decoder(OfForwarder)
_of_main: msgspec.msgpack.Decoder[OfMain] = msgspec.msgpack.Decoder(OfMain)


def encode(message: OfForwarder | OfMain) -> bytes:
    """Return the bytes of a message."""
    return _encode(message)


def of_forwarder(content: bytes) -> OfForwarder:
    """Return the message of a forwarder. Raises Improper."""
    return decoded(_of_forwarder, content)


def of_main(content: bytes) -> OfMain:
    """Return the message of a main. Raises Improper."""
    return decoded(_of_main, content)


def forward(number: int, write: Write) -> Forward:
    """Return a write as it is sent."""
    text = text_or_bytes(write.key)
    fields = (
        write.value,
        write.content_type,
        write.if_match,
        write.if_none_match,
        write.idempotency_key,
        write.lease,
    )
    return Forward(number, text, *fields) if isinstance(text, str) else ForwardBytes(number, text, *fields)


def write_of(forward: Forward) -> Write:
    """Return the write that was sent."""
    return Write(
        forward.key if isinstance(forward, ForwardBytes) else forward.key.encode(),
        forward.value,
        forward.content_type,
        forward.if_match,
        forward.if_none_match,
        forward.idempotency_key,
        forward.lease,
    )


def outcome(told: Told) -> Outcome:
    """Return what was told."""
    return Outcome(told.result, told.version, told.revision)


def decoded(decoder: msgspec.msgpack.Decoder[T], content: bytes) -> T:
    """Return what a message says. Raises Improper."""
    try:
        return decoder.decode(content)
    except UNREADABLE as error:
        raise Improper(str(error)) from None
