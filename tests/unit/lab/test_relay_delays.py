"""A relay that delays: every message comes, each a little later."""

import asyncio
import socket
import time

from hanas_lab.relay import Relay

JITTER_SECONDS = 0.2


async def asked(relay: Relay) -> float:
    """Send a request through the relay; return the seconds until its answer."""
    began = time.monotonic()
    reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
    writer.write(b"POST / HTTP/1.1\r\nHANas-Member: a\r\n\r\n")
    assert await reader.readexactly(2) == b"ok"
    writer.close()
    return time.monotonic() - began


async def test_each_message_is_delayed_by_another_time() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"ok")
        await writer.drain()
        await reader.read()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    relay = Relay(server.sockets[0].getsockname()[1], listen=lambda: socket.create_server(("127.0.0.1", 0)))
    await relay.start()
    try:
        assert relay.url == f"http://127.0.0.1:{relay.port}"
        relay.jitter = JITTER_SECONDS
        took = await asyncio.gather(*(asked(relay) for _ in range(20)))
        assert max(took) - min(took) > JITTER_SECONDS / 4
    finally:
        await relay.close()
        server.close()
