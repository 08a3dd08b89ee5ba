"""Processes that are asked to stop while clients are in the middle of something."""

import asyncio
from pathlib import Path

import pytest

from tests.integration.cluster import running
from tests.integration.waiting import PATIENCE_SECONDS
from tests.integration.wire import read_reply


@pytest.mark.parametrize("length", [10, 1_000_000], ids=["directly", "in pieces"])
async def test_a_write_that_is_under_way_when_the_main_is_stopped(tmp_path: Path, length: int) -> None:
    """Its client is told that nothing was done; and nothing was."""
    async with running(tmp_path, 1) as cluster:
        main = await cluster.main()
        host, _, port = cluster.url(main).removeprefix("http://").partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(f"PUT /v1/kv/slow HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\nabc".encode())
        await writer.drain()
        assert (await cluster.http.put(cluster.kv(main, "before"), content=b"x")).status_code == 201
        await cluster.lab.terminate(main)
        async with asyncio.timeout(PATIENCE_SECONDS):
            reply = await read_reply(reader)
        writer.close()
        assert (reply.status, reply.headers["retry-after"], reply.headers["connection"]) == (503, "1", "close")
        assert "nothing was done" in reply.problem["detail"]
        assert "hanas-outcome" not in reply.headers
        assert "Traceback" not in cluster.lab.log_of(main).read_text()
        await cluster.lab.start_worker(main)
        await cluster.main()
        assert (await cluster.http.get(cluster.kv(main, "slow"))).status_code == 404
        assert (await cluster.http.get(cluster.kv(main, "before"))).content == b"x"


async def test_a_call_that_is_under_way_when_the_overseer_is_stopped(tmp_path: Path) -> None:
    async with running(tmp_path, 1) as cluster:
        await cluster.main()
        host, _, port = cluster.lab.overseer_url.removeprefix("http://").partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        head = "POST /v1/claim HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\n{"
        writer.write(head.encode())
        await writer.drain()
        assert (await cluster.http.get(f"{cluster.lab.overseer_url}/healthz")).status_code == 200
        await cluster.lab.terminate("overseer")
        async with asyncio.timeout(PATIENCE_SECONDS):
            reply = await read_reply(reader)
        writer.close()
        assert (reply.status, reply.headers["retry-after"]) == (503, "1")
        assert "nothing was done" in reply.problem["detail"]
