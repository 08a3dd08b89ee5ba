"""gRPC by its own client in Python: statuses, deadlines, streams, and the port that speaks HTTP/1.1 too."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import pytest

from hanas_serving.grpc.framing import Deframer, framed
from hanas_serving.grpc.status import RpcError, StatusCode, trailers
from hanas_serving.http1 import Server
from hanas_serving.http2.dual import DualEndpoint
from hanas_serving.http2.engine import PREFACE, Code
from hanas_serving.server import bind
from tests.unit.serving.connections import application
from tests.unit.serving.http2_peers import ECHO, SLOW, STREAM, Backend, Client
from tests.unit.waiting import AMPLE_SECONDS, until


@asynccontextmanager
async def serving(backend: Backend, **options: Any) -> AsyncIterator[int]:
    bound = bind(0, "a test", "127.0.0.1")
    endpoint = DualEndpoint(backend.grpc, application, bound, **options)
    await endpoint.start()
    try:
        async with asyncio.timeout(AMPLE_SECONDS):
            yield bound.getsockname()[1]
    finally:
        await endpoint.stop()


@asynccontextmanager
async def connected(backend: Backend) -> AsyncIterator[Any]:
    async with serving(backend) as port, grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield channel


async def failure(call: Any) -> tuple[int, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code().value[0], caught.value.details() or ""


@pytest.fixture
def backend() -> Backend:
    return Backend()


async def test_unary_calls_large_and_small(backend: Backend) -> None:
    async with connected(backend) as channel:
        echo = channel.unary_unary(ECHO.decode())
        for size in (0, 1, 70_000, 1_500_000):
            assert await echo(bytes(size)) == bytes(size)
        assert await asyncio.gather(*(echo(b"%d" % number) for number in range(300))) == [
            b"%d" % number for number in range(300)
        ]


async def test_streams_go_both_ways(backend: Backend) -> None:
    async with connected(backend) as channel:
        call = channel.stream_stream(STREAM.decode())()
        for number in range(3):
            await call.write(b"%d" % number)
            assert await call.read() == b"%d" % number
        await call.done_writing()
        assert await call.read() == grpc.aio.EOF
        assert await call.code() is grpc.StatusCode.OK
        assert backend.sessions[0].log == ["ended", "gone"]


async def test_a_canceled_stream_ends_its_session(backend: Backend) -> None:
    async with connected(backend) as channel:
        call = channel.stream_stream(STREAM.decode())()
        await call.write(b"x")
        await call.read()
        call.cancel()
        await until(lambda: backend.sessions[0].log == ["gone"])


async def test_failures_have_their_codes_and_texts(backend: Backend, caplog: pytest.LogCaptureFixture) -> None:
    async with connected(backend) as channel:
        fail = channel.unary_unary("/t.Test/Fail")
        for text in ("no such thing", "ä ü 100 % \n", "", "x" * 300):
            assert await failure(fail(text.encode())) == (5, text)
        code, text = await failure(fail(b"by mistake"))
        assert (code, text) == (13, "this should not have happened; the log says more")
        assert "ZeroDivisionError" in caplog.text
        for path, told in {
            "/t.Test/Nothing": "unknown method Nothing for service t.Test",
            "/t.Other/Echo": "unknown service t.Other",
        }.items():
            assert await failure(channel.unary_unary(path)(b"")) == (12, told)


async def test_what_is_too_large_or_compressed_is_refused(backend: Backend) -> None:
    async with connected(backend) as channel:
        echo = channel.unary_unary(ECHO.decode())
        told = "grpc: received message larger than max (2097153 vs. 2097152)"
        assert await failure(echo(bytes((2 << 20) + 1))) == (8, told)
        told = 'grpc: Decompressor is not installed for grpc-encoding "gzip"'
        assert await failure(echo(bytes(1000), compression=grpc.Compression.Gzip)) == (12, told)
        assert await echo(b"and it goes on") == b"and it goes on"


async def test_a_deadline_ends_a_call(backend: Backend) -> None:
    client = Client(await in_memory(), backend.grpc)
    stream = client.call(SLOW, b"x", (b"grpc-timeout", b"10m"))
    watch = client.begin(STREAM, (b"grpc-timeout", b"10m"))
    await client.turn()

    await until(lambda: not client.server_side.responders or all(c.done for c, _ in backend.held))
    await until(lambda: backend.sessions[0].call.done)
    await client.turn()
    assert (client.answers[stream].status, client.answers[stream].text) == (4, b"context deadline exceeded")
    assert client.answers[watch].status == 4
    ((call, _),) = backend.held
    call.reply(b"too late")
    await client.turn()
    assert client.answers[stream].body == b""


async def in_memory() -> Server:
    return Server(application)


@pytest.mark.parametrize(
    ("timeout", "code"),
    [(b"1H", 0), (b"99999999H", 0), (b"5S", 0), (b"9999999n", 0), (b"1x", 13), (b"", 13), (b"123456789S", 13)],
)
async def test_timeouts_have_units(backend: Backend, timeout: bytes, code: int) -> None:
    client = Client(await in_memory(), backend.grpc)
    stream = client.call(ECHO, b"x", (b"grpc-timeout", timeout))
    await client.turn()
    assert client.answers[stream].status == code


@pytest.mark.parametrize(
    "body",
    [b"", b"\0\0\0\0", b"\0\0\0\0\5abc", framed(b"a") + framed(b"b"), b"\1\0\0\0\1a", framed(b"a") + b"\0"],
    ids=["nothing", "part of a head", "part of a message", "two", "compressed", "more than one"],
)
async def test_a_request_that_is_not_one_message_fails(backend: Backend, body: bytes) -> None:
    client = Client(await in_memory(), backend.grpc)
    stream = client.begin(ECHO)
    client.engine.send_data(stream, body, end_stream=True)
    await client.turn()
    assert client.answers[stream].status == 13
    assert client.answers[client.call(ECHO, b"x")].status is None
    await client.turn()
    assert not client.server_side.responders


async def test_who_takes_nothing_is_refused_further_calls(backend: Backend) -> None:
    client = Client(await in_memory(), backend.grpc)
    first = client.call(SLOW, b"")
    await client.turn()
    ((call, _),) = backend.held
    call.reply_in_parts([bytes(1 << 20)] * 65)
    second = client.call(ECHO, b"x")
    await client.turn()
    assert (client.answers[second].status, client.answers[second].text) == (8, b"too much is not taken")
    assert client.answers[first].status is None


def test_texts_are_percent_encoded() -> None:
    assert dict(trailers(StatusCode.INTERNAL, "100 % ä\n"))[b"grpc-message"] == b"100 %25 %C3%A4%0A"
    assert trailers(StatusCode.OK) == ((b"grpc-status", b"0"),)


def test_messages_are_cut_wherever_the_parts_end() -> None:
    messages = [b"", b"a", bytes(1000), b"b" * 7]
    stream = b"".join(map(framed, messages))
    for size in (1, 2, 5, 6, 999, len(stream)):
        deframer, found = Deframer(1000), list[bytes]()
        for at in range(0, len(stream), size):
            found += deframer.feed(stream[at : at + size])
        assert (found, deframer.size) == (messages, 0)
    with pytest.raises(RpcError, match="larger than max"):
        Deframer(999).feed(stream)


# ---------------------------------------------------------------------- one port


async def test_http1_is_answered_on_the_same_port(backend: Backend) -> None:
    async with serving(backend) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for begin in (b"G", b"ET /a?b=c HTTP/1.1\r\nHost: x\r\n\r\n"):
            writer.write(begin)
            await writer.drain()
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
        writer.close()


async def test_the_preface_may_come_in_parts(backend: Backend) -> None:
    async with serving(backend) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for at in range(len(PREFACE)):
            writer.write(PREFACE[at : at + 1])
            await writer.drain()
        writer.write(b"\0\0\0\4\0\0\0\0\0")
        settings = await reader.readexactly(9)
        assert settings[3] == 4
        writer.close()


async def test_other_requests_over_http2_are_answered_by_the_application(backend: Backend) -> None:
    client = Client(await in_memory(), backend.grpc)
    headers = [(b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/a?b=c"), (b":authority", b"x")]
    stream = client.engine.send_request(headers)
    for _ in range(10):
        client.engine.send_data(stream, b"body" * 5000)
        await client.turn()
    client.engine.send_data(stream, b"", end_stream=True)
    await client.turn(10)
    answer = client.answers[stream]
    client.take(stream, len(answer.body))
    while answer.closed is None:
        before = len(answer.body)
        await client.turn()
        client.take(stream, len(answer.body) - before)
    assert answer.headers[b":status"] == b"200"
    assert answer.body == b"POST /a " + b"body" * 50_000
    assert client.server_side.server.memory.used == 0


@pytest.mark.parametrize("path", [b"http://[/", b"/a b"])
async def test_a_path_that_is_none_is_refused(backend: Backend, path: bytes) -> None:
    client = Client(await in_memory(), backend.grpc)
    headers = [(b":method", b"GET"), (b":scheme", b"http"), (b":path", path), (b":authority", b"x")]
    stream = client.engine.send_request(headers, end_stream=True)
    await client.turn()
    answer = client.answers[stream]
    assert answer.headers.get(b":status") == b"400" or answer.closed == Code.PROTOCOL_ERROR
    assert not client.ended


async def test_the_endpoint_stops_in_order(backend: Backend, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    async with connected(backend) as channel:
        watch = channel.stream_stream(STREAM.decode())()
        await watch.write(b"x")
        await watch.read()
    assert not caplog.records
