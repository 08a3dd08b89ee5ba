"""The cluster of the campaign: three workers, each with its own host and its own mount, bindfs or NFS."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import os
import shutil
import sys
import time
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from bench.faults import export as nfs
from bench.faults import network
from bench.faults.clients import Clients
from bench.faults.coordination import Coordination
from bench.faults.export import Export
from bench.faults.network import Network
from bench.faults.pulse import Pulse, running
from bench.faults.spreading import Keys, Spread, Survivors

from hanas_client import AsyncClient, Policy
from hanas_lab import mounts
from hanas_lab.cluster import Lab
from hanas_lab.hosts import Host, on_mounts
from hanas_lab.mounts import Mount

OVERSEER = "overseer"
_INSIDE = "HANAS_FAULTS_INSIDE"
_ENVIRONMENT = {
    "HANAS_SEGMENT_BYTES": str(2 << 20),
    "HANAS_VALUE_BYTES": str(1 << 20),
    "HANAS_ISOLATION_POLICY": "StepDown",
}
_VOLUME = "8G"
_START_SECONDS = 30.0
_REST_SECONDS = 0.04
_STATUS_SECONDS = 0.5
_BALLAST = ".ballast"


@dataclass(frozen=True, slots=True)
class Conditions:
    """What the campaign runs with."""

    preset: str = "lan"
    hold: float = 0.0
    """How long at least a fault of the folder lasts, seconds."""
    slowness: float = 1.0
    """How many times slower than usual the machine is: clients rest so much longer, and all waits are longer."""
    clients: int = 3
    """So many write, and so many read."""
    serve: bool = False
    """Backups serve, and clients ask any worker."""


@dataclass(slots=True)
class World:
    """The cluster with everything that can fail, and its clients. Without `network` the lab's relays cut the links."""

    lab: Lab
    client: AsyncClient
    http: httpx.AsyncClient
    clients: Clients
    pulse: Pulse
    conditions: Conditions
    network: Network | None
    mounts: dict[str, Mount]
    """A bindfs for each worker; none on NFS."""
    export: Export | None
    volume: Path
    small: bool
    """Whether the volume is separate and can be filled."""
    coordination: Coordination
    """Clients that watch, hold locks, and change several keys at once."""
    survivors: Survivors | None = None
    """Clients that know one worker each, where backups serve."""
    _background: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def able(self) -> frozenset[str]:
        """The kinds of faults that are possible here: see `bench.faults.catalogue.Fault.needs`."""
        server = self.export is not None and bool(self.export.command)
        soft = self.export is not None and self.export.is_soft()
        possible = {
            "network": self.network is not None,
            "mounts": bool(self.mounts),
            "ways": bool(self.mounts) or server,
            "soft": soft,
            "hard": not soft,
            "volume": self.small or server,
            "server": server,
            "overseer's way": server and self.export is not None and len(self.export.mounts) > len(self.names),
        }
        return frozenset(kind for kind, is_possible in possible.items() if is_possible)

    @property
    def names(self) -> list[str]:
        """The workers."""
        return list(self.lab.urls)

    def running(self) -> list[str]:
        """The workers whose processes run."""
        return running(self.lab)

    async def status(self, name: str) -> dict[str, Any] | None:
        """Return the status of a worker, None without an answer within half a second on a usual machine."""
        patience = _STATUS_SECONDS * self.conditions.slowness
        try:
            response = await self.http.get(f"{self.lab.urls[name]}/v1/status", timeout=patience)
        except httpx.HTTPError:
            return None
        document: dict[str, Any] = response.json()
        return document

    async def cut(self, sender: str, receiver: str) -> None:
        """Drop every packet from one worker to another."""
        if self.network is None:
            self.lab.cut(sender, receiver, one_way=True)
        else:
            await self.network.cut(sender, receiver)

    async def hang(self, name: str) -> None:
        """Make every call of a process on its folder wait."""
        if self.export is None:
            self.mounts[name].hang()
        else:
            client = len(self.export.mounts) - 1 if name == OVERSEER else self.names.index(name)
            await self.export.fail("cut", str(client))

    async def fill(self) -> None:
        """Fill the volume."""
        if self.export is not None:
            await self.export.fail("full")
            return
        with (self.volume / _BALLAST).open("wb") as file:
            left = shutil.disk_usage(self.volume).free
            while left > 0:
                try:
                    os.posix_fallocate(file.fileno(), file.seek(0, os.SEEK_END), left)
                    file.seek(0, os.SEEK_END)
                except OSError:
                    left //= 2

    def background(self, work: Coroutine[None, None, None]) -> None:
        """Run `work` in the background; `mend` waits for it."""
        self._background.add(asyncio.create_task(work))

    async def start_overseer(self) -> None:
        """Start the overseer if it does not run."""
        if self.lab.status()["overseer"]["state"] == "ended":
            await self.lab.start_worker(OVERSEER)

    async def cold_start(self) -> None:
        """Kill every worker and start them anew: then nothing is answered from memory that the folder does not hold."""
        for name in self.running():
            await self.lab.kill(name)
        await asyncio.gather(*map(self.lab.start_worker, self.names))

    async def mend(self) -> float:
        """Undo every fault; return the time (monotonic seconds) at which the volume worked at every worker."""
        if self.export is not None:
            returned = await self.export.mend()
        else:
            await self._mend_mounts()
            returned = time.monotonic()
        await self._mend_processes()
        return returned

    async def _mend_mounts(self) -> None:
        (self.volume / _BALLAST).unlink(missing_ok=True)
        for mount in self.mounts.values():
            mount.go_on()
            if mount.read_only or mount.process is None or mount.process.returncode is not None:
                await mount.replace()

    async def _mend_processes(self) -> None:
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
    """Restart the program in its own network, mount and process namespaces, if possible; return inside them."""
    if os.environ.get(_INSIDE) or nfs.mounts() or network.obstacle() is not None:
        return
    os.environ[_INSIDE] = "1"
    unshare = ("unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
    os.execvp("unshare", [*unshare, sys.executable, "-m", "bench.faults", *arguments])


@asynccontextmanager
async def world(
    directory: Path, conditions: Conditions = Conditions(), *, relayed: bool = False, workers: int = 3
) -> AsyncIterator[World]:
    """Run the cluster in `directory`, or its folder on the mounts of HANAS_NFS_MOUNTS.

    `relayed`: the links go through relays, which can delay messages.
    """
    names = [f"worker-{number}" for number in range(1, workers + 1)]
    volume = directory / "volume"
    volume.mkdir(parents=True)
    async with AsyncExitStack() as stack:
        small = os.geteuid() == 0 and bool(os.environ.get(_INSIDE)) and await _small_volume(directory / "image", volume)
        if small:
            stack.push_async_callback(_succeeds, "umount", "-l", str(volume))
        bridge: Network | None = None
        if os.environ.get(_INSIDE):
            bridge = Network(names)
            await bridge.build()
        export = Export(nfs.mounts()) if nfs.mounts() else None
        views: dict[str, Mount] = {}
        if mounts.obstacle() is None and export is None:
            views = {name: Mount(volume, directory / f"mount-{name}") for name in names}
            for view in views.values():
                await view.attach()
                stack.push_async_callback(view.detach)
        hosts: dict[str, Host] = {}
        for name in [*names, OVERSEER]:
            folder = views[name].point if name in views else volume
            relay = relayed and name != OVERSEER
            hosts[name] = Host(folder=folder) if bridge is None else bridge.host(name, folder, relayed=relay)
        if export is not None:
            folder = export.mounts[-1] / f"{directory.name}-folder"
            folder.mkdir()
            hosts = on_mounts(export.mounts, folder.name, workers)
        lab = Lab(
            directory / "lab",
            workers,
            overseer_port=0,
            first_port=0,
            preset=conditions.preset,
            environment=_ENVIRONMENT | ({"HANAS_BACKUPS": "serve"} if conditions.serve else {}),
            hosts=hosts,
            patience=_START_SECONDS * conditions.slowness,
        )
        await stack.enter_async_context(lab)
        policy = Policy(deadline=60.0, read=1.0 * conditions.slowness)
        urls = list(lab.urls.values())
        client = await stack.enter_async_context(AsyncClient(lab.overseer_url, urls, policy=policy))
        http = await stack.enter_async_context(httpx.AsyncClient(trust_env=False))
        coordination = Coordination(urls, http, conditions.slowness)
        await stack.enter_async_context(coordination.running())
        keys: Keys = client
        survivors: Survivors | None = None
        if conditions.serve:
            anywhere = dataclasses.replace(policy, any_worker=True)
            spread = [AsyncClient(lab.overseer_url, urls, policy=anywhere) for _ in range(2 * conditions.clients)]
            keys = Spread([await stack.enter_async_context(each) for each in spread])
            survivors = await stack.enter_async_context(Survivors(lab.urls, http).writing())
        clients = await stack.enter_async_context(_clients(keys, conditions))
        for view in views.values():
            stack.callback(view.go_on)  # so that the workers can stop
        pulse = await stack.enter_async_context(Pulse(lab, http))
        yield World(
            lab, client, http, clients, pulse, conditions, bridge, views, export, volume, small, coordination, survivors
        )


def _clients(client: Keys, conditions: Conditions) -> Clients:
    return Clients(client, conditions.clients, conditions.clients, _REST_SECONDS * conditions.slowness)


async def _small_volume(image: Path, point: Path) -> bool:
    """Mount a sparse ext4 volume in the file `image`; return False where that is impossible."""
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
