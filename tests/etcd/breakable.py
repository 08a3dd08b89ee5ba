"""Stores that clients talk to while they break: workers whose main is killed, and an etcd that is."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from hanas_lab import Lab
from tests.etcd.sides import Etcd
from tests.integration.waiting import eventually

_PATIENCE_SECONDS = 120.0
"""For a process to become ready, many times what it takes."""


class Breakable(Protocol):
    """A store with etcd's API."""

    addresses: list[str]
    """Every endpoint, as ``host:port``."""

    async def break_it(self) -> None:
        """Kill who answers; return when the store answers again and all of its processes run."""


class Workers:
    """Three workers: another one takes over, and the one that was killed comes back."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.addresses = [urlsplit(url).netloc for url in lab.etcd_urls.values()]

    async def break_it(self) -> None:
        killed = await eventually(self.lab.main)
        await self.lab.kill(killed)

        async def replaced() -> bool:
            return await self.lab.main() not in {None, killed}

        await eventually(replaced)
        await self.lab.start_worker(killed)


class Single:
    """One etcd, which answers again when it was started again."""

    def __init__(self, etcd: Etcd) -> None:
        self._etcd = etcd
        self.addresses = [f"127.0.0.1:{etcd.port}"]

    async def break_it(self) -> None:
        await self._etcd.kill()
        await self._etcd.start()


@asynccontextmanager
async def workers(directory: Path, **environment: str) -> AsyncIterator[Workers]:
    """Run a lab; ``environment`` is for all of its processes."""
    async with Lab(
        directory, 3, overseer_port=0, first_port=0, environment=environment, patience=_PATIENCE_SECONDS, etcd=True
    ) as lab:
        yield Workers(lab)


@asynccontextmanager
async def single(directory: Path) -> AsyncIterator[Single]:
    """Run an etcd."""
    etcd = Etcd(directory)
    try:
        await etcd.start()
        yield Single(etcd)
    finally:
        await etcd.kill()
