"""Messages in a stream of bytes: each has a flag for compression and its length in front."""

import struct

from hanas_serving.grpc.status import RpcError, StatusCode

_HEAD = struct.Struct(">BI")
_HEAD_BYTES = _HEAD.size


def framed(message: bytes) -> bytes:
    """Return a message as it goes over the wire."""
    return _HEAD.pack(0, len(message)) + message


def head(size: int) -> bytes:
    """Return what goes in front of a message of ``size`` bytes, which is sent in parts."""
    return _HEAD.pack(0, size)


class Deframer:
    """Cuts messages out of what comes."""

    __slots__ = "_most", "_rest"

    def __init__(self, most: int) -> None:
        """Take messages of up to ``most`` bytes."""
        self._most = most
        self._rest = bytearray()

    @property
    def size(self) -> int:
        """What is held of a message that is not complete, bytes."""
        return len(self._rest)

    def whole(self, data: bytes) -> bytes | None:
        """Return the message if ``data`` is exactly one, and nothing came before; else None, and nothing is done."""
        if self._rest or len(data) < _HEAD_BYTES:
            return None
        compressed, size = _HEAD.unpack_from(data)
        if compressed or size != len(data) - _HEAD_BYTES or size > self._most:
            return None
        return data[_HEAD_BYTES:]

    def feed(self, data: bytes) -> list[bytes]:
        """Return the messages that are complete with ``data``. Raises RpcError."""
        rest, messages, at = self._rest, [], 0
        rest += data
        while len(rest) - at >= _HEAD_BYTES:
            compressed, size = _HEAD.unpack_from(rest, at)
            if compressed:
                raise RpcError(StatusCode.INTERNAL, "grpc: compressed flag set with identity or empty encoding")
            if size > self._most:
                text = f"grpc: received message larger than max ({size} vs. {self._most})"
                raise RpcError(StatusCode.RESOURCE_EXHAUSTED, text)
            end = at + _HEAD_BYTES + size
            if end > len(rest):
                break
            messages.append(bytes(memoryview(rest)[at + _HEAD_BYTES : end]))
            at = end
        del rest[:at]
        return messages
