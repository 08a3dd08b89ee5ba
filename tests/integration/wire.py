"""HTTP byte by byte, for requests that no client library would send."""

import asyncio
import ssl
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import msgspec

from tests.integration.waiting import PATIENCE_SECONDS


class Reply(NamedTuple):
    """An answer; the names in `headers` are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def problem(self) -> dict[str, Any]:
        """The error document."""
        assert self.headers["content-type"] == "application/problem+json", self
        document: dict[str, Any] = msgspec.json.decode(self.body)
        assert document["status"] == self.status
        return document


async def exchange(
    base: str, request: bytes, *, half_close: bool = False, trust: ssl.SSLContext | None = None
) -> Reply:
    """Send bytes to the server at `base`, close one's own side if wanted, and read one answer."""
    address = urlsplit(base)
    secure = trust if address.scheme == "https" else None
    async with asyncio.timeout(PATIENCE_SECONDS):
        reader, writer = await asyncio.open_connection(address.hostname, address.port, ssl=secure)
        try:
            writer.write(request)
            await writer.drain()
            if half_close:
                writer.write_eof()
            return await read_reply(reader, bodiless=request.startswith(b"HEAD"))
        finally:
            writer.transport.abort()


async def read_reply(reader: asyncio.StreamReader, *, bodiless: bool = False) -> Reply:
    """Read one answer; `bodiless`: to a HEAD."""
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").strip().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    length = 0 if bodiless else int(headers.get("content-length", "0"))
    return Reply(int(first.split(" ")[1]), headers, await reader.readexactly(length))
