"""The cluster that the campaign breaks: three workers on hosts of their own, each with a mount of its own."""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
import sys
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from bench.faults import network
from bench.faults.clients import Clients
from bench.faults.network import Network

from hanas_client import AsyncClient, Policy
from hanas_lab import mounts
from hanas_lab.cluster import Lab
from hanas_lab.hosts import Host
from hanas_lab.mounts import Mount

OVERSEER = "overseer"
_INSIDE = "HANAS_FAULTS_INSIDE"
_ENVIRONMENT = {
    "HANAS_SEGMENT_BYTES": str(2 << 20),
    "HANAS_VALUE_BYTES": str(1 << 20),
    "HANAS_ISOLATION_POLICY": "StepDown",
}
_VOLUME = "8G"
_BALLAST = ".ballast"


@dataclass(slots=True)
class World:
    """Everything that can be broken, and the clients meanwhile. Without `network` the lab's relays cut the links."""

    lab: Lab
    client: AsyncClient
    http: httpx.AsyncClient
    clients: Clients
    network: Network | None
    mounts: dict[str, Mount]
    volume: Path
    small: bool
    """The volume is one of its own that can be filled."""
    _background: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def able(self) -> frozenset[str]:
        """What faults can be made here: see `bench.faults.catalogue.Fault.needs`."""
        can = {"network": self.network is not None, "mounts": bool(self.mounts), "volume": self.small}
        return frozenset(what for what, possible in can.items() if possible)

    @property
    def names(self) -> list[str]:
        """The workers."""
        return list(self.lab.urls)

    def running(self) -> list[str]:
        """The workers whose processes run."""
        return [worker["name"] for worker in self.lab.status()["workers"] if worker["state"] == "running"]

    async def status(self, name: str) -> dict[str, Any] | None:
        """What a worker says of itself; None if it does not answer within half a second."""
        try:
            response = await self.http.get(f"{self.lab.urls[name]}/v1/status", timeout=0.5)
        except httpx.HTTPError:
            return None
        document: dict[str, Any] = response.json()
        return document

    async def cut(self, sender: str, receiver: str) -> None:
        """Let nothing get from one worker to another."""
        if self.network is None:
            self.lab.cut(sender, receiver, one_way=True)
        else:
            await self.network.cut(sender, receiver)

    def fill(self) -> None:
        """Take all the room that the volume has."""
        with (self.volume / _BALLAST).open("wb") as file:
            left = shutil.disk_usage(self.volume).free
            while left > 0:
                try:
                    os.posix_fallocate(file.fileno(), file.seek(0, os.SEEK_END), left)
                    file.seek(0, os.SEEK_END)
                except OSError:
                    left //= 2

    def background(self, work: Coroutine[None, None, None]) -> None:
        """Do something meanwhile; `mend` waits for it."""
        self._background.add(asyncio.create_task(work))

    async def start_overseer(self) -> None:
        """Start the overseer if it does not run."""
        if self.lab.status()["overseer"]["state"] == "ended":
            await self.lab.start_worker(OVERSEER)

    async def mend(self) -> None:
        """Undo every fault."""
        (self.volume / _BALLAST).unlink(missing_ok=True)
        for mount in self.mounts.values():
            mount.go_on()
            if mount.read_only or mount.process is None or mount.process.returncode is not None:
                await mount.replace()
        if self.network is not None:
            await self.network.clear()
        else:
            for one, other in itertools.permutations(self.names, 2):
                self.lab.heal(one, other, one_way=True)
        if self._background:
            await asyncio.gather(*self._background)
            self._background.clear()
        await self.start_overseer()
        for worker in self.lab.status()["workers"]:
            if worker["state"] == "stopped":
                await self.lab.resume(worker["name"])
            elif worker["state"] == "ended":
                await self.lab.start_worker(worker["name"])


def enter_namespaces(arguments: Sequence[str]) -> None:
    """Go on in network, mount and process namespaces of one's own, if root allows it; return if one is there."""
    if os.environ.get(_INSIDE) or network.obstacle() is not None:
        return
    os.environ[_INSIDE] = "1"
    unshare = ("unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
    os.execvp("unshare", [*unshare, sys.executable, "-m", "bench.faults", *arguments])


@asynccontextmanager
async def world(directory: Path, *, relayed: bool = False, workers: int = 3) -> AsyncIterator[World]:
    """Build it in ``directory``. ``relayed``: the links go through relays, which can delay, also between namespaces."""
    names = [f"worker-{number}" for number in range(1, workers + 1)]
    volume = directory / "volume"
    volume.mkdir(parents=True)
    async with AsyncExitStack() as stack:
        small = os.geteuid() == 0 and bool(os.environ.get(_INSIDE)) and await _small_volume(directory / "image", volume)
        if small:
            stack.push_async_callback(_succeeds, "umount", "-l", str(volume))
        made: Network | None = None
        if os.environ.get(_INSIDE):
            made = Network(names)
            await made.build()
        views: dict[str, Mount] = {}
        if mounts.obstacle() is None:
            views = {name: Mount(volume, directory / f"mount-{name}") for name in names}
            for view in views.values():
                await view.attach()
                stack.push_async_callback(view.detach)
        hosts: dict[str, Host] = {}
        for name in [*names, OVERSEER]:
            folder = views[name].point if name in views else volume
            hosts[name] = (
                Host(folder=folder) if made is None else made.host(name, folder, relayed=relayed and name != OVERSEER)
            )
        lab = Lab(directory / "lab", workers, overseer_port=0, first_port=0, environment=_ENVIRONMENT, hosts=hosts)
        await stack.enter_async_context(lab)
        policy = Policy(deadline=60.0, read=1.0)
        client = await stack.enter_async_context(AsyncClient(lab.overseer_url, list(lab.urls.values()), policy=policy))
        http = await stack.enter_async_context(httpx.AsyncClient(trust_env=False))
        clients = await stack.enter_async_context(Clients(client))
        for view in views.values():
            stack.callback(view.go_on)  # so that the workers can end in order
        yield World(lab, client, http, clients, made, views, volume, small)


async def _small_volume(image: Path, point: Path) -> bool:
    """Mount an ext4 volume of its own, sparse, on the disk that ``image`` is on; False where that cannot be."""
    return (
        await _succeeds("truncate", "-s", _VOLUME, str(image))
        and await _succeeds("mkfs.ext4", "-q", "-m", "0", "-E", "lazy_itable_init=1", str(image))
        and await _succeeds("mount", "-o", "loop", str(image), str(point))
        and await _succeeds("rmdir", str(point / "lost+found"))
    )


async def _succeeds(*command: str) -> bool:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )
    return await process.wait() == 0
