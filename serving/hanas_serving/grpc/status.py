"""How calls end: codes, texts, and how they go over the wire."""

from enum import IntEnum

from hanas_serving.http2.engine import Header


class StatusCode(IntEnum):
    """Those of gRPC."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


class RpcError(Exception):
    """A call that fails; ``text`` is shown to the client."""

    def __init__(self, code: StatusCode, text: str) -> None:
        super().__init__(text)
        self.code, self.text = code, text


_OK: tuple[Header, ...] = ((b"grpc-status", b"0"),)


def trailers(code: StatusCode, text: str = "") -> tuple[Header, ...]:
    """Return what ends a call."""
    if code is StatusCode.OK:
        return _OK
    return (b"grpc-status", b"%d" % code), (b"grpc-message", _escaped(text))


def _escaped(text: str) -> bytes:
    """Return ``text`` with all but visible ASCII characters and blanks percent-encoded, and ``%`` too."""
    encoded = text.encode("utf-8", "replace")
    if encoded.isascii() and text.isprintable() and b"%" not in encoded:
        return encoded
    return b"".join(b"%c" % byte if 0x20 <= byte <= 0x7E and byte != 0x25 else b"%%%02X" % byte for byte in encoded)
