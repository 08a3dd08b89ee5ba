"""An endpoint that speaks TLS, and its clients."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from hanas_serving.server import HttpEndpoint, bind
from hanas_serving.tls import Tls
from tests.unit.serving.connections import application
from tests.unit.tls.pki import HOST
from tests.unit.waiting import AMPLE_SECONDS

GET = b"GET /v1/kv/key HTTP/1.1\r\nHost: x\r\n\r\n"
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def listening(tls: Tls, *, strict: bool = False, app: Any = application, **options: Any) -> AsyncIterator[int]:
    bound = bind(0, "a test")
    endpoint = HttpEndpoint(app, bound, tls=tls.strict if strict else tls.open, **options)
    await endpoint.start()
    try:
        async with asyncio.timeout(AMPLE_SECONDS):
            yield bound.getsockname()[1]
    finally:
        await endpoint.stop()


@asynccontextmanager
async def connected(port: int, context: ssl.SSLContext | None, name: str = HOST) -> AsyncIterator[Streams]:
    hostname = None if context is None else name
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=hostname)
    try:
        yield reader, writer
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


async def answer_of(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    lengths = [line.split(b": ")[1] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")]
    return head, await reader.readexactly(int(lengths[0]) if lengths else 0)


async def asked(port: int, context: ssl.SSLContext, name: str = HOST) -> bytes:
    async with connected(port, context, name) as (reader, writer):
        writer.write(GET)
        return (await answer_of(reader))[1]
