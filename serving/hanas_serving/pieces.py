"""What a client sent, cut into the pieces that the parser sees one by one.

A piece ends where a head, a body, a chunk or a line of a chunked body ends. So the parser never runs ahead of the
request that is answered, and limits count what belongs to one request only. What a piece means is the parser's to say:
the cuts follow what it found.
"""

from hanas_serving.problems import Problem

_MOST_HEAD_BYTES = 65536
_HEAD_END = b"\r\n\r\n"
_TAIL = len(_HEAD_END) - 1
"""Bytes already seen that may be the begin of a head's end."""


class Pieces:
    """What was received and the parser may not have seen yet."""

    def __init__(self) -> None:
        """Hold nothing."""
        self.received, self.seen = b"", 0
        """The latest bytes, and how many of them the parser has seen."""
        self.head = 0
        """Bytes seen of a head, a line or trailers that have not ended."""
        self.chunked = False
        """A body in chunks has begun and not ended."""
        self._rest = 0
        """Bytes of a body, or of a chunk, that are still to come."""
        self._line = b""
        """What was seen of a chunked body's present line."""

    @property
    def waiting(self) -> bool:
        """Return whether there is something that the parser has not seen."""
        return self.seen < len(self.received)

    def add(self, data: bytes) -> None:
        """Take what came."""
        begin = max(0, self.seen - _TAIL)
        self.received = self.received[begin:] + data
        self.seen -= begin

    def clear(self) -> None:
        """Drop what was received."""
        self.received, self.seen = b"", 0

    def drop_seen(self) -> None:
        """Drop what was received if the parser has seen it and it is no begin of a head."""
        if not (self.head or self.waiting):
            self.clear()

    def next(self) -> bytes:
        """Return what the parser sees next. Raises Problem 431 if it is in a head, line or trailers without end."""
        received, begin = self.received, self.seen
        if self._rest:
            end = min(len(received), begin + self._rest)
            self._rest -= end - begin
        else:
            if self.chunked:
                end = received.find(b"\n", begin) + 1 or len(received)
                self._line = (b"" if self._line.endswith(b"\n") else self._line) + received[begin:end]
            else:
                at = received.find(_HEAD_END, max(0, begin - _TAIL))
                end = len(received) if at < 0 else at + len(_HEAD_END)
            self.head += end - begin
            if self.head > _MOST_HEAD_BYTES:
                raise Problem(431, f"request line and headers may have at most {_MOST_HEAD_BYTES} bytes")
        self.seen = end
        return received[begin:end]

    def head_ended(self, length: int, *, chunked: bool) -> None:
        """Go on with a body of this length, or in chunks."""
        self.head, self._rest, self.chunked = 0, length, chunked

    def chunk_began(self) -> None:
        """Go on with a chunk: the parser has found its line to be right."""
        self.head, self._rest = 0, int(self._line.partition(b";")[0], 16)

    def message_ended(self) -> None:
        """Go on with the next request's head."""
        self.head, self.chunked, self._line = 0, False, b""
