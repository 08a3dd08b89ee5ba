"""Requests for keys byte by byte: the direct way of plain ones and the ordinary one, on one connection."""

import asyncio
from pathlib import Path

import pytest

from tests.integration.cluster import Cluster, running
from tests.integration.waiting import PATIENCE_SECONDS, eventually
from tests.integration.wire import Reply, exchange, read_reply

pytestmark = pytest.mark.asyncio(loop_scope="module")

MIB = 1 << 20


def request(method: str, target: str, body: bytes = b"", *headers: str, version: str = "1.1") -> bytes:
    lines = [f"{method} {target} HTTP/{version}", "Host: x", *headers]
    if body or method == "PUT":
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


async def opened(base: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, _, port = base.removeprefix("http://").partition(":")
    return await asyncio.open_connection(host, int(port))


async def test_a_pipeline_is_answered_in_order(alone: Cluster) -> None:
    reader, writer = await opened(await alone.main_url())
    async with asyncio.timeout(PATIENCE_SECONDS):
        for number in range(20):
            one, other = f"one-{number}".encode(), f"other-{number}".encode()
            writer.write(
                request("PUT", "/v1/kv/pipe", one)
                + request("GET", "/v1/kv/pipe")
                + request("PUT", "/v1/kv/pipe", other, "X: a", "X: b")
                + request("GET", "/v1/kv/pipe?consistency=linearizable")
                + request("GET", "/v1/kv/pipe")
                + request("HEAD", "/v1/kv/pipe")
                + request("DELETE", "/v1/kv/pipe")
                + request("GET", "/v1/kv/pipe")
            )
            replies = [await read_reply(reader, bodiless=at == 5) for at in range(8)]
            assert [reply.status for reply in replies] == [201, 200, 204, 200, 200, 200, 204, 404]
            assert [reply.body for reply in replies[1:5]] == [one, b"", other, other]
    writer.close()


async def test_a_request_in_pieces(alone: Cluster) -> None:
    reader, writer = await opened(await alone.main_url())
    async with asyncio.timeout(PATIENCE_SECONDS):
        for whole in (request("PUT", "/v1/kv/pieces", b"0123456789"), request("GET", "/v1/kv/pieces")):
            for at in range(1, len(whole), 3):
                writer.write(whole)
                assert (await read_reply(reader)).status < 300
                writer.write(whole[:at])
                await asyncio.sleep(0.002)
                writer.write(whole[at:])
                reply = await read_reply(reader)
                assert reply.status < 300
                assert reply.body == (b"0123456789" if whole.startswith(b"GET") else b"")
    writer.close()


@pytest.mark.parametrize(
    ("version", "headers"), [("1.1", ["Connection: close"]), ("1.0", []), ("1.0", ["Connection: keep-alive"])]
)
async def test_a_connection_that_ends_with_its_answer(alone: Cluster, version: str, headers: list[str]) -> None:
    reader, writer = await opened(await alone.main_url())
    async with asyncio.timeout(PATIENCE_SECONDS):
        writer.write(
            request("PUT", "/v1/kv/last", b"x") + request("GET", "/v1/kv/last", b"", *headers, version=version)
        )
        assert (await read_reply(reader)).status in {201, 204}
        reply = await read_reply(reader)
        assert (reply.status, reply.body, reply.headers["connection"]) == (200, b"x", "close")
        assert await reader.read() == b""
    writer.close()


async def test_a_client_that_closes_its_side_is_answered(alone: Cluster) -> None:
    reply = await exchange(await alone.main_url(), request("PUT", "/v1/kv/half", b"x"), half_close=True)
    assert reply.status == 201
    reply = await exchange(await alone.main_url(), request("GET", "/v1/kv/half"), half_close=True)
    assert (reply.status, reply.body) == (200, b"x")


async def test_clients_that_go_away_disturb_nobody(alone: Cluster) -> None:
    base = await alone.main_url()
    for _ in range(50):
        _, writer = await opened(base)
        writer.write(request("PUT", "/v1/kv/gone", b"x") + request("GET", "/v1/kv/gone"))
        await writer.drain()
        writer.transport.abort()
    assert (await exchange(base, request("PUT", "/v1/kv/stays", b"x"))).status == 201
    assert (await alone.status(await alone.main()))["role"] == "main"


async def test_a_client_that_does_not_read_fills_no_memory(alone: Cluster) -> None:
    base = await alone.main_url()
    await alone.client.put("slow", bytes(4 * MIB))
    [worker] = alone.lab.status()["workers"]
    before = resident(worker["pid"])
    async with asyncio.timeout(PATIENCE_SECONDS):
        reader, writer = await opened(base)
        asks = 100
        for _ in range(asks):
            writer.write(request("GET", "/v1/kv/slow"))
            await asyncio.sleep(0.005)
        assert resident(worker["pid"]) - before < 64 * MIB  # a hundred answers have 400 MiB
        for _ in range(asks):
            reply = await read_reply(reader)
            assert (reply.status, len(reply.body)) == (200, 4 * MIB)
        writer.close()


def resident(pid: int) -> int:
    """Return the memory that a process takes, bytes."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmRSS:"))


async def test_a_main_that_is_stopped_under_load_loses_no_answer(tmp_path: Path) -> None:
    """Each request is answered whole, or its connection was closed before it was taken."""
    async with running(tmp_path, 2) as cluster:
        main = await cluster.main()
        base, replies, broken = cluster.url(main), list[Reply](), list[bytes]()

        async def client(number: int) -> None:
            reader, writer = await opened(base)
            for count in range(1_000_000):
                writer.write(request("PUT", f"/v1/kv/{number}", f"{count}".encode()))
                try:
                    reply = await read_reply(reader)
                except (asyncio.IncompleteReadError, ConnectionError) as end:
                    broken.append(getattr(end, "partial", b""))
                    break
                replies.append(reply)
                if reply.headers.get("connection") == "close":
                    assert await reader.read() == b""
                    break
            writer.close()

        clients = [asyncio.create_task(client(number)) for number in range(16)]

        async def busy() -> bool:
            return len(replies) > 100

        await eventually(busy)
        await cluster.lab.terminate(main)
        async with asyncio.timeout(PATIENCE_SECONDS):
            await asyncio.gather(*clients)
        assert set(broken) <= {b""}
        assert {reply.status for reply in replies} <= {201, 204, 307, 503}
        assert sum(reply.status < 300 for reply in replies) > 100
