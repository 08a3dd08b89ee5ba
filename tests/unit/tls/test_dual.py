"""HTTP/2 and HTTP/1.1 over TLS on one port: the client chooses (ALPN), and shows a certificate where it must."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import ngh2
import pytest
from ngh2.events import TrailersReceived

from hanas_serving.grpc.framing import framed
from hanas_serving.http2.dual import DualEndpoint
from hanas_serving.server import bind
from hanas_serving.tls import Tls
from tests.unit.serving.connections import application
from tests.unit.serving.http2_peers import ECHO, Backend, call_headers
from tests.unit.tls.pki import Authority
from tests.unit.tls.talking import asked, connected
from tests.unit.waiting import AMPLE_SECONDS


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("pki"))


@asynccontextmanager
async def listening(tls: Tls) -> AsyncIterator[int]:
    bound = bind(0, "a test")
    endpoint = DualEndpoint(Backend().grpc, application, bound, tls=tls.dual)
    await endpoint.start()
    try:
        async with asyncio.timeout(AMPLE_SECONDS):
            yield bound.getsockname()[1]
    finally:
        await endpoint.stop()


async def test_the_client_chooses_the_protocol(authority: Authority) -> None:
    async with listening(Tls(authority.files())) as port:
        context = authority.context()
        context.set_alpn_protocols(["h2", "http/1.1"])
        async with connected(port, context) as (reader, writer):
            assert writer.get_extra_info("ssl_object").selected_alpn_protocol() == "h2"
            assert await echoed(reader, writer)
        context.set_alpn_protocols(["http/1.1"])
        assert await asked(port, context) == b"GET /v1/kv/key "
        assert await asked(port, authority.context()) == b"GET /v1/kv/key "


async def echoed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    """Make a large call; return whether it was answered."""
    client = ngh2.Connection(ngh2.Role.CLIENT)
    client.initiate_connection()
    stream = client.send_request(call_headers(ECHO))
    client.send_data(stream, framed(bytes(500_000)), end_stream=True)
    while True:
        writer.write(client.data_to_send())
        await writer.drain()
        client.receive_data(await reader.read(1 << 16))
        for event in client.events():
            if isinstance(event, TrailersReceived):
                return dict(event.headers)[b"grpc-status"] == b"0"


async def test_a_certificate_is_needed_where_an_authority_is_named(authority: Authority, tmp_path: Path) -> None:
    del tmp_path
    async with listening(Tls(authority.files(certified=True))) as port:
        with pytest.raises((ssl.SSLError, ConnectionError, asyncio.IncompleteReadError)):
            await asked(port, authority.context())
