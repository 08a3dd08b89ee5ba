"""Requests that offer another protocol, and heads that do not end, as they come over a connection."""

import asyncio
from collections.abc import AsyncIterator

import msgspec
import pytest
from starlette.types import Receive, Scope, Send

from hanas_lab import ports
from hanas_serving.server import HttpEndpoint, bind
from hanas_serving.upgrades import without_offer
from tests.unit.waiting import AMPLE_SECONDS

OFFER = b"PUT /a?b HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: %b\r\nHTTP2-Settings: AA\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\n"
_taken: set[int] = set()


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer what was asked, as the application saw it."""
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body", False):
            break
    seen = b"%b %b?%b %b\n" % (scope["method"].encode(), scope["raw_path"], scope["query_string"], body)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(seen))]})
    await send({"type": "http.response.body", "body": seen})


@pytest.fixture
async def port() -> AsyncIterator[int]:
    chosen = ports.choose(_taken)
    endpoint = HttpEndpoint(echo, bind(chosen, "PORT"))
    await endpoint.start()
    yield chosen
    await endpoint.stop()


async def exchange(port: int, *pieces: bytes) -> bytes:
    """Send pieces, each after a pause in which it is read, close one's own side, and return all that is answered."""
    async with asyncio.timeout(AMPLE_SECONDS):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0.05)
            writer.write_eof()
            return await reader.read()
        finally:
            writer.transport.abort()


def refusal(answer: bytes) -> tuple[int, str]:
    """The problem in an answer that ends the connection."""
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"content-type: application/problem+json" in head
    assert b"connection: close" in head
    problem = msgspec.json.decode(body)
    return problem["status"], problem["detail"]


@pytest.mark.parametrize("protocol", [b"h2c", b"websocket", b"other"])
@pytest.mark.parametrize("apart", [False, True], ids=["together", "apart"])
async def test_who_offers_another_protocol_is_answered_in_this_one(port: int, protocol: bytes, apart: bool) -> None:
    """With the body, which would be lost if it were taken for the other protocol; and so are the next requests."""
    head, following = OFFER % protocol + b"Content-Length: 5\r\n\r\n", b"GET /next HTTP/1.1\r\nHost: x\r\n\r\n"
    pieces = [head, b"va", b"lue" + following] if apart else [head + b"value" + following]
    answer = await exchange(port, *pieces)
    assert answer.count(ANSWER) == 2
    assert b"PUT /a?b value\n" in answer
    assert answer.endswith(b"GET /next? \n")


async def test_an_offer_with_a_body_in_chunks(port: int) -> None:
    head = OFFER % b"h2c" + b"Transfer-Encoding: chunked\r\n\r\n"
    assert b"PUT /a?b value\n" in await exchange(port, head, b"2\r\nva\r\n3\r\nlue\r\n0\r\n\r\n")


async def test_many_offers_at_once(port: int) -> None:
    request = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
    assert (await exchange(port, request * 1500)).count(ANSWER) == 1500


@pytest.mark.parametrize("target", [b"/v1/kv/key", b"host:80"])
async def test_this_is_no_proxy(port: int, target: bytes) -> None:
    answer = await exchange(port, b"CONNECT %b HTTP/1.1\r\nHost: x\r\n\r\n" % target)
    assert refusal(answer)[0] == 400


@pytest.mark.parametrize(
    ("begin", "status", "detail"),
    [
        (b"GET / HTTP/1.1\r\nX: ", 431, "request line and headers may have at most 65536 bytes"),
        (b"GET /", 414, "path and query may have at most 8192 bytes"),
        (b"GET /v1/kv/", 414, "path and query may have at most 8192 bytes"),
        (b"GET /v1/kv/a?prefix=", 414, "path and query may have at most 8192 bytes"),
    ],
)
async def test_a_head_that_does_not_end_is_refused(port: int, begin: bytes, status: int, detail: str) -> None:
    answer = await exchange(port, begin, *[b"a" * 30_000] * 3)
    assert refusal(answer) == (status, detail)


@pytest.mark.parametrize(("size", "status"), [(8192, b"200"), (8193, b"414")])
async def test_the_longest_target(port: int, size: int, status: bytes) -> None:
    """Whether the headers were seen before or not."""
    for _ in range(2):
        answer = await exchange(port, b"GET /v1/kv/%b HTTP/1.1\r\nHost: x\r\n\r\n" % (b"a" * (size - 7)))
        assert answer.startswith(b"HTTP/1.1 " + status)


async def test_long_bodies_are_no_heads(port: int) -> None:
    request = b"PUT /a HTTP/1.1\r\nHost: x\r\nContent-Length: 200000\r\n\r\n" + b"v" * 200_000
    answer = await exchange(port, request + request[:-50_000], request[-50_000:] + b"GET / HT", b"TP/1.1\r\n\r\n")
    assert answer.count(ANSWER) == 3


def test_only_the_offer_is_left_out() -> None:
    headers = [(b"host", b"x"), (b"upgrade", b"h2c"), (b"upgrade", b"websocket"), (b"x", b"\xff")]
    assert without_offer(b"GET", b"/a", "1.0", headers) == b"GET /a HTTP/1.0\r\nhost: x\r\nx: \xff\r\n\r\n"
