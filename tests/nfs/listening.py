"""Every process of a cluster asked four times a second, and what the threads of one wait for.

What this process itself missed while it waited for a processor is nobody's silence: time is its own time.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import httpx

from hanas_core.members.owntime import OwnTime
from tests.integration.cluster import Cluster

KEY = "/v1/kv/never-deaf"
"""At a main, a read of it waits for the folder, until that is given up."""
_ASK_EVERY_SECONDS = 0.25
_MOST_SECONDS = 60.0
_TURN_SECONDS = 0.1
_MOST_OF_A_TURN_SECONDS = 0.5
_OF_WORKER = ("/healthz", "/v1/status", "/metrics", KEY)
_OF_OVERSEER = ("/healthz", "/readyz", "/metrics")
"""What a process answers from memory: a backup redirects, or says 503 while there is no main."""
_CLOSING = "nfs4_do_close"
"""In this function of Linux a close waits for the server; version 3 has nothing to close there."""


@contextlib.asynccontextmanager
async def asked(cluster: Cluster, told: str) -> AsyncIterator[dict[str, float]]:
    """Ask every process meanwhile; at the end the longest silence by path, seconds. All are printed as well."""
    halt, own_time = asyncio.Event(), OwnTime(_MOST_OF_A_TURN_SECONDS)
    of: dict[str, Sequence[str]] = {cluster.url(name): _OF_WORKER for name in cluster.names}
    of[cluster.lab.overseer_url] = _OF_OVERSEER
    longest: dict[str, float] = {}
    turning = asyncio.create_task(_turn(own_time))
    async with httpx.AsyncClient(trust_env=False, timeout=_MOST_SECONDS) as http:
        listening = {
            (url, path): asyncio.create_task(_longest_silence(http, url + path, own_time, halt))
            for url, paths in of.items()
            for path in paths
        }
        try:
            yield longest
        finally:
            halt.set()
            for (url, path), silence in listening.items():
                longest[path] = max(longest.get(path, 0.0), await silence)
                print(f"{told}: {url}{path} was silent for {await silence:.2f} s at most", flush=True)
            turning.cancel()
            print(f"{told}: {own_time.lost:.2f} s were lost to pauses", flush=True)


async def _turn(own_time: OwnTime) -> None:
    while True:
        own_time.turn(time.monotonic())
        await asyncio.sleep(_TURN_SECONDS)


async def _longest_silence(http: httpx.AsyncClient, url: str, own_time: OwnTime, halt: asyncio.Event) -> float:
    longest = 0.0
    while not halt.is_set():
        began = own_time.at(time.monotonic())
        with contextlib.suppress(httpx.TransportError):
            await http.get(url)
        longest = max(longest, own_time.at(time.monotonic()) - began)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(halt.wait(), _ASK_EVERY_SECONDS)
    return longest


def closing(pid: int) -> set[int]:
    """The threads of a process that wait for the server to close a file. Needs root."""
    waiting = set()
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
            if _CLOSING in (task / "stack").read_text():
                waiting.add(int(task.name))
    return waiting
