"""Values on the wire: any bytes up to 8 MiB with their media type, whole, in parts, or not at all."""

import asyncio
import os
from collections.abc import AsyncIterator

import pytest

from tests.integration.cluster import Cluster
from tests.integration.waiting import within
from tests.integration.wire import exchange

pytestmark = pytest.mark.asyncio(loop_scope="module")

MOST = 8 << 20


async def test_created_replaced_read_deleted(alone: Cluster) -> None:
    url = await alone.main_kv("life")
    created = await alone.http.put(url, content=b"one", headers={"Content-Type": "text/plain; charset=utf-8"})
    assert (created.status_code, created.content) == (201, b"")
    replaced = await alone.http.put(url, content=b"two!", headers={"Content-Type": "text/markdown"})
    assert (replaced.status_code, replaced.content) == (204, b"")
    assert created.headers["etag"] != replaced.headers["etag"]
    read = await alone.http.get(url)
    assert (read.status_code, read.content, read.headers["etag"]) == (200, b"two!", replaced.headers["etag"])
    assert (read.headers["content-type"], read.headers["content-length"]) == ("text/markdown", "4")
    assert read.headers["accept-ranges"] == "bytes"
    deleted = await alone.http.delete(url)
    assert (deleted.status_code, deleted.content) == (204, b"")
    gone = [await alone.http.get(url), await alone.http.delete(url), await alone.http.head(url)]
    assert [answer.status_code for answer in gone] == [404, 404, 404]
    assert gone[0].json() == {
        "type": "about:blank",
        "title": "Not Found",
        "status": 404,
        "detail": "there is no such key",
    }
    for answer in (created, replaced, read, deleted, *gone):
        assert answer.headers["hanas-epoch"] == "1"


async def test_head_is_a_get_without_the_value(alone: Cluster) -> None:
    url = await alone.main_kv("head")
    await alone.http.put(url, content=b"12345", headers={"Content-Type": "text/plain"})
    got, head = await alone.http.get(url), await alone.http.head(url)
    assert (head.status_code, head.content, dict(head.headers)) == (200, b"", dict(got.headers))
    # Ranges are a matter of GET (RFC 9110, section 14.2).
    assert (await alone.http.head(url, headers={"Range": "bytes=0-1"})).status_code == 200


async def test_the_media_type_is_kept(alone: Cluster) -> None:
    url = await alone.main_kv("type")
    await alone.http.put(url, content=b"x")
    assert (await alone.http.get(url)).headers["content-type"] == "application/octet-stream"
    for bad in (b"\x01", b"\xe4", 257 * b"x", b""):
        answer = await alone.http.put(url, content=b"y", headers={b"Content-Type": bad})
        assert answer.status_code == 400
        assert answer.json()["detail"]
    assert (await alone.http.get(url)).content == b"x"


async def test_an_empty_value_is_a_value(alone: Cluster) -> None:
    url = await alone.main_kv("empty")
    assert (await alone.http.put(url, content=b"")).status_code == 201
    read = await alone.http.get(url)
    assert (read.status_code, read.content, read.headers["content-length"]) == (200, b"", "0")
    ranged = await alone.http.get(url, headers={"Range": "bytes=0-0"})
    assert (ranged.status_code, ranged.headers["content-range"]) == (416, "bytes */0")


async def test_any_bytes(alone: Cluster) -> None:
    value = bytes(range(256)) * 17 + b"\r\n\r\n0\r\n\r\n"
    await alone.client.put("bytes", value)
    assert (await alone.client.get("bytes")).value == value


async def chunks(size: int) -> AsyncIterator[bytes]:
    piece = bytes(256 << 10)
    while size > 0:
        yield piece[:size]
        size -= len(piece)


async def test_the_largest_value(alone: Cluster) -> None:
    url, value = await alone.main_kv("large"), os.urandom(MOST)
    assert (await alone.http.put(url, content=value)).status_code == 201
    assert (await alone.http.get(url)).content == value
    assert (await alone.http.put(url, content=chunks(MOST))).status_code == 204
    assert (await alone.http.get(url)).content == bytes(MOST)
    part = await alone.http.get(url, headers={"Range": f"bytes={MOST - 3}-"})
    assert (part.status_code, part.content) == (206, bytes(3))
    await alone.http.delete(url)


@pytest.mark.parametrize("announced", [True, False], ids=["announced", "chunked"])
async def test_a_value_over_the_limit_is_refused(alone: Cluster, announced: bool) -> None:
    url = await alone.main_kv("too-large")
    # Several times: an answer that depends on who closes first would be lost now and then.
    for size in (MOST + 1, MOST + 1, 3 * MOST, MOST + 1):
        answer = await alone.http.put(url, content=bytes(size) if announced else chunks(size))
        assert answer.status_code == 413
        assert f"at most {MOST} are allowed (HANAS_VALUE_BYTES)" in answer.json()["detail"]
    assert (await alone.http.get(url)).status_code == 404


