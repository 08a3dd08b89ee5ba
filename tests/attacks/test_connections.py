"""Clients that open more connections than a process may have files, and leave them so."""

import asyncio
import re
from pathlib import Path

import pytest

from tests.attacks.crowd import GET, Wire, closing, connect, crowd, hosts, patient, polite
from tests.integration.cluster import Cluster, running
from tests.integration.waiting import busy, eventually

_DESCRIPTORS = 1024
_SECONDS = 6.0
"""Of attack: a takeover would come within one."""
LIFELINE = b"GET /v1/lifeline HTTP/1.1\r\nHost: x\r\n\r\n"
_EXHAUSTED = "ConnectionsExhausted"


async def _alert(cluster: Cluster, about: str) -> bool:
    return await cluster.alert(_EXHAUSTED, about) is not None


@pytest.mark.parametrize("request_", [GET, b"", b"GET /v1/kv/a HT"], ids=["kept alive", "silent", "half a head"])
async def test_more_connections_than_files(tmp_path: Path, request_: bytes) -> None:
    """Neither the folder nor the link notices, a polite client is served, and a person is told."""
    names = ("worker-1", "worker-2", "overseer")
    async with running(tmp_path, 2, hosts(_DESCRIPTORS, *names), **patient()) as cluster:
        main = await cluster.settle()
        epoch = await cluster.epoch()
        await cluster.http.put(cluster.kv(main, "a"), content=b"x")
        async with polite(cluster, main) as client:
            wires = await crowd(cluster.url(main), 1200, request_)
            await eventually(lambda: _alert(cluster, main))
            for name in cluster.names:
                wires += await crowd(cluster.url(name), 1100, request_)
            with closing(wires):
                await asyncio.sleep(_SECONDS)
                assert await cluster.epoch() == epoch
        assert client.failures == []
        assert len(client.seconds) > 50
        assert client.typical_seconds < 0.5 * busy()
        metrics = (await cluster.http.get(cluster.url(main, "/metrics"))).text
        [limit] = re.findall(r'hanas_connections_limit{port="clients"} (\d+)', metrics)
        assert 500 < int(limit) < _DESCRIPTORS
        assert re.search(r'hanas_connections_displaced_total{port="clients"} [1-9]', metrics)


async def test_the_overseer_with_more_connections_than_files(tmp_path: Path) -> None:
    """It still decides: a main that dies meanwhile is replaced in time."""
    async with running(tmp_path, 2, hosts(_DESCRIPTORS, "overseer"), **patient()) as cluster:
        main = await cluster.settle()
        wires = await crowd(cluster.lab.overseer_url, 1200)
        with closing(wires):
            await eventually(lambda: _alert(cluster, "overseer"))
            await cluster.lab.kill(main)

            async def replaced() -> bool:
                now = (await cluster.client.cluster()).main
                return now is not None and now.member != main and now.state == "serving"

            await eventually(replaced)
            takeover = await cluster.latest_takeover()
            assert takeover.durations is not None
            assert takeover.durations.total < 1.0 * busy()


@pytest.mark.parametrize(
    "request_", [b"", b"GET /v1/lifeline HTTP/1.1\r\nHost: x\r\n\r\n"], ids=["silent", "lifelines"]
)
async def test_strangers_at_the_link_port(tmp_path: Path, request_: bytes) -> None:
    """Keep-alives come through, and clients are served."""
    async with running(tmp_path, 2, hosts(_DESCRIPTORS, "worker-1", "worker-2"), **patient()) as cluster:
        main = await cluster.settle()
        epoch = await cluster.epoch()
        async with polite(cluster, main) as client:
            wires = []
            for worker in cluster.lab.status()["workers"]:
                wires += await crowd(f"http://127.0.0.1:{worker['linkPort']}", 1100, request_)
            with closing(wires):
                for _ in range(20):
                    await asyncio.sleep(_SECONDS / 20)
                    for name in cluster.names:
                        assert (await cluster.status(name))["verdict"] == "Healthy"
                assert await cluster.epoch() == epoch
        assert client.failures == []


async def test_who_finds_no_room_is_told_at_once(tmp_path: Path) -> None:
    """All connections wait for the main, which is busy: 503, and an answer that is not lost."""
    async with running(tmp_path, 1, HANAS_CONNECTIONS="20") as cluster:
        main = await cluster.main()
        head = b"PUT /v1/kv/a HTTP/1.1\r\nHost: x\r\nContent-Length: 8000000\r\n"
        wires: list[Wire] = []
        with closing(wires):
            for _ in range(20):  # one after the other: one whose head was not read yet would leave for the next one
                wires += await crowd(cluster.url(main), 1, head + b"Expect: 100-continue\r\n\r\n")
                assert await wires[-1][0].readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            reader, writer = await connect(cluster.url(main))
            writer.write(head + b"\r\n" + bytes(1 << 20))
            answer = await reader.read()
            writer.close()
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"\r\nretry-after: 1\r\n" in answer
        assert b"\r\nconnection: close\r\n" in answer
