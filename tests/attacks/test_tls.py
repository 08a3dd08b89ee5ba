"""Attacks below HTTP, on clusters that speak TLS and show certificates."""

import asyncio
import os
import ssl
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from hanas_lab.identities import CLIENT
from tests.attacks.crowd import Wire, closing, connect, crowd, hosts, patient, polite
from tests.integration.cluster import HEALTHY, Cluster, secured
from tests.integration.waiting import busy
from tests.integration.wire import exchange

_DESCRIPTORS = 1024
"""They leave 128 to the link port."""
_SECONDS = 6.0
"""Of attack: a takeover would come within one."""
_HEALTH = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
_TINY = 256 << 10
"""Bytes of records that hold a byte each."""
Strike = Callable[[Cluster, str], Coroutine[None, None, None]]


def _hello(version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> bytes:
    """What a client says first."""
    context, outgoing = ssl.create_default_context(), ssl.MemoryBIO()
    context.maximum_version = version
    client = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="localhost")
    with suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


def _ports(cluster: Cluster, name: str) -> list[str]:
    """The URLs of a worker's ports."""
    worker = next(worker for worker in cluster.lab.status()["workers"] if worker["name"] == name)
    return [cluster.url(name), f"https://127.0.0.1:{worker['linkPort']}"]


_BEGUN = {
    "silent": b"",
    "one byte": b"\x16",
    "half a hello": _hello()[:100],
    "hello": _hello(),
    "hello of 1.2": _hello(ssl.TLSVersion.TLSv1_2),
    "a record that is announced": b"\x16\x03\x01\x40\x00",
}


@pytest.mark.parametrize("begin", _BEGUN.values(), ids=_BEGUN)
async def test_handshakes_that_do_not_go_on(tmp_path: Path, begin: bytes) -> None:
    """More than there is room for, at both ports of a backup: its link is healthy, and it answers new clients."""
    settings = patient() | {"HANAS_CONNECTIONS": "200"}
    async with secured(tmp_path, 2, hosts(_DESCRIPTORS, "worker-1", "worker-2"), **settings) as cluster:
        await cluster.settle()
        backup, epoch = await cluster.a_backup(), await cluster.epoch()
        wires: list[Wire] = []
        with closing(wires):
            for url in _ports(cluster, backup):
                wires += await crowd(url, 300, begin)
            await cluster.until_verdict(backup, HEALTHY)
            for _ in range(10):
                await asyncio.sleep(_SECONDS / 10)
                answer = await exchange(cluster.url(backup), _HEALTH, trust=cluster.lab.trust)
                assert answer.status == 200
            await cluster.until_verdict(backup, HEALTHY)
        assert await cluster.epoch() == epoch


async def _shake(cluster: Cluster, url: str) -> None:
    """Complete handshakes, and leave."""
    assert cluster.lab.identities is not None
    address, context = urlsplit(url), cluster.lab.identities.calling(CLIENT)
    while True:
        with suppress(OSError, ssl.SSLError):
            _, writer = await asyncio.open_connection(address.hostname, address.port, ssl=context)
            writer.transport.abort()


async def _begin(_: Cluster, url: str) -> None:
    """Have the server do its part of a handshake, and leave."""
    while True:
        with suppress(OSError):
            reader, writer = await connect(url)
            with closing([(reader, writer)]):
                writer.write(_BEGUN["hello"])
                await reader.read(1)


async def _nonsense(_: Cluster, url: str) -> None:
    """Send what is no TLS, and what is none behind a good begin."""
    while True:
        for begin in (b"", _BEGUN["hello"], b"\x16\x03\x01", b"GET / HTTP/1.1\r\n\r\n"):
            with suppress(OSError):
                reader, writer = await connect(url)
                with closing([(reader, writer)]):
                    writer.write(begin + os.urandom(4096))
                    await reader.read()


async def _tiny(cluster: Cluster, url: str) -> None:
    """Send a large value in records of one byte each."""
    assert cluster.lab.identities is not None
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = cluster.lab.identities.calling(CLIENT).wrap_bio(incoming, outgoing, server_hostname="localhost")
    reader, writer = await connect(url)
    with closing([(reader, writer)]):
        while True:
            try:
                client.do_handshake()
                break
            except ssl.SSLWantReadError:
                writer.write(outgoing.read())
                incoming.write(await reader.read(1 << 16))
        client.write(b"PUT /v1/kv/tiny HTTP/1.1\r\nHost: x\r\nContent-Length: 4000000\r\n\r\n")
        while outgoing.pending < _TINY:
            client.write(b"x")
        writer.write(outgoing.read())
        await writer.drain()
        await reader.read()


@pytest.mark.parametrize("strike", [_shake, _begin, _nonsense, _tiny])
async def test_much_work_for_nothing(tmp_path: Path, strike: Strike) -> None:
    """Thirty who make a server reckon, at the ports of main and backup: no takeover, and others are served."""
    async with secured(tmp_path, 2, None, **patient()) as cluster:
        main = await cluster.settle()
        epoch = await cluster.epoch()
        async with polite(cluster, main) as client:
            urls = [url for name in cluster.names for url in _ports(cluster, name)]
            attacks = [asyncio.create_task(strike(cluster, urls[number % 4])) for number in range(30)]
            await asyncio.sleep(_SECONDS)
            assert await cluster.epoch() == epoch
            for attack in attacks:
                attack.cancel()
            await asyncio.gather(*attacks, return_exceptions=True)
        assert client.failures == []
        await cluster.settle()
        assert await cluster.epoch() == epoch


@pytest.mark.parametrize(("version", "letter"), [("-tls1_2", b"R"), ("-tls1_3", b"K")], ids=["renegotiation", "keys"])
async def test_negotiations_without_end(tmp_path: Path, version: str, letter: bytes) -> None:
    """A client that asks for another handshake, or for other keys, again and again."""
    async with secured(tmp_path, 2, None, **patient()) as cluster:
        main = await cluster.settle()
        epoch = await cluster.epoch()
        assert cluster.lab.identities is not None
        files = cluster.lab.identities.files(CLIENT)
        address = cluster.url(main).removeprefix("https://")
        shown = ["-cert", str(files.certificate), "-key", str(files.key), "-CAfile", str(files.trust)]
        async with polite(cluster, main) as client:
            process = await asyncio.create_subprocess_exec(
                *("openssl", "s_client", "-connect", address, *shown, version),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
            )
            assert process.stdin is not None
            with suppress(OSError, TimeoutError):
                async with asyncio.timeout(_SECONDS):
                    while process.returncode is None:
                        process.stdin.write(letter + b"\n")  # it looks at the first letter of what it reads
                        await process.stdin.drain()
                        await asyncio.sleep(0.0002)
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
            assert await cluster.epoch() == epoch
        assert client.failures == []
        assert client.typical_seconds < 0.5 * busy()