async def test_a_value_over_the_limit_is_refused_before_it_is_sent(alone: Cluster) -> None:
    request = f"PUT /v1/kv/far-too-large HTTP/1.1\r\nHost: x\r\nContent-Length: {1 << 40}\r\n\r\n".encode()
    reply = await exchange(await alone.main_url(), request)
    assert reply.status == 413
    assert reply.problem["title"]


async def test_a_chunked_value_whose_end_never_comes(alone: Cluster) -> None:
    head = b"PUT /v1/kv/unfinished HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
    reply = await exchange(await alone.main_url(), head, half_close=True)
    assert reply.status == 400
    assert "the body is shorter than announced" in reply.problem["detail"]
    assert (await alone.http.get(await alone.main_kv("unfinished"))).status_code == 404


async def test_a_value_that_is_shorter_than_announced(alone: Cluster) -> None:
    head = b"PUT /v1/kv/short HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n"
    reply = await exchange(await alone.main_url(), head + b"0123456789", half_close=True)
    assert reply.status == 400
    assert "the body is shorter than announced; nothing was done" in reply.problem["detail"]
    assert (await alone.http.get(await alone.main_kv("short"))).status_code == 404


async def test_a_client_that_goes_away_in_the_middle_leaves_nothing(alone: Cluster) -> None:
    address = (await alone.main_url()).removeprefix("http://").split(":")
    _, writer = await asyncio.open_connection(*address)
    writer.write(b"PUT /v1/kv/gone HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n0123456789")
    await writer.drain()
    writer.transport.abort()
    await within(5, writer.wait_closed())
    assert (await alone.client.put("still-here", b"yes")).created
    assert (await alone.http.get(await alone.main_kv("gone"))).status_code == 404


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        ("bytes=0-0", (0, 1)),
        ("bytes=2-5", (2, 6)),
        ("bytes=7-", (7, 10)),
        ("bytes=-3", (7, 10)),
        ("bytes=-100", (0, 10)),
        ("bytes=0-99999999999999999999", (0, 10)),
        ("BYTES=1-2", (1, 3)),
        ("bytes= 1 - 2", (1, 3)),
    ],
)
async def test_a_part_of_a_value(alone: Cluster, asked: str, answer: tuple[int, int]) -> None:
    url, value = await alone.main_kv("part"), b"0123456789"
    await alone.http.put(url, content=value)
    part = await alone.http.get(url, headers={"Range": asked})
    first, end = answer
    assert (part.status_code, part.content) == (206, value[first:end])
    assert part.headers["content-range"] == f"bytes {first}-{end - 1}/10"
    assert part.headers["content-length"] == str(end - first)


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        ("bytes=10-", 416),
        ("bytes=99-100", 416),
        ("bytes=-0", 416),
        ("bytes=5-2", 200),
        ("bytes=a-b", 200),
        ("bytes=-", 200),
        ("bytes=", 200),
        ("bytes", 200),
        ("lines=1-2", 200),
        ("bytes=0x1-2", 200),
        ("bytes=0-" + 5000 * "9", 206),
        (f"bytes={5000 * '9'}-", 416),
        ("bytes=-" + 5000 * "9", 206),
        ("bytes=0-1,4-5", 200),
    ],
    ids=lambda value: str(value)[:24],
)
async def test_other_parts(alone: Cluster, asked: str, status: int) -> None:
    url = await alone.main_kv("part")
    await alone.http.put(url, content=b"0123456789")
    answer = await alone.http.get(url, headers={"Range": asked})
    assert answer.status_code == status
    if status >= 400:
        assert answer.json()["detail"]
    if status == 416:
        assert answer.headers["content-range"] == "bytes */10"
    if status in {200, 206}:
        assert answer.content == b"0123456789"


async def test_a_part_of_the_version_that_one_knows(alone: Cluster) -> None:
    """RFC 9110, section 13.1.5: `If-Range` asks for the part of that version or else for the whole."""
    url = await alone.main_kv("if-range")
    old = (await alone.http.put(url, content=b"old")).headers["etag"]
    new = (await alone.http.put(url, content=b"new value")).headers["etag"]
    asked = {"Range": "bytes=0-2"}
    assert (await alone.http.get(url, headers={**asked, "If-Range": new})).content == b"new"
    for other in (old, f"W/{new}", "Thu, 01 Jan 2026 00:00:00 GMT"):
        whole = await alone.http.get(url, headers={**asked, "If-Range": other})
        assert (whole.status_code, whole.content) == (200, b"new value")


async def test_a_client_that_closes_its_side_after_a_whole_request_gets_its_answer(alone: Cluster) -> None:
    head = b"PUT /v1/kv/half-closed HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nhello"
    reply = await exchange(await alone.main_url(), head, half_close=True)
    assert reply.status == 201
