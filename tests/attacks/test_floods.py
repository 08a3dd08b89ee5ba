"""Clients that send much at once, never end, or do not wait for answers: HTTP/1.1 as real sockets see it."""

import asyncio
import re
from contextlib import suppress
from pathlib import Path

import pytest

from tests.attacks.crowd import ORDINARY, Wire, closing, connect, patient, polite
from tests.integration.cluster import Cluster, running
from tests.integration.waiting import busy

_SECONDS = 6.0
MIB = 1 << 20
CHUNKED = b"PUT /v1/kv/a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n"
OF_OVERSEER = b"GET /v1/main HTTP/1.1\r\nHost: x\r\n\r\n"


def _statuses(content: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d+) ", content)]


async def _pipeline(wire: Wire, request: bytes, seconds: float) -> int:
    """Send 256 KiB of requests at once, again and again, and read the answers. Return the number of those."""
    reader, writer = wire
    count, size = 0, (256 << 10) // len(request)
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while True:
                writer.write(request * size)
                seen = 0
                while seen < size:
                    content = await reader.read(MIB)
                    assert content
                    seen += content.count(b"HTTP/1.1 ")
                    count += content.count(b"HTTP/1.1 ")
    return count


def _guard(directory: Path, environment: pytest.MonkeyPatch) -> None:
    """Demand a token; lab and client read it from the environment, too."""
    token = directory / "token"
    token.write_text("secret\n", "ascii")
    environment.setenv("HANAS_CLIENT_TOKEN_FILE", str(token))
    environment.setenv("HANAS_SECRET_FILE", str(token))


async def _resident_bytes(cluster: Cluster, name: str) -> int:
    pid = next(worker["pid"] for worker in cluster.lab.status()["workers"] if worker["name"] == name)
    return int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1]) * 4096


@pytest.mark.parametrize("tokens", [False, True], ids=["open", "401"])
@pytest.mark.parametrize("count", [2, 30])
async def test_pipelined_requests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int, tokens: bool) -> None:
    """Keep-alives, probes and other clients have their turn."""
    if tokens:
        _guard(tmp_path, monkeypatch)
    async with running(tmp_path, 2, None, **patient()) as cluster:
        cluster.http.headers["authorization"] = "Bearer secret"
        main = await cluster.settle()
        epoch = await cluster.epoch()
        async with polite(cluster, main, token="secret") as client:
            wires = [await connect(cluster.url(main)) for _ in range(count)]
            with closing(wires):
                answers = await asyncio.gather(*(_pipeline(wire, ORDINARY, _SECONDS) for wire in wires))
        assert min(answers) > 0
        assert await cluster.epoch() == epoch
        assert client.failures == []
        assert client.typical_seconds < 0.5 * busy()


_COSTLY = {
    "metrics": b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n",
    "headers": b"GET /v1/kv/a?x HTTP/1.1\r\nHost: x\r\n" + b"a:b\r\n" * 250 + b"\r\n",
    "etags": b"GET /v1/kv/a HTTP/1.1\r\nHost: x\r\nIf-None-Match: " + b",".join([b'"1-1"'] * 10_000) + b"\r\n\r\n",
    "query": b"GET /v1/kv?prefix=" + b"%41" * 2700 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
}


