"""A line: a connection between two processes that carries messages both ways, each of which proves who sent it.

It begins as a request, and goes on as a line behind its answer (docs/protocol.md, section 6.9):

    length of the message u32, little-endian | proof, 16 bytes | message

The proof is a keyed BLAKE2b over the number of the message and the message. Both directions have keys of their own,
from what both know and from a nonce of each: so nothing that was recorded, changed, repeated or left out is taken.
"""

import asyncio
import hashlib
import hmac
import struct
from typing import NamedTuple, Protocol

MOST_MESSAGE_BYTES = 80 << 20
"""The largest value, and what goes with it."""
_MOST_UNSENT_BYTES = 96 << 20
"""So much may wait for a peer that does not read: then the line ends."""
_PROOF_BYTES = 16
_HEAD = struct.Struct(f"<I{_PROOF_BYTES}s")
_NUMBER = struct.Struct("<Q")


class Line(Protocol):
    """One side of a line."""

    def send(self, message: bytes) -> None:
        """Send a message, unless the line has ended."""

    def close(self) -> None:
        """End the line; what was sent may still arrive."""


class Receiver(Protocol):
    """Who gets what comes over a line."""

    def opened(self, line: Line) -> None:
        """Begin: messages can be sent."""

    def take(self, message: bytes) -> None:
        """Take the next message. Raises Improper; then the line ends."""

    def closed(self) -> None:
        """The line has ended: nothing more comes, and nothing is sent. Called once, if `opened` was."""


class Improper(Exception):
    """A message that nobody sends who keeps the protocol."""


class Keys(NamedTuple):
    """What the messages of one line prove."""

    sending: bytes
    receiving: bytes

    @classmethod
    def derive(cls, secret: bytes, nonces: tuple[str, str], *, caller: bool) -> "Keys":
        """Return the keys of one side. ``nonces``: that of the caller, and that of the one who answered."""
        ways = (hmac.digest(secret, f"{way} {nonces[0]} {nonces[1]}".encode(), "sha256") for way in ("call", "answer"))
        outward, back = ways
        return cls(outward, back) if caller else cls(back, outward)


class Wire(asyncio.Protocol):
    """A line on a connection. It belongs to the event loop."""

    _transport: asyncio.Transport

    def __init__(self, receiver: Receiver, keys: Keys) -> None:
        """Prepare for the connection."""
        self._receiver = receiver
        self._keys = keys
        self._received = bytearray()
        self._digest = _digest(keys.receiving, 0)
        self._digested = 0
        """Bytes of the message that is coming; all at once, those of a large one would hold up the event loop."""
        self._sent = self._taken = 0
        """Messages so far."""
        self.ended = asyncio.Event()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # asyncio's own signature
        """Begin."""
        self._transport = transport
        self._receiver.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        del exc
        self._end()

    def data_received(self, data: bytes) -> None:
        """Hand over each message that is complete."""
        received = self._received
        received += data
        begin = 0
        while not self.ended.is_set() and len(received) - begin >= _HEAD.size:
            length, proof = _HEAD.unpack_from(received, begin)
            if length > MOST_MESSAGE_BYTES:
                self.close()
                return
            body = begin + _HEAD.size
            end = body + length
            arrived = min(len(received), end)
            with memoryview(received) as view:
                self._digest.update(view[body + self._digested : arrived])
                self._digested = arrived - body
                if arrived < end:
                    break
                message = bytes(view[body:end])
            begin = end
            if not hmac.compare_digest(proof, self._digest.digest()):
                self.close()
                return
            self._taken += 1
            self._digest, self._digested = _digest(self._keys.receiving, self._taken), 0
            try:
                self._receiver.take(message)
            except Improper:
                self.close()
                return
        if begin:
            del received[:begin]

    def send(self, message: bytes) -> None:
        """Send a message, unless the line has ended."""
        if self.ended.is_set():
            return
        proof = _proof(self._keys.sending, self._sent, message)
        self._sent += 1
        self._transport.writelines((_HEAD.pack(len(message), proof), message))
        if self._transport.get_write_buffer_size() > _MOST_UNSENT_BYTES:
            self._transport.abort()

    def close(self) -> None:
        """End the line."""
        if not self.ended.is_set():
            self._transport.close()
            self._end()

    def _end(self) -> None:
        if not self.ended.is_set():
            self.ended.set()
            self._received.clear()
            self._receiver.closed()


def _digest(key: bytes, number: int) -> "hashlib.blake2b":
    """Return what makes the proof of a message with this number."""
    return hashlib.blake2b(_NUMBER.pack(number), key=key, digest_size=_PROOF_BYTES)


def _proof(key: bytes, number: int, message: bytes) -> bytes:
    digest = _digest(key, number)
    digest.update(message)
    return digest.digest()


def pair(one: Receiver, other: Receiver) -> None:
    """Connect two receivers of this process. What is sent arrives in the next turn of the event loop."""
    here, there = _Inner(other), _Inner(one)
    here.other, there.other = there, here
    one.opened(here)
    other.opened(there)


class _Inner:
    """One side of a line within a process."""

    other: "_Inner"

    def __init__(self, peer: Receiver) -> None:
        self._peer = peer
        """Who gets what is sent from this side."""
        self._loop = asyncio.get_running_loop()
        self.ended = False

    def send(self, message: bytes) -> None:
        if not self.ended:
            self._loop.call_soon(self._deliver, message)

    def _deliver(self, message: bytes) -> None:
        if self.ended:
            return
        try:
            self._peer.take(message)
        except Improper:
            self.close()

    def close(self) -> None:
        if not self.ended:
            self.ended = self.other.ended = True
            self._peer.closed()
            self.other._peer.closed()
