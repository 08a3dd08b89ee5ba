"""Attackers on the link: they reach the link ports, see what goes over the network, and can read no folder."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from hanas_lab import relay
from tests.integration.cluster import Cluster, running
from tests.integration.waiting import eventually, within
from tests.integration.wire import exchange

SUCCESSION_SECONDS = 6.0
"""Ample for a takeover on a busy machine; it takes well under a second."""


@pytest.fixture
async def trio(tmp_path: Path) -> AsyncIterator[Cluster]:
    async with running(tmp_path, 3) as cluster:
        yield cluster


def link_ports(cluster: Cluster) -> dict[str, int]:
    return {worker["name"]: worker["linkPort"] for worker in cluster.lab.status()["workers"]}


@asynccontextmanager
async def again_and_again(strike: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    async def go_on() -> None:
        while True:
            await strike()
            await asyncio.sleep(0.02)

    task = asyncio.create_task(go_on())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def until_another_serves(cluster: Cluster, main: str) -> None:
    await cluster.lab.kill(main)

    async def succeeded() -> bool:
        statuses = [await cluster.status(name) for name in cluster.running()]
        return any(status["role"] == "main" for status in statuses)

    await within(SUCCESSION_SECONDS, eventually(succeeded))
    await cluster.client.put("after", b"x")


async def test_an_invented_commit_position_blocks_no_takeover(trio: Cluster) -> None:
    main = await trio.settle()
    await trio.client.put("before", b"x")
    status, epoch = await trio.status(main), await trio.epoch()
    folder_id = (await trio.client.cluster()).folder_id
    news = {"epoch": epoch, "state": "serving", "committed": [epoch, 1, 1 << 40]}
    forged = {"member": main, "incarnation": status["incarnation"], "folderId": folder_id, "logs": [news]}
    answers: set[int] = set()

    async def strike() -> None:
        for name, port in link_ports(trio).items():
            if name != main:
                with contextlib.suppress(httpx.TransportError):
                    answers.add(
                        (await trio.http.post(f"http://127.0.0.1:{port}/v1/keepalive", json=forged)).status_code
                    )

    async with again_and_again(strike):
        await eventually(_holds(lambda: bool(answers)))
        await until_another_serves(trio, main)
    assert answers == {401}
    assert (await trio.client.get("before")).value == b"x"


def _holds(condition: Callable[[], bool]) -> Callable[[], Awaitable[bool]]:
    async def told() -> bool:
        return condition()

    return told


async def test_repeated_keepalives_of_a_dead_main_do_not_hide_its_death(
    trio: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    main = await trio.settle()
    seen: dict[tuple[object, int], bytearray] = {}
    forward = relay._forward

    def tap(connection: relay._Connection, chunk: bytes, sink: asyncio.StreamWriter) -> None:
        port = sink.get_extra_info("peername")[1]
        seen.setdefault((connection, port), bytearray()).extend(chunk)
        forward(connection, chunk, sink)

    monkeypatch.setattr(relay, "_forward", tap)

    def recorded(port: int) -> list[bytes]:
        requests = [bytes(sent) for (_, target), sent in seen.items() if target == port]
        return [sent for sent in requests if sent.startswith(b"POST /v1/keepalive") and sent.endswith(b"}")]

    backups = [port for name, port in link_ports(trio).items() if name != main]
    await eventually(_holds(lambda: all(len(recorded(port)) > 20 for port in backups)))
    answers: set[int] = set()

    async def strike() -> None:
        for port in backups:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                answers.add((await exchange(f"http://127.0.0.1:{port}", recorded(port)[-1])).status)

    async with again_and_again(strike):
        await until_another_serves(trio, main)
    assert 200 in answers, "what was recorded is a proper keep-alive"