async def _costly(wire: Wire, request: bytes, seconds: float) -> None:
    """Send 64 KiB of requests again and again, and read what is answered, until a main that waits for long ends it."""
    reader, writer = wire
    with suppress(TimeoutError, ConnectionError):
        async with asyncio.timeout(seconds):
            reading = asyncio.create_task(_read_on(reader))
            try:
                while True:
                    writer.write(request * max(1, (64 << 10) // len(request)))
                    await writer.drain()
            finally:
                reading.cancel()


async def _read_on(reader: asyncio.StreamReader) -> None:
    while await reader.read(MIB):
        pass


@pytest.mark.parametrize("request_", _COSTLY.values(), ids=_COSTLY)
async def test_costly_requests(tmp_path: Path, request_: bytes) -> None:
    """Requests that take a multiple of a plain one's time, from 300 connections at once."""
    async with running(tmp_path, 2, None, **patient()) as cluster:
        main = await cluster.settle()
        epoch = await cluster.epoch()
        async with polite(cluster, main) as client:
            wires = [await connect(cluster.url(main)) for _ in range(300)]
            with closing(wires):
                await asyncio.gather(*(_costly(wire, request_, _SECONDS) for wire in wires))
        assert await cluster.epoch() == epoch
        assert client.failures == []


@pytest.mark.parametrize("behind", [b"Content-Length: 10\r\n\r\n", b"", b"\r\n"], ids=["body", "head", "idle"])
async def test_heads_in_memory(tmp_path: Path, behind: bytes) -> None:
    """2,000 connections with large heads, whose bodies or ends do not come, or that are idle afterwards."""
    async with running(tmp_path, 2, HANAS_MEMORY=str(32 * MIB)) as cluster:
        main = await cluster.settle()
        before = await _resident_bytes(cluster, main)
        head = b"GET /v1/kv/a?x HTTP/1.1\r\nHost: x\r\n" + b"".join(
            b"n%03d: %b\r\n" % (number, b"v" * 240) for number in range(250)
        )
        wires: list[Wire] = []
        with closing(wires):
            for _ in range(2000):
                wires.append(await connect(cluster.url(main)))
                wires[-1][1].write(head + behind)
            assert (await cluster.http.get(cluster.url(main, "/healthz"))).status_code == 200
            assert await _resident_bytes(cluster, main) - before < (32 + 64) * MIB, (
                "the budget, and what Python needs beside it"
            )


async def test_pipelined_requests_to_the_overseer(tmp_path: Path) -> None:
    """A main that dies meanwhile is replaced in time."""
    async with running(tmp_path, 2, None, **patient()) as cluster:
        main = await cluster.settle()
        wires = [await connect(cluster.lab.overseer_url) for _ in range(30)]
        with closing(wires):
            flood = asyncio.gather(*(_pipeline(wire, OF_OVERSEER, _SECONDS) for wire in wires))
            await cluster.lab.kill(main)
            assert min(await flood) > 0
        takeover = await cluster.latest_takeover()
        assert takeover.member != main
        assert takeover.durations is not None
        assert takeover.durations.total < 1.5 * busy()


@pytest.mark.parametrize("mebibytes", [20, 60])
async def test_trailers_without_end(tmp_path: Path, mebibytes: int) -> None:
    async with running(tmp_path, 2, None, **patient()) as cluster:
        main = await cluster.settle()
        epoch, before = await cluster.epoch(), await _resident_bytes(cluster, main)
        async with polite(cluster, main) as client:
            reader, writer = await connect(cluster.url(main))
            writer.write(CHUNKED)
            most = 0
            for _ in range(mebibytes):
                writer.write(b"a:b\r\n" * (MIB // 5))
                await writer.drain()
                most = max(most, await _resident_bytes(cluster, main))
            answer = await reader.read()
            writer.close()
        assert _statuses(answer) == [431]
        assert most - before < 24 * MIB
        assert await cluster.epoch() == epoch
        assert client.failures == []
        assert client.typical_seconds < 0.5 * busy()


PUT = b"PUT /v1/kv/order HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx"


@pytest.mark.parametrize(
    ("behind", "status"),
    [(b"nonsense\r\n\r\n", 400), (b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 300 + b"\r\n", 431), (b"", None)],
    ids=["garbage", "431", "half-close"],
)
async def test_answers_come_in_order(tmp_path: Path, behind: bytes, status: int | None) -> None:
    """300 times: a write, and in the same segment what ends the connection."""
    async with running(tmp_path, 1) as cluster:
        base = await cluster.main_url()
        for number in range(300):
            reader, writer = await connect(base)
            writer.write(PUT + PUT + behind)
            if status is None:
                writer.write_eof()
            answers = _statuses(await reader.read())
            writer.close()
            first = 204 if number else 201
            assert answers == [first, 204, *([] if status is None else [status])], number
            assert (await cluster.http.get(base + "/v1/kv/order")).content == b"x"


_OLD = b"PUT %b HTTP/1.0\r\nHost: x\r\n%bContent-Length: %d\r\n\r\n"
_CLOSE = b"PUT %b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n%bContent-Length: %d\r\n\r\n"
_TOKEN = b"Authorization: Bearer secret\r\n"


@pytest.mark.parametrize("form", [_OLD, _CLOSE], ids=["1.0", "close"])
async def test_an_early_answer_to_a_large_body_is_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: bytes
) -> None:
    """At a worker, a backup, the link port and the overseer, for bodies of 1 to 20 MiB."""
    _guard(tmp_path, monkeypatch)
    async with running(tmp_path, 2, None, **patient()) as cluster:
        cluster.http.headers["authorization"] = "Bearer secret"
        main = await cluster.settle()
        backup = await cluster.a_backup()
        link = next(w["linkPort"] for w in cluster.lab.status()["workers"] if w["name"] == main)
        key = b"/v1/kv/large"
        tries = [
            (cluster.url(main), key, b"", 401),
            (cluster.url(main), key, _TOKEN, 413),
            (cluster.url(main), key, _TOKEN + b"X: y\r\n" * 300, 431),
            (cluster.url(backup), key, _TOKEN, 307),
            (cluster.lab.overseer_url, b"/v1/claim", b"", 405),
            (cluster.lab.overseer_url, b"/v1/claim", b"X: y\r\n" * 300, 431),
            (f"http://127.0.0.1:{link}", b"/v1/keepalive", b"", 404),
        ]
        for base, path, headers, status in tries:
            for size in (1, 4) if status == 307 else (9, 20):
                for _ in range(2):
                    assert await _early(base, form % (path, headers, size * MIB), size) == [status], (
                        path,
                        status,
                        size,
                    )


async def _early(base: str, head: bytes, mebibytes: int) -> list[int]:
    """Send a head and so much of a body, whatever is answered meanwhile; return the statuses of the answers."""
    reader, writer = await connect(base)
    writer.write(head)
    answer = asyncio.create_task(reader.read())
    for _ in range(mebibytes):
        writer.write(bytes(MIB))
        await writer.drain()
    statuses = _statuses(await answer)
    writer.close()
    return statuses
