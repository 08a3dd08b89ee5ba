"""Clients in numbers, byte by byte, and a polite one beside them."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from urllib.parse import urlsplit

import httpx

from hanas_client import Takeover
from hanas_core.members.timing import PRESETS
from hanas_lab.hosts import Host
from tests.integration.cluster import Cluster
from tests.integration.waiting import busy
from tests.integration.wire import exchange

GET = b"GET /v1/kv/a HTTP/1.1\r\nHost: x\r\n\r\n"
ORDINARY = b"GET /v1/kv/a?x HTTP/1.1\r\nHost: x\r\n\r\n"
_PUT = b"PUT /v1/kv/polite HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %b\r\nContent-Length: 1\r\n\r\nx"
_HEALTH = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
Wire = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def patient() -> dict[str, str]:
    """Timings of `lan` where each process has a core; a main with a share of one is awaited so much longer."""
    return {
        "HANAS_SUSPECT_AFTER": f"{PRESETS['lan'].suspect_after * busy():.3f}",
        "HANAS_PROBE_TIMEOUT": f"{PRESETS['lan'].probe_timeout * busy():.3f}",
    }


def hosts(descriptors: int, *names: str) -> dict[str, Host]:
    """Processes that may open so many files."""
    return {name: Host(enter=("prlimit", f"--nofile={descriptors}:{descriptors}")) for name in names}


async def connect(base: str) -> Wire:
    address = urlsplit(base)
    return await asyncio.open_connection(address.hostname, address.port, limit=64 << 20)


async def takeovers_since(cluster: Cluster, epoch: int) -> list[Takeover]:
    """Return those of later epochs. A main that compacts what was written begins an epoch of its own: that is none."""
    return [each for each in await cluster.client.takeovers() if each.epoch > epoch and each.why != "compaction"]


@contextmanager
def closing(wires: list[Wire]) -> Iterator[None]:
    """Close all of them at the end."""
    try:
        yield
    finally:
        for _, writer in wires:
            writer.transport.abort()


async def crowd(base: str, count: int, request: bytes = b"") -> list[Wire]:
    """Open connections, and send something on each."""
    wires = []
    for _ in range(count):
        wire = await connect(base)
        wire[1].write(request)
        wires.append(wire)
    return wires


@dataclass
class Polite:
    """What happened to a polite client's requests."""

    failures: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    """The time that each took."""

    @property
    def typical_seconds(self) -> float:
        """The time within which nine of ten were answered: the slowest ones are the busy machine's."""
        return sorted(self.seconds)[len(self.seconds) * 9 // 10]


async def _again(polite: Polite, ask: Callable[[], Awaitable[int]]) -> None:
    while True:
        began = time.monotonic()
        try:
            status = await ask()
            if status >= 300:
                polite.failures.append(f"{status}")
        except (httpx.HTTPError, OSError, EOFError) as error:
            polite.failures.append(repr(error))
        polite.seconds.append(time.monotonic() - began)
        await asyncio.sleep(0.02)


@asynccontextmanager
async def polite(cluster: Cluster, main: str, token: str = "") -> AsyncIterator[Polite]:
    """Write to the main meanwhile, on one connection and on fresh ones, and look whether it is alive."""
    result = Polite()
    base, url = cluster.url(main), cluster.kv(main, "polite")

    async def kept() -> int:
        return (await cluster.http.put(url, content=b"x")).status_code

    async def fresh(request: bytes) -> int:
        return (await exchange(base, request, trust=cluster.lab.trust)).status

    asking = (kept, partial(fresh, _PUT % token.encode()), partial(fresh, _HEALTH))
    tasks = [asyncio.create_task(_again(result, ask)) for ask in asking]
    try:
        yield result
    finally:
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task
