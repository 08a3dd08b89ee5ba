"""The head of a response and its content in one write."""

import asyncio
from typing import Any

_CONTENT = (b"HTTP/1.1 200", b"HTTP/1.1 206")
"""How the head of a response with a value begins."""
_CHUNKED = b"transfer-encoding: chunked\r\n\r\n"


class Gathered:
    """A transport that writes the head of a response together with the content.

    uvicorn writes one after the other; each would be a call of the kernel and a packet. The head of a stream, whose
    first chunk may take its time, is written at once.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        """Write to ``transport``."""
        self._transport = transport
        self._head = b""
        self.is_closing = transport.is_closing

    def __getattr__(self, name: str) -> Any:
        """Everything else is the transport's own."""
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Write, or hold a head back until the content comes, or `flush`."""
        if self._head:
            data, self._head = self._head + data, b""
        elif data.startswith(_CONTENT) and not data.endswith(_CHUNKED):
            self._head = data
            return
        self._transport.write(data)

    def flush(self) -> None:
        """Write what is held back."""
        if self._head:
            self.write(b"")

    def close(self) -> None:
        """Write what is held back, and close."""
        self.flush()
        self._transport.close()
